"""What a confirmed absence or counting rule adds to a stated rule as a condition (method.md section 13.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from attnrules.errors import refuse_below
from attnrules.queries.arrays import Floats, Ints, arrays
from attnrules.queries.bootstrap import FEWEST, bootstrap_weights, interval
from attnrules.queries.heads import FeatureId, HeadId, finished_sequences
from attnrules.queries.stated.language import Atom, InputFeature, Place, Statement
from attnrules.queries.stated.members import member_rows
from attnrules.queries.stated.reading import Interval, by_sequence, match_given
from attnrules.sql import Statements
from attnrules.warehouse.inspect import dictionaries

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "stated")
_of_counting = Statements("attnrules.queries", "counting")

_HERE, _BEFORE, _ANYWHERE = Place(), Place("offset", 1, None), Place("offset", 0, None)


@dataclass(frozen=True)
class Narrowing:
    """A rule with one condition more, and without it, on every position after BOS of the test sequences.

    Of a counting rule, on those of them alone that its threshold was not chosen on.

    Arguments:
        kind: `absence`, where the condition is that no distractor stands there, or `counting`, where it is
            that the key does so often. scaling, pair: of the rule in `absence_summary` or `counting_summary`.
        statement, without: the rule in the language, with the condition and without it.
        n_matches, n_hits: where `statement` holds, and is right; those of `without` are named after it.
        gain: the precision of `statement` minus that of `without`, None where either holds nowhere.
        gain_interval: its 95% interval over sequences, None where either
            holds in fewer than `FEWEST` of them. kept: whether that lies above 0.
    """

    kind: str
    feature: str
    scaling: str
    pair: int
    statement: str
    without: str
    n_matches: int
    n_hits: int
    n_matches_without: int
    n_hits_without: int
    precision: float | None
    precision_without: float | None
    gain: float | None
    gain_interval: Interval
    kept: bool


SCHEMA: dict[str, Any] = {
    **dict.fromkeys(("kind", "feature", "scaling"), pl.String),
    "pair": pl.Int64,
    **dict.fromkeys(("statement", "without"), pl.String),
    **dict.fromkeys(("n_matches", "n_hits", "n_matches_without", "n_hits_without"), pl.Int64),
    **dict.fromkeys(("precision", "precision_without", "gain"), pl.Float64),
    "gain_interval": pl.List(pl.Float64),
    "kept": pl.Boolean,
}
"""The columns of a frame of narrowings."""


def read_confirmed(
    warehouse: Warehouse, of: FeatureId | HeadId | None = None, *, seed: int = 0
) -> list[Narrowing]:
    """Judge the absence and counting rules that the model confirms as they are read, in the language.

    An absence rule says `[key] anywhere and [query] at 0 and no [distractor] anywhere`, a counting rule
    `[query] at 0 and at least n of [key] anywhere`; one that weighs its key against an opponent cannot be
    said, one that leaves its opponent out of account can.

    Arguments:
        of: whose; of every feature of a head where it is one, of all where None.

    Raises `UsageError` for a seed below 0, `AttnRulesError` where the ingest is not finished.
    """
    refuse_below(0, "seed=", seed)
    asked = {name: getattr(of, name, None) for name in ("layer", "head", "feature")}
    rules = dictionaries(warehouse, step("confirmed_rules"), asked)
    if rules:
        finished_sequences(warehouse)
    found: list[Narrowing] = []
    for _, of_head in groupby(rules, lambda rule: (rule["layer"], rule["head"])):
        found += _read(warehouse, list(of_head), seed)
    return found


def _read(warehouse: Warehouse, rules: Sequence[dict[str, Any]], seed: int) -> list[Narrowing]:
    """Judge the rules of a head: numbers 0, 2, ... with the condition, 1, 3, ... without it."""
    pairs = [_statements(rule) for rule in rules]
    rows = [member_rows(statement, {}) for pair in pairs for statement in pair]
    features = [rule["feature"] for rule in rules for _ in range(2)]
    at = {name: rules[0][name] for name in ("layer", "head")}
    with warehouse.session():
        match_given(warehouse, at, features, rows, seed)
        counts = arrays(warehouse, step("reading_counts"))
        sequences = arrays(warehouse, step("reading_sequences"))["seq_id"]
        held_out = _held_out(warehouse, rules, sequences)
    weights = np.c_[np.ones(len(sequences)), bootstrap_weights(sequences, seed)]
    matches, hits = (
        by_sequence(counts["rule"], counts, name, sequences, len(rows)) for name in ("n_matches", "n_hits")
    )
    both = zip(rules, pairs, matches.reshape(len(rules), 2, -1), hits.reshape(len(rules), 2, -1), strict=True)
    return [
        _narrowing(rule, pair, m[:, kept], h[:, kept], weights[kept])
        for (rule, pair, m, h), kept in zip(both, held_out, strict=True)
    ]


def _held_out(warehouse: Warehouse, rules: Sequence[dict[str, Any]], sequences: Ints) -> list[Ints]:
    """Return by rule the places of the sequences that it was not chosen on: of a counting rule, its half."""
    halves = {}
    for seed in {rule["chosen_by_seed"] for rule in rules if rule["kind"] == "counting"}:
        warehouse.execute(_of_counting("make_counting_splits"), {"seed": seed})
        of_test = arrays(warehouse, step("counting_test_sequences"))["seq_id"]
        halves[seed] = np.flatnonzero(np.isin(sequences, of_test))
    everything = np.arange(len(sequences))
    return [everything if rule["kind"] == "absence" else halves[rule["chosen_by_seed"]] for rule in rules]


def _statements(rule: dict[str, Any]) -> tuple[Statement, Statement]:
    """Return a rule with its condition, and without it."""

    def of(name: str) -> tuple[InputFeature]:
        return (InputFeature(rule["layer"], rule[f"{name}_feature"]),)

    key, query = Atom(of("key"), _ANYWHERE), Atom(of("query"), _HERE)
    if rule["kind"] == "counting":
        often = Atom(of("key"), _ANYWHERE, at_least=rule["at_least"])
        return Statement((query, often)), Statement((query, key))
    # Of a distractor that is the query too, only an earlier one can be absent.
    place = _BEFORE if rule["distractor_feature"] == rule["query_feature"] else _ANYWHERE
    absent = Atom(of("distractor"), place, absent=True)
    return Statement((key, query, absent)), Statement((key, query))


def _narrowing(
    rule: dict[str, Any],
    pair: tuple[Statement, Statement],
    matches: Floats,
    hits: Floats,
    weights: Floats,
) -> Narrowing:
    """Return how a rule does, from its matches and hits, [2, n_sequences] each.

    Arguments:
        weights: [n_sequences, 1 + n_replicates], the first column counts every sequence once.
    """
    statement, without = map(str, pair)
    n_matches, n_hits = matches.sum(axis=1).astype(int).tolist(), hits.sum(axis=1).astype(int).tolist()
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = (hits @ weights) / (matches @ weights)
    precisions = [share if np.isfinite(share) else None for share in shares[:, 0].tolist()]
    gains = shares[0] - shares[1]
    enough = np.count_nonzero(matches, axis=1).min() >= FEWEST
    ends = interval(gains[1:]) if enough else None
    return Narrowing(
        kind=rule["kind"],
        feature=str(FeatureId(rule["layer"], rule["head"], rule["feature"])),
        scaling=rule["scaling"],
        pair=rule["pair"],
        statement=statement,
        without=without,
        n_matches=n_matches[0],
        n_hits=n_hits[0],
        n_matches_without=n_matches[1],
        n_hits_without=n_hits[1],
        precision=precisions[0],
        precision_without=precisions[1],
        gain=None if None in precisions else float(gains[0]),
        gain_interval=ends,
        kept=ends is not None and ends[0] > 0,
    )
