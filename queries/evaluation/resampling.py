"""Bootstrap over sequences: the unit that is drawn from the corpus, so the unit that is resampled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from attnrules.queries.arrays import Floats, Ints

REPLICATES = 1000
# Fewer sequences than this on either side give no interval.
FEWEST = 5


class SequenceBootstrap:
    """Poisson bootstrap: in each replicate, every sequence counts Poisson(1) times.

    A sequence's weights depend on (seed, sequence) alone, so that an interval does not depend on what else is
    mined, and features measured on the same sequences are resampled together.
    """

    def __init__(self, n_sequences: int, seed: int, replicates: int = REPLICATES) -> None:
        drawn = np.random.default_rng(seed).poisson(1.0, size=(n_sequences, replicates))
        self._weights: npt.NDArray[np.uint8] = drawn.astype(np.uint8)

    def weights(self, sequences: Ints) -> Floats:
        """Return how often each sequence counts: [len(sequences), replicates]."""
        return self._weights[sequences].astype(np.float64)

    def mean_interval(self, sequences: Ints, values: Floats) -> tuple[float, float] | None:
        """Return the 95% interval of the mean of `values`, one per entry of `sequences`."""
        if len(np.unique(sequences)) < FEWEST:
            return None
        weights = self.weights(sequences)
        with np.errstate(invalid="ignore"):
            return interval(values @ weights / weights.sum(axis=0))


def interval(replicates: Floats) -> tuple[float, float] | None:
    """Return the 2.5% and 97.5% quantiles of the replicates that have a value, None if few have one."""
    usable = replicates[np.isfinite(replicates)]
    if len(usable) < len(replicates) // 2:
        return None
    low, high = np.quantile(usable, [0.025, 0.975])
    return float(low), float(high)
