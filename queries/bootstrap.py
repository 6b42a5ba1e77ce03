"""The bootstrap of judging: how often each sequence is drawn, whatever else is judged."""

from __future__ import annotations

from math import factorial

import numpy as np

from attnrules.queries.arrays import Floats, Ints, mix32

_REPLICATES = 200


def bootstrap_weights(sequences: Ints, seed: int) -> Floats:
    """Return how often each sequence is drawn, Poisson of mean 1: [n_sequences, n_replicates].

    Drawn by (seed, sequence, replicate) alone: what else is judged does not change an interval.
    """
    drawn = mix32(mix32(mix32(np.array(seed)) + sequences)[:, None] + np.arange(_REPLICATES))
    at_most = np.cumsum([np.exp(-1) / factorial(n) for n in range(12)])
    return np.searchsorted(at_most, drawn / 2**32, side="right").astype(np.float64)
