"""Mining skip-gram rules: draw examples, find and rank rules, judge every list of the first n."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from attnrules.errors import AttnRulesError, UsageError
from attnrules.queries import step
from attnrules.queries.scores import (
    HeadScores,
    Ints,
    RankedRules,
    head_scores,
    magnitude_rules,
    unigram_rules,
)
from attnrules.queries.selection import choose_heads, finished_sequences

if TYPE_CHECKING:
    import pyarrow as pa

    from attnrules.warehouse import Warehouse

METHODS = ("magnitude", "unigram")
SCALINGS = ("paper", "model")
# Features judged in one set of statements; bounds the memory of the joins, not their result.
_FEATURES_AT_ONCE = 256


@dataclass(frozen=True, order=True)
class FeatureId:
    """An output feature of a head, written L0H3.17."""

    layer: int
    head: int
    feature: int

    def __str__(self) -> str:
        return f"L{self.layer}H{self.head}.{self.feature}"


@dataclass(frozen=True)
class SkipgramSpec:
    """How to mine.

    Arguments:
        method: `magnitude`, `unigram` or `all`.
        num_values, num_queries: candidates per feature and per key (METHOD.md section 3).
        max_rules: longest list kept and judged.
        scaling: `paper` or `model`.
        negative_values: take the largest |V| instead of the largest V.
        bos_keys: let a key match at the BOS position.
        layers, heads: restrict to these; None for all in the warehouse.
        n_features: eligible features drawn per head, None for all. features: exactly these instead.
        min_count, max_count: bounds of n_active, the sequences a feature is active in; None for the
            tightest bounds that leave enough examples, 3m and N - 3m.
        examples_per_split: m; 3m positive and 3m negative examples per feature.
        seed: of every draw.
    """

    method: str = "all"
    num_values: int = 100
    num_queries: int = 100
    max_rules: int = 4096
    scaling: str = "paper"
    negative_values: bool = False
    bos_keys: bool = False
    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    n_features: int | None = 100
    features: tuple[FeatureId, ...] = ()
    min_count: int | None = None
    max_count: int | None = None
    examples_per_split: int = 50
    seed: int = 0

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods asked for."""
        return METHODS if self.method == "all" else (self.method,)

    @property
    def n_per_label(self) -> int:
        """Examples of each label per feature."""
        return 3 * self.examples_per_split

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
    """

    layer: int
    head: int
    n_features: int
    n_eligible: int
    n_rare: int
    n_silent: int
    n_common: int
    n_rules: int


@dataclass(frozen=True)
class SkipgramResult:
    """What was mined, head by head, and features asked for that are not eligible, with the reason."""

    heads: list[HeadResult] = field(default_factory=list)
    ineligible: list[str] = field(default_factory=list)


def mine_skipgrams(
    warehouse: Warehouse,
    spec: SkipgramSpec,
    report: Callable[[str], None] = lambda _: None,
) -> SkipgramResult:
    """Mine skip-gram rules and judge them; everything is stored in one transaction.

    Earlier rules of the same features, method and scaling are replaced; every list of rules stored for
    these features is judged anew on the examples drawn now. Raises `AttnRulesError` when the ingest is
    unfinished or no feature is eligible, `UsageError` for a head or feature that is not in the warehouse.
    """
    _validate(spec)
    n_sequences = finished_sequences(warehouse)
    heads = choose_heads(warehouse, spec.layers, spec.heads, spec.features)
    result = SkipgramResult()
    with warehouse.run("mine skipgrams", asdict(spec)) as run_id, warehouse.transaction():
        for layer, head in heads:
            report(f"L{layer}H{head}")
            chosen, summary = _choose_features(warehouse, spec, layer, head, n_sequences, result)
            n_rules = 0
            scores = head_scores(warehouse, layer, head, spec.scaling)
            for start in range(0, len(chosen), _FEATURES_AT_ONCE):
                batch = chosen[start : start + _FEATURES_AT_ONCE]
                n_rules += _mine_batch(warehouse, spec, layer, head, batch, scores, run_id)
            result.heads.append(HeadResult(layer, head, n_features=len(chosen), n_rules=n_rules, **summary))
        if not any(head.n_features for head in result.heads):
            raise AttnRulesError(_nothing_eligible(spec, n_sequences, result))
    return result


def _validate(spec: SkipgramSpec) -> None:
    if spec.method not in (*METHODS, "all"):
        raise UsageError(f"--method {spec.method}: must be one of {', '.join(METHODS)}, all")
    if spec.scaling not in SCALINGS:
        raise UsageError(f"--scaling {spec.scaling}: must be one of {', '.join(SCALINGS)}")
    for option in ("num_values", "num_queries", "examples_per_split"):
        if getattr(spec, option) < 1:
            raise UsageError(f"--{option.replace('_', '-')}: must be at least 1")
    if spec.max_rules < 4:
        raise UsageError("--max-rules: must be at least 4")


def _choose_features(
    warehouse: Warehouse,
    spec: SkipgramSpec,
    layer: int,
    head: int,
    n_sequences: int,
    result: SkipgramResult,
) -> tuple[Ints, dict[str, int]]:
    counts = warehouse.rows(step("feature_counts"), {"layer": layer, "head": head, "seed": spec.seed})
    least = max(spec.n_per_label, spec.min_count or 0)
    most = n_sequences - spec.n_per_label
    if spec.max_count is not None:
        most = min(most, spec.max_count)
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
                raise UsageError(f"{feature}: the SAE of L{layer}H{head} has features 0 to {len(counts) - 1}")
            n_active = n_active_of[feature.feature]
            if not least <= n_active <= most:
                result.ineligible.append(
                    f"{feature}: active in {n_active} of {n_sequences} sequences, mining needs"
                    f" {least} to {most}"
                )
        chosen = [f.feature for f in wanted if f.feature in set(eligible)]
    else:
        chosen = eligible if spec.n_features is None else eligible[: spec.n_features]
    return np.array(sorted(chosen), dtype=np.int64), summary


def _mine_batch(
    warehouse: Warehouse,
    spec: SkipgramSpec,
    layer: int,
    head: int,
    features: Ints,
    scores: HeadScores,
    run_id: int,
) -> int:
    at: dict[str, object] = {"layer": layer, "head": head}
    warehouse.execute(step("make_mined_features"), {**at, "seed": spec.seed, "features": features.tolist()})
    for table in ("examples", "rule_evaluations", "rule_scores", "rule_metric_values"):
        warehouse.execute(step(f"delete_{table}"), at)
    seq_len = warehouse.value("SELECT seq_len FROM corpus")
    warehouse.execute(step("make_new_examples"), {**at, "n_per_label": spec.n_per_label, "seq_len": seq_len})
    warehouse.execute(step("insert_examples"))
    n_rules = 0
    for method in spec.methods:
        warehouse.execute(step("delete_rules"), {**at, "method": method, "scaling": spec.scaling})
        ranked = _ranked_rules(scores, features, method, spec)
        n_rules += warehouse.append("rules", _rule_table(ranked, at, method, spec, run_id))
    evaluate(warehouse, layer, head, grid=spec.grid, bos_keys=spec.bos_keys, run_id=run_id)
    return n_rules


def evaluate(
    warehouse: Warehouse, layer: int, head: int, *, grid: list[int], bos_keys: bool, run_id: int
) -> None:
    """Judge every stored list of rules of the features in `mined_features` on their examples."""
    predict(warehouse, layer, head, grid=grid, bos_keys=bos_keys, run_id=run_id)
    warehouse.execute(step("insert_metrics"), {"layer": layer, "head": head})


def predict(
    warehouse: Warehouse, layer: int, head: int, *, grid: list[int], bos_keys: bool, run_id: int
) -> None:
    """Store what `rule_predictions` is spread over, for every n in `grid` at once."""
    at: dict[str, object] = {"layer": layer, "head": head}
    warehouse.execute(step("insert_evaluations"), {**at, "grid": grid, "run_id": run_id})
    for scaling in SCALINGS:
        scaled = {**at, "scaling": scaling}
        if not warehouse.rows(step("any_rules"), scaled):
            continue
        warehouse.execute(step("make_scaled_activations"), scaled)
        warehouse.execute(step("make_query_side"), at)
        warehouse.execute(step("make_key_side"), {**scaled, "bos_keys": bos_keys})
        warehouse.execute(step("insert_rule_scores"), {**scaled, "grid": grid})


def _ranked_rules(scores: HeadScores, features: Ints, method: str, spec: SkipgramSpec) -> RankedRules:
    if method == "unigram":
        return unigram_rules(
            scores,
            features,
            num_values=spec.num_values,
            max_rules=spec.max_rules,
            negative_values=spec.negative_values,
        )
    return magnitude_rules(
        scores,
        features,
        num_values=spec.num_values,
        num_queries=spec.num_queries,
        max_rules=spec.max_rules,
        negative_values=spec.negative_values,
    )


def _rule_table(
    ranked: RankedRules, at: dict[str, object], method: str, spec: SkipgramSpec, run_id: int
) -> pa.Table:
    import pyarrow as pa

    n = len(ranked.feature)
    columns: dict[str, object] = {
        "layer": np.full(n, at["layer"]),
        "head": np.full(n, at["head"]),
        "feature": ranked.feature,
        "method": pa.array([method]).take(pa.array(np.zeros(n, np.int64))),
        "scaling": pa.array([spec.scaling]).take(pa.array(np.zeros(n, np.int64))),
        "rank": ranked.rank,
        "key_feature": ranked.key_feature,
        "value_score": ranked.value_score,
        "score": ranked.score,
        "run_id": np.full(n, run_id),
    }
    if ranked.query_feature is not None:
        columns["query_feature"] = ranked.query_feature
        columns["attn_score"] = ranked.attn_score
    return pa.table(columns)


def _nothing_eligible(spec: SkipgramSpec, n_sequences: int, result: SkipgramResult) -> str:
    if result.ineligible:
        more = f" (and {len(result.ineligible) - 1} more)" if len(result.ineligible) > 1 else ""
        return f"no feature is eligible: {result.ineligible[0]}{more}"
    rare = sum(head.n_rare for head in result.heads)
    common = sum(head.n_common for head in result.heads)
    return (
        f"no feature is eligible: of {n_sequences} sequences, {rare} features fire in too few and"
        f" {common} in too many for {spec.n_per_label} examples of each label; ingest more sequences or"
        " use a smaller --examples-per-split"
    )
