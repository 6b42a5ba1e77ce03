"""Mining and judging a whole head of GPT-2 small's size against a straightforward reading of the definitions.

python -m benchmarks.whole_head --features 2048 --sequences 50000

Generates the warehouse (24,576 input features of which 20 are active at a token, 6 of the output features,
10 stored sources a position), mines all features and judges their lists on the sets `paper` and
`all_positions` under DuckDB's `--memory-limit`. The baseline ranks the keys of a few features token by token
(METHOD 3.5) and predicts position by position, on data that lie in Python dictionaries beforehand; its time
is scaled up to all features. Its scores and average precisions must be those of the product.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import defaultdict
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from attnrules.queries.scores import head_scores
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.warehouse import Warehouse
from benchmarks.synthetic import whole_head

_N_RULES = 64
_TRAIN = "sequence_split(0, seq_id) = 'train'"


class Baseline:
    """The facts that a few features need, in dictionaries, and the loops over them."""

    def __init__(self, warehouse: Warehouse, features: list[int]) -> None:
        self.values = head_scores(warehouse, 0, 0, "paper").value_scores(np.array(features))
        self.features = features
        chosen = {"features": features}
        of = "feature IN (SELECT unnest($features::UINTEGER[]))"
        held_out = defaultdict(set)
        for feature, seq in warehouse.rows(
            f"SELECT feature, seq_id FROM examples WHERE split <> 'train' AND {of}", chosen
        ):
            held_out[feature].add(seq)
        self.active: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self.truth: dict[int, set[tuple[int, int]]] = defaultdict(set)
        for feature, seq, pos, is_train in warehouse.rows(
            f"SELECT feature, seq_id, pos, {_TRAIN} FROM output_activations WHERE pos > 0 AND {of}", chosen
        ):
            self.truth[feature].add((seq, pos))
            if is_train and seq not in held_out[feature]:
                self.active[feature].append((seq, pos))
        self.judged = warehouse.rows(
            "SELECT t.seq_id, t.pos FROM tokens AS t WHERE t.pos > 0 AND t.seq_id IN"
            " (SELECT seq_id FROM tokens WHERE pos = 0 AND sequence_split(0, seq_id) = 'test'"
            " ORDER BY mix32(mix32(0) + seq_id), seq_id LIMIT 100)"
        )
        # The mean over all train positions is the same for every feature: taken from SQL, and not timed.
        self.everywhere = defaultdict(
            float,
            warehouse.rows(
                "SELECT i.feature, sum(s.weight * i.activation / t.ln_scale_from_features)"
                f" / (SELECT count(*) FROM tokens WHERE pos > 0 AND {_TRAIN})"
                " FROM (SELECT seq_id, key_pos, sum(weight_from_features) AS weight FROM attention_sources"
                f" WHERE query_pos > 0 AND key_pos > 0 AND {_TRAIN} GROUP BY seq_id, key_pos) AS s"
                " JOIN input_activations AS i ON s.seq_id = i.seq_id AND s.key_pos = i.pos"
                " JOIN token_scales AS t ON s.seq_id = t.seq_id AND s.key_pos = t.pos GROUP BY i.feature"
            ),
        )
        sequences = {seq for places in (*self.active.values(), self.judged) for seq, _ in places}
        where = "WHERE seq_id IN (SELECT unnest($sequences::UINTEGER[]))"
        wanted = {"sequences": sorted(sequences)}
        self.inputs: dict[tuple[int, int], list[tuple[int, float]]] = defaultdict(list)
        for seq, pos, feature, activation in warehouse.rows(
            "SELECT seq_id, pos, feature, activation / ln_scale_from_features FROM input_activations"
            f" JOIN token_scales USING (layer, seq_id, pos) {where}",
            wanted,
        ):
            self.inputs[seq, pos].append((feature, activation))
        self.sources: dict[tuple[int, int], list[tuple[int, float]]] = defaultdict(list)
        for seq, query, key, weight in warehouse.rows(
            "SELECT seq_id, query_pos, key_pos, weight_from_features FROM attention_sources"
            f" {where} AND key_pos > 0",
            wanted,
        ):
            self.sources[seq, query].append((key, weight))

    def received(self, place: tuple[int, int]) -> dict[int, float]:
        """G[q,i] of every input feature (METHOD 3.5)."""
        amount: dict[int, float] = defaultdict(float)
        for key, weight in self.sources[place]:
            for feature, activation in self.inputs[place[0], key]:
                amount[feature] += weight * activation
        return amount

    def ranked(self, row: int) -> list[tuple[int, float]]:
        """The first keys of a feature with their scores."""
        places = self.active[self.features[row]]
        when_active: dict[int, float] = defaultdict(float)
        for place in places:
            for feature, amount in self.received(place).items():
                when_active[feature] += amount / len(places)
        keys = {*when_active, *self.everywhere}
        scores = {i: float(self.values[row, i]) * (when_active[i] - self.everywhere[i]) for i in keys}
        return sorted(scores.items(), key=lambda item: -item[1])[:_N_RULES]

    def average_precision(self, row: int, keys: list[int]) -> float:
        """Of the first keys, over all positions of the test sequences that are judged."""
        truth, values = self.truth[self.features[row]], {i: float(self.values[row, i]) for i in keys}
        predicted = []
        for place in self.judged:
            amount = self.received(place)
            predicted.append((sum(v * amount[i] for i, v in values.items() if i in amount), place in truth))
        hits, n, total = 0, 0, 0.0
        predicted.sort(key=lambda item: -item[0])
        # Positions of equal prediction are taken together.
        for _, level in groupby(predicted, key=lambda item: item[0]):
            found = [is_active for _, is_active in level]
            hits, n = hits + sum(found), n + len(found)
            total += sum(found) * hits / n
        return total / hits


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


def generate(path: Path, n_sequences: int, n_output: int) -> None:
    """Write the warehouse in another process, so that its memory is not counted."""
    process = get_context("spawn").Process(
        target=whole_head, args=(path,), kwargs={"n_sequences": n_sequences, "n_output": n_output}
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
    parser.add_argument("--mined-features", type=int, default=0, help="mine so many only, all for 0")
    parser.add_argument("--baseline-features", type=int, default=4)
    parser.add_argument("--memory-limit", default="5GB", help="of DuckDB")
    parser.add_argument("--warehouse", type=Path, help="reuse this file, or make it and keep it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.warehouse or Path(folder) / "head.duckdb"
        if not path.exists():
            generate(path, options.sequences, options.features)
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
    )
    started = time.perf_counter()
    result = mine_skipgrams(warehouse, spec).heads[0]
    product = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    n_judged = warehouse.value("SELECT count(*) FROM rule_metrics")
    print(
        f"product: {product:.0f} s, peak memory {peak:.1f} GB: {result.n_features} features,"
        f" {result.n_rules} rules, {n_judged} rows of metrics,"
        f" {rows_joined(warehouse) / 1e6:.0f} M rows joined to rank the keys of all features",
        flush=True,
    )
    features = [
        f
        for (f,) in warehouse.rows("SELECT DISTINCT feature FROM rules WHERE method = 'weighted' ORDER BY 1")
    ]
    some = features[:: max(1, len(features) // options.baseline_features)][: options.baseline_features]
    baseline = Baseline(warehouse, some)
    expected = []
    started = time.perf_counter()
    for row in range(len(some)):
        ranked = baseline.ranked(row)
        expected.append((ranked, baseline.average_precision(row, [key for key, _ in ranked])))
    loop = time.perf_counter() - started
    print(f"baseline: {loop:.1f} s for {len(some)} features and one list of {_N_RULES}")
    for feature, (ranked, average_precision) in zip(some, expected, strict=True):
        at = {"feature": feature, "n": _N_RULES}
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
    scaled = loop * result.n_features / len(some)
    print(
        "scores and average precisions equal;"
        f" baseline scaled to {result.n_features} features: {scaled:.0f} s"
    )
    print(f"ratio baseline / product: {scaled / product:.1f}")


if __name__ == "__main__":
    main()
