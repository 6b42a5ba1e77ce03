"""The query side of rules about groups of keys: a few queries that say when the group counts."""

from __future__ import annotations

import numpy as np

from attnrules.queries.arrays import Floats, Ints, top_k
from attnrules.queries.csr import Grouped

# Queries of a rule, the least that each must add, and when they say enough to be stated: method.md
# section 3.8.
_MOST_QUERIES = 8
_LEAST_GAIN = 0.01
_LEAST_HELD = 0.85
_MOST_OPEN = 0.5
# Queries looked at for each rule: the best ones alone.
_TRIED = 32


def choose_queries(carried: Floats, n_base: int, place: Ints, query: Ints, n_queries: int) -> list[Ints]:
    """Return the queries of each rule, ascending; none where no few queries say when the rule counts.

    What a rule adds is the mean of what attention carries where the feature is active minus the mean
    everywhere. Queries are taken one by one, at most eight, each time the one that adds most to the share
    of it that falls where one of them is active, less the share of all positions where one is; a query
    must add 0.01. They are stated when they hold 85% on at most half of the positions.

    Arguments:
        carried: [n_positions, n_rules], the sum of V(f,i) G[q,i] over the keys of a rule.
        n_base: the first so many positions stand for all; at the others the feature is active.
        place, query: the queries active at each position. n_queries: number of input features.
    """
    n, n_rules = carried.shape
    everywhere = np.arange(n) < n_base
    weight = np.where(everywhere, -1 / n_base, 1 / max(1, n - n_base))
    added = weight @ carried
    share = weight[:, None] * carried / np.where(added > 0, added, 1)
    worth = share - everywhere[:, None] / n_base
    # What attention carries to a rule is 0 nearly everywhere.
    active = Grouped.by(place, n, {"query": query})
    row, of_rule = np.nonzero(carried)
    cell = np.repeat(of_rule * n_queries, active.n[row]) + active.values["query"][active.rows(row)]
    held_by = np.bincount(cell, np.repeat(share[row, of_rule], active.n[row]), n_rules * n_queries)
    n_everywhere = np.bincount(query[place < n_base], minlength=n_queries)
    alone = held_by.reshape(n_rules, n_queries).astype(np.float64) - n_everywhere / n_base
    tried = np.unique(top_k(alone, _TRIED))
    column = np.full(n_queries, -1)
    column[tried] = np.arange(len(tried))
    known = column[query] >= 0
    place, tried_at = place[known], column[query[known]]
    places_of = Grouped.by(tried_at, len(tried), {"place": place})
    tried_of = Grouped.by(place, n, {"tried": tried_at})
    gain = alone[:, tried]
    chosen: list[list[int]] = [[] for _ in range(n_rules)]
    covered = np.zeros((n, n_rules), bool)
    for _ in range(_MOST_QUERIES):
        # Rounded, so that queries active at the same positions tie and the first is taken.
        rounded = np.round(gain, 9)
        best = rounded.argmax(axis=1)
        for rule in np.flatnonzero(rounded.max(axis=1) >= _LEAST_GAIN):
            chosen[rule].append(int(tried[best[rule]]))
            at = places_of.values["place"][places_of.one(best[rule])]
            newly = at[~covered[at, rule]]
            covered[newly, rule] = True
            gone = tried_of.values["tried"][tried_of.rows(newly)]
            gain[rule] -= np.bincount(gone, np.repeat(worth[newly, rule], tried_of.n[newly]), len(tried))
    held = np.where(covered, share, 0).sum(axis=0)
    stated = (added > 0) & (held >= _LEAST_HELD) & (covered[:n_base].mean(axis=0) <= _MOST_OPEN)
    return [
        np.array(sorted(found) if kept else [], np.int64) for found, kept in zip(chosen, stated, strict=True)
    ]
