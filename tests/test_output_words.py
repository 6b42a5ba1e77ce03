"""Which tokens stand for what a feature makes the model say, and how rules are written with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from attnrules.warehouse import Warehouse, check
from tests.planted import PlantedModel

N_TOKENS = 40


def weights(feature: int, kurtosis: float | None, tokens: list[int]) -> dict[str, list[dict[str, Any]]]:
    at = {"layer": 0, "head": 0, "feature": feature}
    return {
        "output_effects": [{**at, "n_kept": 20, "write_norm": 1.0, "deviation": 1.0, "kurtosis": kurtosis}],
        "output_tokens": [
            {**at, "side": "promoted", "rank": rank, "token_id": token, "effect": 10.0 - rank}
            for rank, token in enumerate(tokens, 1)
        ],
    }


def corpus(feature: int, tokens: dict[int, float]) -> dict[str, list[dict[str, Any]]]:
    counts = {"n_active": 100, "n_followed": 9, "n_sequences": 9, "base_rate": 0.01}
    return {
        "output_corpus_tokens": [
            {
                **{"layer": 0, "head": 0, "feature": feature, "rank": rank, "token_id": token},
                **counts,
                **{"log_odds": low + 1, "log_odds_low": low, "log_odds_high": low + 2},
            }
            for rank, (token, low) in enumerate(tokens.items(), 1)
        ]
    }


def model(
    feature: int, confirmed: dict[int, float], not_confirmed: list[int]
) -> dict[str, list[dict[str, Any]]]:
    outcomes = {**confirmed, **dict.fromkeys(not_confirmed, 9.0)}
    return {
        "output_token_tests": [
            {
                **{"layer": 0, "head": 0, "feature": feature, "token_id": token, "watched": "both"},
                **{"raise": raised, "confirmed": token in confirmed, "run_id": 1},
            }
            for token, raised in outcomes.items()
        ]
    }


CASES: dict[int, tuple[list[dict[str, list[dict[str, Any]]]], list[int], str | None]] = {
    # By weights: the first of them, where the kurtosis is above that of random directions.
    0: ([weights(0, 4.1, [7, 3, 5])], [7, 3, 5], "by weights alone"),
    1: ([weights(1, 3.9, [7, 3, 5])], [], None),
    2: ([weights(2, None, [])], [], None),
    # In the corpus: those that the weights promote too, the most certain first.
    3: ([weights(3, 9.0, [7, 2, 3]), corpus(3, {1: 3.0, 3: 2.0, 2: 1.0})], [3, 2], "seen in the corpus"),
    # Where the weights say nothing, what follows in the corpus is all there is.
    4: ([weights(4, 3.0, [7, 3]), corpus(4, {1: 3.0, 3: 1.0})], [1, 3], "in the corpus alone"),
    # On the model: by the raise, and only what is confirmed.
    5: (
        [weights(5, 9.0, [7, 3]), corpus(5, {1: 3.0, 2: 2.0}), model(5, {2: 0.5, 7: 0.7}, [1, 3])],
        [7, 2],
        "confirmed on the model",
    ),
    # Tested, and none confirmed: what is left is what the weights say.
    6: ([weights(6, 9.0, [7]), corpus(6, {1: 3.0}), model(6, {}, [1, 7])], [7], "by weights alone"),
    # No more than six.
    7: ([weights(7, 9.0, list(range(20)))], [0, 1, 2, 3, 4, 5], "by weights alone"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "w.duckdb"
    with Warehouse.create(path, d_head=2) as warehouse, warehouse.transaction():
        rows: dict[str, list[dict[str, Any]]] = {
            "vocabulary": [{"token_id": t, "token": f"t{t}\n"} for t in range(N_TOKENS)],
            "unembedding": [{"status": "usable", "n_tokens": N_TOKENS, "random_kurtosis": 4.0}],
            "output_features": [
                {
                    **{"layer": 0, "head": 0, "feature": f, "n_sequences": 1, "n_tokens": 1},
                    **{"encoder": [0.0, 0.0], "bias": 0.0, "preactivation_bias": 0.0},
                }
                for f in (*CASES, max(CASES) + 1)
            ],
        }
        for tables, _, _ in CASES.values():
            for table in tables:
                for name, new in table.items():
                    rows.setdefault(name, []).extend(new)
        for name, new in rows.items():
            warehouse.append(name, pa.Table.from_pylist(new))
        warehouse.renew_right_sides(0, 0)
    return path


@pytest.mark.parametrize("feature", CASES)
def test_the_strongest_evidence_decides_which_tokens_stand_for_a_feature(made: Path, feature: int) -> None:
    _, tokens, evidence = CASES[feature]
    with Warehouse.open(made) as warehouse:
        found = warehouse.rows(
            "SELECT token_id, evidence FROM output_words WHERE feature = $f ORDER BY place", {"f": feature}
        )
        ends = warehouse.rows(
            "SELECT says, evidence FROM rule_right_sides WHERE feature = $f", {"f": feature}
        )
    assert found == [(token, evidence) for token in tokens]
    says = ", ".join(rf"'t{token}\n'" for token in tokens[:3]) or None
    assert ends == [(says, evidence or "says nothing")]


def test_a_feature_whose_effects_are_not_stored_is_not_known(made: Path) -> None:
    with Warehouse.open(made) as warehouse:
        last = max(CASES) + 1
        rows = warehouse.rows("SELECT says, evidence FROM rule_right_sides WHERE feature = $f", {"f": last})
    assert rows == [(None, "not known")]


def test_rules_of_a_planted_feature_end_in_its_token(
    attnrules: Callable[..., Any], mined_once: Path, planted: PlantedModel
) -> None:
    feature = f"L1H0.{planted.output_features[1, 0, 'midnight']}"
    shown = attnrules("show", mined_once, feature).out
    assert "says      'whisper" in shown
    rules = [line for line in shown.splitlines() if " → " in line]
    assert rules
    assert all(line.split(" → ")[1].startswith("'whisper'") for line in rules), rules
    assert all(f"({feature})" in line for line in rules)
    card = json.loads(attnrules("show", mined_once, feature, "--json").out)
    assert card["feature"]["says"].startswith("'whisper'")
    assert card["says"][0]["token"] == "'whisper'"
    question = attnrules("query", mined_once, "rules_with_key", "-p", "text=night", "--format", "json").out
    ends = {row["feature"]: (row["says"], row["evidence"]) for row in json.loads(question)}
    assert ends[feature] == (card["feature"]["says"], card["feature"]["evidence"])


def test_a_planted_feature_that_writes_nothing_says_so(
    attnrules: Callable[..., Any], mined_once: Path
) -> None:
    with Warehouse.open(mined_once) as warehouse:
        for evidence, words in (
            ("says nothing", "says      nothing directly (its weights write nothing)"),
            ("in the corpus alone", "(in the corpus alone; its weights write nothing)"),
        ):
            layer, head, feature = warehouse.rows(
                "SELECT layer, head, feature FROM rule_right_sides INNER JOIN output_features"
                " USING (layer, head, feature) WHERE evidence = $evidence AND n_tokens > 0 LIMIT 1",
                {"evidence": evidence},
            )[0]
            assert words in attnrules("show", mined_once, f"L{layer}H{head}.{feature}").out


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE output_tokens SET rank = rank + 1",
        "UPDATE output_tokens SET token_id = 9999",
        "INSERT INTO output_effects FROM output_effects LIMIT 1",
        "UPDATE output_effects SET feature = 9999 WHERE feature = 0",
        "INSERT INTO output_token_tests SELECT 0, 0, 0, 0, 'both', 0, 0, 0, 0, 0, 0, FALSE, 1",
    ],
)
def test_a_check_finds_what_cannot_be(ingested_once: Path, tmp_path: Path, damage: str) -> None:
    path = Path(shutil.copy(ingested_once, tmp_path / "w.duckdb"))
    with Warehouse.open(path, writable=True) as warehouse:
        warehouse.execute(damage)
        problems = {result.name: result.n_problems for result in check(warehouse)}
    assert problems["output_tokens"]
