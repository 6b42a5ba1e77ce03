"""How rotary positions turn the queries and keys of a head, and the distances at which it attends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from attnrules.errors import AttnRulesError
from attnrules.queries.arrays import Floats
from attnrules.queries.heads.selection import through_heads
from attnrules.sql import Statements

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "heads")

# Distances that S is taken at: each is one more product of all keys with all queries.
MOST_DISTANCES = 8


@dataclass(frozen=True)
class Rotation:
    """The rotation of a head's queries and keys by their positions (method.md section 2.4).

    Arguments:
        frequencies: [n_pairs], radians per position. adjacent: whether pair f is the dimensions
            (2 f, 2 f + 1), not (f, f + n_pairs). magnitude: factor on what is turned, of queries and of keys.
    """

    frequencies: Floats
    adjacent: bool
    magnitude: float

    def turned_back(self, vectors: Floats, distance: int) -> Floats:
        """Return vectors [n, d_head] turned back by `distance` positions, so that S_D is a plain product.

        S_D(i,j) is the inner product of the key turned back by D with the query, and of the key with the
        query turned back by -D; the magnitudes of both sides are in whichever is turned.
        """
        pairs, _ = self.as_complex(vectors)
        pairs = pairs * np.exp(-1j * distance * self.frequencies) * self.magnitude**2
        first, second = self._places
        turned = vectors.copy()
        turned[:, first], turned[:, second] = pairs.real, pairs.imag
        return turned

    def as_complex(self, vectors: Floats) -> tuple[npt.NDArray[np.complex128], Floats]:
        """Return the pairs of dimensions that are turned together, [n, n_pairs], and the other dimensions."""
        first, second = self._places
        return vectors[:, first] + 1j * vectors[:, second], vectors[:, 2 * len(first) :]

    @property
    def _places(self) -> npt.NDArray[np.int64]:
        """The two dimensions of each pair: [2, n_pairs]."""
        n = len(self.frequencies)
        return np.arange(2 * n).reshape(n, 2).T if self.adjacent else np.arange(2 * n).reshape(2, n)


def rotation_of(warehouse: Warehouse, layer: int, head: int) -> tuple[bool, Rotation | None]:
    """Return whether the model turns queries and keys of a head, and how: None where that is not known."""
    [(is_rotary, frequencies, pairing, magnitude)] = warehouse.rows(
        step("rotation"), {"layer": layer, "head": head}
    )
    if frequencies is None:
        return is_rotary, None
    return True, Rotation(np.array(frequencies, np.float64), pairing == "adjacent", magnitude)


def attended_distances(warehouse: Warehouse, layer: int, head: int, *, bos_keys: bool) -> tuple[int, ...]:
    """Return the distances that hold most of a head's attention, largest first (method.md section 2.4)."""
    where = {"layer": layer, "head": head, "bos_keys": bos_keys, "n_most": MOST_DISTANCES}
    found = tuple(distance for (distance,) in warehouse.rows(step("attended_distances"), where))
    # A head that attends to BOS alone.
    return found or (0,)


def refuse_unknown_rotation(warehouse: Warehouse, heads: Iterable[tuple[int, int]], what: str) -> None:
    """Raise `AttnRulesError` where S, which `what` rests on, is known at no distance but 0."""
    read = [(layer, through) for layer, head in heads for through in through_heads(warehouse, layer, head)]
    for layer, head in read:
        is_rotary, rotation = rotation_of(warehouse, layer, head)
        if is_rotary and rotation is None:
            raise AttnRulesError(
                f"{warehouse.path}: {what} of L{layer}H{head} rests on S(i,j), which in a model with rotary"
                " positions depends on the distance, and how they turn keys there is not stored; `attnrules"
                " ingest` with the options of before stores it, or says that it cannot be known (the methods"
                " called weighted and mined do not need it)"
            )
