"""A way to find rules that test_methods.py adds: keys in the order of their ids, whatever they do."""

from __future__ import annotations

import numpy as np

from attnrules.queries.skipgrams.finding import RankedRules, Search, joined, ranked

N_KEYS = 5


def find(search: Search) -> RankedRules:
    """Return the first five input features as keys of every feature, scored 5, 4, 3, 2, 1."""
    keys = np.arange(N_KEYS)
    score = np.arange(N_KEYS, 0, -1).astype(np.float64)
    values = search.batch.scores.value_scores(search.batch.features)
    parts = [
        ranked(feature, keys, None, None, values[row, keys], score)
        for row, feature in enumerate(search.batch.features.tolist())
    ]
    return joined(parts)
