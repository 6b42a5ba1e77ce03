"""Sequences changed to test stated rules (method.md section 13.6): a rule planted, or an atom of it broken.

Knows neither model nor warehouse: tokens in, tokens and positions out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

# The neutral tokens of a token, nearest in frequency first; fewer where there are not so many.
Neutral = Callable[[int], Sequence[int]]
Tokens = Sequence[int]
NO_NEUTRAL = "no neutral tokens"
# Farther back than any sequence is long.
_ANYWHERE = 2**31 - 1
# Positions and what is put there.
Put = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class RuleAtom:
    """An atom of a stored rule, as in `stated_atoms`.

    Arguments:
        tokens, features: members of its set; features with the activation that each must exceed.
        is_same: whether its set is the token of the position judged. is_position: whether it has no set.
    """

    number: int
    absent: bool
    at_least: int
    place: str
    nearest: int
    farthest: int | None
    tokens: frozenset[int] = frozenset()
    features: tuple[tuple[int, float], ...] = ()
    is_same: bool = False
    is_position: bool = False

    @property
    def looks_here(self) -> bool:
        """Whether it looks at the position judged alone."""
        return self.place == "offset" and self.farthest == 0


@dataclass(frozen=True)
class Rule:
    """A stated rule to test."""

    feature: int
    rank: int
    atoms: tuple[RuleAtom, ...]

    @cached_property
    def present(self) -> tuple[RuleAtom, ...]:
        """The atoms whose sets must be found."""
        return tuple(atom for atom in self.atoms if not atom.absent and not atom.is_position)

    @cached_property
    def features(self) -> tuple[int, ...]:
        """Input features that any atom names."""
        return tuple(sorted({feature for atom in self.atoms for feature, _ in atom.features}))

    @cached_property
    def tokens(self) -> frozenset[int]:
        """Tokens that any atom names."""
        return frozenset(token for atom in self.atoms for token in atom.tokens)

    @cached_property
    def reach(self) -> tuple[int, int]:
        """How far back, from the nearest to the farthest position, input features are looked for."""
        looking = [atom for atom in self.atoms if atom.features]
        # Copies may stand anywhere, and so may the token after one.
        nearest = [atom.nearest if atom.place == "offset" else 0 for atom in looking]
        farthest = [None if atom.place != "offset" else atom.farthest for atom in looking]
        ends = [_ANYWHERE if end is None else end for end in farthest]
        return min(nearest, default=0), max(ends, default=0)

    @cached_property
    def copies_matter(self) -> bool:
        """Whether an atom is about earlier copies of the token of the position judged."""
        return any(atom.is_same or atom.place in ("copy", "after copy") for atom in self.atoms)


@dataclass(frozen=True)
class Example:
    """A position at which a rule holds.

    Arguments:
        tokens: of the sequence. hits: by atom that must be found, the positions of its place that hold a
            member, nearest first; of "same", the earlier copies.
    """

    seq_id: int
    pos: int
    tokens: Tokens
    hits: Mapping[int, Sequence[int]]

    def protected(self, rule: Rule) -> set[int]:
        """Return the positions that make the rule hold."""
        found: set[int] = set()
        for atom in rule.present:
            found.update(self.hits[atom.number])
            if atom.place == "after copy":
                found.update(hit - 1 for hit in self.hits[atom.number])
        return found


@dataclass(frozen=True)
class Change:
    """A change of a sequence, `put`, and its controls: what is put instead, or elsewhere."""

    seq_id: int
    pos: int
    put: Put
    controls: tuple[Put, ...]


# --- planting a rule -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What makes a rule hold: tokens by offset back from the position judged.

    None for the token of the position judged, whatever that is.
    """

    tokens: Mapping[int, int | None]

    @classmethod
    def of(cls, rule: Rule, donor: Example) -> Plan:
        """Take over what makes the rule hold at an example: the nearest hits, as many as each atom asks."""
        own = donor.tokens[donor.pos]
        tokens: dict[int, int | None] = {}
        copies: set[int] = set()
        for atom in rule.present:
            for hit in donor.hits[atom.number][: atom.at_least]:
                back = donor.pos - hit
                if atom.is_same or atom.place == "copy":
                    copies.add(back)
                if atom.place == "after copy":
                    copies.add(back + 1)
                if not atom.is_same:
                    tokens[back] = donor.tokens[hit]
        # Where a copy holds a member too, it must be a copy of it: the token judged is put there too.
        if copies & tokens.keys():
            tokens[0] = own
        return cls({**dict.fromkeys(copies), **tokens})

    @property
    def room(self) -> int:
        """How far it reaches back."""
        return max(self.tokens)

    def at(self, seq_id: int, pos: int, tokens: Tokens, rule: Rule, neutral: Neutral) -> Change:
        """Return it at a position of another sequence, with as many controls as there are neutral tokens."""
        own = self.tokens.get(0)
        own = tokens[pos] if own is None else own
        backs = sorted(self.tokens, reverse=True)
        put = tuple(own if (token := self.tokens[back]) is None else token for back in backs)
        instead = [_without(neutral(token), own if rule.copies_matter else None) for token in put]
        at = tuple(pos - back for back in backs)
        controls = tuple((at, row) for row in zip(*instead, strict=False))
        return Change(seq_id, pos, (at, put), controls)


def _without(tokens: Sequence[int], token: int | None) -> list[int]:
    return [other for other in tokens if other != token]


# --- breaking an atom ------------------------------------------------------------------------------


def broken(rule: Rule, atom: RuleAtom, example: Example, neutral: Neutral, n: int, turn: int) -> Change | str:
    """Return an example with what an atom asks for replaced by a neutral token, or why that cannot be.

    Controls replace as many other tokens by the same neutral ones, each the nearest, the second, ... the n-th
    nearest to one that the atom asks for; never the position judged, nor what other atoms ask for. `turn`
    says which of the neutral tokens is taken.
    """
    hits = sorted(example.hits[atom.number])
    others = [other for other in rule.present if other != atom]
    if any(set(hits) & set(example.hits[other.number]) for other in others):
        return "its tokens are those of another atom"
    if example.pos in hits and not atom.looks_here:
        return "the position itself holds it"
    free = sorted(set(range(1, example.pos)) - example.protected(rule))
    if len(free) < len(hits) + n - 1:
        return "no room for controls"
    instead = [_without(neutral(example.tokens[hit]), example.tokens[example.pos]) for hit in hits]
    if min(map(len, instead)) < n:
        return NO_NEUTRAL
    put = tuple(tokens[turn % n] for tokens in instead)
    controls = tuple((_nearest(hits, free, number), put) for number in range(n))
    return Change(example.seq_id, example.pos, (tuple(hits), put), controls)


def _nearest(hits: Sequence[int], free: Sequence[int], number: int) -> tuple[int, ...]:
    """Return for each hit the free position that is so many places behind the nearest one, none twice."""
    left = list(free)
    chosen = []
    for hit in hits:
        left.sort(key=lambda position: (abs(position - hit), position))
        chosen.append(left.pop(number))
    return tuple(chosen)


def denied(
    rule: Rule,
    atom: RuleAtom,
    example: Example,
    neutral: Neutral,
    n: int,
    members: Sequence[int | None],
    turn: int,
) -> Change | str:
    """Return an example with a member of an absent set put where the rule wants none, or why that cannot be.

    `members` are the tokens that stand for its members, None for none; `turn` says which of them is taken.
    Controls put neutral tokens there.
    """
    known = [example.tokens[example.pos]] if atom.is_same else [m for m in members if m is not None]
    if not known:
        return "no token stands for what it denies"
    if atom.place != "offset":
        return "what it denies is looked for at copies"
    at = next(_denied_places(atom, example, example.protected(rule)), None)
    if at is None:
        return "no room for what it denies"
    token = known[turn % len(known)]
    instead = _without(neutral(token), example.tokens[example.pos])
    if len(instead) < n:
        return NO_NEUTRAL
    controls = tuple(((at,), (other,)) for other in instead)
    return Change(example.seq_id, example.pos, ((at,), (token,)), controls)


def _denied_places(atom: RuleAtom, example: Example, protected: set[int]) -> Iterator[int]:
    """Yield free positions of an atom's place, nearest first; the one judged only where it is all of it."""
    farthest = example.pos - 1 if atom.farthest is None else min(atom.farthest, example.pos - 1)
    for back in range(atom.nearest if atom.looks_here else max(1, atom.nearest), farthest + 1):
        if example.pos - back not in protected:
            yield example.pos - back
