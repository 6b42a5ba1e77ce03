"""Interventions (method.md sections 6.5 and 7.3): which sequences to change and how, and what that says.

Needs a `Laboratory` to run the model; knows nothing of torch itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import zip_longest
from math import comb, floor
from typing import TYPE_CHECKING, Any

import numpy as np

from attnrules.errors import AttnRulesError, UsageError
from attnrules.queries.evaluation import SequenceBootstrap
from attnrules.queries.heads import HeadRun, Run, Spec
from attnrules.queries.heads.run import TEST_EXAMPLES_SALT
from attnrules.queries.interventions.counting_grid import run_grid
from attnrules.queries.interventions.trials import (
    Array,
    Bench,
    Effect,
    Laboratory,
    TokenStatistics,
    Trials,
    append_rows,
    false_discovery_rates,
    insert,
    permutation_p,
    sequence_tokens,
    tokens_of_feature,
)
from attnrules.sql import Statements

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "interventions")
of_absence = Statements("attnrules.queries", "absence")


# A fall below this share of the activation is rounding or idle, however certain.
_NEGLIGIBLE = 0.01
# Of the confirmed pairs of a head, the share that may be expected to be confirmed by chance.
_MOST_FALSE = 0.2


@dataclass(frozen=True)
class InterveneSpec(Spec):
    """How to intervene.

    Arguments:
        n_examples: sequences to change, per rule.
        copies: tokens are inserted 0, 1, ..., copies times.
        n_tokens: tokens of the distractor, each inserted so. n_controls: neutral tokens, likewise.
    """

    n_examples: int = 20
    copies: int = 3
    n_tokens: int = 3
    n_controls: int = 9


@dataclass(frozen=True)
class InterveneHead:
    """What was tested in one head: pairs with a distractor key, and counting rules.

    Arguments:
        n_pairs, n_counting: there are. n_..._tested, n_..._confirmed: of them. n_passes: sequences run.
        n_pairs_by_chance: how many would be confirmed on average if it did not matter which tokens are the
            distractor's; None where none was tested.
    """

    layer: int
    head: int
    n_pairs: int
    n_pairs_tested: int
    n_pairs_confirmed: int
    n_pairs_by_chance: float | None
    n_counting: int
    n_counting_tested: int
    n_counting_confirmed: int
    n_passes: int


@dataclass(frozen=True)
class InterveneResult:
    """What was tested, head by head."""

    heads: list[InterveneHead] = field(default_factory=list)


@dataclass(frozen=True)
class _Pair:
    """A rule to test, with the tokens to insert; None where there is none."""

    feature: int
    pair: int
    key: int
    query: int
    distractor: int
    through_head: int
    tokens: tuple[int, ...]
    controls: tuple[int, ...]

    @property
    def status(self) -> str:
        if not self.tokens:
            return "no distractor token"
        return "tested" if self.controls else "no neutral token"


@dataclass(frozen=True)
class _Example:
    """A sequence to change: where key and query stand, where the distractor is active, and what must stay."""

    kind: str
    seq_id: int
    key_pos: int
    query_pos: int
    distractor_positions: frozenset[int]
    other_positions: frozenset[int]


def intervene(
    warehouse: Warehouse,
    spec: InterveneSpec,
    laboratory: Laboratory,
    report: Callable[[str], None] = lambda _: None,
) -> InterveneResult:
    """Test absence and counting rules on the model; each head is stored in a transaction of its own.

    Earlier outcomes of the same rules are replaced; of an SAE over a whole layer those of rules that act
    through other heads than the spec's stay. Raises `AttnRulesError` when no rules were mined, `UsageError`
    for a head or feature that is not in the warehouse, or more copies than fit.
    """
    run = asked_of_rules(warehouse, spec)
    seq_len = int(warehouse.value("SELECT seq_len FROM corpus"))
    bootstrap = SequenceBootstrap(spec.seed)

    def test(here: HeadRun[InterveneSpec]) -> InterveneHead:
        return _test_head(Bench(here, laboratory, bootstrap, seq_len))

    return InterveneResult(run.over_heads(test, report))


def asked_of_rules(warehouse: Warehouse, spec: InterveneSpec) -> Run[InterveneSpec]:
    """Return the run that tests absence and counting rules; raises what `intervene` raises before it."""
    spec.refuse_out_of_bounds("n_examples", "copies", "n_tokens", "n_controls")
    seq_len = warehouse.value("SELECT seq_len FROM corpus")
    if seq_len is not None and spec.copies + 1 >= seq_len:
        raise UsageError(
            f"--copies {spec.copies}: a sequence of {seq_len} tokens has room for {max(0, seq_len - 2)}"
            " before a query"
        )
    run = Run.as_asked(warehouse, "intervene", spec)
    if not warehouse.value(step("any_rules"), {"scaling": spec.scaling}):
        raise AttnRulesError(
            f"{warehouse.path}: holds no absence or counting rules of {spec.scaling} scaling; run"
            " `attnrules mine absence` or `attnrules mine counting` first"
        )
    return run


def _test_head(bench: Bench) -> InterveneHead:
    here, chosen = bench.here, bench.chosen
    warehouse, spec = here.warehouse, here.spec
    pairs = _pairs(bench)
    warehouse.execute(
        step("make_test_examples"),
        {
            **chosen,
            "seq_len": bench.seq_len,
            "copies": spec.copies,
            "n_examples": spec.n_examples,
            "seed": spec.seed + TEST_EXAMPLES_SALT,
        },
    )
    examples: dict[tuple[int, int], list[_Example]] = defaultdict(list)
    for feature, pair, *example in warehouse.rows(step("test_examples"), {"layer": here.layer}):
        kind, seq_id, key_pos, query_pos, distractors, others = example
        examples[feature, pair].append(
            _Example(kind, seq_id, key_pos, query_pos, frozenset(distractors or ()), frozenset(others or ()))
        )
    sequences = sequence_tokens(warehouse, {e.seq_id for of_pair in examples.values() for e in of_pair})
    trials = Trials()
    for pair in pairs:
        if pair.status == "tested":
            for example in examples[pair.feature, pair.pair]:
                tokens = sequences[example.seq_id]
                if example.kind == "no_distractor":
                    _add_insertions(trials, pair, example, tokens, spec.copies)
                else:
                    _add_replacements(trials, pair, example, tokens)
    rows = trials.run(bench.laboratory, here.layer, here.head)
    by_pair: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_pair[row["feature"], row["pair"]].append(row)
    tests = [
        {
            **_judge(pair, by_pair[pair.feature, pair.pair], bench.bootstrap),
            "feature": pair.feature,
            "pair": pair.pair,
        }
        for pair in pairs
    ]
    _confirm(tests)
    for table, new in (("interventions", rows), ("absence_tests", tests)):
        warehouse.execute(of_absence(f"delete_{table}"), bench.sought)
        append_rows(warehouse, table, new, bench.same)
    counting = run_grid(bench)
    return InterveneHead(
        **here.at,
        n_pairs=len(pairs),
        n_pairs_tested=sum(test["status"] == "tested" for test in tests),
        n_pairs_confirmed=sum(test["confirmed"] for test in tests),
        n_pairs_by_chance=_by_chance(tests),
        n_counting=counting[0],
        n_counting_tested=counting[1],
        n_counting_confirmed=counting[2],
        n_passes=len(rows) + counting[3],
    )


def _by_chance(tests: list[dict[str, Any]]) -> float | None:
    shares = [test["chance_confirmed"] for test in tests if test.get("chance_confirmed") is not None]
    n_tested = sum(test["status"] == "tested" for test in tests)
    return n_tested * sum(shares) / len(shares) if shares else None


# --- which tokens ----------------------------------------------------------------------------------


def _pairs(bench: Bench) -> list[_Pair]:
    here = bench.here
    rows = here.warehouse.rows(step("testable_pairs"), bench.sought)
    statistics = TokenStatistics.read(here.warehouse, here.layer, {i for row in rows for i in row[2:5]})
    named = sorted({row[4] for row in rows})
    tokens = tokens_of_feature(bench.laboratory, statistics, here.layer, named, here.spec.n_tokens)
    pairs = []
    for feature, pair, key, query, distractor, through_head in rows:
        involved, n = (key, query, distractor), here.spec.n_controls
        controls = _controls(statistics, tokens[distractor], involved, n)
        pairs.append(_Pair(feature, pair, key, query, distractor, through_head, tokens[distractor], controls))
    return pairs


def _controls(
    statistics: TokenStatistics, tokens: tuple[int, ...], involved: tuple[int, ...], n: int
) -> tuple[int, ...]:
    """Return n neutral tokens: in turn the nearest in frequency to each of the tokens, none twice."""
    nearest = [statistics.neutral(token, involved, n) for token in tokens]
    in_turn = [token for row in zip_longest(*nearest) for token in row if token is not None]
    return tuple(dict.fromkeys(in_turn))[:n]


# --- changed sequences -----------------------------------------------------------------------------


def _row(
    pair: _Pair, example: _Example, experiment: str, arm: str, token: int | None, n: int
) -> dict[str, Any]:
    return {
        "feature": pair.feature,
        "pair": pair.pair,
        "experiment": experiment,
        "arm": arm,
        "seq_id": example.seq_id,
        "query_pos": example.query_pos,
        "key_pos": example.key_pos,
        "n_key": 0,
        "n_changed": n,
        "token_id": token,
    }


def _add_insertions(trials: Trials, pair: _Pair, example: _Example, tokens: Array, copies: int) -> None:
    arms = [("none", pair.tokens[0], 0)]
    for n in range(1, copies + 1):
        arms += [("distractor", token, n) for token in pair.tokens]
        arms += [("control", token, n) for token in pair.controls]
    for arm, token, n in arms:
        trials.add(
            insert(tokens, [token] * n),
            example.query_pos + n,
            # A key at BOS stays where it is.
            keys=[example.key_pos + n if example.key_pos else 0],
            changed=list(range(1, n + 1)),
            probe=pair.distractor,
            through_head=pair.through_head,
            row=_row(pair, example, "insertion", arm, token if n else None, n),
        )


def _add_replacements(trials: Trials, pair: _Pair, example: _Example, tokens: Array) -> None:
    """Replace the distractors, and elsewhere as many other tokens, each as near to a distractor as can be."""
    replaced = sorted(example.distractor_positions - example.other_positions - {0})
    free = set(range(1, example.query_pos)) - example.distractor_positions - example.other_positions
    if not replaced or len(free) < len(replaced):
        return
    others = []
    for position in replaced:
        nearest = min(free, key=lambda p: (abs(p - position), p))
        others.append(nearest)
        free.remove(nearest)
    token = pair.controls[0]
    for arm, positions in (("none", []), ("distractor", replaced), ("control", sorted(others))):
        changed = tokens.copy()
        changed[positions] = token
        trials.add(
            changed,
            example.query_pos,
            keys=[example.key_pos],
            changed=positions,
            probe=pair.distractor,
            through_head=pair.through_head,
            row=_row(pair, example, "replacement", arm, token if positions else None, len(positions)),
        )


# --- what the outcome says -------------------------------------------------------------------------


def _judge(pair: _Pair, rows: list[dict[str, Any]], bootstrap: SequenceBootstrap) -> dict[str, Any]:
    """Return the row of `absence_tests`, less what is the same for the whole head; `_confirm` decides."""
    inserted = [row for row in rows if row["experiment"] == "insertion"]
    replaced = [row for row in rows if row["experiment"] == "replacement"]
    status = pair.status if inserted or pair.status != "tested" else "no active example"
    test: dict[str, Any] = {
        "status": status,
        "distractor_token_id": pair.tokens[0] if pair.tokens else None,
        "distractor_token_ids": list(pair.tokens),
        "control_token_ids": list(pair.controls),
        "n_examples": 0,
        "n_replaced": 0,
        "confirmed": False,
    }
    if status == "tested":
        test |= _judge_insertions(inserted, bootstrap)
    if replaced:
        test |= _judge_replacements(replaced, bootstrap)
    return test


def _judge_insertions(rows: list[dict[str, Any]], bootstrap: SequenceBootstrap) -> dict[str, Any]:
    sequences = sorted({row["seq_id"] for row in rows})
    unchanged = {row["seq_id"]: row["activation"] for row in rows if row["arm"] == "none"}

    def of(arm: str, column: str, by: Callable[[dict[str, Any]], Any]) -> dict[Any, float]:
        groups = defaultdict(list)
        for row in rows:
            if row["arm"] == arm:
                groups[by(row)].append(row[column])
        return {group: float(np.mean(values)) for group, values in groups.items()}

    def fall(activation: dict[Any, float]) -> Array:
        return np.array([unchanged[seq] - activation[seq] for seq in sequences])

    def by_copies(arm: str) -> list[float]:
        means = of(arm, "activation", lambda row: row["n_changed"])
        return [float(np.mean(list(unchanged.values()))), *(means[n] for n in sorted(means))]

    everything = lambda _: None  # noqa: E731
    by_sequence = {arm: of(arm, "activation", lambda row: row["seq_id"]) for arm in ("distractor", "control")}
    falls, control_falls = fall(by_sequence["distractor"]), fall(by_sequence["control"])
    ids = np.array(sequences, dtype=np.int64)
    fell = Effect.of(ids, falls, control_falls, bootstrap)
    least = _NEGLIGIBLE * float(np.mean(list(unchanged.values())))
    fires = [row["distractor_activation"] > 0 for row in rows if row["arm"] == "distractor"]
    by_token = {arm: of(arm, "activation", lambda row: row["token_id"]) for arm in ("distractor", "control")}
    lowering = [-np.array([*by_token[arm].values()]) for arm in ("distractor", "control")]
    return {
        "n_examples": len(sequences),
        "distractor_activations": by_copies("distractor"),
        "control_activations": by_copies("control"),
        "distractor_fires": float(np.mean(fires)),
        "key_attention": of("none", "attention_to_key", everything)[None],
        "key_attention_distractor": of("distractor", "attention_to_key", everything)[None],
        "key_attention_control": of("control", "attention_to_key", everything)[None],
        "inserted_attention_distractor": of("distractor", "attention_to_changed", everything)[None],
        "inserted_attention_control": of("control", "attention_to_changed", everything)[None],
        "fall": float(falls.mean()),
        "fall_low": fell.low,
        "fall_high": fell.high,
        "control_fall": float(control_falls.mean()),
        "excess_fall": float((falls - control_falls).mean()),
        "excess_low": fell.excess_low,
        "excess_high": fell.excess_high,
        "confirmed": fell.exceeds(least),
        "p_value": permutation_p(*lowering),
    }


def _confirm(tests: list[dict[str, Any]]) -> None:
    """Keep as confirmed the tests of a head of which at most `_MOST_FALSE` are expected to be false.

    `chance_confirmed` is how likely a test is to be among them if it does not matter which tokens are the
    distractor's.
    """
    tested = [test for test in tests if test["status"] == "tested"]
    # One whose intervals do not lie above what is negligible is not found, whatever the tokens say.
    p_values = np.array([test["p_value"] if test["confirmed"] else 1.0 for test in tested])
    for test, rate in zip(tested, false_discovery_rates(p_values).tolist(), strict=True):
        test["q_value"] = rate
    largest = max((test["p_value"] for test in tested if test["q_value"] <= _MOST_FALSE), default=0.0)
    for test in tested:
        n_own, n_neutral = len(test["distractor_token_ids"]), len(test["control_token_ids"])
        n = comb(n_own + n_neutral, n_own)
        test["chance_confirmed"] = floor(largest * n + 1e-9) / n
        test["confirmed"] = test["q_value"] <= _MOST_FALSE


def _judge_replacements(rows: list[dict[str, Any]], bootstrap: SequenceBootstrap) -> dict[str, Any]:
    activation = {(row["seq_id"], row["arm"]): row["activation"] for row in rows}
    sequences = np.array(sorted({row["seq_id"] for row in rows}), dtype=np.int64)
    none, distractor, control = (
        np.array([activation[seq, arm] for seq in sequences.tolist()])
        for arm in ("none", "distractor", "control")
    )
    excess = distractor - control
    low, high = bootstrap.mean_interval(sequences, excess) or (None, None)
    return {
        "n_replaced": len(sequences),
        "rise": float((distractor - none).mean()),
        "control_rise": float((control - none).mean()),
        "excess_rise": float(excess.mean()),
        "excess_rise_low": low,
        "excess_rise_high": high,
    }
