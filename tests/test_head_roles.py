"""Roles of heads, from the stored attention and from a probe of the model: method.md section 14."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from attnrules.ingest.capture.forward import read_layer
from attnrules.ingest.intervene import Laboratory, LaboratorySpec
from attnrules.queries.interventions import ProbeSpec, probe
from attnrules.queries.interventions.probing import repeated_tokens
from attnrules.queries.questions import ask
from attnrules.warehouse import Warehouse, check, digests
from tests import tiny
from tests.conftest import Outcome
from tests.tiny import HEADS, Tiny, build

ROLES = ("previous_token", "duplicate_token", "induction", "bos", "self")


def stored(warehouse: Warehouse) -> dict[tuple[int, int, str], dict[str, Any]]:
    relation = warehouse.sql("FROM head_roles")
    rows = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    assert len(rows) == len(ROLES) * warehouse.value("SELECT count(*) FROM heads")
    return {(row["layer"], row["head"], row["role"]): row for row in rows}


def keys_of(role: str, ids: list[int], q: int) -> list[int]:
    """Return the key positions that a role names at query position q, one after another."""
    copies = [k for k in range(1, q) if ids[k] == ids[q]]
    return {
        "previous_token": [q - 1],
        "duplicate_token": copies,
        "induction": [k + 1 for k in copies],
        "bos": [0],
        "self": [q],
    }[role]


def slowly(warehouse: Warehouse, layer: int, head: int, role: str) -> dict[str, Any]:
    """Compute a row of head_roles as method.md section 14.1 reads."""
    ids: dict[int, list[int]] = {}
    for seq, _, token in warehouse.rows("SELECT seq_id, pos, token_id FROM tokens ORDER BY ALL"):
        ids.setdefault(seq, []).append(token)
    weights = {
        (seq, q, k): weight
        for seq, q, k, weight in warehouse.rows(
            "SELECT seq_id, query_pos, key_pos, weight FROM attention_sources WHERE layer = $l AND head = $h",
            {"l": layer, "h": head},
        )
    }
    queries = [(seq, q) for seq, row in ids.items() for q in range(2, len(row))]
    at_distance: dict[int, list[float]] = {}
    for seq, q in queries:
        for k in range(1, q + 1):
            at_distance.setdefault(q - k, []).append(weights.get((seq, q, k), 0.0))
    found: dict[int, list[float]] = {}
    expected = []
    for seq, q in queries:
        if named := keys_of(role, ids[seq], q):
            found.setdefault(seq, []).append(sum(weights.get((seq, q, k), 0.0) for k in named))
            if role in ("duplicate_token", "induction"):
                expected.append(sum(float(np.mean(at_distance[q - k])) for k in named))
            else:
                expected.append(1 / (q + 1))
    n = sum(map(len, found.values()))
    if not n:
        return {"attention": None, "control": None, "n_positions": 0, "n_sequences": 0, "half": None}
    mean = sum(map(sum, found.values())) / n
    residuals = [sum(values) - mean * len(values) for values in found.values()]
    m = len(found)
    half = None if m < 2 else 1.96 * math.sqrt(sum(r * r for r in residuals) * m / (m - 1)) / n
    return {
        "attention": mean,
        "control": float(np.mean(expected)),
        "n_positions": n,
        "n_sequences": m,
        "half": half,
    }


SHAPES = [
    Tiny(0, n_seqs=1, seq_len=2, steep=False, sparse=False),
    Tiny(1, n_seqs=1, seq_len=5, steep=False, sparse=False),
    Tiny(2, n_seqs=9, seq_len=3, steep=False, sparse=True),
    Tiny(3, n_seqs=20, seq_len=12, steep=False, sparse=True),
    Tiny(4, n_seqs=20, seq_len=12, steep=False, sparse=False),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_roles_are_those_of_the_definition(shape: Tiny, tmp_path: Path) -> None:
    with build(tmp_path / "w.duckdb", shape) as warehouse:
        rows = stored(warehouse)
        for layer, head in HEADS:
            for role in ROLES:
                row, slow = rows[layer, head, role], slowly(warehouse, layer, head, role)
                for name in ("attention", "control", "n_positions", "n_sequences"):
                    assert row[name] == (None if slow[name] is None else pytest.approx(slow[name], abs=1e-9))
                if slow["half"] is None:
                    assert row["attention_low"] is None
                else:
                    low, high = slow["attention"] - slow["half"], slow["attention"] + slow["half"]
                    assert row["attention_low"] == pytest.approx(max(0, low), abs=1e-6)
                    assert row["attention_high"] == pytest.approx(min(1, high), abs=1e-6)


# Heads that do one thing: the whole attention of a query goes to the last key of the role, else to BOS.
PURE = dict(zip(HEADS, ("previous_token", "duplicate_token", "induction"), strict=True))
SEQ_LEN, N_SEQS = 24, 40


def pure_heads(path: Path) -> Warehouse:
    """Make a warehouse of random tokens whose three heads do one thing each."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 12, (N_SEQS, SEQ_LEN))
    ids[:, 0] = 12
    shape = Tiny(0, n_seqs=N_SEQS, seq_len=SEQ_LEN, steep=False, sparse=False)
    warehouse = Warehouse.create(path, d_head=tiny.D_HEAD)
    sources = []
    for (layer, head), role in PURE.items():
        for seq in range(N_SEQS):
            for q in range(SEQ_LEN):
                key = keys_of(role, ids[seq].tolist(), q)[-1:] if q > 1 else []
                at = {"layer": layer, "head": head, "seq_id": seq, "query_pos": q}
                sources.append(
                    {**at, "key_pos": key[0] if key else 0, "weight": 1.0, "weight_from_features": 1.0}
                )
    with warehouse.transaction():
        for name, rows in (
            ("corpus", [tiny.corpus(shape)]),
            ("chunks", [tiny.chunk(shape)]),
            ("tokens", [{**at, "token_id": int(ids[at["seq_id"], at["pos"]])} for at in tiny.places(shape)]),
            ("attention_sources", sources),
            ("heads", list(tiny.heads(rng))),
        ):
            warehouse.append(name, pa.Table.from_pylist(rows))
    warehouse.refresh_derived()
    return warehouse


@pytest.fixture(scope="module")
def pure(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pure_heads(tmp_path_factory.mktemp("pure") / "w.duckdb") as warehouse:
        yield warehouse


@pytest.mark.parametrize(("at", "role"), PURE.items(), ids=PURE.values())
def test_a_head_that_does_one_thing_is_known_by_it(pure: Warehouse, at: tuple[int, int], role: str) -> None:
    rows = {r: row for (*where, r), row in stored(pure).items() if tuple(where) == at}
    assert rows[role]["attention"] == 1
    assert rows[role]["control"] < 0.5
    others = [other for other in ("previous_token", "duplicate_token", "induction") if other != role]
    assert all(rows[other]["attention"] < rows[other]["control"] + 0.25 for other in others)
    assert rows["self"]["attention"] < 0.2


def test_question_puts_the_clearest_roles_first(pure: Warehouse) -> None:
    relation = ask(pure, "head_roles", {"limit": 3})
    rows = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    assert {(row["head"], row["role"]) for row in rows} == {
        (f"L{at[0]}H{at[1]}", r) for at, r in PURE.items()
    }
    assert all(row["probe"] is None for row in rows)


def test_roles_are_forgotten_when_the_ingest_goes_on(tmp_path: Path) -> None:
    with pure_heads(tmp_path / "w.duckdb") as warehouse:
        warehouse.outdate_derived()
        assert warehouse.value("SELECT count(*) FROM head_roles") == 0


def test_check_finds_a_missing_role(tmp_path: Path) -> None:
    with pure_heads(tmp_path / "w.duckdb") as warehouse:
        assert not problems(warehouse)
        warehouse.execute("DELETE FROM head_roles WHERE role = 'self' AND layer = 1")
        assert problems(warehouse) == ["L1H0: 4 roles are known of 5"]


def problems(warehouse: Warehouse) -> list[str | None]:
    found = [result for result in check(warehouse) if result.name == "head_roles"]
    assert len(found) == 1
    return [result.first_problem for result in found if result.n_problems]


def test_probe_is_what_the_model_attends_to(small: Path) -> None:
    spec = ProbeSpec(n_sequences=3, n_tokens=6)
    with Warehouse.open(small, writable=True) as warehouse:
        laboratory = Laboratory.open(warehouse, LaboratorySpec(device="cpu"))
        rows = probe(warehouse, spec, laboratory)
        kept = warehouse.rows("SELECT layer, head, role, attention FROM head_probes ORDER BY ALL")
        again = probe(warehouse, spec, laboratory)
        assert warehouse.value("SELECT count(*) FROM head_probes") == len(rows)
        assert not digests.problems(warehouse, "head_probes")
    assert again == rows
    assert kept == sorted((r["layer"], r["head"], r["role"], r["attention"]) for r in rows)
    tokens = repeated_tokens(laboratory, spec)
    assert tokens.shape == (3, 13)
    assert all(len(set(row[1:7])) == 6 for row in tokens.tolist())
    assert (tokens[:, 1:7] == tokens[:, 7:]).all()
    for row in rows:
        pattern = read_layer(laboratory._model, row["layer"], torch.as_tensor(tokens)).pattern
        by_sequence = [
            sum(
                float(pattern[i, row["head"], q, k])
                for q in range(7, 13)
                # No token is twice in r, so the last key of the definition is the only one.
                for k in keys_of(row["role"], tokens[i].tolist(), q)
            )
            / 6
            for i in range(3)
        ]
        assert row["attention"] == pytest.approx(np.mean(by_sequence), abs=1e-5)
        half = 1.96 * np.std(by_sequence, ddof=1) / math.sqrt(3)
        assert row["attention_high"] == pytest.approx(min(1, np.mean(by_sequence) + half), abs=1e-5)


def test_card_of_a_head_shows_roles_beside_the_probe(small: Path, attnrules: Callable[..., Outcome]) -> None:
    done = attnrules("intervene", small, "--probe", "--device", "cpu", "--layers", "0")
    assert done.code == 0
    assert "L0H0: previous_token" in done.err
    shown = attnrules("show", small, "L0H0").out
    assert "previous token" in shown
    assert "repeated tokens" in shown
    card = json.loads(attnrules("show", small, "L0H0", "--json").out)
    assert [row["role"] for row in card["roles"] if row["probe"] is None] == []
    assert sum(row["share"] for row in card["distances"]) <= 1 + 1e-9
    missing = attnrules("show", small, "L7H0")
    assert missing.code != 0
    assert "L7H0: not in this warehouse" in missing.err
