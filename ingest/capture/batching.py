"""How many sequences go into one forward pass: as asked, or found by trying."""

from __future__ import annotations

from attnrules.errors import AttnRulesError

# Larger batches are tried for as long as each doubling makes the pass this much faster.
_WORTHWHILE = 1.05
_TRIES = 2


class BatchSize:
    """The batch size of one device, in sequences; halved when the device runs out of memory.

    Arguments:
        asked: the size asked for; None to find it by trying, on the work itself: from `start`, doubled
            while that makes the pass faster, up to `limit`.
    """

    def __init__(self, asked: int | None, *, start: int, limit: int) -> None:
        self._limit = max(1, limit)
        self._trying = asked is None
        self._size = min(start, self._limit) if asked is None else asked
        self._rates: list[float] = []
        self._is_first = True
        self._best = (0.0, self._size)

    @property
    def size(self) -> int:
        """Sequences to put into the next pass, at most."""
        return self._size

    @property
    def is_settled(self) -> bool:
        """Whether the size will only change when memory runs out."""
        return not self._trying

    def succeeded(self, n_sequences: int, seconds: float) -> None:
        """Take note of a pass: its sequences and how long it took."""
        if not self._trying or n_sequences < self._size:
            return
        if self._is_first:
            # The first pass also allocates and compiles.
            self._is_first = False
            return
        self._rates.append(n_sequences / max(seconds, 1e-9))
        if len(self._rates) < _TRIES:
            return
        rate = max(self._rates)
        self._rates = []
        best_rate, best_size = self._best
        if rate < _WORTHWHILE * best_rate:
            self._settle(best_size)
            return
        self._best = (rate, self._size)
        if 2 * self._size > self._limit:
            self._settle(self._size)
        else:
            self._size *= 2

    def failed(self, n_sequences: int) -> None:
        """Take note that a pass of `n_sequences` ran out of memory.

        Raises `AttnRulesError` when it cannot be made smaller.
        """
        if n_sequences <= 1:
            raise AttnRulesError(
                "the device has too little memory for one sequence; use --device cpu, a smaller"
                " --seq-len or fewer --layers"
            )
        self._settle(max(1, min(self._size, n_sequences) // 2))

    def _settle(self, size: int) -> None:
        self._trying = False
        self._size = size


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error says that the device ran out of memory."""
    return type(error).__name__ == "OutOfMemoryError" or "out of memory" in str(error)
