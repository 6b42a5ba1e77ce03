"""Rules of several features, ranked."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from attnrules.queries.arrays import Floats, Ints


@dataclass(frozen=True)
class RankedRules:
    """Rules of several features, each feature's from rank 1; arrays of one length.

    Arguments:
        query_feature, attn_score: None for rules without a query; where only some have one, the query of
            the others is -1.
        support: further columns of the table `rules`, of rules that were counted in the corpus.
        contribution: of pairs counted in the corpus, the size of their contributions, and of those of all
            pairs that were seen before all but the largest were pruned.
    """

    feature: Ints
    rank: Ints
    key_feature: Ints
    query_feature: Ints | None
    attn_score: Floats | None
    value_score: Floats
    score: Floats
    support: dict[str, Floats] = field(default_factory=dict)
    contribution: tuple[float, float] = (0.0, 0.0)

    def of(self, features: Ints) -> RankedRules:
        """Return the rules of these features; needs rules that all have a query."""
        kept = np.isin(self.feature, features)
        chosen: dict[str, Any] = {
            of.name: getattr(self, of.name)[kept]
            for of in fields(self)
            if of.name not in ("support", "contribution")
        }
        support = {name: column[kept] for name, column in self.support.items()}
        return RankedRules(**chosen, support=support, contribution=self.contribution)
