"""Mining and judging a whole head of GPT-2 small's size against a straightforward reading of the definitions.

python -m benchmarks.whole_head --method weighted
python -m benchmarks.whole_head --method mined --no-baselines
python -m benchmarks.whole_head --method importance --no-judging --mined-features 100
python -m benchmarks.whole_head --layer-wide 12 --features 24576 --mined-features 100

Generates the warehouse (24,576 input features of which 20 are active at a token, 6 of the output features,
10 stored sources a position), mines all features and judges their lists on the sets `paper` and
`all_positions` under DuckDB's `--memory-limit`. The loops of `benchmarks.loops` do the ranking of a few
features, or count a few pairs; their time is scaled up. Their numbers must be those of the product.

With `--layer-wide` so many heads are read by one SAE over their layer (24,576 features and 12 heads are the
shape of `gpt2-small-hook-z-kk`); the loops, which know one head, are left out. What a feature costs is to be
compared with the same run without it.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.warehouse import Warehouse
from benchmarks.loops import N_KEYS, ImportanceLoop, MinedLoop, WeightedLoop
from benchmarks.synthetic import whole_head


def rows_joined(warehouse: Warehouse) -> int:
    """Count the rows (active output feature, source, input feature active there) of the train positions."""
    return int(
        warehouse.value(
            "WITH inputs AS (SELECT seq_id, pos, count(*) AS n FROM input_activations GROUP BY ALL),"
            " outputs AS"
            " (SELECT seq_id, pos, count(*) AS n FROM output_activations WHERE pos > 0 GROUP BY ALL)"
            " SELECT sum(o.n * i.n) FROM outputs AS o"
            " JOIN attention_sources AS a ON o.seq_id = a.seq_id AND o.pos = a.query_pos"
            " JOIN inputs AS i ON a.seq_id = i.seq_id AND a.key_pos = i.pos"
            " WHERE a.key_pos > 0 AND sequence_split(0, a.seq_id) = 'train'"
        )
    )


def generate(path: Path, n_sequences: int, n_output: int, n_heads: int | None) -> None:
    """Write the warehouse in another process, so that its memory is not counted."""
    process = get_context("spawn").Process(
        target=whole_head,
        args=(path,),
        kwargs={"n_sequences": n_sequences, "n_output": n_output, "n_heads": n_heads},
    )
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"could not write {path}")


def main() -> None:
    """Run the benchmark and print times, equality, ratio and peak memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--sequences", type=int, default=50_000)
    parser.add_argument("--method", default="weighted")
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--no-judging", action="store_true", help="draw examples and rank only")
    parser.add_argument("--mined-features", type=int, default=0, help="mine so many only, all for 0")
    parser.add_argument("--layer-wide", type=int, metavar="HEADS", help="heads that one SAE reads")
    parser.add_argument("--baseline-features", type=int, default=4)
    parser.add_argument("--memory-limit", default="5GB", help="of DuckDB")
    parser.add_argument("--warehouse", type=Path, help="reuse this file, or make it and keep it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.warehouse or Path(folder) / "head.duckdb"
        if not path.exists():
            generate(path, options.sequences, options.features, options.layer_wide)
        with Warehouse.open(path, writable=True) as warehouse:
            run(warehouse, options)


def run(warehouse: Warehouse, options: Any) -> None:
    """Mine, judge and compare."""
    warehouse.limit_memory(options.memory_limit)
    sizes = {
        t: warehouse.value(f"SELECT count(*) FROM {t}") for t in ("input_activations", "attention_sources")
    }
    print(", ".join(f"{n / 1e6:.1f} M {table}" for table, n in sizes.items()), flush=True)
    spec = SkipgramSpec(
        method=options.method,
        n_features=options.mined_features or None,
        baselines=not options.no_baselines,
        example_sets=() if options.no_judging else SkipgramSpec.example_sets,
    )
    started, began = time.perf_counter(), time.process_time()
    result = mine_skipgrams(warehouse, spec).heads[0]
    product, processor = time.perf_counter() - started, time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    n_judged = warehouse.value("SELECT count(*) FROM rule_metrics")
    print(
        f"product: {product:.0f} s, peak memory {peak:.1f} GB: {result.n_features} features,"
        f" {result.n_rules} rules, {n_judged} rows of metrics,"
        f" {rows_joined(warehouse) / 1e6:.0f} M rows joined to rank the keys of all features;"
        f" {product / max(1, result.n_features):.2f} s a feature,"
        f" {processor / max(1, result.n_features):.2f} s of processor time",
        flush=True,
    )
    if options.layer_wide is not None:
        return
    loops = {"weighted": time_weighted, "mined": time_mined, "importance": time_importance}
    for method in spec.methods:
        if method in loops:
            features = warehouse.rows(
                "SELECT feature, count(*) FROM rules"
                " WHERE method = $method AND run_id = (SELECT max(run_id) FROM runs) GROUP BY 1 ORDER BY 1",
                {"method": method},
            )
            n = options.baseline_features
            scaled = loops[method](warehouse, features[:: max(1, len(features) // n)][:n], features)
            print(
                f"loop of {method}, scaled to {len(features)} features: {scaled:.0f} s,"
                f" {scaled / product:.1f} times the product's time",
                flush=True,
            )


Counts = list[tuple[int, int]]
"""Features with the number of their rules."""


def time_weighted(warehouse: Warehouse, some: Counts, features: Counts) -> float:
    """Rank the keys of some features and judge one list of each; compare; return the time for all."""
    loop = WeightedLoop(warehouse, [f for f, _ in some])
    started = time.perf_counter()
    expected = []
    for row in range(len(some)):
        ranked = loop.ranked(row)
        expected.append((ranked, loop.average_precision(row, [key for key, _ in ranked])))
    seconds = time.perf_counter() - started
    for (feature, _), (ranked, average_precision) in zip(some, expected, strict=True):
        at = {"feature": feature, "n": N_KEYS}
        scores = warehouse.rows(
            "SELECT score FROM rules WHERE method = 'weighted' AND feature = $feature AND rank <= $n"
            " ORDER BY rank",
            at,
        )
        np.testing.assert_allclose([s for (s,) in scores], [s for _, s in ranked], rtol=1e-6)
        found = warehouse.value(
            "SELECT average_precision FROM rule_metrics WHERE method = 'weighted' AND feature = $feature"
            " AND example_set = 'all_positions' AND split = 'test' AND n_rules = $n",
            at,
        )
        np.testing.assert_allclose(found, average_precision, rtol=1e-4)
    print(f"weighted: scores and average precisions of {len(some)} features equal, {seconds:.1f} s")
    return seconds * len(features) / len(some)


def time_mined(warehouse: Warehouse, some: Counts, features: Counts) -> float:
    """Count pairs of some features, those of every 64th rank; compare; return the time for all pairs."""
    seconds, n_counted = 0.0, 0
    for feature, _ in some:
        rules = warehouse.rows(
            "SELECT key_feature, query_feature, precision, recall, support_positions, support_sequences,"
            " contribution / value_score FROM rules"
            " WHERE method = 'mined' AND feature = $feature AND rank % 64 = 1 ORDER BY rank",
            {"feature": feature},
        )
        loop = MinedLoop(warehouse, feature, [(i, j) for i, j, *_ in rules])
        started = time.perf_counter()
        counts = [loop.counts(i, j) for i, j, *_ in rules]
        seconds += time.perf_counter() - started
        n_counted += len(rules)
        np.testing.assert_allclose([rule[2:] for rule in rules], counts, rtol=1e-6)
    print(f"mined: counts of {n_counted} pairs equal, {seconds:.1f} s")
    return seconds * sum(n for _, n in features) / n_counted


def time_importance(warehouse: Warehouse, some: Counts, features: Counts) -> float:
    """Take the gradient for some features; compare; return the time for all."""
    seconds = 0.0
    for feature, n_rules in some:
        loop = ImportanceLoop(warehouse, feature, num_values=100, num_queries=100)
        started = time.perf_counter()
        expected = loop.importance()
        seconds += time.perf_counter() - started
        rules = warehouse.rows(
            "SELECT key_feature, query_feature, score FROM rules"
            " WHERE method = 'importance' AND feature = $feature ORDER BY rank",
            {"feature": feature},
        )
        largest = max(map(abs, expected.values()))
        assert n_rules == min(4096, len(expected))
        for i, j, score in rules:
            assert abs(score - expected[i, j]) <= 1e-9 * largest, (feature, i, j)
    print(f"importance: scores of {len(some)} features equal, {seconds:.1f} s")
    return seconds * len(features) / len(some)


if __name__ == "__main__":
    main()
