"""What a method is given to find rules with, and what it returns.

A finder takes a `Search` and returns `RankedRules`; sql/methods.py names it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attnrules.queries.arrays import Floats, Ints
from attnrules.queries.heads import HeadScores
from attnrules.sql import Statements
from attnrules.sql.methods import method_named
from attnrules.warehouse.arrow import arrow_table

if TYPE_CHECKING:
    from attnrules.queries.skipgrams.mining import SkipgramSpec
    from attnrules.queries.skipgrams.weighted import KeyMeans
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "skipgrams")


@dataclass(frozen=True)
class Batch:
    """Features of one output SAE that are mined together.

    Arguments:
        head: of the SAE, `WHOLE_LAYER` for one over the whole layer.
        features: [n], ascending; the temporary table `mined_features` holds them too.
        scores: weights of the heads through which rules are sought, under the scaling of the rules.
    """

    layer: int
    head: int
    features: Ints
    scores: HeadScores
    bos_keys: bool
    seed: int

    @property
    def at(self) -> dict[str, int]:
        """The parameters that place a statement."""
        return {"layer": self.layer, "head": self.head}

    def attending(self) -> list[tuple[slice, dict[str, int]]]:
        """Return of each head its keys, and the parameters that place a statement on its attention."""
        n = self.scores.n_inputs
        return [
            (slice(place * n, (place + 1) * n), {"layer": self.layer, "head": head})
            for place, head in enumerate(self.scores.through)
        ]


@dataclass(frozen=True)
class Search:
    """What a method finds rules with.

    The temporary tables `mined_features` and `train_active` hold the features of `batch` and the train
    positions where they are active.

    Arguments:
        means: what attention carries to the features of `batch`, None where no method needs it.
    """

    warehouse: Warehouse
    batch: Batch
    spec: SkipgramSpec
    means: KeyMeans | None

    @property
    def carried(self) -> KeyMeans:
        """`means`, of a method whose entry says `needs_means`; raises `ValueError` for any other."""
        if self.means is None:
            raise ValueError("a method that reads Search.carried must say needs_means in sql/methods.py")
        return self.means


@dataclass(frozen=True)
class RankedRules:
    """Rules of several features, each feature's from rank 1; arrays of one length.

    Arguments:
        key_feature: numbers of keys, as `HeadScores` numbers them: of an SAE over a whole layer they say
            through which head the rule acts.
        query_feature, attn_score: None for rules without a query; where only some have one, the query of
            the others is -1.
        support: further columns of the table `rules`, of rules that were counted in the corpus.
        contribution: of pairs counted in the corpus, the size of their contributions, and of those of all
            pairs that were seen before all but the largest were pruned.
        attn_distance: the distance that attn_score is of, filled in by `find` for a model with rotary
            positions.
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
    attn_distance: Ints | None = None

    def of(self, features: Ints) -> RankedRules:
        """Return the rules of these features."""
        return self.rows(np.isin(self.feature, features))

    def rows(self, kept: Any) -> RankedRules:
        """Return some of the rows."""
        columns = {of.name: getattr(self, of.name) for of in fields(self)}
        chosen: dict[str, Any] = {
            name: None if column is None else column[kept]
            for name, column in columns.items()
            if name not in ("support", "contribution")
        }
        support = {name: column[kept] for name, column in self.support.items()}
        return RankedRules(**chosen, support=support, contribution=self.contribution)


@dataclass(frozen=True)
class StatedRules:
    """Rules that are conditions on the text (method.md section 13).

    Arguments:
        rules: columns of `stated_rules`, but for layer, head and run. atoms: of `stated_atoms`, likewise.
        contribution: as in `RankedRules`; nothing is pruned.
    """

    rules: pa.Table
    atoms: pa.Table
    contribution: tuple[float, float] = (0.0, 0.0)

    def of(self, features: Ints) -> StatedRules:
        """Return the rules of these features."""
        wanted = arrow_table({"feature": features}).column("feature").combine_chunks()
        return StatedRules(
            *(
                table.filter(pc.is_in(table.column("feature").cast(pa.int64()), value_set=wanted))
                for table in (self.rules, self.atoms)
            )
        )


def find(method: str, search: Search) -> RankedRules | StatedRules:
    """Find rules by the method of that name, with S at the distance where the head attends to the pair."""
    finder = method_named(method).finder
    if finder is None:
        raise ValueError(f"{method} has no rules")
    module, _, function = finder.partition(":")
    found: RankedRules | StatedRules = getattr(import_module(module), function)(search)
    scores = search.batch.scores
    if isinstance(found, StatedRules) or found.query_feature is None or not scores.each()[0].distances:
        return found
    attn_score, distance = scores.at_pairs(found.key_feature, found.query_feature)
    return replace(found, attn_score=attn_score, attn_distance=distance)


def fill(warehouse: Warehouse, table: str, features: Ints, **entries: Any) -> None:
    """Make the temporary `table` anew, with one row per feature and entry of its row of each column."""
    warehouse.execute(step(f"make_{table}"))
    lengths = [len(row) for row in next(iter(entries.values()))]
    warehouse.append(
        table,
        arrow_table(
            {
                "feature": np.repeat(features, lengths),
                **{name: np.concatenate(list(rows)) for name, rows in entries.items()},
            }
        ),
    )


def ranked(
    feature: int, keys: Ints, queries: Ints | None, s: Floats | None, v: Floats, score: Floats
) -> RankedRules:
    """Return rules of one feature, ranked in their order."""
    n = len(keys)
    return RankedRules(np.full(n, feature), np.arange(1, n + 1), keys, queries, s, v, score)


def joined(parts: list[RankedRules]) -> RankedRules:
    """Return the rules of several features, one after the other."""

    def column(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    has_query = parts[0].query_feature is not None
    return RankedRules(
        feature=column("feature"),
        rank=column("rank"),
        key_feature=column("key_feature"),
        query_feature=column("query_feature") if has_query else None,
        attn_score=column("attn_score") if has_query else None,
        value_score=column("value_score"),
        score=column("score"),
        support={name: np.concatenate([part.support[name] for part in parts]) for name in parts[0].support},
    )
