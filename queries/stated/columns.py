"""Candidates for the atoms of a feature: what is seen more often where it is active, as columns of 0 and 1.

Counted in numpy, see `corpus`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attnrules.queries.arrays import Floats, Ints, run_starts
from attnrules.queries.csr import Grouped
from attnrules.queries.stated.boosting import Bools, Candidates
from attnrules.queries.stated.corpus import FEATURE, PLACES, TOKEN, Corpus, Seen
from attnrules.queries.stated.language import (
    Atom,
    InputFeature,
    Member,
    Place,
    Position,
    Same,
    TokenId,
)

# Candidates of a place and kind, and in all.
_PER_PLACE, _IN_ALL = 24, 640
# Of a place and kind, those seen less often where the feature is active: a rule may say that there is none.
_DENIED_PER_PLACE = 6
# Counts of a pool of members that are candidates, and places where they are counted.
_COUNTS = (1, 2, 3, 5, 8)
_COUNTED = tuple(place for place in PLACES if place.farthest is None or place.farthest - place.nearest > 6)
# Positions of the position judged that are candidates, up to and after.
_POSITIONS = (4, 8, 12, 16, 24, 32, 48)
# Sequences that a candidate must be seen in where the feature is active: fewer say little of other text.
_FEWEST_SEQUENCES = 3
_KINDS = (FEATURE, TOKEN)
_WAYS = ("offset", "copy", "after copy")
# Of the position judged itself every input feature is seen, not only those that lead.
_NOW = "now"


@dataclass(frozen=True)
class View:
    """What is seen from some positions.

    Arguments:
        pos: [n_rows]. now: features and tokens of the position itself. seen: by way, those of all positions
            up to it, of copies of its token, and after these. same: earlier tokens that are its own.
    """

    pos: Ints
    now: tuple[Seen, Seen]
    seen: dict[str, tuple[Seen, Seen]]
    same: Seen

    @classmethod
    def of(cls, corpus: Corpus, rows: Ints, leading: Ints) -> View:
        """Look from every position of `rows`, before these for the input features of `leading` alone."""
        near = corpus.narrowed(leading)
        seen = {way: near.seen(rows, way) for way in _WAYS}
        tokens = seen["offset"][TOKEN]
        return cls(
            rows % corpus.seq_len,
            (corpus.here(rows), tokens.between(0, 0)),
            seen,
            seen["copy"][TOKEN],
        )

    @property
    def n_rows(self) -> int:
        """The number of positions."""
        return len(self.pos)

    def at(self, place: Place, kind: int) -> Seen:
        """Return what is seen at a place."""
        way = _way(place)
        if way == _NOW:
            return self.now[kind]
        return self.seen[way][kind].between(place.nearest, place.farthest if way == "offset" else None)


def _way(place: Place) -> str:
    return _NOW if place == PLACES[0] else place.kind


def _by_member(seen: Seen, n_members: int) -> Grouped:
    return Grouped.by(seen.member, n_members, {"row": seen.row, "offset": seen.offset, "strong": seen.strong})


@dataclass(frozen=True)
class Base:
    """What is seen from the positions that stand for all, and how often each member is.

    Arguments:
        pos: [n_rows]. same: earlier tokens that are those of positions. groups: by way and kind, the entries
            of each member, with their `row`, `offset` and `strong`. counts: by place and kind, [n_members],
            the entries there.
    """

    pos: Ints
    same: Seen
    groups: dict[tuple[str, int], Grouped]
    counts: dict[tuple[Place, int], Ints]
    layer: int
    medians: Floats
    seq_len: int
    sizes: tuple[int, int]

    @classmethod
    def of(cls, corpus: Corpus, rows: Ints, layer: int, sizes: tuple[int, int], leading: Ints) -> Base:
        """Look from `rows`, before these for the input features of `leading` alone.

        `sizes` are the numbers of input features and of tokens.
        """
        view = View.of(corpus, rows, leading)
        ways = {**view.seen, _NOW: view.now}
        groups = {
            (way, kind): _by_member(seen, sizes[kind])
            for way, of_way in ways.items()
            for kind, seen in enumerate(of_way)
        }
        counts = {
            (place, kind): np.bincount(view.at(place, kind).member, minlength=sizes[kind])
            for place in PLACES
            for kind in _KINDS
        }
        return cls(view.pos, view.same, groups, counts, layer, corpus.medians, corpus.seq_len, sizes)

    def at(self, place: Place, kind: int, members: Ints) -> Seen:
        """Return where some members are seen at a place."""
        group = self.groups[_way(place), kind]
        rows = group.rows(members)
        row, offset, strong = (group.values[name][rows] for name in ("row", "offset", "strong"))
        found = Seen(row, offset, np.repeat(members, group.n[members]), strong)
        if _way(place) != "offset" or (place.nearest == 0 and place.farthest is None):
            return found
        near = offset >= place.nearest
        return found.where(near if place.farthest is None else near & (offset <= place.farthest))

    def member(self, kind: int, member: int, *, strong: bool) -> Member:
        """Return a member of a set."""
        if kind == TOKEN:
            return TokenId(member)
        return InputFeature(self.layer, member, float(self.medians[member]) if strong else 0.0)


def candidates(
    base: Base,
    view: View,
    kept: Bools,
    *,
    share: float,
    leading: tuple[Ints, Ints],
    pools: tuple[Sequence[Ints], Sequence[Ints]],
    sequences: Ints,
) -> Candidates:
    """Return the candidates of a feature, as columns over the rows of `view` and the base rows in `kept`.

    Arguments:
        view: from positions where the feature is active, and after these from others that are like them.
        share: of all positions, those at which it is active. leading: input features and tokens through
            which the head acts most; other input features are looked for at the position judged alone.
            pools: sets of these that are counted. sequences: [n_active_rows], ascending, that of each.
    """
    building = _Building(base, view, kept, leading, len(sequences))
    for place in PLACES:
        for kind in _KINDS:
            building.add_best(place, kind, share)
            if place in _COUNTED:
                building.add_counts(place, kind, pools[kind])
    building.add_same()
    building.add_positions()
    return building.chosen(share, sequences)


def _gains(member: Ints, n_base: Ints, n_base_rows: int, n_active_rows: int, share: float) -> Floats:
    """Return how much each member would explain, from how often it is seen where active and anywhere.

    Below 0 for what is seen less often where the feature is active.
    """
    n = np.bincount(member, minlength=len(n_base)) / n_active_rows * share
    everywhere = np.maximum(n_base / n_base_rows, n)
    more = n - share * everywhere
    return np.asarray(np.sign(more) * more**2 / (everywhere + 10 / n_base_rows))


class _Building:
    """Columns under construction: rows of a view, active ones first, then those of the base that are kept."""

    def __init__(
        self, base: Base, view: View, kept: Bools, leading: tuple[Ints, Ints], n_active: int
    ) -> None:
        self._base, self._active, self._n_active = base, view, n_active
        self._leads = np.zeros(base.sizes[FEATURE], bool)
        self._leads[leading[FEATURE]] = True
        self._n_rows = view.n_rows + int(kept.sum())
        # Where the rows of the base went, -1 for those left out.
        self._row = np.where(kept, np.cumsum(kept) - 1 + view.n_rows, -1)
        self._pos = np.r_[view.pos, base.pos[kept]]
        self._values: list[Any] = []
        self._atoms: list[Atom | Position] = []
        self._groups: list[int] = []
        self._begins: list[bool] = []
        self._denies: list[bool] = []

    def add_best(self, place: Place, kind: int, share: float) -> None:
        """Add the members of a place that explain most, and of a feature where it is above its median."""
        here = self._active.at(place, kind)
        of_active = here.member[here.row < self._n_active]
        n_base = self._base.counts[place, kind]
        if kind == FEATURE and place != PLACES[0]:
            # The base saw what leads other features too.
            n_base = np.where(self._leads, n_base, 0)
        gain = _gains(of_active, n_base, len(self._base.pos), self._n_active, share)
        order = np.argsort(-gain, kind="stable")
        speak_for, speak_against = order[:_PER_PLACE], order[::-1][:_DENIED_PER_PLACE]
        speak_for = speak_for[gain[speak_for] > 0]
        members = np.r_[speak_for, speak_against[gain[speak_against] < 0]]
        if not len(members):
            return
        column = np.full(self._base.sizes[kind], -1)
        column[members] = np.arange(len(members))
        seen = self._together(here.where(column[here.member] >= 0), self._base.at(place, kind, members))
        group = len(self._groups)
        for wanted in (False, True) if kind == FEATURE else (False,):
            values = np.zeros((len(members), self._n_rows), np.float32)
            some = seen.where(seen.strong) if wanted else seen
            values[column[some.member], some.row] = 1
            self._values.append(values)
            for member in members.tolist():
                self._says(Atom((self._base.member(kind, member, strong=wanted),), place), group, denies=True)

    def add_counts(self, place: Place, kind: int, pools: Sequence[Ints]) -> None:
        """Add a column per pool of members and count of positions that hold one of them."""
        counted = [pool for pool in pools if len(pool) > 1]
        if not counted:
            return
        here = self._active.at(place, kind)
        wanted = np.zeros(self._base.sizes[kind], bool)
        wanted[np.concatenate(counted)] = True
        if kind == FEATURE:
            wanted &= self._leads
        members = np.flatnonzero(wanted)
        seen = self._together(here.where(wanted[here.member]), self._base.at(place, kind, members))
        for pool in counted:
            self._add_count(place, kind, pool, seen)

    def _add_count(self, place: Place, kind: int, members: Ints, seen: Seen) -> None:
        wanted = np.zeros(self._base.sizes[kind], bool)
        wanted[members] = True
        some = seen.where(wanted[seen.member])
        # A position that holds two members counts once.
        held = np.zeros((self._n_rows, self._base.seq_len), bool)
        held[some.row, some.offset] = True
        n = held.sum(axis=1)
        said = tuple(self._base.member(kind, member, strong=False) for member in members.tolist())
        for least in _COUNTS:
            self._values.append((n >= least).astype(np.float32)[None])
            self._says(Atom(said, place, least), len(self._groups))

    def add_same(self) -> None:
        """Add columns for the token of the position judged, before."""
        seen = self._together(self._active.same, self._base.same)
        for place in (Place("offset", 1, 1), Place("offset", 1, 4), Place("offset", 1, None)):
            near = seen.where(seen.offset <= (place.farthest or self._base.seq_len))
            n = np.bincount(near.row, minlength=self._n_rows)
            for least in (1, 2) if place.farthest is None else (1,):
                self._values.append((n >= least).astype(np.float32)[None])
                self._says(Atom((Same(),), place, least), len(self._groups))

    def add_positions(self) -> None:
        """Add columns for where in the sequence the position judged is; they narrow rules, and begin none."""
        for bound in _POSITIONS:
            if bound < self._base.seq_len - 1:
                for atom in (Position(1, bound), Position(bound + 1)):
                    after = self._pos >= atom.first
                    inside = after if atom.last is None else after & (self._pos <= atom.last)
                    self._values.append(inside.astype(np.float32)[None])
                    self._says(atom, len(self._groups), begins=False)

    def chosen(self, share: float, sequences: Ints) -> Candidates:
        """Return the columns that explain most, of those that are seen in enough sequences."""
        values = np.concatenate(self._values)
        n_active = len(sequences)
        starts = run_starts(sequences)
        n_sequences = (np.add.reduceat(values[:, :n_active], starts, axis=1) > 0).sum(axis=1)
        inside = values[:, :n_active].mean(axis=1) * share
        # Rows that are like active ones without being active stand for themselves alone, if there are others.
        others = self._active.n_rows if self._n_rows > self._active.n_rows else n_active
        everywhere = inside + values[:, others:].mean(axis=1) * (1 - share)
        more = np.abs(inside - share * everywhere)
        gain = more**2 / (everywhere * (1 - everywhere) + 10 / values.shape[1])
        begins, denies = np.array(self._begins), np.array(self._denies)
        gain[~denies & (n_sequences < _FEWEST_SEQUENCES)] = 0
        best = np.sort(np.argsort(-gain, kind="stable")[:_IN_ALL])
        best = best[gain[best] > 0]
        return Candidates(
            values[best],
            [self._atoms[at] for at in best],
            np.array(self._groups)[best],
            begins[best],
            denies[best],
        )

    def _says(self, atom: Atom | Position, group: int, *, begins: bool = True, denies: bool = False) -> None:
        self._atoms.append(atom)
        self._groups.append(group)
        self._begins.append(begins)
        self._denies.append(denies)

    def _together(self, here: Seen, everywhere: Seen) -> Seen:
        """Return what is seen from the active rows and from those of the base that are kept."""
        row = self._row[everywhere.row]
        moved = replace(everywhere, row=row).where(row >= 0)
        return Seen(
            *(
                np.concatenate([getattr(here, name), getattr(moved, name)])
                for name in ("row", "offset", "member", "strong")
            )
        )
