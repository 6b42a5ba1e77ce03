"""What interventions share: changed sequences, the tokens that stand for features, the model that is run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from attnrules.queries.arrays import arrays
from attnrules.sql import Statements

if TYPE_CHECKING:
    from attnrules.queries.evaluation import SequenceBootstrap
    from attnrules.queries.heads import HeadRun
    from attnrules.queries.interventions.running import InterveneSpec
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "interventions")

Array = npt.NDArray[Any]

# A token must occur this often before "never fires on it" is taken for neutral.
_OCCURRENCES_OF_NEUTRAL = 5
# Ways to choose tokens that are gone through; of more, so many are drawn.
_MOST_SPLITS = 20_000
# Added to a token's occurrences when the mean activation on it is taken: a rare token needs more than luck.
_SHRINKAGE = 5


class Laboratory(Protocol):
    """What runs the model: `attnrules.ingest.intervene.Laboratory`."""

    def exciting_tokens(self, layer: int, features: Array, n: int = 1) -> list[tuple[int, ...]]:
        """Return the tokens whose embeddings excite each input feature most, of layer 0."""

    def measure(self, layer: int, head: int, trials: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model on trials and read a head of it."""

    def activations(
        self, layer: int, head: int, trials: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """Run the model on trials and read output features, and where input features are active."""

    def log_probabilities(self, layer: int, head: int, trials: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model with and without the contributions of features, and read next tokens."""


@dataclass(frozen=True)
class Bench:
    """A head whose rules are tested, and what they are tested with: sequences of `seq_len` tokens."""

    here: HeadRun[InterveneSpec]
    laboratory: Laboratory
    bootstrap: SequenceBootstrap
    seq_len: int

    @property
    def chosen(self) -> dict[str, Any]:
        """The parameters that choose the rules: layer, head, scaling, features."""
        return {
            **self.here.at,
            "scaling": self.here.spec.scaling,
            "features": self.here.features.tolist(),
        }

    @property
    def sought(self) -> dict[str, Any]:
        """The same, of the rules that act through the heads asked for."""
        return {**self.chosen, "through": list(self.here.through)}

    @property
    def same(self) -> dict[str, Any]:
        """What is the same in every row that is stored."""
        return {**self.here.at, "scaling": self.here.spec.scaling, "run_id": self.here.run_id}


class Trials:
    """Forward passes to be made, and the rows of `interventions` that they become."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Any]] = defaultdict(list)
        self._marks: dict[str, list[list[int]]] = {"keys": [], "changed": []}
        self._rows: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        tokens: Array,
        query_pos: int,
        *,
        keys: list[int],
        changed: list[int],
        probe: int,
        through_head: int,
        row: dict[str, Any],
    ) -> None:
        """Add a pass on `tokens`, read at `query_pos`; `row` is what else `interventions` says of it.

        Attention is that of `through_head`.
        """
        self._columns["tokens"].append(tokens)
        self._columns["query_pos"].append(query_pos)
        self._columns["feature"].append(row["feature"])
        self._columns["probe"].append(probe)
        self._columns["through_head"].append(through_head)
        self._marks["keys"].append(keys)
        self._marks["changed"].append(changed)
        self._rows.append(row)

    def run(self, laboratory: Laboratory, layer: int, head: int) -> list[dict[str, Any]]:
        """Make the passes and return the rows, readings included."""
        if not self._rows:
            return []
        arrays: dict[str, Array] = {name: np.array(values) for name, values in self._columns.items()}
        for name, positions in self._marks.items():
            mask = np.zeros(arrays["tokens"].shape, dtype=bool)
            trial = np.repeat(np.arange(len(positions)), [len(p) for p in positions])
            mask[trial, [p for of_trial in positions for p in of_trial]] = True
            arrays[name] = mask
        readings = laboratory.measure(layer, head, arrays)
        names = {
            "activation": "activation",
            "attention_to_key": "attention_to_key",
            "attention_to_changed": "attention_to_changed",
            "probe_activation": "distractor_activation",
        }
        for name, column in names.items():
            for row, value in zip(self._rows, readings[name].tolist(), strict=True):
                row[column] = None if np.isnan(value) else value
        return self._rows


def insert(tokens: Array, inserted: list[int]) -> Array:
    """Put tokens right after BOS and drop as many from the end: [seq_len]."""
    return np.concatenate([tokens[:1], np.array(inserted, dtype=tokens.dtype), tokens[1:]])[: len(tokens)]


def append_rows(
    warehouse: Warehouse, table: str, rows: list[dict[str, Any]], same: Mapping[str, object]
) -> None:
    """Append rows to a table; what a row lacks is NULL, `same` is the same for all."""
    import pyarrow as pa

    if not rows:
        return
    names = dict.fromkeys(name for row in rows for name in row)
    complete = pa.Table.from_pylist([{**{name: row.get(name) for name in names}, **same} for row in rows])
    warehouse.append(table, complete)


def sequence_tokens(warehouse: Warehouse, sequences: Iterable[int]) -> dict[int, Array]:
    """Return the token ids [seq_len] of each sequence."""
    columns = arrays(warehouse, step("sequence_tokens"), {"sequences": sorted(sequences)})
    ids = np.unique(columns["seq_id"]).tolist()
    rows = columns["token_id"].reshape(len(ids), -1) if ids else ()
    return dict(zip(ids, rows, strict=True))


@dataclass(frozen=True)
class Effect:
    """Intervals of what a change does, and of its excess over what controls do in the same sequences."""

    low: float | None
    high: float | None
    excess_low: float | None
    excess_high: float | None

    @classmethod
    def of(cls, sequences: Array, effects: Array, others: Array, bootstrap: SequenceBootstrap) -> Effect:
        """Return the intervals of effects [n] in sequences [n]; `others` [n] is what the controls do."""
        low, high = bootstrap.mean_interval(sequences, effects) or (None, None)
        excess_low, excess_high = bootstrap.mean_interval(sequences, effects - others) or (None, None)
        return cls(low, high, excess_low, excess_high)

    def exceeds(self, least: float) -> bool:
        """Return whether both intervals lie above `least`."""
        return self.low is not None and self.excess_low is not None and min(self.low, self.excess_low) > least


def chance_share(
    sequences: Array, controls: Array, bootstrap: SequenceBootstrap, least: float
) -> float | None:
    """Return the share of controls that would be confirmed in the place of what is tested.

    None of them has anything to do with the rule, so that this is what chance confirms. None with fewer than
    two, which leave nothing to compare with.

    Arguments:
        controls: effects [n_controls, n_sequences], NaN where one is none. least: both intervals have to lie
            above this.
    """
    if len(controls) < 2:
        return None
    # Only the control that does most can be confirmed.
    means = np.nanmean(controls, axis=1)
    second, largest = np.argsort(means, kind="stable")[-2:]
    if means[largest] == means[second]:
        return 0.0
    others = np.delete(controls, largest, axis=0)
    both = ~np.isnan(controls[largest]) & ~np.isnan(others).all(axis=0)
    compared = np.nanmean(others[:, both], axis=0)
    effect = Effect.of(sequences[both], controls[largest, both], compared, bootstrap)
    return effect.exceeds(least) / len(controls)


@dataclass(frozen=True)
class TokenStatistics:
    """How often tokens occur, and on which of them input features fire.

    Arguments:
        tokens, counts: token ids that occur after BOS, ascending, and how often.
        activation: per input feature, the tokens it fires on with its summed activation.
    """

    tokens: Array
    counts: Array
    activation: dict[int, dict[int, float]]

    @classmethod
    def read(cls, warehouse: Warehouse, layer: int, features: Iterable[int]) -> TokenStatistics:
        """Read the statistics of these input features of a layer."""
        counts = arrays(warehouse, step("token_counts"))
        activation: dict[int, dict[int, float]] = defaultdict(dict)
        for feature, token, amount in warehouse.rows(
            step("feature_tokens"), {"layer": layer, "features": sorted(set(features))}
        ):
            activation[feature][token] = amount
        return cls(counts["token_id"], counts["n"], activation)

    def count(self, token: int) -> int:
        """Return how often a token occurs."""
        place = np.searchsorted(self.tokens, token)
        return int(self.counts[place]) if place < len(self.tokens) and self.tokens[place] == token else 0

    def strongest(self, feature: int, n: int = 1) -> tuple[int, ...]:
        """Return the tokens on which a feature fires most: its mean activation over all occurrences.

        Up to n of them, the first ones first, each at least half as strong as the first. A few occurrences
        without activation are added, so that a token seen once does not win by luck.
        """
        means = {
            token: amount / (self.count(token) + _SHRINKAGE)
            for token, amount in self.activation.get(feature, {}).items()
        }
        first = sorted(means, key=lambda token: (-means[token], token))[:n]
        return tuple(token for token in first if means[token] >= means[first[0]] / 2)

    def neutral(
        self, token: int, features: Iterable[int], n: int, besides: Iterable[int] = ()
    ) -> tuple[int, ...]:
        """Return up to n tokens nearest in frequency to `token` on which none of `features` ever fires.

        None of them is `token` itself, nor one of `besides`.
        """
        fired = (t for feature in features for t in self.activation.get(feature, ()))
        excluded = {token, *besides, *fired}
        usable = ~np.isin(self.tokens, list(excluded)) & (self.counts >= _OCCURRENCES_OF_NEUTRAL)
        distance = np.abs(np.log(self.counts[usable]) - np.log(max(1, self.count(token))))
        nearest = np.lexsort((self.tokens[usable], distance))[:n]
        return tuple(self.tokens[usable][nearest].tolist())


def permutation_p(tested: Array, others: Array) -> float:
    """Return how likely so large a mean effect is if it does not matter which tokens are tested.

    The share of the ways to choose as many of all tokens whose effects are at least as large on average.
    Where there are more than `_MOST_SPLITS` ways, as many drawn ones stand for them.

    Arguments:
        tested, others: mean effect of each token.
    """
    effects = np.concatenate([tested, others])
    n, least = len(tested), tested.sum() - 1e-9 * np.abs(effects).sum()
    if comb(len(effects), n) <= _MOST_SPLITS:
        chosen = np.array(list(combinations(range(len(effects)), n)))
        return float(np.mean(effects[chosen].sum(axis=1) >= least))
    drawn = np.random.default_rng(0).permuted(np.tile(effects, (_MOST_SPLITS, 1)), axis=1)[:, :n]
    return float((1 + np.count_nonzero(drawn.sum(axis=1) >= least)) / (1 + _MOST_SPLITS))


def false_discovery_rates(p_values: Array) -> Array:
    """Return for each test the least false discovery rate at which it is found (Benjamini and Hochberg)."""
    order = np.argsort(p_values, kind="stable")
    n = len(p_values)
    rates = p_values[order] * n / np.arange(1, n + 1)
    found = np.empty(n)
    found[order] = np.minimum.accumulate(rates[::-1])[::-1].clip(max=1)
    return found


def token_of_feature(
    laboratory: Laboratory, statistics: TokenStatistics, layer: int, features: list[int]
) -> dict[int, int | None]:
    """Return the first of the tokens that stand for each input feature, None where there is none."""
    tokens = tokens_of_feature(laboratory, statistics, layer, features, 1)
    return {feature: found[0] if found else None for feature, found in tokens.items()}


def tokens_of_feature(
    laboratory: Laboratory, statistics: TokenStatistics, layer: int, features: list[int], n: int
) -> dict[int, tuple[int, ...]]:
    """Return up to n tokens that stand for each input feature.

    In layer 0 those whose embeddings excite it most (method.md section 6.4), none where a position does
    more. Above, embeddings say nothing of what enters the layer: there those on which it fires most in the
    corpus.
    """
    if not features:
        return {}
    if layer == 0:
        return dict(zip(features, laboratory.exciting_tokens(0, np.array(features), n), strict=True))
    return {feature: statistics.strongest(feature, n) for feature in features}
