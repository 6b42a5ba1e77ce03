"""The counting grid (method.md section 7.3): copies of key and opponent, inserted where neither occurs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnrules.queries.counting import information
from attnrules.queries.evaluation import FEWEST, interval
from attnrules.queries.heads.run import GRID_EXAMPLES_SALT
from attnrules.queries.interventions.trials import (
    Bench,
    TokenStatistics,
    Trials,
    append_rows,
    insert,
    sequence_tokens,
    token_of_feature,
)
from attnrules.sql import Statements

if TYPE_CHECKING:
    from attnrules.queries.evaluation import SequenceBootstrap

step = Statements("attnrules.queries", "interventions")
of_counting = Statements("attnrules.queries", "counting")

# Copies inserted of each: 0 to 4.
COPIES = 4


@dataclass(frozen=True)
class _Rule:
    """A counting rule to test, with the tokens to insert; None where there is none."""

    feature: int
    pair: int
    key: int
    opponent: int | None
    query: int
    key_weight: int
    opponent_weight: int
    threshold: int
    without_opponent: bool
    through_head: int
    key_token: int | None
    opponent_token: int | None
    neutral_token: int | None

    @property
    def status(self) -> str:
        if self.key_token is None:
            return "no key token"
        if self.opponent is not None and self.opponent_token is None:
            return "no opponent token"
        if self.neutral_token is None:
            return "no neutral token"
        # A rule that says "silent" everywhere would be right on any feature that insertions do not touch.
        within = any(self.by_count(m, n) for m, n in self.cells)
        return "tested" if within else "beyond the grid"

    @property
    def cells(self) -> list[tuple[int, int]]:
        """The cells of the grid: copies of the key, copies of the opponent."""
        return [
            (m, n) for m in range(COPIES + 1) for n in range(COPIES + 1 if self.opponent is not None else 1)
        ]

    def by_count(self, m: int, n: int) -> bool:
        return self.key_weight * m - self.opponent_weight * n >= self.threshold

    def by_presence(self, m: int, n: int) -> bool:
        return m > 0 and not (self.without_opponent and n > 0)


def run_grid(bench: Bench) -> tuple[int, int, int, int]:
    """Test the counting rules of a head and store the outcome.

    Returns the numbers of rules, of those tested, of those confirmed, and of forward passes.
    """
    here, chosen = bench.here, bench.chosen
    warehouse, spec = here.warehouse, here.spec
    rules = _rules(bench)
    examples: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for feature, pair, seq_id, query_pos in warehouse.rows(
        step("grid_examples"),
        {
            **chosen,
            "seq_len": bench.seq_len,
            "room": 2 * COPIES,
            "n_examples": spec.n_examples,
            "seed": spec.seed + GRID_EXAMPLES_SALT,
        },
    ):
        examples[feature, pair].append((seq_id, query_pos))
    sequences = sequence_tokens(warehouse, {seq for of_rule in examples.values() for seq, _ in of_rule})
    trials = Trials()
    for rule in rules:
        if rule.status == "tested":
            for seq_id, query_pos in examples[rule.feature, rule.pair]:
                _add_grid(trials, rule, seq_id, query_pos, sequences[seq_id])
    rows = trials.run(bench.laboratory, here.layer, here.head)
    by_rule: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_rule[row["feature"], row["pair"]].append(row)
    tests = [_judge(rule, by_rule[rule.feature, rule.pair], bench.bootstrap) for rule in rules]
    for table, new in (("interventions", rows), ("counting_tests", tests)):
        warehouse.execute(of_counting(f"delete_{table}"), bench.sought)
        append_rows(warehouse, table, new, bench.same)
    n_tested = sum(test["status"] == "tested" for test in tests)
    return len(rules), n_tested, sum(test["confirmed"] for test in tests), len(rows)


def _rules(bench: Bench) -> list[_Rule]:
    here = bench.here
    rows = here.warehouse.rows(step("testable_rules"), bench.sought)
    named = {feature for row in rows for feature in row[2:4] if feature is not None}
    statistics = TokenStatistics.read(here.warehouse, here.layer, named | {row[4] for row in rows})
    tokens = token_of_feature(bench.laboratory, statistics, here.layer, sorted(named))
    built = []
    for feature, pair, key, opponent, query, *numbers in rows:
        token = tokens[key]
        involved = [i for i in (key, opponent, query) if i is not None]
        neutral = () if token is None else statistics.neutral(token, involved, 1)
        found = token, None if opponent is None else tokens[opponent], neutral[0] if neutral else None
        p, m, threshold, without_opponent, through_head = numbers
        rule = feature, pair, key, opponent, query, p, m, threshold, without_opponent, through_head
        built.append(_Rule(*rule, *found))
    return built


def _add_grid(trials: Trials, rule: _Rule, seq_id: int, query_pos: int, tokens: Any) -> None:
    """Add the cells of the grid, and as many neutral tokens as each cell inserts, once per number."""

    def add(arm: str, m: int, n: int, token: Any) -> None:
        inserted: list[Any] = [rule.key_token] * m + [token] * n
        trials.add(
            insert(tokens, inserted),
            query_pos + m + n,
            keys=list(range(1, m + 1)),
            changed=list(range(m + 1, m + n + 1)),
            probe=rule.key if rule.opponent is None else rule.opponent,
            through_head=rule.through_head,
            row={
                "feature": rule.feature,
                "pair": rule.pair,
                "experiment": "counting",
                "arm": arm,
                "seq_id": seq_id,
                "query_pos": query_pos,
                "n_key": m,
                "n_changed": n,
                "token_id": token if n else None,
            },
        )

    for m, n in rule.cells:
        add("grid", m, n, rule.opponent_token)
    for n in range(1, max(m + n for m, n in rule.cells) + 1):
        add("control", 0, n, rule.neutral_token)


def _judge(rule: _Rule, rows: list[dict[str, Any]], bootstrap: SequenceBootstrap) -> dict[str, Any]:
    """Return the row of `counting_tests`, less what is the same for the whole head."""
    test: dict[str, Any] = {
        "feature": rule.feature,
        "pair": rule.pair,
        "status": rule.status if rows or rule.status != "tested" else "no example",
        "key_token_id": rule.key_token,
        "opponent_token_id": rule.opponent_token,
        "neutral_token_id": rule.neutral_token,
        "n_examples": 0,
        "confirmed": False,
    }
    if not rows:
        return test
    outcomes = [_outcome(rule, of_sequence) for of_sequence in _by_sequence(rows).values()]
    sequences = np.array(list(_by_sequence(rows)), dtype=np.int64)
    by_count, by_presence, beyond_control = (np.array(column) for column in zip(*outcomes, strict=True))
    gains = interval(
        information(bootstrap.weights(sequences).T @ by_count)
        - information(bootstrap.weights(sequences).T @ by_presence)
    )
    low, high = gains if gains is not None and len(sequences) >= FEWEST else (None, None)
    excess_low, excess_high = bootstrap.mean_interval(sequences, beyond_control) or (None, None)
    figures = {}
    for prefix, cells in (("", by_count.sum(axis=0)), ("presence_", by_presence.sum(axis=0))):
        figures[prefix + "agreement"] = float((cells[0] + cells[3]) / cells.sum())
        figures[prefix + "information"] = float(information(cells))
    return test | {
        "n_examples": len(sequences),
        **figures,
        "information_gain": figures["information"] - figures["presence_information"],
        "gain_low": low,
        "gain_high": high,
        "excess_active": float(beyond_control.mean()),
        "excess_low": excess_low,
        "excess_high": excess_high,
        "confirmed": low is not None and low > 0 and excess_low is not None and excess_low > 0,
    }


def _by_sequence(rows: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["seq_id"]].append(row)
    return found


def _outcome(rule: _Rule, rows: list[dict[str, Any]]) -> tuple[Any, Any, float]:
    """Return what one sequence says of a rule.

    Cells of the grid by what the rule, and what presence, predicts and whether the feature is active ([4]
    each, as `information` reads them); and the share of cells with the feature active among those where the
    rule predicts it, less the same share with as many neutral tokens.
    """
    active = {(row["arm"], row["n_key"], row["n_changed"]): row["activation"] > 0 for row in rows}
    tables = np.zeros((2, 4))
    beyond_control = []
    for m, n in rule.cells:
        is_active = active["grid", m, n]
        predictions = rule.by_count(m, n), rule.by_presence(m, n)
        for table, predicted in zip(tables, predictions, strict=True):
            table[2 * (not predicted) + (not is_active)] += 1
        if predictions[0]:
            beyond_control.append(int(is_active) - int(active["control", 0, m + n]))
    return tables[0], tables[1], float(np.mean(beyond_control))
