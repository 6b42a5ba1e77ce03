"""Absence rules "[i] ... [i2] ... [j] -/-> f" (method.md section 6): by weight, and in the corpus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attnrules.errors import AttnRulesError
from attnrules.queries.arrays import Floats, Ints, arrays
from attnrules.queries.evaluation import FEWEST, SequenceBootstrap, interval
from attnrules.queries.heads import HeadRun, HeadScores, Mining, Run, Spec, head_scores, live_features
from attnrules.queries.skipgrams.weights import magnitude_rules
from attnrules.sql import Statements
from attnrules.warehouse.arrow import arrow_table

if TYPE_CHECKING:
    import pyarrow as pa

    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "absence")
# Features whose scores are held at once: 256 x 24,576 doubles are 50 MB.
_FEATURES_AT_ONCE = 256
# Keys among which the pairs after the first are sought, as in method.md section 3.1.
_PAIR_KEYS = 100
# Quantile bins of the key's activation and of the distance to the query; examples are compared within them.
_BINS = 4


@dataclass(frozen=True)
class AbsenceSpec(Spec):
    """How to mine absence rules.

    Arguments:
        pairs: (key, query) pairs per feature: the paper's, then the next by exp(S) V.
        bos_keys: let features that fire at BOS only be keys, queries and distractors, and let BOS match.
        max_examples: stored per kind and pair.
    """

    pairs: int = 1
    bos_keys: bool = False
    max_examples: int = 200


@dataclass(frozen=True)
class Distractors:
    """Pairs of output features with their distractors; arrays of one length, feature by feature.

    Arguments:
        feature, pair: output feature, and place of the pair within it from 1.
        through_head: the head that key, query and distractor act through. key, query: i and j.
        value, attn: V(f,i), S(i,j). key_rank: place of i in the order of S(.,j), from 0.
        distractor: i2, -1 where there is none. distractor_rank, distractor_value, distractor_attn: of i2.
        attn_distance, distractor_attn_distance: the distances that attn and distractor_attn are of, None
            where S is the same at every distance.
    """

    feature: Ints
    pair: Ints
    through_head: Ints
    key: Ints
    query: Ints
    value: Floats
    attn: Floats
    key_rank: Ints
    distractor: Ints
    distractor_rank: Ints
    distractor_value: Floats
    distractor_attn: Floats
    attn_distance: Ints | None = None
    distractor_attn_distance: Ints | None = None

    @property
    def found(self) -> Any:
        """Which rows have a distractor."""
        return self.distractor >= 0

    @property
    def outranks(self) -> Any:
        """Which rows have a distractor that outranks the key: `has_distractor_key`."""
        return self.found & (self.distractor_rank < self.key_rank)


@dataclass(frozen=True)
class AbsenceHead:
    """What was mined from one head: features, pairs, and pairs whose distractor outranks the key."""

    layer: int
    head: int
    n_features: int
    n_pairs: int
    n_distractor_keys: int
    n_examples: int


@dataclass(frozen=True)
class AbsenceResult:
    """What was mined, head by head."""

    heads: list[AbsenceHead] = field(default_factory=list)


def mine_absence(
    warehouse: Warehouse,
    spec: AbsenceSpec,
    report: Callable[[str], None] = lambda _: None,
) -> AbsenceResult:
    """Find the distractors of output features and their corpus examples, each head in a transaction.

    Earlier rows of the same features and scaling are replaced, together with the interventions that tested
    them. Raises `AttnRulesError` when the ingest is unfinished, `UsageError` for a head or feature that is
    not in the warehouse.
    """
    return plan_absence(warehouse, spec).all_heads(report)


def plan_absence(warehouse: Warehouse, spec: AbsenceSpec) -> Mining[AbsenceSpec, AbsenceHead, AbsenceResult]:
    """Return what `mine_absence` is about to do; raises what it raises before the first head is mined."""
    spec.refuse_out_of_bounds("pairs", "max_examples")
    run = Run.as_asked(warehouse, "mine absence", spec)
    run.refuse_unknown_rotation()
    bootstrap = SequenceBootstrap(spec.seed)
    return Mining(run, partial(_mine_head, bootstrap=bootstrap), AbsenceHead, AbsenceResult)


def find_distractors(
    scores: HeadScores, features: Ints, *, pairs: int = 1, candidates: Ints | None = None
) -> Distractors:
    """Find the pairs of each feature and their distractors, from the weights alone.

    Pair 1 is the paper's: i = argmax V(f,.), j = argmax S(i,.); the others follow by exp(S(i,j)) V(f,i). The
    distractor is the first key in the order of S(.,j), ties by id, with V(f,.) < 0: a key of the same head,
    for whose attention it competes. A feature that no key pushes up (V(f,i) <= 0) has its first pair and no
    distractor.

    `candidates`: the input features that may be key, query or distractor; None for all.
    """
    everything = np.arange(scores.n_inputs) if candidates is None else candidates
    # Smaller heads whose features are the candidates: ids are places in `everything` until the end.
    local = scores.of_inputs(everything)
    parts = []
    at_once = max(1, _FEATURES_AT_ONCE // len(scores.through))
    for start in range(0, len(features), at_once):
        parts.append(_find_in_block(local, features[start : start + at_once], pairs))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    feature, pair, key, query, value, attn, key_rank, distractor, rank, low, drawn = columns
    through_head, of_head = local.split(key)
    # Of a distractor that there is none of, -1, the distance is not read.
    rival = key - of_head + np.maximum(distractor, 0)
    return Distractors(
        feature,
        pair,
        through_head,
        everything[of_head],
        everything[query],
        value,
        attn,
        key_rank,
        np.where(distractor >= 0, everything[distractor], -1),
        rank,
        low,
        drawn,
        local.at_pairs(key, query)[1],
        local.at_pairs(rival, query)[1],
    )


def _find_in_block(scores: HeadScores, features: Ints, pairs: int) -> tuple[Any, ...]:
    values = scores.value_scores(features)
    row, pair, key, query = _pairs(scores, features, values, pairs)
    n = scores.n_inputs
    found, rows = [], []
    for place, own in enumerate(scores.each()):
        of_head = np.flatnonzero(key // n == place)
        for start in range(0, len(of_head), _FEATURES_AT_ONCE):
            block = of_head[start : start + _FEATURES_AT_ONCE]
            pushes = values[row[block], place * n : (place + 1) * n]
            found.append(_distractors_of(own, pushes, key[block] - place * n, query[block]))
            rows.append(block)
    in_order = np.argsort(np.concatenate(rows))
    columns = (np.concatenate(column)[in_order] for column in zip(*found, strict=True))
    return (features[row], pair, key, query, *columns)


def _distractors_of(scores: HeadScores, values: Floats, key: Ints, query: Ints) -> tuple[Any, ...]:
    """Return of one head V(f,i), S(i,j), the rank of i, and id (-1: none), rank, V and S of the distractor.

    `values` [rows, candidates]: V(f,.) of each row's feature. `key`, `query` [rows].
    """
    rows = np.arange(len(key))
    attn = scores.attn_to_keys(query)
    pushes_down = (values < 0) & (values[rows, key] > 0)[:, None]
    distractor = np.where(pushes_down, attn, -np.inf).argmax(axis=1)
    found = pushes_down[rows, distractor]
    return (
        values[rows, key],
        attn[rows, key],
        _rank(attn, key),
        np.where(found, distractor, -1),
        _rank(attn, distractor),
        values[rows, distractor],
        attn[rows, distractor],
    )


def _pairs(scores: HeadScores, features: Ints, values: Floats, pairs: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Return the pairs of a block of features: row of the block, place from 1, key and query."""
    key = values.argmax(axis=1)
    distinct, place = np.unique(key, return_inverse=True)
    query = np.concatenate(
        [
            own.attn_to_queries(of_head[start : start + _FEATURES_AT_ONCE]).argmax(axis=1)
            for own, of_head in scores.by_head(distinct)
            for start in range(0, len(of_head), _FEATURES_AT_ONCE)
        ]
    )[place]
    lists = [[(int(i), int(j))] for i, j in zip(key, query, strict=True)]
    if pairs > 1:
        # One more than asked for, because the first pair may be among them.
        ranked = magnitude_rules(
            scores,
            features,
            num_values=_PAIR_KEYS,
            num_queries=pairs + 1,
            max_rules=pairs + 1,
            negative_values=False,
        )
        rows = {int(feature): row for row, feature in enumerate(features)}
        assert ranked.query_feature is not None
        for feature, i, j, v in zip(
            ranked.feature, ranked.key_feature, ranked.query_feature, ranked.value_score, strict=True
        ):
            of_feature = lists[rows[int(feature)]]
            if v > 0 and len(of_feature) < pairs and (i, j) != of_feature[0]:
                of_feature.append((int(i), int(j)))
    row = np.repeat(np.arange(len(features)), [len(of_feature) for of_feature in lists])
    pair = np.concatenate([np.arange(1, len(of_feature) + 1) for of_feature in lists])
    chosen = np.array([entry for of_feature in lists for entry in of_feature], dtype=np.int64)
    return row, pair, chosen[:, 0], chosen[:, 1]


def _rank(scores: Floats, column: Ints) -> Ints:
    """Return the place of a column in each row's order, largest first, ties by column."""
    own = np.take_along_axis(scores, column[:, None], axis=1)
    before = np.arange(scores.shape[1]) < column[:, None]
    return np.asarray((scores > own).sum(axis=1) + ((scores == own) & before).sum(axis=1))


def _mine_head(here: HeadRun[AbsenceSpec], bootstrap: SequenceBootstrap) -> AbsenceHead:
    warehouse, spec, at = here.warehouse, here.spec, here.at
    candidates = live_features(warehouse, here.layer, bos_keys=spec.bos_keys)
    if not len(candidates):
        raise AttnRulesError(
            f"{warehouse.path}: no input feature of layer {here.layer} fires after BOS; ingest more sequences"
        )
    scores = head_scores(warehouse, here.layer, here.head, spec.scaling, here.through, bos_keys=spec.bos_keys)
    found = find_distractors(scores, here.features, pairs=spec.pairs, candidates=candidates)
    of_features = {**at, "scaling": spec.scaling, "features": here.features.tolist()}
    for table in ("distractors", "distractor_examples"):
        warehouse.execute(step(f"delete_{table}"), of_features)
    for table in ("interventions", "absence_tests"):
        warehouse.execute(step(f"delete_{table}"), {**of_features, "through": None})
    warehouse.execute(step("make_found_examples"), _case_parameters(spec, at, found))
    warehouse.execute(step("insert_examples"), {**at, "scaling": spec.scaling})
    statistics = _statistics(warehouse, found, bootstrap)
    warehouse.append("distractors", _distractor_table(found, statistics, at, spec, here.run_id))
    return AbsenceHead(
        **at,
        n_features=len(here.features),
        n_pairs=len(found.feature),
        n_distractor_keys=int(found.outranks.sum()),
        n_examples=int(warehouse.value(step("count_found_examples"))),
    )


def _case_parameters(spec: AbsenceSpec, at: dict[str, int], found: Distractors) -> dict[str, object]:
    has = found.found
    return {
        **at,
        "features": found.feature[has].tolist(),
        "pairs": found.pair[has].tolist(),
        "keys": found.key[has].tolist(),
        "queries": found.query[has].tolist(),
        "distractors": found.distractor[has].tolist(),
        "bos_keys": spec.bos_keys,
        "max_examples": spec.max_examples,
        "seed": spec.seed,
    }


# Columns of `distractors` that come from the corpus, in the order of `_statistics`.
_STATISTICS = (
    *("kq_count", "kkq_count", "kq_active_share", "kkq_active_share", "kq_mean_activation"),
    *(
        "kkq_mean_activation",
        "matched_kq",
        "matched_kkq",
        "matched_difference",
        "matched_low",
        "matched_high",
    ),
)


def _statistics(
    warehouse: Warehouse, found: Distractors, bootstrap: SequenceBootstrap
) -> dict[tuple[int, int], tuple[float | None, ...]]:
    """Return what the corpus says of each (feature, pair) with a distractor, as `_STATISTICS` lists it."""
    columns = arrays(warehouse, step("found_examples"))
    case = columns["feature"].astype(np.int64) << 32 | columns["pair"]
    starts = np.flatnonzero(np.diff(case, prepend=-1))
    rows = {int(case[start]): slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(case)])}  # noqa: B905
    result: dict[tuple[int, int], tuple[float | None, ...]] = {}
    for feature, pair in zip(found.feature[found.found], found.pair[found.found], strict=True):
        at = rows.get(int(feature) << 32 | int(pair), slice(0, 0))
        sample = {name: column[at] for name, column in columns.items()}
        result[int(feature), int(pair)] = _case_statistics(sample, bootstrap)
    return result


def _case_statistics(sample: dict[str, Any], bootstrap: SequenceBootstrap) -> tuple[float | None, ...]:
    has = sample["has_distractor"].astype(bool)
    activation = sample["activation"].astype(np.float64)
    counts, shares, means = [], [], []
    for kind in (~has, has):
        counts.append(int(sample["n_of_kind"][kind][0]) if kind.any() else 0)
        shares.append(float((activation[kind] > 0).mean()) if kind.any() else None)
        means.append(float(activation[kind].mean()) if kind.any() else None)
    distance = sample["query_pos"].astype(np.int64) - sample["key_pos"]
    matched = matched_difference(
        has,
        activation,
        strata(sample["key_activation"], distance),
        sample["seq_id"].astype(np.int64),
        bootstrap,
    )
    return (*counts, *shares, *means, *matched)


def strata(key_activation: Any, distance: Any) -> Ints:
    """Return the stratum of each example: its quantile bins of the key's activation and of the distance.

    Equal values share a bin, so that there may be fewer than the 4 x 4.
    """
    bins = []
    for values in (key_activation, distance):
        edges = np.quantile(values, np.arange(1, _BINS) / _BINS) if len(values) else []
        bins.append(np.searchsorted(edges, values, side="left"))
    return np.asarray(bins[0] * _BINS + bins[1])


def matched_difference(
    has: Any, activation: Floats, stratum: Ints, sequences: Ints, bootstrap: SequenceBootstrap
) -> tuple[int, int, float | None, float | None, float | None]:
    """Compare activations with and without the distractor within strata.

    Returns the examples without and with it in strata that hold both, the difference (with minus without,
    strata weighted by their examples with it), and its 95% interval over sequences, None where fewer than 5
    examples of a kind are matched.
    """
    indicator = stratum[:, None] == np.arange(_BINS * _BINS)
    n_without, n_with = indicator[~has].sum(axis=0), indicator[has].sum(axis=0)
    both = (n_without > 0) & (n_with > 0)
    matched = int(n_without[both].sum()), int(n_with[both].sum())
    if not both.any():
        return (*matched, None, None, None)
    used = indicator[:, both].any(axis=1)
    has, activation, sequences = has[used], activation[used], sequences[used]
    indicator = indicator[used][:, both].astype(np.float64)
    once = np.ones((1, len(has)))
    difference = float(_weighted_difference(once, has, activation, indicator)[0])
    if min(matched) < FEWEST:
        return (*matched, difference, None, None)
    replicates = _weighted_difference(bootstrap.weights(sequences).T, has, activation, indicator)
    return (*matched, difference, *(interval(replicates) or (None, None)))


def _weighted_difference(weights: Floats, has: Any, activation: Floats, indicator: Floats) -> Floats:
    """Return the difference under each row of weights [replicates, examples]."""
    n, total = [], []
    for kind in (has, ~has):
        n.append(weights[:, kind] @ indicator[kind])
        total.append(weights[:, kind] @ (indicator[kind] * activation[kind, None]))
    usable = (n[0] > 0) & (n[1] > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        within = np.where(usable, total[0] / n[0] - total[1] / n[1], 0.0)
        share = np.where(usable, n[0], 0.0)
        return np.asarray((within * share).sum(axis=1) / share.sum(axis=1))


def _distractor_table(
    found: Distractors,
    statistics: dict[tuple[int, int], tuple[float | None, ...]],
    at: dict[str, int],
    spec: AbsenceSpec,
    run_id: int,
) -> pa.Table:
    n = len(found.feature)

    def where_found(values: npt.NDArray[Any]) -> np.ma.MaskedArray[Any, Any]:
        return np.ma.masked_array(values, ~found.found)

    nothing = (None,) * len(_STATISTICS)
    of_corpus = [
        statistics.get((int(f), int(p)), nothing) for f, p in zip(found.feature, found.pair, strict=True)
    ]
    columns: dict[str, Any] = {
        "layer": np.full(n, at["layer"]),
        "head": np.full(n, at["head"]),
        "feature": found.feature,
        "scaling": spec.scaling,
        "pair": found.pair,
        "through_head": found.through_head,
        "key_feature": found.key,
        "query_feature": found.query,
        "value_score": found.value,
        "attn_score": found.attn,
        "key_rank": found.key_rank,
        "distractor_feature": where_found(found.distractor),
        "distractor_rank": where_found(found.distractor_rank),
        "distractor_value_score": where_found(found.distractor_value),
        "distractor_attn_score": where_found(found.distractor_attn),
        "has_distractor_key": found.outranks,
        "run_id": np.full(n, run_id),
    }
    if found.attn_distance is not None and found.distractor_attn_distance is not None:
        columns["attn_distance"] = found.attn_distance
        columns["distractor_attn_distance"] = where_found(found.distractor_attn_distance)
    for name, values in zip(_STATISTICS, zip(*of_corpus, strict=True), strict=True):
        unknown = [value is None for value in values]
        columns[name] = np.ma.masked_array(np.array(values, np.float64), unknown)
    return arrow_table(columns)
