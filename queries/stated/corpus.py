"""The sequences that stated rules are learnt from, in memory: what stands where, seen from a position.

SQL selects the rows; what stands at which offset of tens of thousands of positions is indexed in numpy. As a
join, the members seen from the positions of one head of GPT-2 small's size would be billions of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from attnrules.queries.arrays import Floats, Ints, arrays
from attnrules.queries.csr import Grouped
from attnrules.queries.stated.language import Place
from attnrules.sql import Statements

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "stated")

# Train sequences that rules are learnt from: with 64 tokens of 20 active features, 10 million rows.
_MOST_SEQUENCES = 8_192
# Where sets are looked for. A place whose positions are several can hold a member several times.
PLACES = (
    *(Place("offset", n, n) for n in (0, 1, 2)),
    *(Place("offset", *ends) for ends in ((3, 4), (5, 8), (1, 4), (1, 8), (0, 16))),
    Place("offset", 0, None),
    Place("copy"),
    Place("after copy"),
)
FEATURE, TOKEN = 0, 1


@dataclass(frozen=True)
class Seen:
    """What is seen from some positions: one entry per position, position seen from it and member there.

    Arguments:
        row: the position, as its place among those asked for. offset: tokens back from it, ascending, so that
            what is near is a slice. member: token id or input feature. strong: whether a feature is above its
            median activation.
    """

    row: Any
    offset: Any
    member: Any
    strong: Any

    def where(self, kept: Any) -> Seen:
        """Return the entries that are True in `kept`."""
        at = np.flatnonzero(kept)
        return Seen(self.row[at], self.offset[at], self.member[at], self.strong[at])

    def between(self, nearest: int, farthest: int | None) -> Seen:
        """Return the entries at these offsets, on the same memory."""
        first = np.searchsorted(self.offset, nearest)
        end = len(self.offset) if farthest is None else np.searchsorted(self.offset, farthest, side="right")
        near = slice(first, end)
        return Seen(self.row[near], self.offset[near], self.member[near], self.strong[near])


@dataclass(frozen=True)
class Corpus:
    """Sequences in memory; a token is numbered by the place of its sequence * seq_len + pos.

    Arguments:
        tokens: [n_tokens], ids. inputs: by token, `feature`, `activation` and `strong`, above its median.
        medians: [n_input_features].
    """

    seq_len: int
    tokens: Ints
    inputs: Grouped
    medians: Floats

    @property
    def positions(self) -> Ints:
        """Every position after BOS."""
        token = np.arange(len(self.tokens))
        return token[token % self.seq_len > 0]

    @cached_property
    def by_feature(self) -> Grouped:
        """By input feature, the tokens after BOS where it is active: `token`, `activation`, `strong`."""
        token = np.repeat(np.arange(len(self.tokens)), self.inputs.n)
        after = token % self.seq_len > 0
        values = {name: column[after] for name, column in self.inputs.values.items() if name != "feature"}
        feature = self.inputs.values["feature"][after]
        return Grouped.by(feature, len(self.medians), {"token": token[after], **values})

    def narrowed(self, features: Ints) -> Corpus:
        """Leave out all other input features."""
        entry = self.by_feature.rows(features)
        values = {name: column[entry] for name, column in self.by_feature.values.items()}
        values["feature"] = np.repeat(features, self.by_feature.n[features])
        return replace(self, inputs=Grouped.by(values.pop("token"), len(self.tokens), values))

    def here(self, rows: Ints) -> Seen:
        """Return the features of positions themselves."""
        entry, n = self.inputs.rows(rows), self.inputs.n[rows]
        row = np.repeat(np.arange(len(rows), dtype=np.int32), n)
        values = self.inputs.values
        return Seen(row, np.zeros(len(row), np.int32), values["feature"][entry], values["strong"][entry])

    def seen(self, rows: Ints, place: str) -> tuple[Seen, Seen]:
        """Return the features and the tokens that are seen from positions.

        Arguments:
            place: `offset` for all positions up to each, `copy` or `after copy`.
        """
        row, key = self._pairs(rows, place)
        offset = (rows[row] - key).astype(np.int32)
        tokens = Seen(row, offset, self.tokens[key], np.zeros(len(row), bool))
        n = self.inputs.n[key]
        entry = self.inputs.rows(key)
        features = Seen(
            np.repeat(row, n),
            np.repeat(offset, n),
            self.inputs.values["feature"][entry],
            self.inputs.values["strong"][entry],
        )
        return features, tokens

    def _pairs(self, rows: Ints, place: str) -> tuple[Any, Any]:
        """Return places among `rows`, each with a token after BOS up to it, nearest first."""
        pos = rows % self.seq_len
        row = np.repeat(np.arange(len(rows), dtype=np.int32), pos)
        key = np.repeat(rows - pos, pos) + np.arange(pos.sum()) - np.repeat(np.cumsum(pos) - pos, pos) + 1
        if place != "offset":
            copies = (self.tokens[key] == self.tokens[rows[row]]) & (key < rows[row])
            row, key = row[copies], key[copies] + (place == "after copy")
        order = by_offset(rows[row] - key)
        return row[order], key[order]


def by_offset(offset: Any) -> Ints:
    """Return the order of offsets, ties as they stand; integers of 16 bits are sorted by radix."""
    return np.argsort(offset.astype(np.uint16), kind="stable")


def load(warehouse: Warehouse, layer: int, n_inputs: int, seed: int) -> Corpus:
    """Read the train sequences that rules are learnt from; makes the temporary `learning_sequences`."""
    warehouse.execute(step("make_learning_sequences"), {"seed": seed, "n_most": _MOST_SEQUENCES})
    seq_len = int(warehouse.value("SELECT seq_len FROM corpus"))
    tokens = arrays(warehouse, step("learning_tokens"))["token_id"]
    rows = arrays(warehouse, step("learning_inputs"), {"layer": layer, "seq_len": seq_len})
    found = arrays(warehouse, step("learning_medians"), {"layer": layer})
    medians = np.zeros(n_inputs)
    medians[found["feature"]] = found["activation"]
    # Three digits are read at a glance, and are what the rule says.
    medians = np.array([float(f"{value:.3g}") for value in medians.tolist()])
    feature, activation = rows["feature"].astype(np.int32), rows["activation"]
    values = {"feature": feature, "activation": activation, "strong": activation > medians[feature]}
    return Corpus(seq_len, tokens, Grouped.by(rows["token"], len(tokens), values), medians)
