"""The language of stated rules read slowly, one position of one sequence after another (method.md section 13)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache

from attnrules.queries.stated import parse
from attnrules.queries.stated.language import Atom, Member, Position, Same, Statement, Token, TokenId
from attnrules.warehouse import Warehouse


@dataclass
class Text:
    """A sequence: its tokens, number and text, and the input features active at each position, by layer."""

    tokens: list[tuple[int, str]]
    active: dict[tuple[int, int], dict[int, float]] = field(default_factory=dict)

    def has(self, member: Member, k: int, q: int) -> bool:
        """Whether position k, seen from q, holds a member."""
        if isinstance(member, Same):
            return k < q and self.tokens[k][0] == self.tokens[q][0]
        if isinstance(member, Token):
            return self.tokens[k][1] == member.text
        if isinstance(member, TokenId):
            return self.tokens[k][0] == member.token_id
        return self.active.get((member.layer, k), {}).get(member.feature, 0.0) > member.above

    def places(self, atom: Atom, q: int) -> list[int]:
        """The positions at which the set of an atom is looked for, seen from q; never BOS."""
        if atom.place.kind == "offset":
            farthest = q if atom.place.farthest is None else atom.place.farthest
            return [k for k in range(1, q + 1) if atom.place.nearest <= q - k <= farthest]
        copies = [k for k in range(1, q) if self.tokens[k][0] == self.tokens[q][0]]
        return copies if atom.place.kind == "copy" else [k + 1 for k in copies]

    def holds(self, statement: Statement, q: int) -> bool:
        """Whether a rule holds at q."""
        return all(self._atom_holds(atom, q) for atom in statement.atoms)

    def _atom_holds(self, atom: Atom | Position, q: int) -> bool:
        if isinstance(atom, Position):
            return atom.first <= q and (atom.last is None or q <= atom.last)
        n = sum(any(self.has(m, k, q) for m in atom.members) for k in self.places(atom, q))
        return n == 0 if atom.absent else n >= atom.at_least


def predicted(text: Text, q: int, rules: list[tuple[int, str, float, float]]) -> float:
    """What a list of (rank, statement, weight, prior) predicts at q."""
    found = [(weight, prior) for _, statement, weight, prior in rules if text.holds(_read(statement), q)]
    if not found:
        return 0.0
    return 1 / (1 + math.exp(-(found[0][1] + sum(weight for weight, _ in found))))


@cache
def _read(statement: str) -> Statement:
    # Once for all positions: reading it again at each took a fifth of the time of a test.
    return parse(statement)[0]


def texts(warehouse: Warehouse) -> dict[int, Text]:
    """Every sequence of a warehouse."""
    found: dict[int, Text] = {}
    for seq, token_id, token in warehouse.rows(
        "SELECT t.seq_id, t.token_id, v.token FROM tokens AS t JOIN vocabulary AS v USING (token_id) ORDER BY 1, t.pos"
    ):
        found.setdefault(seq, Text([])).tokens.append((token_id, token))
    for layer, seq, pos, feature, activation in warehouse.rows(
        "SELECT layer, seq_id, pos, feature, activation FROM input_activations"
    ):
        found[seq].active.setdefault((layer, pos), {})[feature] = activation
    return found
