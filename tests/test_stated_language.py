"""The language of stated rules: what is printed is read as the same, and what is no rule is shown where."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attnrules.errors import AttnRulesError, UsageError
from attnrules.queries.heads import FeatureId
from attnrules.queries.stated import parse, read_rule
from attnrules.queries.stated.language import (
    Atom,
    InputFeature,
    Place,
    Position,
    Same,
    Statement,
    Token,
    TokenId,
)
from attnrules.queries.stated.members import resolved
from attnrules.warehouse import Warehouse
from tests import tiny
from tests.slow import wilson_interval
from tests.slow_stated import Text, texts

OFFSETS = st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda ends: (min(ends), max(ends)))
PLACES = st.one_of(
    OFFSETS.map(lambda ends: Place("offset", *ends)),
    st.integers(0, 3).map(lambda nearest: Place("offset", nearest, None)),
    st.just(Place("copy")),
    st.just(Place("after copy")),
)
BEFORE = st.sampled_from([Place("offset", 1, None), Place("offset", 1, 1), Place("offset", 1, 3)])
POSITIONS = st.tuples(st.integers(1, 4), st.none() | st.integers(0, 3)).map(
    lambda ends: Position(ends[0], None if ends[1] is None else ends[0] + ends[1])
)
COUNTED = st.tuples(st.integers(1, 3), st.booleans()).map(
    lambda pair: {"at_least": 1, "absent": True} if pair[1] else {"at_least": pair[0]}
)


def statements(
    tokens: st.SearchStrategy[Any], features: st.SearchStrategy[Any]
) -> st.SearchStrategy[Statement]:
    mixed = st.lists(tokens | features, min_size=1, max_size=4, unique=True)
    atoms = st.one_of(
        st.builds(lambda m, p, c: Atom(tuple(m), p, **c), mixed, PLACES, COUNTED),
        st.builds(lambda p, c: Atom((Same(),), p, **c), BEFORE, COUNTED),
        POSITIONS,
    )
    return st.lists(atoms, min_size=1, max_size=3).map(lambda found: Statement(tuple(found)))


ANY_TOKEN = st.text(st.characters(exclude_categories=("Cs",)), max_size=6).map(Token) | st.integers(
    0, 10**6
).map(TokenId)
STRENGTH = st.just(0.0) | st.floats(1e-6, 1e6)
ANY_FEATURE = st.builds(InputFeature, st.integers(0, 99), st.integers(0, 10**6), STRENGTH)
TINY_TOKEN = st.sampled_from([Token("t0"), Token("t1"), TokenId(2), TokenId(1)])
TINY_FEATURE = st.builds(
    InputFeature, st.integers(0, 1), st.integers(0, tiny.N_INPUTS - 1), st.sampled_from((0.0, 0.5, 1.0))
)


@given(statements(ANY_TOKEN, ANY_FEATURE))
def test_what_is_printed_is_read_as_the_same(statement: Statement) -> None:
    assert parse(str(statement)) == (statement, None)
    assert parse(f"{statement} -> L3H2.1") == (statement, "L3H2.1")
    assert str(parse(str(statement))[0]) == str(statement)


@given(st.text("[]',.-> aLi0123tno\\{u", max_size=30))
def test_any_text_is_a_rule_or_one_line(text: str) -> None:
    try:
        statement, _ = parse(text)
    except UsageError as error:
        told = str(error)
    else:
        told = f"<<here>>{parse(str(statement))[0] == statement}"
    assert "<<here>>" in told
    assert not told.endswith("False")


@pytest.mark.parametrize(
    ("text", "read", "reason"),
    [
        ("[' a'] att -1", "[' a'] ", "expected a place"),
        ("[' a'] at 1", "[' a'] at 1 ", "expected an offset"),
        ("[' a'] at -1..-3", "[' a'] at -1..-3 ", "begins farther back"),
        ("[' a', ' a'] at 0", "[' a', ' a'] ", "stands twice"),
        ("[' a' > 2] at 0", "[' a'", "expected ',' or ']'"),
        ("[L0.i3 > -2] at 0", "[L0.i3 > -2", "expected an activation"),
        ("[same] anywhere", "[same] anywhere ", "looked for before"),
        ("[same, ' a'] before", "[same, ' a'] ", "stands alone"),
        ("[] at 0", "[ ", "expected a token"),
        ("[' a'] at 0 or [' b'] at 0", "[' a'] at 0 ", "expected 'and'"),
        ("[' a'] at 0 -> 17", "[' a'] at 0 -> ", "expected a feature"),
        ("position 0..3", "position 0 ", "from 1 on"),
        ("position 3..2", "position 3..2 ", "from 3 on"),
        (" and ".join(["[' a'] at 0"] * 4), "[' a'] at 0 and [' a'] at 0 and [' a'] at 0 and ", "at most 3"),
        ("['\\q'] at 0", "['\\q' ", "unknown escape"),
    ],
)
def test_what_is_no_rule_is_shown_where(text: str, read: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert str(caught.value).startswith(f"{read.rstrip()} <<here>>")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def warehouses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[Warehouse, dict[int, Text]]]]:
    made = []
    for seed in (0, 1):
        shape = tiny.Tiny(seed=seed, n_seqs=12, seq_len=8, steep=False, sparse=False)
        warehouse = tiny.build(tmp_path_factory.mktemp("tiny") / "w.duckdb", shape)
        saes = [
            {"role": "input", "layer": layer, "source": "tiny", "hook_name": "x", "d_in": 2,
             "d_sae": tiny.N_INPUTS, "architecture": "relu", "sha256": ""}
            for layer in (0, 1)
        ]  # fmt: skip
        warehouse.append("saes", pa.Table.from_pylist(saes))
        made.append((warehouse, texts(warehouse)))
    yield made
    for warehouse, _ in made:
        warehouse.close()


@given(statement=statements(TINY_TOKEN, TINY_FEATURE), which=st.integers(0, 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_sql_holds_a_rule_true_where_a_reader_does(
    warehouses: list[tuple[Warehouse, dict[int, Text]]], statement: Statement, which: int
) -> None:
    warehouse, sequences = warehouses[which]
    reading = read_rule(warehouse, FeatureId(0, 0, 5), statement, n_examples=100)
    test = {
        s
        for (s,) in warehouse.rows(
            "SELECT DISTINCT seq_id FROM tokens WHERE sequence_split(0, seq_id) = 'test'"
        )
    }
    expected = {
        (seq, q)
        for seq in test
        for q in range(1, len(sequences[seq].tokens))
        if sequences[seq].holds(statement, q)
    }
    assert {(e.seq_id, e.pos) for e in reading.examples if e.kind != "missed"} == expected


def test_a_reading_counts_what_a_reader_counts(warehouses: list[tuple[Warehouse, dict[int, Text]]]) -> None:
    warehouse, sequences = warehouses[0]
    statement, _ = parse("[L0.i4, 't1'] at -1 and no [L0.i6] anywhere")
    reading = read_rule(warehouse, FeatureId(0, 0, 5), statement)
    active = set(
        warehouse.rows(
            "SELECT seq_id, pos FROM output_activations WHERE layer = 0 AND head = 0 AND feature = 5 AND pos > 0"
            " AND sequence_split(0, seq_id) = 'test'"
        )
    )
    test = {
        s
        for (s,) in warehouse.rows(
            "SELECT DISTINCT seq_id FROM tokens WHERE sequence_split(0, seq_id) = 'test'"
        )
    }
    places = {(seq, q) for seq in test for q in range(1, 8)}
    found = {(seq, q) for seq, q in places if sequences[seq].holds(statement, q)}
    assert found
    hits = found & active
    assert (reading.n_sequences, reading.n_positions, reading.n_active) == (
        len(test),
        len(places),
        len(active),
    )
    assert (reading.n_matches, reading.n_hits) == (len(found), len(hits))
    assert reading.n_match_sequences == len({seq for seq, _ in found})
    assert reading.precision == len(hits) / len(found)
    assert reading.recall == len(hits) / len(active)
    assert reading.lift == pytest.approx(reading.precision / (len(active) / len(places)))
    for name in ("precision", "recall", "lift"):
        low, high = getattr(reading, f"{name}_interval")
        assert 0 <= low <= high


class Undone(Exception):  # noqa: N818
    """Takes back what a test has changed."""


def test_a_feature_that_never_fires_has_no_lift(warehouses: list[tuple[Warehouse, dict[int, Text]]]) -> None:
    """Neither a share nor its ends can be a ratio to nothing."""
    warehouse, _ = warehouses[0]
    with suppress(Undone), warehouse.transaction():
        warehouse.execute("DELETE FROM output_activations WHERE layer = 0 AND head = 0 AND feature = 5")
        reading = read_rule(warehouse, FeatureId(0, 0, 5), parse("['t1'] at 0")[0])
        raise Undone
    assert (reading.precision, reading.n_active) == (0, 0)
    assert (reading.lift, reading.lift_interval) == (None, None)
    assert (reading.recall, reading.recall_interval) == (None, None)


def test_few_matches_that_agree_leave_doubt(warehouses: list[tuple[Warehouse, dict[int, Text]]]) -> None:
    """All resamples of a share of 0 or 1 agree; its interval is that of so many sequences all the same."""
    warehouse, _ = warehouses[0]
    narrow = [
        f"[t{a}] at 0 and [t{b}] at -1 and [L0.i{i}] at 0" for a in range(4) for b in range(4) for i in (4, 6)
    ]
    readings = [read_rule(warehouse, FeatureId(0, 0, 5), parse(text)[0], n_examples=0) for text in narrow]
    agreeing = [reading for reading in readings if reading.precision in (0, 1)]
    assert agreeing
    for reading in agreeing:
        n = reading.n_match_sequences
        low, high = wilson_interval(int(reading.precision) * n, n)
        assert reading.precision_interval == pytest.approx((low, high), abs=1e-9)
        base = reading.n_active / reading.n_positions
        assert reading.lift_interval == pytest.approx((low / base, high / base), abs=1e-9)
        assert low < high


def test_few_sequences_leave_doubt(warehouses: list[tuple[Warehouse, dict[int, Text]]]) -> None:
    """Resamples of fewer than five sequences are nearly alike: the interval is that of so many sequences."""
    warehouse, _ = warehouses[0]
    narrow = [
        f"[t{a}] at {here} and [t{b}] at -{back} and [t{c}] at -{back + 1}"
        for a in range(4)
        for b in range(4)
        for c in range(4)
        for here, back in ((0, 1), (0, 3))
    ]
    readings = [read_rule(warehouse, FeatureId(0, 0, 5), parse(text)[0], n_examples=0) for text in narrow]
    few = [r for r in readings if r.precision not in (None, 0, 1) and r.n_match_sequences < 5]
    assert few
    for reading in few:
        n = reading.n_match_sequences
        expected = wilson_interval(reading.precision * n, n)
        assert reading.precision_interval == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("['nowhere'] at 0", "the vocabulary has no such token"),
        ("[t99] at 0", "the vocabulary has tokens 0 to 3"),
        ("[L7.i0] at 0", "stored for layer 0, 1"),
        ("[L0.i9] at 0", "layer 0 has features 0 to 8"),
    ],
)
def test_what_the_warehouse_lacks_is_named(
    warehouses: list[tuple[Warehouse, dict[int, Text]]], text: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        resolved(warehouses[0][0], parse(text)[0])


def test_a_text_of_several_tokens_is_refused(tmp_path: Path) -> None:
    shape = tiny.Tiny(seed=0, n_seqs=2, seq_len=3, steep=False, sparse=False)
    with tiny.build(tmp_path / "w.duckdb", shape) as warehouse:
        warehouse.execute("UPDATE vocabulary SET token = 't0' WHERE token_id = 1")
        with pytest.raises(UsageError, match="2 tokens have this text; name one, such as t0, t1"):
            resolved(warehouse, parse("['t0'] at 0")[0])


def test_the_command_says_how_a_rule_does(small_once: Path, attnrules: Callable[..., Any]) -> None:
    with Warehouse.open(small_once) as warehouse:
        feature = FeatureId(*warehouse.rows("SELECT layer, head, feature FROM rules ORDER BY ALL LIMIT 1")[0])
        reading = read_rule(warehouse, feature, parse("[same] before")[0])
    told = attnrules("test", small_once, f"[same] before -> {feature}")
    assert told.code == 0
    assert f"{reading.n_hits} of {reading.n_matches} positions" in told.out
    data = json.loads(attnrules("test", small_once, f"[same] before -> {feature}", "--json").out)
    assert (data["statement"], data["n_hits"]) == ("[same] before", reading.n_hits)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("[same] before", "names no feature"),
        ("[same] befor -> L0H0.1", "expected a place"),
        ("[same] before -> L9H0.1", "L9H0.1: not in this warehouse"),
    ],
)
def test_the_command_refuses_in_one_line(
    small_once: Path, attnrules: Callable[..., Any], rule: str, words: str
) -> None:
    told = attnrules("test", small_once, rule)
    assert told.code == 2
    assert words in told.err
    assert told.err.count("\n") == 1


def test_an_ingest_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with (
        Warehouse.create(tmp_path / "w.duckdb", d_head=2) as warehouse,
        pytest.raises(AttnRulesError, match="holds no sequences"),
    ):
        read_rule(warehouse, FeatureId(0, 0, 0), parse("[same] before")[0])


def test_a_weak_activation_is_written_as_python_writes_it() -> None:
    """0.00001 is printed as 1e-05, without a point."""
    text = "[L0.i0 > 1e-05] at 0"
    assert str(parse(text)[0]) == text
