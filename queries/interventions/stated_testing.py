"""Stated rules tested on the model (method.md section 13.6): does a rule suffice, is each atom needed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from attnrules.errors import AttnRulesError
from attnrules.queries.arrays import Floats, Ints
from attnrules.queries.evaluation import FEWEST, SequenceBootstrap
from attnrules.queries.heads import HeadRun, Run, Spec
from attnrules.queries.interventions.changes import (
    NO_NEUTRAL,
    Change,
    Example,
    Neutral,
    Plan,
    Put,
    Rule,
    RuleAtom,
    broken,
    denied,
)
from attnrules.queries.interventions.trials import (
    Array,
    Effect,
    Laboratory,
    TokenStatistics,
    append_rows,
    chance_share,
    sequence_tokens,
    token_of_feature,
)
from attnrules.queries.stated.reading import match, match_tokens
from attnrules.sql import Statements
from attnrules.warehouse.arrow import arrow_table

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "interventions")
_of_stated = Statements("attnrules.queries", "stated")
_of_explain = Statements("attnrules.queries", "explain")

# Sequences in which rules are sought to be planted elsewhere, and positions among them that may be contexts.
_SEQUENCES, _CONTEXT_POSITIONS = 2_048, 8_192
# Active positions of a feature among which those are sought where a rule holds.
_ACTIVE_POSITIONS = 2_048
# Features tested together: bounds memory, not results.
_FEATURES_AT_ONCE = 32
# Contexts and examples drawn for each one that is wanted: some have no room.
_SPARE = 3
# A share below this is rounding or idle, however certain.
_NEGLIGIBLE = 0.01


@dataclass(frozen=True)
class StatedSpec(Spec):
    """How to test stated rules.

    Arguments:
        n_rules: the first rules of each feature. n_examples: sequences to change, per rule and test.
        n_controls: changes of each sequence that have nothing to do with the rule.
    """

    n_rules: int = 1
    n_examples: int = 20
    n_controls: int = 9


@dataclass(frozen=True)
class StatedHead:
    """What was tested in one head.

    Arguments:
        n_rules: there are. n_rules_tested, n_rules_confirmed: of them planted, and confirmed as sufficient.
        n_atoms_tested, n_atoms_confirmed: atoms of them broken, and confirmed as necessary.
        n_..._by_chance: how many would be confirmed on average if controls were tested in their place; None
            where that is not known. n_passes: sequences run. n_left_out: of these, changes that leave a rule
            as it was, and controls that do not, which say nothing.
    """

    layer: int
    head: int
    n_rules: int
    n_rules_tested: int
    n_rules_confirmed: int
    n_rules_by_chance: float | None
    n_atoms_tested: int
    n_atoms_confirmed: int
    n_atoms_by_chance: float | None
    n_passes: int
    n_left_out: int


@dataclass(frozen=True)
class StatedResult:
    """What was tested, head by head."""

    heads: list[StatedHead] = field(default_factory=list)


def intervene_on_stated(
    warehouse: Warehouse,
    spec: StatedSpec,
    laboratory: Laboratory,
    report: Callable[[str], None] = lambda _: None,
) -> StatedResult:
    """Test stated rules on the model; each head is stored in a transaction of its own.

    Earlier outcomes of the same rules are replaced. Raises `AttnRulesError` when no stated rules were mined,
    `UsageError` for a head or feature that is not in the warehouse.
    """
    run = asked_of_stated(warehouse, spec)
    bootstrap = SequenceBootstrap(spec.seed)

    def test(here: HeadRun[StatedSpec]) -> StatedHead:
        blocks = range(0, len(here.features), _FEATURES_AT_ONCE)
        tested = [
            _test_block(here, here.features[start : start + _FEATURES_AT_ONCE], laboratory, bootstrap)
            for start in blocks
        ]
        tests, rows = ([row for block in tested for row in block[of]] for of in (0, 1))
        return _summary(here, tests, rows)

    return StatedResult(run.over_heads(test, report))


def asked_of_stated(warehouse: Warehouse, spec: StatedSpec) -> Run[StatedSpec]:
    """Return the run that tests stated rules; raises what `intervene_on_stated` raises before it."""
    spec.refuse_out_of_bounds("n_rules", "n_examples", "n_controls")
    run = Run.as_asked(warehouse, "intervene --stated", spec)
    if not warehouse.rows("SELECT 1 FROM stated_rules LIMIT 1"):
        raise AttnRulesError(
            f"{warehouse.path}: holds no stated rules; run `attnrules mine skipgrams --method stated` first"
        )
    return run


@dataclass(frozen=True)
class _Trial:
    """A forward pass, the number of the rule that it tests, and the row that it becomes."""

    tokens: Array
    rule: int
    row: dict[str, Any]


def _test_block(
    here: HeadRun[StatedSpec], features: Ints, laboratory: Laboratory, bootstrap: SequenceBootstrap
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Test the rules of some features and store what was found; return the tests and the passes."""
    chosen = {**here.at, "features": features.tolist(), "n_rules": here.spec.n_rules}
    bench = _Bench.of(here, chosen, laboratory)
    trials: list[_Trial] = []
    tests = [test for number in bench.rules for test in bench.tests(number, trials)]
    rows = _run(here, bench.rules, laboratory, trials, chosen)
    of_test: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    unchanged: dict[tuple[Any, ...], dict[int, float]] = defaultdict(dict)
    for row in rows:
        if row["arm"] == "none":
            unchanged[row["feature"], row["rank"]][row["seq_id"]] = row["activation"]
        else:
            of_test[row["feature"], row["rank"], row["kind"], row["atom"]].append(row)
    judged = []
    for test in tests:
        of_rule = test["feature"], test["rank"]
        rows_of = of_test[*of_rule, test["kind"], test["atom"]]
        judged.append(_judge(test, rows_of, unchanged[of_rule], bootstrap))
    for table, new in (("stated_trials", rows), ("stated_tests", judged)):
        here.warehouse.execute(_of_stated(f"delete_{table}"), chosen)
        append_rows(here.warehouse, table, new, {**here.at, "run_id": here.run_id})
    return judged, rows


# --- what is changed -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Bench:
    """The rules of some features, and where each is planted and broken.

    Arguments:
        rules: by number. donors, examples: by rule, positions at which it holds: anywhere, and where its
            feature is active. contexts: by rule, sequences and positions free of it. tokens: of sequences.
        neutral: of a rule, what gives the neutral tokens of a token. members: the token that stands for a
            feature that a rule denies.
    """

    spec: StatedSpec
    rules: Mapping[int, Rule]
    donors: Mapping[int, Sequence[Example]]
    examples: Mapping[int, Sequence[Example]]
    contexts: Mapping[int, Sequence[tuple[int, int]]]
    tokens: Mapping[int, Array]
    neutral: Callable[[Rule], Neutral]
    members: Mapping[int, int | None]

    @classmethod
    def of(cls, here: HeadRun[StatedSpec], chosen: dict[str, Any], laboratory: Laboratory) -> _Bench:
        warehouse, spec = here.warehouse, here.spec
        drawn = {"seed": spec.seed, "n_sequences": _SEQUENCES}
        rules = _sought(here, chosen, "make_trial_positions", drawn, each="none")
        donors, contexts = _examples(here), _contexts(here)
        drawn = {**here.at, "seed": spec.seed, "n_positions": _ACTIVE_POSITIONS}
        _sought(here, chosen, "make_active_trial_positions", drawn, each="feature")
        examples = _examples(here)
        places = [row for found in (donors, examples) for of_rule in found.values() for row in of_rule]
        sequences = {seq_id for seq_id, _, _ in places} | {
            seq_id for of_rule in contexts.values() for seq_id, _ in of_rule
        }
        tokens = sequence_tokens(warehouse, sequences)
        named = {feature for rule in rules.values() for feature in rule.features}
        statistics = TokenStatistics.read(warehouse, here.layer, named)
        denies = [atom for rule in rules.values() for atom in rule.atoms if atom.absent]
        denied_features = sorted({feature for atom in denies for feature, _ in atom.features})
        members = token_of_feature(laboratory, statistics, here.layer, denied_features)
        # One more than are used: one of them may be the token of the position judged.
        neutral = partial(_neutral, statistics, spec.n_controls + 1)
        return cls(
            spec,
            rules,
            _with_tokens(donors, tokens),
            _with_tokens(examples, tokens),
            contexts,
            tokens,
            neutral,
            members,
        )

    def tests(self, number: int, trials: list[_Trial]) -> list[dict[str, Any]]:
        """Return the tests of a rule, not judged yet, and add their forward passes to `trials`."""
        rule = self.rules[number]
        named = {"feature": rule.feature, "rank": rule.rank}
        found = [("sufficient", 0, *self._plant(number))]
        found += [("necessary", atom.number, *self._break(number, atom)) for atom in rule.atoms]
        tests, unchanged = [], {}
        for kind, atom, changes, status in found:
            test = {**named, "kind": kind, "atom": atom}
            tests.append({**test, "status": status, "n_examples": 0, "confirmed": False})
            for change in changes:
                trials.append(self._trial(number, {**test, "arm": "rule"}, change, change.put))
                for control, put in enumerate(change.controls[: self.spec.n_controls], 1):
                    of_control = {**test, "arm": "control", "control": control}
                    trials.append(self._trial(number, of_control, change, put))
                if kind == "necessary":
                    unchanged[change.seq_id] = change
        for change in unchanged.values():
            test = {**named, "kind": "necessary", "atom": 0, "arm": "none"}
            trials.append(self._trial(number, test, change, ((), ())))
        return tests

    def _trial(self, rule: int, row: dict[str, Any], change: Change, put: Put) -> _Trial:
        tokens = self.tokens[change.seq_id].copy()
        positions, token_ids = map(list, put)
        tokens[positions] = token_ids
        where = {"seq_id": change.seq_id, "query_pos": change.pos}
        changed = {"positions": positions, "token_ids": token_ids, "control": row.get("control")}
        return _Trial(tokens, rule, {**row, **where, **changed})

    def _plant(self, number: int) -> tuple[list[Change], str]:
        rule, donors = self.rules[number], self.donors.get(number, ())
        if not rule.present:
            return [], "nothing to plant: it only says what is absent or where"
        if not donors:
            return [], "holds nowhere"
        plans = [Plan.of(rule, donor) for donor in donors]
        neutral = self.neutral(rule)
        found: list[Change] = []
        status = "no context with room for it"
        for turn, (seq_id, pos) in enumerate(self.contexts.get(number, ())):
            fitting = [plan for plan in plans if plan.room < pos]
            if not fitting or len(found) == self.spec.n_examples:
                continue
            plan = fitting[turn % len(fitting)]
            change = plan.at(seq_id, pos, self.tokens[seq_id].tolist(), rule, neutral)
            if len(change.controls) < self.spec.n_controls:
                status = NO_NEUTRAL
                continue
            found.append(change)
        return found, "tested" if found else status

    def _break(self, number: int, atom: RuleAtom) -> tuple[list[Change], str]:
        rule = self.rules[number]
        if atom.is_position:
            return [], "a position, which no change of tokens moves"
        neutral, n = self.neutral(rule), self.spec.n_controls
        members = [*sorted(atom.tokens), *(self.members.get(feature) for feature, _ in atom.features)]
        found: list[Change] = []
        why: Counter[str] = Counter()
        for turn, example in enumerate(self.examples.get(number, ())):
            change = (
                denied(rule, atom, example, neutral, n, members, turn)
                if atom.absent
                else broken(rule, atom, example, neutral, n, turn)
            )
            if isinstance(change, str):
                why[change] += 1
            elif len(found) < self.spec.n_examples:
                found.append(change)
        if found:
            return found, "tested"
        return [], why.most_common(1)[0][0] if why else "no active example"


def _sought(
    here: HeadRun[StatedSpec], chosen: dict[str, Any], positions: str, drawn: dict[str, Any], *, each: str
) -> dict[int, Rule]:
    """Find where rules hold among positions; return the rules by number."""
    warehouse = here.warehouse
    _number_rules(warehouse, chosen, each)
    warehouse.execute(step(positions), drawn)
    match(warehouse)
    members: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for number, *row in warehouse.rows(step("rules_on_trial")):
        members[number].append(tuple(row))
    return {number: _rule(rows) for number, rows in members.items()}


def _number_rules(warehouse: Warehouse, chosen: dict[str, Any], each: str) -> None:
    """Number the rules to test; positions are those of each `rule`, `feature`, or the same for all."""
    warehouse.execute(step("make_rules_on_trial"), {**chosen, "each": each})
    warehouse.execute(_of_stated("make_read_members"))


def _rule(rows: Sequence[tuple[Any, ...]]) -> Rule:
    """Return a rule from the rows of its members: feature, rank and the columns of `stated_atoms`."""
    atoms = []
    for number, of_atom in groupby(rows, key=lambda row: row[2]):
        members = list(of_atom)
        absent, at_least, place, nearest, farthest = members[0][3:8]
        kinds = [(kind, member, above) for *_, above, kind, member in members]
        atoms.append(
            RuleAtom(
                number,
                absent,
                at_least,
                place,
                nearest,
                farthest,
                frozenset(member for kind, member, _ in kinds if kind == "token"),
                tuple((member, above) for kind, member, above in kinds if kind == "feature"),
                is_same=kinds[0][0] == "same",
                is_position=kinds[0][0] == "position",
            )
        )
    return Rule(rows[0][0], rows[0][1], tuple(atoms))


# By rule: sequence, position, and the hits of its atoms.
_Found = dict[int, list[tuple[int, int, dict[int, list[int]]]]]


def _examples(here: HeadRun[StatedSpec]) -> _Found:
    """Draw positions at which rules hold among those that were judged."""
    warehouse, spec = here.warehouse, here.spec
    drawn = {"seed": spec.seed, "n_examples": _SPARE * spec.n_examples}
    warehouse.execute(step("make_trial_examples"), drawn)
    found: _Found = defaultdict(list)
    for rule, seq_id, pos, atom, positions in warehouse.rows(step("trial_hits")):
        if not found[rule] or found[rule][-1][:2] != (seq_id, pos):
            found[rule].append((seq_id, pos, {}))
        if atom is not None:
            found[rule][-1][2][atom] = positions
    return found


def _contexts(here: HeadRun[StatedSpec]) -> dict[int, list[tuple[int, int]]]:
    wanted = {"n_sampled": _CONTEXT_POSITIONS, "n_contexts": _SPARE * here.spec.n_examples}
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for rule, seq_id, pos in here.warehouse.rows(
        step("neutral_contexts"), {**here.at, "seed": here.spec.seed, **wanted}
    ):
        found[rule].append((seq_id, pos))
    return found


def _with_tokens(found: _Found, tokens: Mapping[int, Array]) -> dict[int, list[Example]]:
    return {
        rule: [Example(seq_id, pos, tokens[seq_id].tolist(), hits) for seq_id, pos, hits in of_rule]
        for rule, of_rule in found.items()
    }


def _neutral(statistics: TokenStatistics, n: int, rule: Rule) -> Neutral:
    """Return what gives the n neutral tokens of a token that are nearest in frequency to it."""

    @cache
    def of(token: int) -> tuple[int, ...]:
        return statistics.neutral(token, rule.features, n, besides=rule.tokens)

    return of


# --- running the model -----------------------------------------------------------------------------


def _run(
    here: HeadRun[StatedSpec],
    rules: Mapping[int, Rule],
    laboratory: Laboratory,
    trials: Sequence[_Trial],
    chosen: dict[str, Any],
) -> list[dict[str, Any]]:
    """Make the passes and return the rows of `stated_trials`."""
    if not trials:
        return []
    of_trial = [rules[trial.rule] for trial in trials]
    inputs = np.full((len(trials), max(1, *(len(rule.features) for rule in of_trial))), -1)
    for row, rule in enumerate(of_trial):
        inputs[row, : len(rule.features)] = rule.features
    nearest, farthest = zip(*(rule.reach for rule in of_trial), strict=True)
    asked = {
        **{name: np.array([trial.row[name] for trial in trials]) for name in ("query_pos", "feature")},
        "tokens": np.stack([trial.tokens for trial in trials]),
        "inputs": inputs,
        "nearest": np.array(nearest),
        "farthest": np.array(farthest),
    }
    activations, active = laboratory.activations(here.layer, here.head, asked)
    for trial, activation in zip(trials, activations.tolist(), strict=True):
        trial.row["activation"] = activation
    _give_trials(here.warehouse, here.layer, asked["tokens"], trials, active, chosen)
    for trial, of_rule in zip(trials, _atoms(here.warehouse), strict=True):
        trial.row["holds"] = _holds(of_rule, trial.row)
    return [trial.row for trial in trials]


def _give_trials(
    warehouse: Warehouse,
    layer: int,
    tokens: Array,
    trials: Sequence[_Trial],
    active: Mapping[str, Array],
    chosen: dict[str, Any],
) -> None:
    """Find which atoms of its rule are true at the position that each trial is about: make `read_atoms`.

    A trial is a sequence of its own, and the statements that read a rule on the corpus read it there.
    """
    _number_rules(warehouse, chosen, "rule")
    number = np.arange(len(trials))
    pos = np.array([trial.row["query_pos"] for trial in trials])
    rule = np.array([trial.rule for trial in trials])
    for name in ("tokens", "sequences"):
        warehouse.execute(_of_stated(f"make_given_{name}"))
    # What comes later is not looked at.
    row, at = np.nonzero(np.arange(tokens.shape[1]) <= pos[:, None])
    of_tokens = {"scope": rule[row], "seq_id": row, "pos": at, "token_id": tokens[row, at]}
    warehouse.append("read_tokens", arrow_table(of_tokens))
    warehouse.append("read_sequences", arrow_table({"scope": rule, "seq_id": number}))
    warehouse.execute(step("make_trial_places"))
    warehouse.append("judged", arrow_table({"place": number, "scope": rule, "seq_id": number, "pos": pos}))
    warehouse.execute(_of_explain("make_text_inputs"))
    inputs = {name: active[name] for name in ("pos", "feature", "activation")}
    layers = np.full(len(active["trial"]), layer)
    warehouse.append("text_inputs", arrow_table({"layer": layers, "seq_id": active["trial"], **inputs}))
    # Where this fails, the view goes with the transaction.
    warehouse.execute(_of_explain("hide_stored_inputs"))
    match_tokens(warehouse)
    warehouse.execute(_of_explain("show_stored_inputs"))


def _atoms(warehouse: Warehouse) -> Iterator[dict[int, bool]]:
    """Yield of each trial in order whether the atoms of its rule are true there, by number."""
    rows = warehouse.rows(step("atoms_on_trial"))
    for _, of_trial in groupby(rows, key=lambda row: row[0]):
        yield {atom: is_true for _, atom, is_true in of_trial}


def _holds(atoms: Mapping[int, bool], row: Mapping[str, Any]) -> bool | None:
    """Return whether a rule holds in a trial; None where atoms of it fail that were not to be broken."""
    failing = {atom for atom, is_true in atoms.items() if not is_true}
    if row["kind"] == "necessary" and row["arm"] == "rule" and failing - {row["atom"]}:
        return None
    return not failing


# --- what the outcome says -------------------------------------------------------------------------


def _is_as_meant(row: Mapping[str, Any]) -> bool:
    """Return whether a pass did what it was meant to: a rule planted holds, one that is broken does not.

    Of a control the contrary: one that makes the rule hold, or breaks it, is no control.
    """
    return row["holds"] is ((row["kind"] == "sufficient") == (row["arm"] == "rule"))


def _judge(
    test: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    unchanged: Mapping[int, float],
    bootstrap: SequenceBootstrap,
) -> dict[str, Any]:
    """Return the row of `stated_tests`, less layer, head and run.

    Arguments:
        rows: the passes of this test. unchanged: by sequence, the activation as it is, of a necessary test.
    """
    if test["status"] != "tested":
        return test
    changed = [row["holds"] is True for row in rows if row["arm"] == "rule"]
    test = {**test, "holds_share": sum(changed) / len(changed)}
    sequences, activations = _activations(rows)
    if len(sequences) < FEWEST:
        return {**test, "n_examples": len(sequences), "status": "too few sequences"}
    effects, activation = _effects(test["kind"], activations, sequences, unchanged)
    of_rule, of_controls = effects[0], effects[1:]
    found = Effect.of(sequences, of_rule, np.nanmean(of_controls, axis=0), bootstrap)
    largest = float(np.nanmean(of_controls, axis=1).max())
    share, control_share = float(of_rule.mean()), float(np.nanmean(of_controls, axis=0).mean())
    return {
        **test,
        "n_examples": len(sequences),
        "activation": activation,
        "share": share,
        "share_low": found.low,
        "share_high": found.high,
        "control_share": control_share,
        "largest_control_share": largest,
        "excess_share": share - control_share,
        "excess_low": found.excess_low,
        "excess_high": found.excess_high,
        "confirmed": found.exceeds(_NEGLIGIBLE) and share > largest,
        "chance_confirmed": chance_share(sequences, of_controls, bootstrap, _NEGLIGIBLE),
    }


def _activations(rows: Sequence[dict[str, Any]]) -> tuple[Ints, Floats]:
    """Return sequences [n], and activations in them, changed and of each control: [1 + n_controls, n].

    NaN for a control that is none. Left out are sequences where the change is none, or that have no control,
    and controls in fewer than `FEWEST` of the others: the largest of their means would be that of one.
    """
    sequences = np.unique([row["seq_id"] for row in rows])
    n_controls = max(row["control"] or 0 for row in rows)
    found = np.full((1 + n_controls, len(sequences)), np.nan)
    for row in rows:
        if _is_as_meant(row):
            found[row["control"] or 0, np.searchsorted(sequences, row["seq_id"])] = row["activation"]
    changed = ~np.isnan(found[0])
    often = np.count_nonzero(~np.isnan(found[1:, changed]), axis=1) >= min(FEWEST, changed.sum())
    found = found[np.r_[True, often]]
    kept = changed & ~np.isnan(found[1:]).all(axis=0)
    return sequences[kept].astype(np.int64), found[:, kept]


def _effects(
    kind: str, activations: Floats, sequences: Ints, unchanged: Mapping[int, float]
) -> tuple[Floats, float]:
    """Return what the change and each control do: [1 + n_controls, n_sequences], and the mean activation.

    Planted, whether the feature becomes active; broken, what is lost of the activation, as a share of its
    mean.
    """
    if kind == "sufficient":
        fires = np.where(np.isnan(activations), np.nan, activations > 0)
        return fires, float(activations[0].mean())
    before = np.array([unchanged[seq] for seq in sequences.tolist()])
    return (before - activations) / before.mean(), float(before.mean())


def _summary(
    here: HeadRun[StatedSpec], tests: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]
) -> StatedHead:
    counts: dict[str, Any] = {}
    for kind, name in (("sufficient", "n_rules"), ("necessary", "n_atoms")):
        tested = [test for test in tests if test["kind"] == kind and test["status"] == "tested"]
        chance = [test["chance_confirmed"] for test in tested if test["chance_confirmed"] is not None]
        counts[f"{name}_tested"] = len(tested)
        counts[f"{name}_confirmed"] = sum(test["confirmed"] for test in tested)
        counts[f"{name}_by_chance"] = len(tested) * sum(chance) / len(chance) if chance else None
    return StatedHead(
        **here.at,
        n_rules=len({(test["feature"], test["rank"]) for test in tests}),
        **counts,
        n_passes=len(rows),
        n_left_out=sum(row["arm"] != "none" and not _is_as_meant(row) for row in rows),
    )
