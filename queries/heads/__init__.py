"""What every miner starts from: the heads and features asked for, and the scores of a head's weights."""

from __future__ import annotations

from attnrules.queries.heads.rotation import Rotation, refuse_unknown_rotation
from attnrules.queries.heads.run import HeadRun, Mining, Run, Spec, refuse_unknown
from attnrules.queries.heads.scores import SCALINGS, HeadScores, head_scores, head_values, key_numbers
from attnrules.queries.heads.selection import (
    FeatureId,
    HeadId,
    choose_heads,
    feature_counts,
    features_of,
    finished_sequences,
    live_features,
    output_heads,
    parse_feature,
    parse_head,
    refuse_unknown_feature,
    refuse_unknown_head,
    searched_heads,
    through_heads,
)

__all__ = [
    "SCALINGS",
    "FeatureId",
    "HeadId",
    "HeadRun",
    "HeadScores",
    "Mining",
    "Rotation",
    "Run",
    "Spec",
    "choose_heads",
    "feature_counts",
    "features_of",
    "finished_sequences",
    "head_scores",
    "head_values",
    "key_numbers",
    "live_features",
    "output_heads",
    "parse_feature",
    "parse_head",
    "refuse_unknown",
    "refuse_unknown_feature",
    "refuse_unknown_head",
    "refuse_unknown_rotation",
    "searched_heads",
    "through_heads",
]
