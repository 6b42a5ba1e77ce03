"""Mining skip-gram rules: draw examples, find and rank rules, judge every list of the first n."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from attnrules.errors import AttnRulesError, UsageError, refuse_below
from attnrules.queries.arrays import Ints
from attnrules.queries.evaluation import (
    AGGREGATIONS,
    EXAMPLE_SETS,
    NO_SCALING,
    Judge,
    draw_examples,
    evaluate,
    lists_not_judged,
)
from attnrules.queries.heads import (
    HeadRun,
    Mining,
    Run,
    Spec,
    choose_heads,
    feature_counts,
    finished_sequences,
    head_scores,
    refuse_unknown,
    refuse_unknown_rotation,
)
from attnrules.queries.skipgrams.finding import Batch, RankedRules, Search, StatedRules, find
from attnrules.queries.skipgrams.weighted import key_means
from attnrules.sql import Statements, head_name
from attnrules.sql.methods import best, method_named, names
from attnrules.warehouse.arrow import arrow_table

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "skipgrams")
_of_stated = Statements("attnrules.queries", "stated")

# Features judged in one set of statements, and (feature, key) means taken in one pass over the corpus: both
# bound memory (the latter to 0.5 GB), not results.
_FEATURES_AT_ONCE = 256
_MEANS_AT_ONCE = 1 << 26


@dataclass(frozen=True)
class SkipgramSpec(Spec):
    """How to mine.

    Arguments:
        method: of `sql.methods`, one that has rules, or `best` or `all`.
        num_values, num_queries: candidates per feature and per key (method.md section 3).
        max_rules: longest list kept and judged.
        negative_values: take the largest |V| instead of the largest V.
        bos_keys: let a key match at the BOS position.
        n_features: eligible features drawn per head, None for all.
        min_count, max_count: bounds of n_active, the sequences a feature is active in; None for the
            tightest bounds that leave enough examples, 3m and N - 3m.
        examples_per_split: m; 3m positive and 3m negative examples per feature.
        example_sets: what rules are judged on, of `evaluation.EXAMPLE_SETS`.
        aggregation: how the scores of matches become a prediction, of `evaluation.AGGREGATIONS`.
        held_out: sequences of each split that the set all_positions holds.
        baselines: whether to judge baselines and ceilings too.
    """

    method: str = "best"
    num_values: int = 100
    num_queries: int = 100
    max_rules: int = 4096
    negative_values: bool = False
    bos_keys: bool = False
    n_features: int | None = field(default=100, kw_only=True)
    min_count: int | None = None
    max_count: int | None = None
    examples_per_split: int = 50
    example_sets: tuple[str, ...] = ("paper", "all_positions")
    aggregation: str = "max"
    held_out: int = 100
    baselines: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "example_sets", tuple(dict.fromkeys(self.example_sets)))

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods asked for."""
        return {"all": names("rules"), "best": best()}.get(self.method, (self.method,))

    @property
    def n_per_label(self) -> int:
        """Examples of each label per feature."""
        return 3 * self.examples_per_split

    def judge(self) -> Judge:
        """Return how rules are judged."""
        return Judge(
            example_sets=self.example_sets,
            aggregation=self.aggregation,
            grid=tuple(self.grid),
            n_per_label=self.n_per_label,
            held_out=self.held_out,
            seed=self.seed,
            bos_keys=self.bos_keys,
            mined_now=tuple((method, self.scaling_of(method)) for method in self.methods),
            baselines=self.baselines,
        )

    def scaling_of(self, method: str) -> str:
        """Return the scaling that the rules of a method are stored under."""
        return NO_SCALING if method_named(method).is_stated else self.scaling

    @property
    def grid(self) -> list[int]:
        """The numbers of rules that are judged: 4, 8, 16, ... and max_rules."""
        powers = [1 << b for b in range(2, self.max_rules.bit_length()) if 1 << b < self.max_rules]
        return [*powers, self.max_rules]


@dataclass(frozen=True)
class HeadResult:
    """What was mined from one head.

    Arguments:
        n_features: features mined. n_eligible: eligible ones. n_rare, n_common: features that fire in
            too few or too many sequences, `n_silent` of the rare ones in none. n_rules: rules stored.
        counted_share: of what attention contributes through the pairs that `mined` saw, the share of those
            it counted in the corpus; the others are pruned. None where nothing was mined so.
    """

    layer: int
    head: int
    n_features: int
    n_eligible: int
    n_rare: int
    n_silent: int
    n_common: int
    n_rules: int
    counted_share: float | None


@dataclass(frozen=True)
class SkipgramResult:
    """What was mined, head by head, and what a user should know of it.

    Arguments:
        ineligible: features asked for that are not eligible, with the reason. short: of heads with features
            that have fewer examples than asked for, how many. not_judged: of heads with lists that were
            mined with other draws, which.
    """

    heads: list[HeadResult] = field(default_factory=list)
    ineligible: list[str] = field(default_factory=list)
    short: list[str] = field(default_factory=list)
    not_judged: list[str] = field(default_factory=list)


def mine_skipgrams(
    warehouse: Warehouse,
    spec: SkipgramSpec,
    report: Callable[[str], None] = lambda _: None,
) -> SkipgramResult:
    """Mine skip-gram rules and judge them; each head is stored in a transaction of its own.

    Earlier rules of the same features, method and scaling are replaced; every list of rules stored for
    these features is judged anew on the examples drawn now. Raises `AttnRulesError` when the ingest is
    unfinished or no feature is eligible, `UsageError` for a head or feature that is not in the warehouse.
    """
    return plan_skipgrams(warehouse, spec).all_heads(report)


def plan_skipgrams(warehouse: Warehouse, spec: SkipgramSpec) -> Mining[SkipgramSpec, _Mined, SkipgramResult]:
    """Return what `mine_skipgrams` is about to do; raises what it raises before the first head is mined."""
    _validate(spec)
    warehouse.add_methods()
    n_sequences = finished_sequences(warehouse)
    heads = choose_heads(warehouse, spec.layers, spec.heads, spec.features)
    for method in (name for name in spec.methods if method_named(name).ranks_by_attn):
        refuse_unknown_rotation(warehouse, heads, f"--method {method}")
    result = SkipgramResult()
    # Before the first head is mined, so that a wrong feature of the last one is not found after hours.
    chosen = [_choose_features(warehouse, spec, layer, head, n_sequences, result) for layer, head in heads]
    if not any(len(features) for features, _ in chosen):
        summaries = [summary for _, summary in chosen]
        raise AttnRulesError(_nothing_eligible(spec, n_sequences, summaries, result.ineligible))
    result.not_judged.extend(_not_judged(warehouse, spec, zip(heads, chosen, strict=True)))
    places = [(*at, features) for at, (features, _) in zip(heads, chosen, strict=True)]
    run = Run(warehouse, "mine skipgrams", spec, n_sequences, places)
    return Mining(run, _mine_head, _Mined, partial(_summed, result, heads, chosen))


def _summed(
    result: SkipgramResult,
    heads: list[tuple[int, int]],
    chosen: list[tuple[Ints, dict[str, int]]],
    mined: list[_Mined],
) -> SkipgramResult:
    """Add to `result` what was mined of each head, and how many features it had to choose from."""
    for (layer, head), (features, summary), found in zip(heads, chosen, mined, strict=True):
        result.heads.append(
            HeadResult(
                layer,
                head,
                n_features=len(features),
                n_rules=found.n_rules,
                counted_share=found.kept / found.seen if found.seen else None,
                **summary,
            )
        )
    return result


def _validate(spec: SkipgramSpec) -> None:
    refuse_unknown("--method", spec.method, (*names("rules"), "best", "all"))
    refuse_unknown("--aggregation", spec.aggregation, AGGREGATIONS)
    for name in spec.example_sets:
        refuse_unknown("--example-sets", name, EXAMPLE_SETS)
    spec.refuse_out_of_bounds("num_values", "num_queries", "examples_per_split", "held_out")
    refuse_below(4, "--max-rules ", spec.max_rules)
    for option, count in (("--min-count ", spec.min_count), ("--max-count ", spec.max_count)):
        if count is not None:
            refuse_below(0, option, count)


def _choose_features(
    warehouse: Warehouse,
    spec: SkipgramSpec,
    layer: int,
    head: int,
    n_sequences: int,
    result: SkipgramResult,
) -> tuple[Ints, dict[str, int]]:
    """Return the features to mine and how many are eligible or not; tell `result` what a user should know."""
    counts = feature_counts(warehouse, layer, head, spec.seed)
    # Bounds asked for are honoured: weights need no examples, and what needs them takes what there is.
    least = spec.n_per_label if spec.min_count is None else spec.min_count
    most = n_sequences - spec.n_per_label if spec.max_count is None else spec.max_count
    eligible = [feature for feature, n_active in counts if least <= n_active <= most]
    summary = {
        "n_eligible": len(eligible),
        "n_rare": sum(n_active < least for _, n_active in counts),
        "n_silent": sum(n_active == 0 for _, n_active in counts),
        "n_common": sum(n_active > most and n_active >= least for _, n_active in counts),
    }
    if spec.features:
        n_active_of = dict(counts)
        wanted = [f for f in spec.features if (f.layer, f.head) == (layer, head)]
        for feature in wanted:
            if feature.feature not in n_active_of:
                raise UsageError(
                    f"{feature}: the SAE of {head_name(layer, head)} has features 0 to {len(counts) - 1}"
                )
            n_active = n_active_of[feature.feature]
            if not least <= n_active <= most:
                result.ineligible.append(
                    f"{feature}: active in {n_active} of {n_sequences} sequences, mining needs"
                    f" at least {least} and at most {max(0, most)}, see --examples-per-split and --min-count"
                )
        chosen = [f.feature for f in wanted if f.feature in set(eligible)]
    else:
        chosen = eligible if spec.n_features is None else eligible[: spec.n_features]
    few = _few_examples(spec, layer, head, dict(counts), chosen, n_sequences)
    if few:
        result.short.append(few)
    return np.array(sorted(chosen), dtype=np.int64), summary


def _few_examples(
    spec: SkipgramSpec, layer: int, head: int, n_active: dict[int, int], chosen: list[int], n_sequences: int
) -> str | None:
    """Say how many of the features have fewer examples than asked for, and how many those have."""
    available = {f: min(n_active[f], n_sequences - n_active[f], spec.n_per_label) for f in chosen}
    few = {f: n for f, n in available.items() if n < spec.n_per_label}
    if not few:
        return None
    fewest, most = min(few.values()), max(few.values())
    range_of = str(fewest) if fewest == most else f"{fewest} to {most}"
    return (
        f"{head_name(layer, head)}: {len(few)} of {len(chosen)} features have {range_of} sequences of one"
        f" kind, active or silent, for the {spec.n_per_label} examples of each label; their figures rest on"
        " these"
    )


def _not_judged(
    warehouse: Warehouse, spec: SkipgramSpec, chosen: Iterable[tuple[tuple[int, int], tuple[Ints, Any]]]
) -> Iterator[str]:
    """Say of each head which lists of its features are not judged beside those that are mined now."""
    for (layer, head), (features, _) in chosen:
        at = {"layer": layer, "head": head}
        lists = lists_not_judged(warehouse, at, features.tolist(), spec.judge())
        if lists:
            most = max(n for _, n in lists)
            methods = ", ".join(method for method, _ in lists)
            of_features = f"{most:,} feature{'' if most == 1 else 's'}"
            yield (
                f"{head_name(layer, head)}: rules by {methods} of {of_features} were mined with another"
                " --seed, --examples-per-split, --example-sets or --bos-keys, or before sequences were added:"
                " they may have learnt from what is held out now, so they lose their figures until they are"
                " mined anew"
            )


def _split(features: Ints, at_once: int) -> list[Ints]:
    return [features[start : start + at_once] for start in range(0, len(features), at_once)]


@dataclass
class _Mined:
    """What was found so far: rules, and the size of what pairs contribute, of those counted and of all."""

    n_rules: int = 0
    kept: float = 0.0
    seen: float = 0.0


def _mine_head(here: HeadRun[SkipgramSpec]) -> _Mined:
    mined, spec = _Mined(), here.spec
    scores = head_scores(
        here.warehouse, here.layer, here.head, spec.scaling, here.through, bos_keys=spec.bos_keys
    )
    for some in _split(here.features, max(1, _MEANS_AT_ONCE // max(1, len(scores.keys)))):
        _mine_block(here, Batch(here.layer, here.head, some, scores, spec.bos_keys, spec.seed), mined)
    return mined


def _mine_block(here: HeadRun[SkipgramSpec], block: Batch, mined: _Mined) -> None:
    warehouse, spec, judge = here.warehouse, here.spec, here.spec.judge()
    methods = [method_named(name) for name in spec.methods]
    _set_features(warehouse, block)
    draw_examples(warehouse, block.at, judge)
    warehouse.execute(step("make_train_active"), block.at)
    means = key_means(warehouse, block) if any(method.needs_means for method in methods) else None
    search = Search(warehouse, block, spec, means)
    of_block = {method.name: find(method.name, search) for method in methods if method.per_block}
    for found in of_block.values():
        mined.kept += found.contribution[0]
        mined.seen += found.contribution[1]
    for features in _split(block.features, _FEATURES_AT_ONCE):
        batch = replace(block, features=features)
        _set_features(warehouse, batch)
        of_batch = means and means.of(np.searchsorted(block.features, features))
        search = Search(warehouse, batch, spec, of_batch)
        for method in spec.methods:
            ranked = of_block[method].of(features) if method in of_block else find(method, search)
            mined.n_rules += _store(warehouse, batch, method, ranked, spec, here.run_id)
        evaluate(warehouse, batch.layer, batch.head, judge, run_id=here.run_id)


def _store(
    warehouse: Warehouse,
    batch: Batch,
    method: str,
    found: RankedRules | StatedRules,
    spec: SkipgramSpec,
    run_id: int,
) -> int:
    """Store the rules of a method in place of its earlier ones of the mined features; return their number."""
    if isinstance(found, StatedRules):
        # What tested the rules of before says nothing of these.
        for table in ("stated_tests", "stated_trials"):
            everything = {**batch.at, "features": batch.features.tolist(), "n_rules": None}
            warehouse.execute(_of_stated(f"delete_{table}"), everything)
        for table, rows in (("stated_rules", found.rules), ("stated_atoms", found.atoms)):
            warehouse.execute(step(f"delete_{table}"), batch.at)
            numbers = {**batch.at, "run_id": run_id}.items()
            columns = {name: np.full(rows.num_rows, n, np.int32) for name, n in numbers}
            whole = {
                name: column.combine_chunks()
                for name, column in zip(rows.column_names, rows.columns, strict=True)
            }
            warehouse.append(table, arrow_table({**columns, **whole}))
        return int(found.rules.num_rows)
    warehouse.execute(step("delete_rules"), {**batch.at, "method": method, "scaling": spec.scaling})
    warehouse.append("rules", _rule_table(found, batch, method, spec, run_id))
    # Rows that share a rank are one rule.
    return len(set(zip(found.feature.tolist(), found.rank.tolist(), strict=True)))


def _set_features(warehouse: Warehouse, batch: Batch) -> None:
    chosen = {**batch.at, "seed": batch.seed, "features": batch.features.tolist()}
    warehouse.execute(step("make_mined_features"), chosen)


def _rule_table(ranked: RankedRules, batch: Batch, method: str, spec: SkipgramSpec, run_id: int) -> pa.Table:
    n = len(ranked.feature)
    through_head, key_feature = batch.scores.split(ranked.key_feature)
    columns: dict[str, object] = {
        "layer": np.full(n, batch.layer),
        "head": np.full(n, batch.head),
        "feature": ranked.feature,
        "method": method,
        "scaling": spec.scaling,
        "rank": ranked.rank,
        "through_head": through_head,
        "key_feature": key_feature,
        "value_score": ranked.value_score,
        "score": ranked.score,
        "run_id": np.full(n, run_id),
    }
    if ranked.query_feature is not None:
        without = ranked.query_feature < 0
        columns["query_feature"] = np.ma.masked_array(ranked.query_feature, without)
        columns["attn_score"] = np.ma.masked_array(ranked.attn_score, without)
        if ranked.attn_distance is not None:
            columns["attn_distance"] = np.ma.masked_array(ranked.attn_distance, without)
    return arrow_table({**columns, **ranked.support})


def _nothing_eligible(
    spec: SkipgramSpec, n_sequences: int, summaries: list[dict[str, int]], ineligible: list[str]
) -> str:
    if ineligible:
        more = f" (and {len(ineligible) - 1} more)" if len(ineligible) > 1 else ""
        return f"no feature is eligible: {ineligible[0]}{more}"
    rare = sum(summary["n_rare"] for summary in summaries)
    common = sum(summary["n_common"] for summary in summaries)
    return (
        f"no feature is eligible: of {n_sequences} sequences, {rare} features fire in too few and"
        f" {common} in too many for {spec.n_per_label} examples of each label; ingest more sequences or"
        " use a smaller --examples-per-split"
    )
