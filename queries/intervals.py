"""Intervals of shares that are counted, without resampling."""

from __future__ import annotations

import numpy as np

from attnrules.queries.arrays import Floats, Ints


def wilson(hits: Ints | Floats, trials: Ints) -> tuple[Floats, Floats]:
    """Return the ends of the 95% Wilson score interval of a proportion; 0 and 1 without a trial.

    Rounding puts no end beyond the proportion: of 0 of 7 the lower end is 0, of 7 of 7 the upper one is 1.
    `hits` need not be whole: of sequences that hold several positions each it is a share of them.
    """
    z = 1.959963984540054
    n = np.maximum(trials, 1)
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = np.clip(middle - half, 0, p), np.clip(middle + half, p, 1)
    return np.where(trials > 0, low, 0), np.where(trials > 0, high, 1)
