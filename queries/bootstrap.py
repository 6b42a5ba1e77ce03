"""The bootstrap over sequences: the unit that is drawn from the corpus, so the unit that is resampled.

Poisson bootstrap: in each replicate, every sequence counts Poisson(1) times. How often depends on the seed
and the sequence alone, so that an interval does not depend on what else is mined or judged, and features
measured on the same sequences are resampled together.
"""

from __future__ import annotations

from math import factorial

import numpy as np

from attnrules.queries.arrays import Floats, Ints, mix32

REPLICATES = 1000
# Fewer sequences than this on either side give no interval.
FEWEST = 5
# Of judging, where thousands of lists have intervals.
_REPLICATES_OF_LISTS = 200
# Sequences drawn for at a time: bounds memory, not results.
_AT_ONCE = 1_024
_ENDS = np.array([0.025, 0.975])


def bootstrap_weights(sequences: Ints, seed: int, replicates: int = _REPLICATES_OF_LISTS) -> Floats:
    """Return how often each sequence is drawn: [n_sequences, n_replicates].

    Drawn by (seed, sequence, replicate) with `mix32`, as all of judging is, without drawing for the others.
    """
    drawn = mix32(mix32(mix32(np.array(seed)) + sequences)[:, None] + np.arange(replicates))
    at_most = np.cumsum([np.exp(-1) / factorial(n) for n in range(12)])
    return np.searchsorted(at_most, drawn / 2**32, side="right").astype(np.float64)


class SequenceBootstrap:
    """How often each sequence of the corpus counts, the same throughout a command."""

    def __init__(self, seed: int, *, replicates: int = REPLICATES) -> None:
        self._seed, self._replicates = seed, replicates
        # A counting rule asks for half of the corpus, and so does the next: what was drawn is kept, as bytes.
        self._known = np.zeros(0, np.int64)
        self._drawn = np.zeros((0, replicates), np.uint8)

    def weights(self, sequences: Ints) -> Floats:
        """Return how often each sequence counts: [len(sequences), replicates]."""
        new = np.setdiff1d(sequences, self._known)
        if len(new):
            parts = (new[at : at + _AT_ONCE] for at in range(0, len(new), _AT_ONCE))
            drawn = [bootstrap_weights(part, self._seed, self._replicates).astype(np.uint8) for part in parts]
            known = np.r_[self._known, new]
            order = np.argsort(known)
            self._known, self._drawn = known[order], np.concatenate([self._drawn, *drawn])[order]
        return self._drawn[np.searchsorted(self._known, sequences)].astype(np.float64)

    def mean_interval(self, sequences: Ints, values: Floats) -> tuple[float, float] | None:
        """Return the 95% interval of the mean of `values`, one per entry of `sequences`."""
        if len(np.unique(sequences)) < FEWEST:
            return None
        weights = self.weights(sequences)
        with np.errstate(invalid="ignore"):
            return interval(values @ weights / weights.sum(axis=0))


def interval(replicates: Floats) -> tuple[float, float] | None:
    """Return the 95% interval of what has these replicates, None if few of them have a value."""
    if np.isfinite(replicates).sum() < len(replicates) // 2:
        return None
    [(low, high)] = interval_ends(replicates[None]).tolist()
    return None if np.isnan(low) else (low, high)


def interval_ends(replicates: Floats) -> Floats:
    """Return the 95% interval of each row, its 2.5% and 97.5% quantiles: [n, 2], NaN where it has no value.

    Replicates without a value are left out. The numbers are those of `np.quantile`, of all rows at once:
    called for each row, it took a tenth of the time of mining a small warehouse.

    Arguments:
        replicates: [n, n_replicates].
    """
    in_order = np.sort(np.where(np.isfinite(replicates), replicates, np.nan), axis=1)
    last = np.count_nonzero(~np.isnan(in_order), axis=1)[:, None] - 1
    at = last * _ENDS
    below = np.floor(at)
    share = at - below
    first = np.maximum(below, 0).astype(np.int64)
    low = np.take_along_axis(in_order, first, axis=1)
    high = np.take_along_axis(in_order, np.minimum(first + 1, np.maximum(last, 0)), axis=1)
    # From the nearer of the two, as numpy does: the last bits would differ.
    ends: Floats = np.where(share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share))
    return ends
