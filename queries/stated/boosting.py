"""Rules grown one after another on a sample of positions: each explains what those before it left over.

A rule is a conjunction of sets, a set an "any of" of columns of one group. The steps are sums over rows of a
dense matrix, taken as products: as SQL, a rule of one feature would be a join of ten thousand positions with
hundreds of candidates, a hundred times over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from attnrules.queries.arrays import Floats, Ints
from attnrules.queries.stated.language import Atom, Position

Singles = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

# A set is read at a glance, as a group of keys is.
MOST_MEMBERS = 8
# A member, or an atom, is worth its place in a rule if it raises the gain by this share.
_WORTH_MEMBER, _WORTH_ATOM = 0.02, 0.25
# Positions of average weight that speak against every rule, so that a few lucky matches make none.
_DOUBT = 5.0
# Parts of the sequences, and how many times the variance over them a gain must exceed: positions of one text
# are alike, so that a member that speaks for many positions of few texts says little of the next one.
_FOLDS, _CERTAINTY = 8, 1.0
# Groups that are grown into a set, those that promise most.
_GROUPS_TRIED = 6
# Steps for each rule, and the gain at which rules end, as a share of the first one's.
_STEPS_A_RULE, _LEAST_GAIN = 3, 0.001
# Of the step that fits best, the share that is taken, and what a match may add at most, in log-odds.
_SHARE, _LARGEST = 0.5, 12.0
# Times that all weights are fitted once more, to see which rules are needless.
_FITS = 4
# A match that adds less than this to the log-odds says nothing.
_LEAST_WEIGHT = 0.1


@dataclass(frozen=True)
class Candidates:
    """Columns of 0 and 1, [n_columns, n_rows], and what each says.

    Arguments:
        atoms: what each column says, alone. groups: columns of one group may stand in one set. may_begin:
            whether a rule may begin with a column. may_deny: whether it may say that there is none.
    """

    values: Singles
    atoms: Sequence[Atom | Position]
    groups: Ints
    may_begin: Bools
    may_deny: Bools


@dataclass(frozen=True)
class Term:
    """A set of columns of which one must be true, or none where `absent`."""

    columns: tuple[int, ...]
    absent: bool = False


@dataclass(frozen=True)
class Grown:
    """A rule: terms that must all be true, the log-odds that a match adds, and the rows where it holds.

    Arguments:
        gain: how much of the rest it explained when it was grown.
    """

    terms: tuple[Term, ...]
    weight: float
    holds: Bools
    gain: float


@dataclass(frozen=True)
class _Found:
    """A set, the rows it is true at, and how much of the rest it explains."""

    term: Term
    holds: Bools
    gain: float


class Booster:
    """Grows rules.

    Arguments:
        candidates: columns of 0 and 1 over the rows.
        label: [n_rows], how likely the feature is active. weight: [n_rows], positions a row stands for.
        sequence: [n_rows], the sequence of each.
    """

    def __init__(self, candidates: Candidates, label: Floats, weight: Floats, sequence: Ints) -> None:
        self._columns = candidates.values
        self._true = candidates.values > 0
        self._groups = [np.flatnonzero(candidates.groups == g) for g in np.unique(candidates.groups)]
        self._may_begin = np.array([bool(candidates.may_begin[group].all()) for group in self._groups], bool)
        self._may_deny = candidates.may_deny
        self._fold = (sequence[:, None] % _FOLDS == np.arange(_FOLDS)).astype(np.float32)
        self._label = label.astype(np.float32)
        self._weight = (weight / weight.mean()).astype(np.float32)
        share = float((weight * label).sum() / weight.sum())
        self.prior = float(np.log(share / (1 - share)))
        self._doubt = _DOUBT * share
        self._log_odds = np.full(len(label), self.prior, np.float32)

    def grow(self, n_rules: int, n_atoms: int) -> list[Grown]:
        """Return up to so many rules; fewer where nothing is left that a rule explains."""
        rules: dict[tuple[Term, ...], Grown] = {}
        most = None
        for _ in range(_STEPS_A_RULE * n_rules):
            rule = self._rule(n_atoms)
            most = most or rule
            if rule is None or most is None or rule.gain < _LEAST_GAIN * most.gain:
                break
            if rule.terms not in rules and len(rules) == n_rules:
                break
            self._log_odds[rule.holds] += rule.weight
            # A rule that is grown again is the same rule, with more weight.
            before = rules.get(rule.terms)
            rules[rule.terms] = replace(rule, weight=rule.weight + before.weight) if before else rule
        return self._needed(list(rules.values()))

    def _needed(self, rules: list[Grown]) -> list[Grown]:
        """Leave out rules that those after them made needless: fitted once more, they add nothing.

        The others keep the weight that they had when they were grown, so that a shorter list stays good.
        """
        weights = [rule.weight for rule in rules]
        for _ in range(_FITS):
            for at in reversed(range(len(rules))):
                self._log_odds[rules[at].holds] -= weights[at]
                weights[at] = self._fitted(rules[at].holds) / _SHARE
                self._log_odds[rules[at].holds] += weights[at]
        return [rule for rule, weight in zip(rules, weights, strict=True) if weight > _LEAST_WEIGHT]

    def _rule(self, n_atoms: int) -> Grown | None:
        chance = 1 / (1 + np.exp(-self._log_odds))
        rest = self._weight * (self._label - chance)
        spread = self._weight * chance * (1 - chance)
        holds = np.ones(len(rest), bool)
        terms: list[Term] = []
        gain = 0.0
        for _ in range(n_atoms):
            found = self._best(np.where(holds, rest, 0), np.where(holds, spread, 0), first=not terms)
            if found is None or found.gain < gain * (1 + _WORTH_ATOM):
                break
            terms.append(found.term)
            holds, gain = holds & found.holds, found.gain
        if not terms:
            return None
        weight = self._fitted(holds)
        return Grown(tuple(terms), weight, holds, gain) if weight > _LEAST_WEIGHT else None

    def _best(self, rest: Singles, spread: Singles, *, first: bool) -> _Found | None:
        """Return the set that explains most; absent sets narrow a rule, and never begin one."""
        parts = np.c_[rest[:, None] * self._fold, spread]
        sums, total = self._columns @ parts, parts.sum(axis=0)
        alone = self._gain(sums)
        promise = []
        for group, begins in zip(self._groups, self._may_begin, strict=True):
            ordered = sums[group][np.argsort(-alone[group], kind="stable")]
            some = ordered[:MOST_MEMBERS].cumsum(axis=0)
            promise.append(self._gain(some).max() if begins or not first else 0.0)
        best = None
        for at in np.argsort(-np.array(promise), kind="stable")[:_GROUPS_TRIED]:
            if promise[at] > 0:
                best = _better(best, self._grown(self._groups[at], sums, parts, total, absent=False))
        if not first:
            against = np.where(self._may_deny, self._gain(total - sums), 0)
            owner = int(np.argmax(against))
            group = next(group for group in self._groups if owner in group)
            if against[owner] > 0:
                best = _better(best, self._grown(group, sums, parts, total, absent=True))
        return best

    def _grown(self, group: Ints, sums: Any, parts: Any, total: Any, *, absent: bool) -> _Found | None:
        """Return the best set of a group: from its best member on, one more as long as that is worth it."""
        covered = np.zeros(len(parts), bool)
        chosen: list[int] = []
        inside, gain = np.zeros(parts.shape[1]), 0.0
        more = sums[group]
        while len(chosen) < MOST_MEMBERS:
            added = inside + more
            gains = self._gain(total - added if absent else added)
            at = int(np.argmax(gains))
            if gains[at] <= gain * (1 + _WORTH_MEMBER):
                break
            gain, inside = float(gains[at]), added[at]
            chosen.append(int(group[at]))
            covered |= self._true[group[at]]
            open_rows = np.flatnonzero(~covered & (parts[:, -1] > 0))
            more = self._columns[np.ix_(group, open_rows)] @ parts[open_rows]
        if not chosen:
            return None
        return _Found(Term(tuple(sorted(chosen)), absent), ~covered if absent else covered, gain)

    def _gain(self, sums: Any) -> Any:
        """Return how much each row of sums explains, 0 where it speaks against or differs from text to text.

        Arguments:
            sums: [n, folds + 1], what is left unexplained by fold, and how much it may vary.
        """
        by_fold, spread = sums[:, :-1], np.maximum(sums[:, -1], 0)
        rest = by_fold.sum(axis=1)
        variance = by_fold.var(axis=1, ddof=1) * _FOLDS
        sure = np.maximum(rest * rest - _CERTAINTY * variance, 0)
        return np.where(rest > 0, sure / (spread + self._doubt), 0)

    def _fitted(self, holds: Bools) -> float:
        """Return the log-odds that a match adds: Newton's method, held back by the doubt."""
        label, weight, start = self._label[holds], self._weight[holds], self._log_odds[holds]
        step = 0.0
        for _ in range(12):
            chance = 1 / (1 + np.exp(-(start + step)))
            slope = float((weight * (label - chance)).sum()) - self._doubt * step / 2
            bend = float((weight * chance * (1 - chance)).sum()) + self._doubt / 2
            step = min(max(step + min(max(slope / bend, -1), 1), 0), _LARGEST)
        return _SHARE * step


def _better(one: _Found | None, other: _Found | None) -> _Found | None:
    if one is None or other is None:
        return one or other
    return other if other.gain > one.gain else one
