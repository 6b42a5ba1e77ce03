"""Rules grown one after another on a sample of positions (method.md section 13.3).

The first are chosen for being right, those after them explain what is left over. A rule is a conjunction of
sets, a set an "any of" of columns of one group. The steps are sums over rows of a dense matrix, taken as
products: as SQL, a rule of one feature would be a join of ten thousand positions with hundreds of candidates,
a hundred times over. Sums are kept up to date where a rule holds, a few rows of many: all of it anew took
four times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
_WORTH_MEMBER, _WORTH_ATOM = 0.05, 0.5
# Positions of average weight that speak against every rule, so that a few lucky matches make none.
_DOUBT = 40.0
# Parts of the sequences, and how many times the variance over them a gain must exceed: positions of one text
# are alike, so that a member that speaks for many positions of few texts says little of the next one.
_FOLDS, _CERTAINTY = 8, 1.0
# Groups that are grown into a set, those that promise most, if they promise this share of the best so far.
_GROUPS_TRIED, _PROMISE = 6, 0.8
# Steps for each rule, and the gain at which rules end, as a share of the first one's.
_STEPS_A_RULE, _LEAST_GAIN = 3, 0.001
# Of the step that fits best, the share that is taken, and what a match may add at most, in log-odds.
_SHARE, _LARGEST = 0.5, 12.0
# Times that all weights are fitted once more, to see which rules are needless.
_FITS = 4
# A match that adds less than this to the log-odds says nothing.
_LEAST_WEIGHT = 0.1
# How often the first rules shall be right: the first that a rule reaches for enough of the active positions.
_PRECISE, _TOLD = (0.8, 0.65, 0.5, 0.35, 0.2), 0.04
# Such rules, those followed while one grows, deviations over the parts that it must stay right beyond, and
# positions that speak against it from the start: what is right four times of four is often luck.
_MOST_PRECISE, _FOLLOWED, _SURE, _MISSES = 2, 6, 2.0, 8.0
# Sets tried as the next atom of each that is followed, and what one more atom must add.
_NEXT, _WORTH_NARROWING = 3, 0.25


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
        gain: how much of the rest it explained when it was grown. precise: whether it was chosen for being
            right.
    """

    terms: tuple[Term, ...]
    weight: float
    holds: Bools
    gain: float
    precise: bool = False


@dataclass(frozen=True)
class _Found:
    """Terms, the rows where all of them are true, and how much that is worth."""

    terms: tuple[Term, ...]
    holds: Bools
    gain: float


@dataclass(frozen=True)
class _Region:
    """The rows where a rule under construction holds, and what they add up to.

    Arguments:
        parts: [n_rows, _FOLDS + 1], what each row adds by fold, and how much that may vary. rows: where it
            holds. holds: the same, [n_rows]. sums: [n_columns, _FOLDS + 1], of the rows where a column is
            true. total: [_FOLDS + 1], of all.
    """

    parts: Singles
    rows: Ints
    holds: Bools
    sums: Any
    total: Any


Score = Callable[[Any], Any]
"""What sums of parts are worth, [n, _FOLDS + 1] to [n]."""


class Booster:
    """Grows rules.

    Arguments:
        candidates: columns of 0 and 1 over the rows.
        hard: [n_rows], 1 where the feature is active. label: [n_rows], how likely it is.
        weight: [n_rows], positions a row stands for. sequence: [n_rows], the sequence of each.
    """

    def __init__(
        self, candidates: Candidates, hard: Floats, label: Floats, weight: Floats, sequence: Ints
    ) -> None:
        self._by_row = np.ascontiguousarray(candidates.values.T)
        self._true = candidates.values > 0
        of_group, self._group_of = np.unique(candidates.groups, return_inverse=True)
        self._groups = [np.flatnonzero(self._group_of == group) for group in range(len(of_group))]
        widest = max(map(len, self._groups), default=1)
        never = len(candidates.groups)
        # A copy by group: its columns of a few rows are then read in one piece.
        self._of_group = [np.ascontiguousarray(self._by_row[:, group]) for group in self._groups]
        self._by_group = np.array(
            [np.pad(group, (0, widest - len(group)), constant_values=never) for group in self._groups]
        )
        self._may_begin, self._may_deny = candidates.may_begin, candidates.may_deny
        self._fold = (sequence[:, None] % _FOLDS == np.arange(_FOLDS)).astype(np.float32)
        self._hard, self._label = hard.astype(np.float32), label.astype(np.float32)
        self._weight = (weight / weight.mean()).astype(np.float32)
        share = float((weight * label).sum() / weight.sum())
        self.prior = float(np.log(share / (1 - share)))
        self._doubt = _DOUBT * share
        self._log_odds = np.full(len(label), self.prior, np.float32)
        self._all = self._whole(self._left_over(np.arange(len(label))))

    def grow(self, n_rules: int, n_atoms: int) -> list[Grown]:
        """Return up to so many rules; fewer where nothing is left that a rule explains."""
        rules = {rule.terms: rule for rule in self._precise_rules(min(n_rules, _MOST_PRECISE), n_atoms)}
        most = None
        for _ in range(_STEPS_A_RULE * n_rules):
            rule = self._rule(n_atoms)
            most = most or rule
            if rule is None or most is None or rule.gain < _LEAST_GAIN * most.gain:
                break
            if rule.terms not in rules and len(rules) == n_rules:
                break
            self._add(rule)
            # A rule that is grown again is the same rule, with more weight.
            before = rules.get(rule.terms)
            rules[rule.terms] = replace(before, weight=rule.weight + before.weight) if before else rule
        return self._needed(list(rules.values()))

    def _left_over(self, rows: Ints) -> Singles:
        """Return of rows what is left unexplained, by fold, and how much it may vary."""
        chance = 1 / (1 + np.exp(-self._log_odds[rows]))
        weight = self._weight[rows]
        rest = (weight * (self._label[rows] - chance))[:, None] * self._fold[rows]
        return np.asarray(np.c_[rest, weight * chance * (1 - chance)], np.float32)

    def _add(self, rule: Grown) -> None:
        """Add a rule to what is predicted; sums change where it holds."""
        rows = np.flatnonzero(rule.holds)
        self._log_odds[rows] += rule.weight
        parts = self._left_over(rows)
        more = parts - self._all.parts[rows]
        self._all.parts[rows] = parts
        sums, total = self._all.sums + self._by_row[rows].T @ more, self._all.total + more.sum(axis=0)
        self._all = replace(self._all, sums=sums, total=total)

    def _whole(self, parts: Singles) -> _Region:
        n = len(parts)
        return _Region(parts, np.arange(n), np.ones(n, bool), self._by_row.T @ parts, parts.sum(axis=0))

    def _where(self, holds: Bools, parts: Singles) -> _Region:
        rows = np.flatnonzero(holds)
        inside = parts[rows]
        return _Region(parts, rows, holds, self._by_row[rows].T @ inside, inside.sum(axis=0))

    def _needed(self, rules: list[Grown]) -> list[Grown]:
        """Leave out rules that those after them made needless: fitted once more, they add nothing.

        The others keep the weight that they had when they were grown, so that a shorter list stays good.
        """
        weights = [rule.weight for rule in rules]
        for _ in range(_FITS):
            for at in reversed(range(len(rules))):
                self._log_odds[rules[at].holds] -= weights[at]
                weights[at] = self._fitted(rules[at].holds)
                self._log_odds[rules[at].holds] += weights[at]
        return [
            rule
            for rule, weight in zip(rules, weights, strict=True)
            if rule.precise or weight > _LEAST_WEIGHT
        ]

    def _rule(self, n_atoms: int) -> Grown | None:
        """Return the rule that explains most of what is left over."""
        found = self._best(self._all, (), self._gain, first=True)
        if found is None:
            return None
        while len(found.terms) < n_atoms:
            narrower = self._best(
                self._where(found.holds, self._all.parts), found.terms, self._gain, first=False
            )
            if narrower is None or narrower.gain < found.gain * (1 + _WORTH_ATOM):
                break
            found = narrower
        weight = _SHARE * self._fitted(found.holds)
        return Grown(found.terms, weight, found.holds, found.gain) if weight > _LEAST_WEIGHT else None

    def _best(self, here: _Region, terms: tuple[Term, ...], score: Score, *, first: bool) -> _Found | None:
        """Return the set that is worth most; absent sets narrow a rule, and never begin one."""
        best = None
        for group, promise in self._promising(here, score, _GROUPS_TRIED, first=first):
            if best is None or promise > _PROMISE * best.gain:
                best = _better(best, self._set(group, here, terms, score))
        if not first:
            best = _better(best, self._denied(here, terms, score))
        return best

    def _promising(self, here: _Region, score: Score, n: int, *, first: bool) -> list[tuple[int, float]]:
        """Return the groups whose best members together are worth most, and how much that would be."""
        alone = score(here.sums)
        if first:
            alone = np.where(self._may_begin, alone, -np.inf)
        # All groups at once; a group that ends early is filled up with a column that is never true.
        alone = np.r_[alone, -np.inf]
        best = np.argsort(-alone[self._by_group], axis=1, kind="stable")[:, :MOST_MEMBERS]
        best = np.take_along_axis(self._by_group, best, axis=1)
        sums = np.r_[here.sums, np.zeros((1, here.sums.shape[1]), here.sums.dtype)]
        together = score(sums[best].cumsum(axis=1)).max(axis=1)
        promise = np.where(alone[best[:, 0]] > 0, together, 0)
        order = np.argsort(-promise, kind="stable")[:n]
        return [(int(at), float(promise[at])) for at in order if promise[at] > 0]

    def _denied(self, here: _Region, terms: tuple[Term, ...], score: Score) -> _Found | None:
        """Return the set of which no member may be there that is worth most."""
        without = np.where(self._may_deny, score(here.total - here.sums), 0)
        at = int(np.argmax(without))
        if without[at] <= 0:
            return None
        return self._set(int(self._group_of[at]), here, terms, score, absent=True)

    def _set(
        self, number: int, here: _Region, terms: tuple[Term, ...], score: Score, *, absent: bool = False
    ) -> _Found | None:
        """Return the best set of a group: from its best member on, one more as long as that is worth it."""
        group, of_group = self._groups[number], self._of_group[number]
        covered = np.zeros(len(here.holds), bool)
        chosen: list[int] = []
        inside, gain, more = np.zeros(here.sums.shape[1]), 0.0, here.sums[group]
        while len(chosen) < MOST_MEMBERS:
            added = inside + more
            gains = score(here.total - added if absent else added)
            gains[chosen] = 0
            at = int(np.argmax(gains))
            if gains[at] <= gain * (1 + _WORTH_MEMBER):
                break
            gain, inside = float(gains[at]), added[at]
            chosen.append(at)
            new = np.flatnonzero(here.holds & self._true[group[at]] & ~covered)
            covered[new] = True
            more = more - of_group[new].T @ here.parts[new]
        if not chosen:
            return None
        term = Term(tuple(sorted(group[chosen].tolist())), absent)
        return _Found((*terms, term), here.holds & ~covered if absent else covered, gain)

    def _gain(self, sums: Any) -> Any:
        """Return how much each row of sums explains, 0 where it speaks against or texts differ."""
        rest, variance = _over_folds(sums)
        sure = np.maximum(rest * rest - _CERTAINTY * variance, 0)
        return np.where(rest > 0, sure / (np.maximum(sums[..., -1], 0) + self._doubt), 0)

    def _fitted(self, holds: Bools) -> float:
        """Return the log-odds that a match adds: Newton's method, held back by the doubt."""
        label, weight, start = self._label[holds], self._weight[holds], self._log_odds[holds]
        step = 0.0
        for _ in range(12):
            chance = 1 / (1 + np.exp(-(start + step)))
            slope = float((weight * (label - chance)).sum()) - self._doubt * step / 2
            bend = float((weight * chance * (1 - chance)).sum()) + self._doubt / 2
            step = min(max(step + min(max(slope / bend, -1), 1), 0), _LARGEST)
        return step

    def _precise_rules(self, n_rules: int, n_atoms: int) -> list[Grown]:
        """Return the first rules: each as often right as can be asked for, where none before it holds."""
        rules: list[Grown] = []
        untold = np.ones(len(self._hard), bool)
        n_active = float((self._weight * self._hard).sum())
        for asked in _PRECISE:
            while len(rules) < n_rules:
                found = self._precise(asked, untold, n_atoms)
                told = (
                    0.0 if found is None else float((self._weight * self._hard)[found.holds & untold].sum())
                )
                if found is None or told < _TOLD * n_active:
                    break
                rules.append(Grown(found.terms, self._fitted(found.holds), found.holds, found.gain, True))
                self._add(rules[-1])
                untold &= ~found.holds
            if rules:
                break
        return rules

    def _precise(self, asked: float, untold: Bools, n_atoms: int) -> _Found | None:
        """Return the rule that is right more often than asked for at most positions.

        Each row adds its weight times how likely the feature is beyond what is asked for. Several rules
        are followed at once.
        """
        beyond = (self._weight * (self._label - asked) * untold)[:, None] * self._fold
        parts = np.c_[beyond, np.zeros(len(beyond))].astype(np.float32)
        misses = asked * _MISSES * float(self._weight[self._hard > 0].mean())
        score = partial(_surely, misses=misses)
        whole = self._whole(parts)
        # What begins a rule that is right must explain much; it need not be right itself.
        promising = np.where(self._may_begin, self._gain(self._all.sums), 0)
        first = np.argsort(-promising, kind="stable")[:_FOLLOWED]
        sets = [
            self._set(group, whole, (), score)
            for group, _ in self._promising(whole, score, _NEXT, first=True)
        ]
        found = [one for one in sets if one is not None]
        alone = [Term((int(at),)) for at in first if promising[at] > 0]
        followed = [*found, *(_Found((term,), self._true[term.columns[0]], 0) for term in alone)]
        for _ in range(n_atoms - 1):
            narrower = [found for one in followed for found in self._narrower(one, parts, score)]
            followed = sorted(narrower, key=lambda one: -one.gain)[:_FOLLOWED]
            found += [
                replace(one, gain=one.gain * (1 - _WORTH_NARROWING) ** (len(one.terms) - 1))
                for one in narrower
            ]
        return max(found, key=lambda one: one.gain, default=None)

    def _narrower(self, one: _Found, parts: Singles, score: Score) -> list[_Found]:
        """Return rules with one more atom."""
        here = self._where(one.holds, parts)
        sets = [
            self._set(group, here, one.terms, score)
            for group, _ in self._promising(here, score, _NEXT, first=False)
        ]
        sets.append(self._denied(here, one.terms, score))
        return [found for found in sets if found is not None]


def _over_folds(sums: Any) -> tuple[Any, Any]:
    """Return the sum over folds, and its variance as the folds differ."""
    by_fold = sums[..., :-1]
    whole = by_fold.sum(axis=-1)
    spread = np.square(by_fold).sum(axis=-1) - whole * whole / _FOLDS
    return whole, np.maximum(spread, 0) * (_FOLDS / (_FOLDS - 1))


def _surely(sums: Any, *, misses: float) -> Any:
    """Return what sums are worth at least, a few deviations and some misses below what was seen."""
    whole, variance = _over_folds(sums)
    return whole - _SURE * np.sqrt(variance) - misses


def _better(one: _Found | None, other: _Found | None) -> _Found | None:
    if one is None or other is None:
        return one or other
    return other if other.gain > one.gain else one
