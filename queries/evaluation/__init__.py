"""How lists of rules are judged: example sets, metrics, intervals, baselines and ceilings."""

from __future__ import annotations

from attnrules.queries.bootstrap import bootstrap_weights
from attnrules.queries.evaluation.judging import (
    AGGREGATIONS,
    EXAMPLE_SETS,
    NO_SCALING,
    Judge,
    draw_examples,
    evaluate,
    metric_intervals,
    split_sequences,
)
from attnrules.queries.evaluation.resampling import FEWEST, SequenceBootstrap, interval

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
    "metric_intervals",
    "split_sequences",
]
