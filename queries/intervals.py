"""Intervals of shares that are counted, without resampling."""

from __future__ import annotations

import numpy as np

from attnrules.queries.arrays import Floats, Ints


def wilson(hits: Ints | Floats, trials: Ints) -> tuple[Floats, Floats]:
    """Return the ends of the 95% Wilson score interval of a proportion; 0 and 1 without a trial.

    `hits` need not be whole: of sequences that hold several positions each it is a share of them.
    """
    z = 1.959963984540054
    n = np.maximum(trials, 1)
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return np.where(trials > 0, np.maximum(middle - half, 0), 0), np.where(trials > 0, middle + half, 1)
