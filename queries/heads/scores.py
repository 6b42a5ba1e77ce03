"""Scores that come from a head's stored weights alone (method.md section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from attnrules.queries.arrays import Floats, Ints, matrix
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
    """

    keys: Floats
    queries: Floats
    values: Floats
    encoders: Floats

    def value_scores(self, features: Ints) -> Floats:
        """Return V(f,i) for every input feature: [len(features), n_input_features]."""
        return self.encoders[features] @ self.values.T


def head_scores(warehouse: Warehouse, layer: int, head: int, scaling: str) -> HeadScores:
    """Read the weights of a head.

    `paper` scaling leaves S as it stands. `model` scaling makes S(i,j) the logit that the model computes
    between residuals d_i and d_j of layer-norm scale 1: (d_i W_K + b_K) . (d_j W_Q + b_Q) / attn_scale.
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
    encoders = warehouse.sql(step("encoders"), at).to_arrow_table()
    return HeadScores(keys, queries, values, matrix(encoders.column("encoder")))
