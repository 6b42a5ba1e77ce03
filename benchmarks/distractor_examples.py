"""Distractor examples of a whole head in one statement, against a straightforward loop over the same data.

python -m benchmarks.distractor_examples --features 2048 --sequences 50000 --baseline-features 20

The data are of GPT-2 small's size: 24,576 input features of which about 20 are active at a token, their
frequencies log-normal (the median on 1 token in 4,400, the commonest on 1 in 8). Keys, queries and
distractors are drawn with the square root of their frequency.

Two baselines, both timed on `--baseline-features` features and scaled up, on data that lie in Python
dictionaries beforehand: the loop that reads method.md section 6.2 (feature by feature, sequence by
sequence, position by position), and the same loop over an index of positions by feature and sequence, where
making the index is timed too. Examples, positions and activations must be the same.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from attnrules.sql import Statements
from attnrules.warehouse import Warehouse
from benchmarks.synthetic import N_INPUT, SEQ_LEN, append_activations

COLUMNS = (
    *("feature", "seq_id", "key_pos", "query_pos", "distractor_pos", "key_activation", "query_activation"),
    *("distractor_activation", "activation"),
)


def read(warehouse: Warehouse, table: str, features: list[int]) -> list[tuple[int, int, int, float]]:
    """Return (feature, sequence, position, activation) of these features, BOS left out."""
    return warehouse.rows(
        f"SELECT feature, seq_id, pos, activation FROM {table} WHERE pos > 0"
        " AND feature IN (SELECT unnest($features::INTEGER[])) ORDER BY feature, seq_id, pos",
        {"features": features},
    )


def by_position(rows: list[tuple[int, int, int, float]]) -> dict[tuple[int, int], dict[int, float]]:
    """Return (sequence, position) -> feature -> activation: the data as a model yields them."""
    active: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
    for feature, seq, pos, activation in rows:
        active[seq, pos][feature] = activation
    return dict(active)


def by_feature(rows: list[tuple[int, int, int, float]]) -> dict[int, dict[int, dict[int, float]]]:
    """Return feature -> sequence -> position -> activation."""
    active: dict[int, dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for feature, seq, pos, activation in rows:
        active[feature][seq][pos] = activation
    return active


def loop(
    cases: list[tuple[int, int, int, int]], n_sequences: int, inputs: Any, outputs: Any
) -> list[tuple[Any, ...]]:
    """Read method.md section 6.2 feature by feature, sequence by sequence, position by position."""
    found = []
    nothing: dict[int, float] = {}
    for feature, i, j, i2 in cases:
        for seq in range(n_sequences):
            active = [inputs.get((seq, pos), nothing) for pos in range(SEQ_LEN)]
            p1 = next((pos for pos in range(SEQ_LEN) if i in active[pos]), None)
            if p1 is None:
                continue
            q = next((pos for pos in range(p1, SEQ_LEN) if j in active[pos]), None)
            if q is None:
                continue
            p2 = next((pos for pos in range(q + 1) if i2 in active[pos] and pos != p1), None)
            between = None if p2 is None else active[p2][i2]
            y = outputs.get((seq, q), nothing).get(feature, 0.0)
            found.append((feature, seq, p1, q, p2, active[p1][i], active[q][j], between, y))
    return found


def indexed_loop(cases: list[tuple[int, int, int, int]], inputs: Any, outputs: Any) -> list[tuple[Any, ...]]:
    """Do the same from an index: only sequences that hold key and query, only their positions."""
    found = []
    for feature, i, j, i2 in cases:
        keys, queries, others, output = inputs[i], inputs[j], inputs[i2], outputs[feature]
        for seq in keys.keys() & queries.keys():
            p1 = next(iter(keys[seq]))
            q = next((pos for pos in queries[seq] if pos >= p1), None)
            if q is None:
                continue
            p2 = next((pos for pos in others.get(seq, ()) if pos <= q and pos != p1), None)
            between = None if p2 is None else others[seq][p2]
            y = output.get(seq, {}).get(q, 0.0)
            found.append((feature, seq, p1, q, p2, keys[seq][p1], queries[seq][q], between, y))
    return found


def main() -> None:
    """Run the benchmark and print times, equality, ratio and peak memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--sequences", type=int, default=50_000)
    parser.add_argument("--baseline-features", type=int, default=20)
    parser.add_argument("--max-examples", type=int, default=200)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    with (
        tempfile.TemporaryDirectory() as folder,
        Warehouse.create(Path(folder) / "benchmark.duckdb", d_head=64) as warehouse,
        warehouse.session(),
    ):
        drawn = np.random.default_rng(0)
        frequency = (
            append_activations(warehouse, options.sequences, n_output=options.features, rng=drawn) ** 0.5
        )
        n = warehouse.value("SELECT count(*) FROM input_activations")
        print(f"{n / 1e6:.1f} M input activations of {options.sequences} sequences of {SEQ_LEN} tokens")
        cases = [
            (feature, *rng.choice(N_INPUT, 3, replace=False, p=frequency / frequency.sum()).tolist())
            for feature in range(options.features)
        ]

        def run(chosen: list[tuple[int, int, int, int]], max_examples: int) -> float:
            features, keys, queries, distractors = (list(column) for column in zip(*chosen, strict=True))
            started = time.perf_counter()
            warehouse.execute(
                Statements("attnrules.queries", "absence")("make_found_examples"),
                {
                    **{"layer": 0, "head": 0, "bos_keys": False, "seed": 0, "max_examples": max_examples},
                    **{"features": features, "pairs": [1] * len(features)},
                    **{"keys": keys, "queries": queries, "distractors": distractors},
                },
            )
            return time.perf_counter() - started

        statement_s = run(cases, options.max_examples)
        counts = "SELECT sum(n) FROM (SELECT DISTINCT feature, kind, n_of_kind AS n FROM found_examples)"
        print(
            f"statement: {statement_s:.2f} s for {options.features} features,"
            f" {warehouse.value(counts)} examples counted,"
            f" {warehouse.value('SELECT count(*) FROM found_examples')} kept"
        )
        some = cases[:: max(1, len(cases) // options.baseline_features)][: options.baseline_features]
        inputs = read(warehouse, "input_activations", sorted({i for case in some for i in case[1:]}))
        outputs = read(warehouse, "output_activations", [case[0] for case in some])
        positions = by_position(inputs), by_position(outputs)
        started = time.perf_counter()
        expected = loop(some, options.sequences, *positions)
        loop_s = time.perf_counter() - started
        print(f"loop: {loop_s:.2f} s for {len(some)} features")
        started = time.perf_counter()
        indexed = indexed_loop(some, by_feature(inputs), by_feature(outputs))
        indexed_s = time.perf_counter() - started
        print(f"indexed loop: {indexed_s:.2f} s for {len(some)} features")
        some_s = run(some, options.sequences)
        found = warehouse.rows(f"SELECT {', '.join(COLUMNS)} FROM found_examples ORDER BY feature, seq_id")
        for rows in (expected, indexed):
            assert found == sorted(rows, key=lambda row: row[:2])
        print(f"examples equal: {len(found)} of {len(some)} features (statement: {some_s:.2f} s for these)")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory {peak:.1f} GB")
    for name, seconds in (("loop", loop_s), ("indexed loop", indexed_s)):
        scaled = seconds * options.features / len(some)
        print(f"{name} scaled to {options.features} features: {scaled:.0f} s;", end=" ")
        print(f"ratio {name} / statement: {scaled / statement_s:.1f}")


if __name__ == "__main__":
    main()
