"""The counting grid (METHOD.md section 7): copies of key and opponent, inserted where neither occurs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnrules.queries.counting import statement
from attnrules.queries.trials import (
    Laboratory,
    TokenStatistics,
    Trials,
    append_rows,
    insert,
    sequence_tokens,
    token_of_feature,
)

if TYPE_CHECKING:
    from attnrules.queries.resampling import SequenceBootstrap
    from attnrules.warehouse import Warehouse

# Copies inserted of each: 0 to 4.
COPIES = 4


@dataclass(frozen=True)
class _Rule:
    """A counting rule to test, with the tokens to insert; None where there is none."""

    feature: int
    pair: int
    key: int
    opponent: int | None
    key_weight: int
    opponent_weight: int
    threshold: int
    without_opponent: bool
    key_token: int | None
    opponent_token: int | None

    @property
    def status(self) -> str:
        if self.key_token is None:
            return "no key token"
        missing = self.opponent is not None and self.opponent_token is None
        return "no opponent token" if missing else "tested"

    def by_count(self, m: int, n: int) -> bool:
        return self.key_weight * m - self.opponent_weight * n >= self.threshold

    def by_presence(self, m: int, n: int) -> bool:
        return m > 0 and not (self.without_opponent and n > 0)


def run_grid(
    warehouse: Warehouse,
    laboratory: Laboratory,
    chosen: dict[str, Any],
    *,
    n_examples: int,
    seed: int,
    bootstrap: SequenceBootstrap,
    run_id: int,
) -> tuple[int, int, int, int]:
    """Test the counting rules of a head and store the outcome; `chosen`: layer, head, scaling, features.

    Returns the numbers of rules, of those tested, of those confirmed, and of forward passes.
    """
    layer, head = chosen["layer"], chosen["head"]
    rules = _rules(warehouse, laboratory, chosen)
    seq_len = warehouse.value("SELECT seq_len FROM corpus")
    examples: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for feature, pair, seq_id, query_pos in warehouse.rows(
        statement("grid_examples"),
        {**chosen, "seq_len": seq_len, "room": 2 * COPIES, "n_examples": n_examples, "seed": seed},
    ):
        examples[feature, pair].append((seq_id, query_pos))
    sequences = sequence_tokens(warehouse, {seq for of_rule in examples.values() for seq, _ in of_rule})
    trials = Trials()
    for rule in rules:
        if rule.status == "tested":
            for seq_id, query_pos in examples[rule.feature, rule.pair]:
                _add_grid(trials, rule, seq_id, query_pos, sequences[seq_id])
    rows = trials.run(laboratory, layer, head)
    by_rule: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_rule[row["feature"], row["pair"]].append(row)
    tests = [_judge(rule, by_rule[rule.feature, rule.pair], bootstrap) for rule in rules]
    same = {"layer": layer, "head": head, "scaling": chosen["scaling"], "run_id": run_id}
    for table, new in (("interventions", rows), ("counting_tests", tests)):
        warehouse.execute(statement(f"delete_{table}"), chosen)
        append_rows(warehouse, table, new, same)
    n_tested = sum(test["status"] == "tested" for test in tests)
    return len(rules), n_tested, sum(test["confirmed"] for test in tests), len(rows)


def _rules(warehouse: Warehouse, laboratory: Laboratory, chosen: dict[str, Any]) -> list[_Rule]:
    rows = warehouse.rows(statement("testable_rules"), chosen)
    features = sorted({feature for row in rows for feature in row[2:4] if feature is not None})
    statistics = TokenStatistics.read(warehouse, chosen["layer"], features)
    tokens = token_of_feature(laboratory, statistics, chosen["layer"], features)
    built = []
    for feature, pair, key, opponent, *numbers in rows:
        p, m, threshold, without_opponent = numbers
        found = tokens[key], None if opponent is None else tokens[opponent]
        built.append(_Rule(feature, pair, key, opponent, p, m, threshold, without_opponent, *found))
    return built


def _add_grid(trials: Trials, rule: _Rule, seq_id: int, query_pos: int, tokens: Any) -> None:
    for m in range(COPIES + 1):
        for n in range(COPIES + 1 if rule.opponent is not None else 1):
            inserted: list[Any] = [rule.key_token] * m + [rule.opponent_token] * n
            trials.add(
                insert(tokens, inserted),
                query_pos + m + n,
                keys=list(range(1, m + 1)),
                changed=list(range(m + 1, m + n + 1)),
                probe=-1 if rule.opponent is None else rule.opponent,
                row={
                    "feature": rule.feature,
                    "pair": rule.pair,
                    "experiment": "counting",
                    "arm": "grid",
                    "seq_id": seq_id,
                    "query_pos": query_pos,
                    "n_key": m,
                    "n_changed": n,
                    "token_id": rule.opponent_token if n else None,
                },
            )


def _judge(rule: _Rule, rows: list[dict[str, Any]], bootstrap: SequenceBootstrap) -> dict[str, Any]:
    """Return the row of `counting_tests`, less what is the same for the whole head."""
    test: dict[str, Any] = {
        "feature": rule.feature,
        "pair": rule.pair,
        "status": rule.status if rows or rule.status != "tested" else "no example",
        "key_token_id": rule.key_token,
        "opponent_token_id": rule.opponent_token,
        "n_examples": 0,
        "confirmed": False,
    }
    if not rows:
        return test
    right = defaultdict(list)
    for row in rows:
        m, n, active = row["n_key"], row["n_changed"], row["activation"] > 0
        right[row["seq_id"]].append((rule.by_count(m, n) == active, rule.by_presence(m, n) == active))
    sequences = np.array(sorted(right), dtype=np.int64)
    by_count, by_presence = np.array([np.mean(right[seq], axis=0) for seq in sequences.tolist()]).T
    advantage = by_count - by_presence
    low, high = bootstrap.mean_interval(sequences, advantage) or (None, None)
    return test | {
        "n_examples": len(sequences),
        "agreement": float(by_count.mean()),
        "presence_agreement": float(by_presence.mean()),
        "advantage": float(advantage.mean()),
        "advantage_low": low,
        "advantage_high": high,
        "confirmed": low is not None and low > 0,
    }
