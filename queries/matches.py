"""How often pairs of input features match in the corpus: the query at q, the key at q or before."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from attnrules.queries import step
from attnrules.queries.scores import Ints, columns

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

# First positions held at once (512 MB), and comparisons made at once.
_FIRST_POSITIONS = 1 << 28
_COMPARED = 1 << 22
_NEVER = np.iinfo(np.uint16).max
_KINDS = 3


def count_matches(warehouse: Warehouse, place: dict[str, object], *, bos_keys: bool, seed: int) -> None:
    """Fill the temporary table `pair_counts` for the pairs in `candidate_pairs`.

    The positions of a query, and those of a feature and a query, are compared with the first position of
    all their keys at once. As a join, every match would be a row: on a head of GPT-2 small's size a million
    pairs have billions of them.
    """
    pairs = columns(warehouse, "candidates")
    keys, key = np.unique(pairs["key_feature"], return_inverse=True)
    n_inputs = int(max(pairs["query_feature"].max(initial=0), keys.max(initial=0))) + 1
    of_feature = _Counter(pairs["feature"] * n_inputs + pairs["query_feature"], key)
    either, to_pair = np.unique(pairs["query_feature"] * len(keys) + key, return_inverse=True)
    of_query = _Counter(*np.divmod(either, max(1, len(keys))))
    _, n_sequences = warehouse.rows(step("corpus_size"))[0]
    at_once = max(1, min(n_sequences, _FIRST_POSITIONS // max(1, len(keys))))
    for begin in range(0, n_sequences, at_once):
        here = {**place, "begin": begin, "last": begin + at_once - 1}
        rows = columns(warehouse, "first_positions", {**_without_head(here), "bos_keys": bos_keys})
        first = np.full((len(keys), at_once), _NEVER, np.uint16)
        first[np.searchsorted(keys, rows["key_feature"]), rows["seq_id"] - begin] = rows["pos"]
        rows = columns(warehouse, "query_positions", {**_without_head(here), "seed": seed})
        of_query.add(first, begin, rows["query_feature"], rows)
        rows = columns(warehouse, "feature_positions", {**here, "seed": seed})
        of_feature.add(first, begin, rows["feature"] * n_inputs + rows["query_feature"], rows)
    warehouse.execute(step("make_pair_counts"))
    train, other, _ = of_query.counts[to_pair].T
    train_hits, other_hits, held_out = of_feature.counts.T
    counts = {
        "n_matches": train + other,
        "n_train_matches": train - held_out,
        "n_hits": train_hits + other_hits,
        "n_train_hits": train_hits,
    }
    warehouse.append("pair_counts", pa.table({**pairs, **counts}))


class _Counter:
    """Counts of matches, by kind of position: [n_pairs, 3].

    Arguments:
        group: [n_pairs], ascending, which positions a pair is compared with. key: [n_pairs], row of `first`.
    """

    def __init__(self, group: Ints, key: Ints) -> None:
        self._groups, starts = np.unique(group, return_index=True)
        self._pairs = [slice(*ends) for ends in pairwise([*starts, len(group)])]
        self._key = key
        self.counts = np.zeros((len(group), _KINDS), np.int64)

    def add(self, first: Any, begin: int, group: Ints, rows: dict[str, Any]) -> None:
        """Count the positions of `rows`; first: [n_keys, n_sequences], first positions of the keys."""
        code = group * _KINDS + rows["kind"]
        order = np.argsort(code, kind="stable")
        seq, pos = (rows["seq_id"] - begin)[order], rows["pos"][order].astype(np.uint16)
        bounds = np.searchsorted(code[order], self._groups[:, None] * _KINDS + np.arange(_KINDS + 1))
        for of_group in np.flatnonzero(bounds[:, -1] > bounds[:, 0]):
            pairs, (start, *_, end) = self._pairs[of_group], bounds[of_group]
            at_once = max(1, _COMPARED // (end - start))
            for row in range(pairs.start, pairs.stop, at_once):
                block = slice(row, min(row + at_once, pairs.stop))
                is_match = np.take(first[self._key[block]], seq[start:end], axis=1) <= pos[start:end]
                inner = bounds[of_group] - start
                for kind in range(_KINDS):
                    chosen = is_match[:, inner[kind] : inner[kind + 1]]
                    self.counts[block, kind] += np.count_nonzero(chosen, axis=1)


def _without_head(place: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in place.items() if name != "head"}
