"""Rule evaluation in SQL against a straightforward reading of the definitions, same data, same run.

python -m benchmarks.rule_evaluation --features 100 --rules 4096 --examples 200

The baseline goes example by example, n by n and rule by rule, as method.md section 5 reads. It is timed
on the first `--baseline-features` features, its time scaled up to all of them, and its predictions compared
with those of the product on these features.
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
import pyarrow as pa

from attnrules.queries.evaluation import evaluate, split_sequences
from attnrules.queries.skipgrams import SkipgramSpec
from attnrules.sql import Statements
from attnrules.warehouse import Warehouse

SEQ_LEN, N_INPUT_FEATURES, ACTIVE_PER_TOKEN, SIDE = 64, 4096, 20, 64
AT = {"layer": 0, "head": 0}


def synthesise(warehouse: Warehouse, n_features: int, n_rules: int, n_examples: int) -> None:
    """Write activations, examples and rules; keys and queries of a feature come from 64 features each."""
    rng = np.random.default_rng(0)
    n_seqs = 2 * n_examples
    n_tokens = n_seqs * SEQ_LEN
    tokens = np.repeat(np.arange(n_tokens), ACTIVE_PER_TOKEN)
    # Popular features, as in text: without them hardly any rule would match.
    feature = (N_INPUT_FEATURES * rng.random(len(tokens)) ** 2).astype(np.int32)
    unique = np.unique(np.stack([tokens, feature]), axis=1)
    seq, pos = np.divmod(unique[0], SEQ_LEN)
    warehouse.append(
        "input_activations",
        table(seq_id=seq, pos=pos, feature=unique[1], activation=rng.exponential(1, unique.shape[1])),
    )
    seq, pos = np.divmod(np.arange(n_tokens), SEQ_LEN)
    ones = np.ones(n_tokens)
    scales = {"ln_scale": ones, "ln_scale_from_features": ones, "reconstruction_error": ones}
    warehouse.append("token_scales", table(seq_id=seq, pos=pos, **scales))
    corpus = {"source": "synthetic", "split": "train", "text_column": "text", "seq_len": SEQ_LEN}
    corpus |= {"keep_long_documents": False, "min_attention": 0.01}
    warehouse.append("corpus", pa.Table.from_pylist([corpus]))
    for f in range(n_features):
        label = np.arange(n_examples) % 2
        examples = table(
            feature=np.full(n_examples, f),
            label=label,
            seq_id=rng.permutation(n_seqs)[:n_examples],
            pos=rng.integers(1, SEQ_LEN, n_examples),
            activation=label * rng.exponential(1, n_examples),
        )
        split = np.array(["train", "val", "test"])[np.arange(n_examples) // 2 % 3]
        columns = {"example_set": ["paper"] * n_examples, "split": split.tolist()}
        for name, column in columns.items():
            examples = examples.append_column(name, pa.array(column))
        warehouse.append("examples", examples)
        keys, queries = (rng.permutation(N_INPUT_FEATURES)[:SIDE] for _ in range(2))
        pairs = rng.permutation(SIDE * SIDE)[:n_rules]
        rules = table(
            head=np.zeros(len(pairs)),
            through_head=np.zeros(len(pairs)),
            feature=np.full(len(pairs), f),
            rank=np.arange(1, len(pairs) + 1),
            key_feature=keys[pairs // SIDE],
            query_feature=queries[pairs % SIDE],
            attn_score=rng.normal(size=len(pairs)),
            value_score=rng.normal(size=len(pairs)),
            score=np.zeros(len(pairs)),
            run_id=np.ones(len(pairs)),
        )
        for name, value in (("method", "magnitude"), ("scaling", "paper")):
            rules = rules.append_column(name, pa.array([value] * len(pairs)))
        warehouse.append("rules", rules)


def table(**columns: Any) -> pa.Table:
    """Return an Arrow table at layer 0, head 0."""
    n = len(next(iter(columns.values())))
    return pa.table({"layer": np.zeros(n), "head": np.zeros(n), **columns})


def baseline(
    warehouse: Warehouse, features: list[int], grid: list[int]
) -> tuple[dict[tuple[int, ...], float], float]:
    """Predict as the definitions read, every rule of the first n in turn; return the seconds too."""
    active: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
    for seq, pos, feature, activation in warehouse.rows(
        "SELECT seq_id, pos, feature, activation FROM input_activations"
    ):
        active[seq, pos][feature] = activation
    rules = defaultdict(list)
    for feature, *rule in warehouse.rows(
        "SELECT feature, key_feature, query_feature, attn_score, value_score FROM rules ORDER BY rank"
    ):
        rules[feature].append(rule)
    examples = warehouse.rows("SELECT feature, seq_id, pos FROM examples")
    started = time.perf_counter()
    predictions: dict[tuple[int, ...], float] = {}
    for feature, seq, q in examples:
        if feature not in features:
            continue
        for n in grid:
            scores = []
            for key, query, s, v in rules[feature][:n]:
                for k in range(1, q + 1):
                    if key in active[seq, k] and query in active[seq, q]:
                        a_k, a_q = active[seq, k][key], active[seq, q][query]
                        scores.append((a_q * a_k * s) * (a_k * v))
            predictions[feature, seq, q, n] = max(scores, default=0.0)
    seconds = time.perf_counter() - started
    print(f"baseline: {seconds:.2f} s for {len(features)} features")
    return predictions, seconds


def main() -> None:
    """Run the benchmark and print times, equality, ratio and peak memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--rules", type=int, default=4096)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--baseline-features", type=int, default=2)
    options = parser.parse_args()
    spec = SkipgramSpec(max_rules=options.rules, example_sets=("paper",), baselines=False)
    grid = spec.grid
    with (
        tempfile.TemporaryDirectory() as folder,
        Warehouse.create(Path(folder) / "benchmark.duckdb", d_head=8) as warehouse,
        warehouse.session(),
    ):
        synthesise(warehouse, options.features, options.rules, options.examples)
        everything = list(range(options.features))
        warehouse.execute(
            Statements("attnrules.queries", "skipgrams")("make_mined_features"),
            {**AT, "seed": 0, "features": everything},
        )
        split_sequences(warehouse, 0, n_held_out=1)
        started = time.perf_counter()
        evaluate(warehouse, 0, 0, spec.judge(), run_id=1)
        product = time.perf_counter() - started
        n_predictions = warehouse.value("SELECT count(prediction) FROM rule_predictions")
        print(
            f"product: {product:.2f} s for {n_predictions} predictions of {options.features} features,"
            " their metrics and intervals"
        )
        some = everything[: options.baseline_features]
        expected, loop = baseline(warehouse, some, grid)
        found = {
            row[:4]: row[4]
            for row in warehouse.rows(
                "SELECT feature, seq_id, pos, n_rules, prediction FROM rule_predictions"
            )
            if row[0] in some
        }
        assert found.keys() == expected.keys()
        keys = list(expected)
        np.testing.assert_allclose([found[k] for k in keys], [expected[k] for k in keys], rtol=1e-12)
        print(f"predictions equal: {len(keys)}, of which {sum(v != 0 for v in expected.values())} are not 0")
    scaled = loop * options.features / len(some)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"baseline scaled to {options.features} features: {scaled:.1f} s; peak memory {peak:.1f} GB")
    print(f"ratio baseline / product: {scaled / product:.0f}")


if __name__ == "__main__":
    main()
