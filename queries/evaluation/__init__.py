"""How lists of rules are judged: example sets, metrics, intervals, baselines and ceilings."""

from __future__ import annotations

from attnrules.queries.bootstrap import FEWEST, SequenceBootstrap, bootstrap_weights, interval
from attnrules.queries.evaluation.judging import (
    AGGREGATIONS,
    EXAMPLE_SETS,
    NO_SCALING,
    Judge,
    draw_examples,
    evaluate,
    lists_not_judged,
    metric_replicates,
    split_sequences,
)

__all__ = [
    "AGGREGATIONS",
    "EXAMPLE_SETS",
    "FEWEST",
    "NO_SCALING",
    "Judge",
    "SequenceBootstrap",
    "bootstrap_weights",
    "draw_examples",
    "evaluate",
    "interval",
    "lists_not_judged",
    "metric_replicates",
    "split_sequences",
]
