"""Scores that come from a head's stored weights alone (method.md section 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from attnrules.queries.arrays import Floats, Ints, matrix
from attnrules.queries.heads.rotation import Rotation, attended_distances, rotation_of
from attnrules.sql import Statements

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "heads")
SCALINGS = ("paper", "model")


@dataclass(frozen=True)
class HeadScores:
    """The weights of one head that scores are inner products of, float64.

    Arguments:
        keys, queries, values: [n_input_features, d_head], row i is d_i through W_K, W_Q, W_V; under
            `model` scaling the biases are added and the queries divided by the attention scale.
        encoders: [n_output_features, d_head], row f is w_f.
        distances: those that S is taken at, the largest counting (method.md section 2.4); empty where S is
            the same at every distance.
        rotation: how keys are turned by the distance, None where they are not or that is not known.
    """

    keys: Floats
    queries: Floats
    values: Floats
    encoders: Floats
    distances: tuple[int, ...] = ()
    rotation: Rotation | None = None

    def value_scores(self, features: Ints) -> Floats:
        """Return V(f,i) for every input feature: [len(features), n_input_features]."""
        return self.encoders[features] @ self.values.T

    def attn_scores(self, keys: Ints, queries: Ints) -> tuple[Floats, Ints]:
        """Return S(i,j) of pairs, [n], and the place of its distance in `distances`, 0 if there is none."""
        wanted = self.queries[queries]
        at = np.array([np.einsum("nd,nd->n", turned, wanted) for turned in self.turned_keys(keys)])
        # Of equal ones the distance that is attended to more.
        best = at.argmax(axis=0)
        return np.take_along_axis(at, best[None], axis=0)[0], best

    def attn_to_queries(self, keys: Ints) -> Floats:
        """Return S(i,.) of some keys: [len(keys), n_input_features]."""
        return reduce(np.maximum, (turned @ self.queries.T for turned in self.turned_keys(keys)))

    def attn_to_keys(self, queries: Ints) -> Floats:
        """Return S(.,j) of some queries: [len(queries), n_input_features]."""
        wanted = self._turned_back(self.queries[queries], sign=-1)
        return reduce(np.maximum, (turned @ self.keys.T for turned in wanted))

    def turned_keys(self, keys: Ints) -> Iterator[Floats]:
        """Yield the keys as they stand at each distance, [len(keys), d_head]: S is a product with a query."""
        return self._turned_back(self.keys[keys], sign=1)

    def _turned_back(self, vectors: Floats, sign: int) -> Iterator[Floats]:
        if self.rotation is None:
            yield vectors
            return
        for distance in self.distances:
            yield self.rotation.turned_back(vectors, sign * distance)

    @property
    def largest_gain(self) -> float:
        """How many times longer a key may become when it is turned."""
        return 1.0 if self.rotation is None else max(1.0, self.rotation.magnitude**2)


def head_scores(
    warehouse: Warehouse, layer: int, head: int, scaling: str, *, bos_keys: bool = False
) -> HeadScores:
    """Read the weights of a head.

    `paper` scaling leaves S as it stands. `model` scaling makes S(i,j) the logit that the model computes
    between residuals d_i and d_j of layer-norm scale 1: (d_i W_K + b_K) . (d_j W_Q + b_Q) / attn_scale, the
    one turned by the distance in a model with rotary positions. `bos_keys` counts attention to BOS among
    what says at which distances the head attends.
    """
    at = {"layer": layer, "head": head}
    projections = warehouse.sql(step("projections"), at).to_arrow_table()
    keys, queries, values = (
        matrix(projections.column(name)) for name in ("key_vector", "query_vector", "value_vector")
    )
    if scaling == "model":
        biases = warehouse.sql(step("head_biases"), at).to_arrow_table()
        keys = keys + matrix(biases.column("b_K"))
        queries = (queries + matrix(biases.column("b_Q"))) / biases.column("attn_scale")[0].as_py()
    encoders = matrix(warehouse.sql(step("encoders"), at).to_arrow_table().column("encoder"))
    is_rotary, rotation = rotation_of(warehouse, layer, head)
    distances: tuple[int, ...] = ()
    if rotation is not None:
        distances = attended_distances(warehouse, layer, head, bos_keys=bos_keys)
    elif is_rotary:
        # As the vectors are stored they are not turned.
        distances = (0,)
    return HeadScores(keys, queries, values, encoders, distances, rotation)
