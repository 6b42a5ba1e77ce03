"""Scores that come from the stored weights of heads alone (method.md section 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from attnrules.queries.arrays import Floats, Ints, matrix
from attnrules.queries.heads.rotation import Rotation, attended_distances, rotation_of
from attnrules.queries.heads.selection import through_heads
from attnrules.sql import Statements

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "heads")
SCALINGS = ("paper", "model")


@dataclass(frozen=True)
class HeadScores:
    """The weights, float64, that scores are inner products of: of one head, or of the heads of a layer.

    A key is an input feature seen through one of the heads. It is numbered by the place of its head in
    `through` x number of input features + input feature: by the input feature itself where there is one head.

    Arguments:
        keys, queries, values: [n_heads * n_input_features, d_head], one head after another, row i of a head
            is d_i through its W_K, W_Q, W_V; under `model` scaling the biases are added and the queries
            divided by the attention scale.
        encoders: [n_heads * n_output_features, d_head], one head after another, row f of a head is the part
            of w_f that reads it.
        distances: those that S is taken at, the largest counting (method.md section 2.4); empty where S is
            the same at every distance.
        rotation: how keys are turned by the distance, None where they are not or that is not known.
        through: the heads.
        parts: of several heads, each by itself, on the same memory; `distances` and `rotation` are theirs.
    """

    keys: Floats
    queries: Floats
    values: Floats
    encoders: Floats
    distances: tuple[int, ...] = ()
    rotation: Rotation | None = None
    through: tuple[int, ...] = (0,)
    parts: tuple[HeadScores, ...] = ()

    @property
    def n_inputs(self) -> int:
        """The number of input features."""
        return len(self.values) // len(self.through)

    def each(self) -> tuple[HeadScores, ...]:
        """Return the weights of each head by themselves."""
        return self.parts or (self,)

    @classmethod
    def together(cls, heads: Sequence[HeadScores]) -> HeadScores:
        """Return the weights of heads as those of a layer."""
        if len(heads) == 1:
            return heads[0]
        keys, queries, values, encoders = (
            np.concatenate([getattr(own, name) for own in heads])
            for name in ("keys", "queries", "values", "encoders")
        )
        of_heads = (np.split(whole, len(heads)) for whole in (keys, queries, values, encoders))
        parts = tuple(
            replace(own, keys=k, queries=q, values=v, encoders=w)
            for own, k, q, v, w in zip(heads, *of_heads, strict=True)
        )
        through = tuple(head for own in heads for head in own.through)
        return cls(keys, queries, values, encoders, through=through, parts=parts)

    def of_inputs(self, features: Ints) -> HeadScores:
        """Return the weights of these input features, which are then numbered by their place."""
        return self.together(
            [
                replace(
                    own, keys=own.keys[features], queries=own.queries[features], values=own.values[features]
                )
                for own in self.each()
            ]
        )

    def by_head(self, keys: Ints) -> list[tuple[HeadScores, Ints]]:
        """Return the weights of each head, with those of some ascending keys that are its: input features."""
        ends = np.searchsorted(keys, np.arange(1, len(self.through)) * self.n_inputs)
        of_heads = np.split(keys % self.n_inputs, ends)
        return list(zip(self.each(), of_heads, strict=True))

    def value_scores(self, features: Ints) -> Floats:
        """Return V(f,i) of every key: [len(features), n_heads * n_input_features]."""
        of_heads = [own.encoders[features] @ own.values.T for own in self.each()]
        return of_heads[0] if len(of_heads) == 1 else np.hstack(of_heads)

    def at_pairs(self, keys: Ints, queries: Ints) -> tuple[Floats, Ints | None]:
        """Return S(i,j), under the head of the key, of pairs of a key and an input feature: [n].

        And the distances that they are of, None where S is the same at every distance.
        """
        place, feature = np.divmod(keys, self.n_inputs)
        scores, distance = np.zeros(len(keys)), np.zeros(len(keys), np.int64)
        for number, own in enumerate(self.each()):
            rows = np.flatnonzero(place == number)
            scores[rows], best = own.attn_scores(feature[rows], queries[rows])
            distance[rows] = np.array(own.distances or (0,))[best]
        return scores, distance if self.each()[0].distances else None

    def split(self, keys: Ints) -> tuple[Ints, Ints]:
        """Return the head and the input feature of keys."""
        place, feature = np.divmod(keys, self.n_inputs)
        return np.asarray(self.through, np.int64)[place], feature

    def attn_scores(self, keys: Ints, queries: Ints) -> tuple[Floats, Ints]:
        """Return S(i,j) of pairs, [n], and the place of its distance in `distances`, 0 if there is none.

        Of one head, like the methods below.
        """
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
        if self.parts:
            raise ValueError("each head has rotations of its own: take `each`")
        if self.rotation is None:
            yield vectors
            return
        for distance in self.distances:
            yield self.rotation.turned_back(vectors, sign * distance)

    @property
    def largest_gain(self) -> float:
        """How many times longer a key may become when it is turned."""
        return 1.0 if self.rotation is None else max(1.0, self.rotation.magnitude**2)


def key_numbers(through: tuple[int, ...], n_inputs: int, through_head: Ints, features: Ints) -> Ints:
    """Return the numbers that `HeadScores` of the heads `through` gives to keys: heads and input features."""
    return np.searchsorted(through, through_head) * n_inputs + features


def head_scores(
    warehouse: Warehouse,
    layer: int,
    head: int,
    scaling: str,
    through: tuple[int, ...] | None = None,
    *,
    bos_keys: bool = False,
) -> HeadScores:
    """Read the weights of the heads that the output SAE of (layer, head) reads, or of those in `through`.

    `paper` scaling leaves S as it stands. `model` scaling makes S(i,j) the logit that the model computes
    between residuals d_i and d_j of layer-norm scale 1: (d_i W_K + b_K) . (d_j W_Q + b_Q) / attn_scale, the
    one turned by the distance in a model with rotary positions. `bos_keys` counts attention to BOS among
    what says at which distances a head attends.
    """
    if through is None:
        through = through_heads(warehouse, layer, head)
    return HeadScores.together(
        [_one_head(warehouse, {"layer": layer, "head": head}, own, scaling, bos_keys) for own in through]
    )


def _one_head(
    warehouse: Warehouse, sae: dict[str, int], through_head: int, scaling: str, bos_keys: bool
) -> HeadScores:
    layer = sae["layer"]
    at = {"layer": layer, "head": through_head}
    projections = warehouse.sql(step("projections"), at).to_arrow_table()
    keys, queries = (matrix(projections.column(name)) for name in ("key_vector", "query_vector"))
    if scaling == "model":
        biases = warehouse.sql(step("head_biases"), at).to_arrow_table()
        keys = keys + matrix(biases.column("b_K"))
        queries = (queries + matrix(biases.column("b_Q"))) / biases.column("attn_scale")[0].as_py()
    values, encoders = head_values(warehouse, sae, through_head)
    is_rotary, rotation = rotation_of(warehouse, layer, through_head)
    distances: tuple[int, ...] = ()
    if rotation is not None:
        distances = attended_distances(warehouse, layer, through_head, bos_keys=bos_keys)
    elif is_rotary:
        # As the vectors are stored they are not turned.
        distances = (0,)
    return HeadScores(keys, queries, values, encoders, distances, rotation, (through_head,))


def head_values(warehouse: Warehouse, sae: dict[str, int], through_head: int) -> tuple[Floats, Floats]:
    """Read values and encoders of one head, as `HeadScores` has them; `sae` has layer and head of the SAE."""
    at = {"layer": sae["layer"], "head": through_head}
    values = warehouse.sql(step("values"), at).to_arrow_table()
    encoders = warehouse.sql(step("encoders"), {**sae, "through_head": through_head}).to_arrow_table()
    return matrix(values.column("value_vector")), matrix(encoders.column("encoder"))
