"""The worked example of docs/method.md: its numbers by plain arithmetic, in the page, and by the product.

The page holds them in blocks marked `numbers`, one `name = value` a line. `by_hand` computes them as the page's
formulas read; `by_the_product` runs the statements and functions that mining runs, on a warehouse of the example.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from attnrules.ingest.output_effects import token_effects
from attnrules.queries.absence import find_distractors
from attnrules.queries.arrays import mix32
from attnrules.queries.counting import information
from attnrules.queries.evaluation import Judge, evaluate, split_sequences
from attnrules.queries.heads import FeatureId, head_scores
from attnrules.queries.skipgrams.finding import Batch, RankedRules
from attnrules.queries.skipgrams.importance import closed_form_importance
from attnrules.queries.skipgrams.pair_counts import mined_rules
from attnrules.queries.skipgrams.weighted import (
    gated_rules,
    grouped_rules,
    key_means,
    paired_rules,
    weighted_rules,
)
from attnrules.queries.skipgrams.weights import magnitude_rules, unigram_rules
from attnrules.queries.stated import parse, read_rule
from attnrules.sql import Statements
from attnrules.warehouse import Warehouse

PAGE = Path(__file__).parent.parent / "docs" / "method.md"
finding = Statements("attnrules.queries", "skipgrams")

MONTREAL, SPEAKS = 0, 1
KEYS = np.array([[2.0, 0.0], [0.0, 1.0]])
QUERIES = np.array([[0.0, 1.0], [1.0, 1.0]])
VALUES = np.array([[1.0, 1.0], [-1.0, 0.0]])
ENCODER = np.array([1.0, 0.5])
BIAS_Q, BIAS_K, ATTN_SCALE = np.array([0.0, 1.0]), np.array([0.0, 0.0]), 2.0
PREACTIVATION_BIAS = -0.25
# Activation of an input feature wherever it is active, and the layer norm's scale there.
STRENGTH, SCALE = (2.0, 1.0), (2.0, 1.0)
# The input feature active at positions 1 and 2 of a sequence, and the activations of f at position 2.
SEQUENCES = ((MONTREAL, SPEAKS), (SPEAKS, MONTREAL), (None, SPEAKS), (MONTREAL, None)) * 2
ACTIVE = (0.75, 0.0, 0.0, 0.5, 1.0, 0.25, 0.0, 0.0)
N_TRAIN = 4
POSITIONS = [(seq, q) for seq in range(N_TRAIN) for q in (1, 2)]
Z = 1.959963984540054


def attention(seq: int, q: int, *, by_model: bool = False) -> list[float]:
    """The attention to positions 0 to q."""
    if q < 2:
        return [1.0] if q == 0 else [0.5, 0.5]
    if SEQUENCES[seq] != (MONTREAL, SPEAKS):
        return [0.5, 0.25, 0.25]
    if by_model:
        return [0.125, 0.75, 0.125]
    logits = np.exp([0.0, np.log(2), 0.0])
    return (logits / logits.sum()).tolist()


def feature_at(seq: int, pos: int) -> int | None:
    return SEQUENCES[seq][pos - 1] if pos else None


def received(seq: int, q: int, i: int) -> float:
    """G[q,i]."""
    weights = attention(seq, q)
    return sum(weights[k] * STRENGTH[i] / SCALE[i] for k in range(1, q + 1) if feature_at(seq, k) == i)


def by_hand() -> dict[str, float]:
    v = VALUES @ ENCODER
    s = KEYS @ QUERIES.T
    numbers = {
        "V(f,Montreal)": v[0],
        "V(f,speaks)": v[1],
        **{f"S({a},{b})": s[i, j] for (i, a), (j, b) in itertools.product(enumerate(NAMES), repeat=2)},
        "S(Montreal,speaks), model": (KEYS[0] + BIAS_K) @ (QUERIES[1] + BIAS_Q) / ATTN_SCALE,
        "Ahat[2,1], sequence 1": attention(0, 2)[1],
        "G[2,Montreal], sequence 1": received(0, 2, 0),
        "G[2,speaks], sequence 1": received(0, 2, 1),
    }
    # A key (x, y) turned back by 90 degrees is (y, -x).
    turned = np.stack([KEYS[:, 1], -KEYS[:, 0]], axis=1) @ QUERIES.T
    for (i, a), (j, b) in itertools.product(enumerate(NAMES), repeat=2):
        numbers[f"S_1({a},{b})"] = turned[i, j]
        numbers[f"magnitude({a},{b})"] = np.exp(s[i, j] + 1e-10) * v[i]
    numbers |= hand_importance(s, v) | hand_mined() | hand_weighted(v) | hand_predictions(v)
    numbers["c[2,1]"] = 0.75 * v[0] * STRENGTH[0] / SCALE[0]
    numbers["c[2,2]"] = 0.125 * v[1] * STRENGTH[1] / SCALE[1]
    numbers["pre-activation"] = numbers["c[2,1]"] + numbers["c[2,2]"] + PREACTIVATION_BIAS
    parts = numbers["c[2,1]"], numbers["c[2,2]"], PREACTIVATION_BIAS, 0.0
    names = ("rules", "keys without a rule", "biases", "rest")
    numbers |= {f"{name}, sequence 1": part for name, part in zip(names, parts, strict=True)}
    numbers["rank of Montreal"], numbers["rank of speaks"] = 0.0, 1.0
    return numbers | hand_information() | hand_effects() | hand_reading()


DECODER_ROW, W_O = np.array([0.5, 0.25]), np.array([[2.0, 0.0], [0.0, 4.0]])
# Of the tokens Montreal, speaks, English and French.
W_U = np.array([[-1.0, 0.0, 2.0, 1.0], [1.0, -2.0, 1.0, 1.0]])
TOKENS = ("Montreal", "speaks", "English", "French")


def hand_effects() -> dict[str, float]:
    effects = DECODER_ROW @ W_O @ W_U
    effects = effects - effects.mean()
    kurtosis = (effects**4).mean() / (effects**2).mean() ** 2
    return {f"L(f,{token})": effects[t] for t, token in enumerate(TOKENS)} | {"kurtosis": kurtosis}


NAMES = ("Montreal", "speaks")


def hand_importance(s: np.ndarray, v: np.ndarray) -> dict[str, float]:
    """Sequence 1 alone: the query is speaks, the keys are Montreal at 1 and speaks at 2."""
    logits = np.array([0, 2 * s[0, 1], 1 * s[1, 1]])
    p = np.exp(logits) / np.exp(logits).sum()
    u = np.array([0, 2 * v[0], 1 * v[1]])
    mean = p @ u
    return {
        "p[1]": p[1],
        "pred, linearised": mean,
        "importance(Montreal,speaks)": s[0, 1] * p[1] * (u[1] - mean) * 2,
        "importance(speaks,speaks)": s[1, 1] * p[2] * (u[2] - mean) * 1,
    }


def hand_mined() -> dict[str, float]:
    matches = [
        seq
        for seq, q in POSITIONS
        if feature_at(seq, q) == SPEAKS and MONTREAL in [feature_at(seq, k) for k in range(1, q + 1)]
    ]
    n, hits = len(matches), sum(ACTIVE[seq] > 0 for seq in matches)
    p = hits / n
    spread = np.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return {"mined(Montreal,speaks)": (p + Z * Z / (2 * n) - Z * spread) / (1 + Z * Z / n)}


def hand_weighted(v: np.ndarray) -> dict[str, float]:
    active = [(seq, q) for seq, q in POSITIONS if q == 2 and ACTIVE[seq] > 0]
    numbers = {}
    for i, name in enumerate(NAMES):
        when_active = np.mean([received(seq, q, i) for seq, q in active])
        everywhere = np.mean([received(seq, q, i) for seq, q in POSITIONS])
        numbers[f"mean G of {name} where f is active"] = when_active
        numbers[f"mean G of {name} everywhere"] = everywhere
        numbers[f"weighted({name})"] = v[i] * (when_active - everywhere)

    def with_query(places: list[tuple[int, int]]) -> float:
        return float(np.mean([received(s, q, 0) if feature_at(s, q) == SPEAKS else 0.0 for s, q in places]))

    norms = np.linalg.norm(VALUES, axis=1)
    added = numbers["weighted(Montreal)"]
    open_share = np.mean([feature_at(seq, q) == SPEAKS for seq, q in POSITIONS])
    more = v[0] * (with_query(active) - with_query(POSITIONS))
    return numbers | {
        "weighted_pairs(Montreal,speaks)": more,
        "cosine of the two keys": VALUES[0] @ VALUES[1] / norms.prod(),
        "held by speaks": more / added,
        "open because of speaks": open_share,
    }


def hand_predictions(v: np.ndarray) -> dict[str, float]:
    prediction = np.array([sum(v[i] * received(seq, 2, i) for i in (0, 1)) for seq in range(len(SEQUENCES))])
    truth = np.array(ACTIVE)
    numbers = {f"pred, sequence {seq + 1}": prediction[seq] for seq in range(N_TRAIN)}
    x, y = prediction[:N_TRAIN], truth[:N_TRAIN]
    tried = {t: 2 * ((y > 0) & (x >= t)).sum() / ((x >= t).sum() + (y > 0).sum()) for t in x}
    best = max(tried, key=lambda t: (tried[t], t))
    threshold = (best + max(x[x < best])) / 2
    slope, intercept = np.polyfit(x, y, 1)
    x, y = prediction[N_TRAIN:], truth[N_TRAIN:]
    numbers |= {"threshold": threshold, "slope": slope, "intercept": intercept}
    for name, least in (("", 0.0), (" at the threshold", threshold)):
        precision = ((x > least) & (y > 0)).sum() / (x > least).sum()
        recall = ((x > least) & (y > 0)).sum() / (y > 0).sum()
        numbers["precision" + name], numbers["recall" + name] = precision, recall
        numbers["F1" + name] = 2 * precision * recall / (precision + recall)
    numbers["average precision"] = np.mean([(y[x >= t] > 0).mean() for t in x[y > 0]])
    ranks = [
        [(column > value).sum() + ((column == value).sum() + 1) / 2 for value in column] for column in (x, y)
    ]
    numbers["Spearman"] = np.corrcoef(ranks)[0, 1]
    numbers["R2"] = 1 - ((intercept + slope * x - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    numbers["F1 of always active"] = 2 * (y > 0).sum() / ((y > 0).sum() + len(y))
    numbers["ceiling_from_features, sequence 5"] = prediction[4] + PREACTIVATION_BIAS
    numbers["current_token, sequence 5"] = (ACTIVE[0] + 0 + 0) / 3
    return numbers


def hand_reading() -> dict[str, float]:
    places = [(seq, q) for seq in range(N_TRAIN, len(SEQUENCES)) for q in (1, 2)]
    active = {(seq, q) for seq, q in places if q == 2 and ACTIVE[seq] > 0}
    holds = {(seq, q) for seq, q in places if q == 2 and SEQUENCES[seq] == (MONTREAL, SPEAKS)}
    hits = len(holds & active)
    precision = hits / len(holds)
    return {
        "precision of Montreal before speaks": precision,
        "recall of Montreal before speaks": hits / len(active),
        "lift of Montreal before speaks": precision / (len(active) / len(places)),
    }


def hand_information() -> dict[str, float]:
    cells = np.array([[2, 1], [0, 1]]) / 4
    expected = cells.sum(axis=1, keepdims=True) * cells.sum(axis=0, keepdims=True)
    some = cells > 0
    return {"information": float((cells[some] * np.log2(cells[some] / expected[some])).sum())}


def test_the_page_holds_the_numbers_of_the_worked_example() -> None:
    blocks = re.findall(r"^```numbers\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    shown: dict[str, str] = {}
    for line in "".join(blocks).splitlines():
        name, value = line.rsplit(" = ", 1)
        assert name not in shown, name
        shown[name] = value
    computed = by_hand()
    assert list(shown) == [name for name in shown if name in computed], set(shown) - set(computed)
    assert set(computed) == set(shown)
    for name, value in shown.items():
        places = len(value.partition(".")[2])
        assert f"{computed[name]:.{places}f}".replace("-0.000", "0.000") == value, (name, computed[name])


# --- by the product --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seed() -> int:
    """A seed under which sequences 1 to 4 are for learning and the others for testing."""

    def in_test(seed: int) -> list[bool]:
        mixed = mix32(mix32(np.array(seed)) + 1013904242)
        return (mix32(mixed + np.arange(len(SEQUENCES))) % 3 == 0).tolist()

    wanted = [False] * N_TRAIN + [True] * (len(SEQUENCES) - N_TRAIN)
    return next(seed for seed in itertools.count() if in_test(seed) == wanted)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """A warehouse of the worked example, open for writing in one session."""
    warehouse = Warehouse.create(tmp_path_factory.mktemp("method") / "method.duckdb", d_head=2)
    with warehouse.transaction():
        for table, rows in facts().items():
            warehouse.append(table, pa.Table.from_pylist(rows))
    warehouse.refresh_derived()
    with warehouse.session():
        yield warehouse
    warehouse.close()


def facts() -> dict[str, list[dict[str, Any]]]:
    at = {"layer": 0, "head": 0}
    places = [{"seq_id": seq, "pos": pos} for seq in range(len(SEQUENCES)) for pos in range(3)]
    zero = [0.0, 0.0]
    scales = []
    for place in places:
        feature = feature_at(place["seq_id"], place["pos"])
        scale = 1.0 if feature is None else SCALE[feature]
        scales.append(
            {
                "layer": 0,
                **place,
                "ln_scale": scale,
                "ln_scale_from_features": scale,
                "reconstruction_error": 0.0,
            }
        )
    counts = ("tokens", "input_activations", "output_activations", "attention_sources", "token_scales")
    return {
        "corpus": [
            {
                "source": "method",
                "split": "train",
                "text_column": "text",
                "seq_len": 3,
                "keep_long_documents": False,
                "min_attention": 0.0,
            }
        ],
        "saes": [
            {
                "role": "input",
                "layer": 0,
                "source": "example",
                "hook_name": "blocks.0.hook_resid_pre",
                "d_in": 2,
                "d_sae": 2,
                "architecture": "relu",
                "sha256": "",
            }
        ],
        "chunks": [
            {
                "chunk_id": 0,
                "first_seq": 0,
                "n_seqs": len(SEQUENCES),
                "state": "done",
                **dict.fromkeys(counts, 0),
                "heads": ["L0H0"],
                "run_id": 1,
            }
        ],
        "vocabulary": [
            {"token_id": i, "token": token}
            for i, token in enumerate((" Montreal", " speaks", " the", "<bos>"))
        ],
        "tokens": [
            {
                **p,
                "token_id": 3
                if not p["pos"]
                else (2 if (i := feature_at(p["seq_id"], p["pos"])) is None else i),
            }
            for p in places
        ],
        "token_scales": scales,
        "input_activations": [
            {"layer": 0, **p, "feature": i, "activation": STRENGTH[i]}
            for p in places
            if (i := feature_at(p["seq_id"], p["pos"])) is not None
        ],
        "output_activations": [
            {**at, "seq_id": seq, "pos": 2, "feature": 0, "activation": y}
            for seq, y in enumerate(ACTIVE)
            if y
        ],
        "attention_sources": [
            {
                **at,
                "seq_id": p["seq_id"],
                "query_pos": p["pos"],
                "key_pos": k,
                "weight": attention(p["seq_id"], p["pos"], by_model=True)[k],
                "weight_from_features": attention(p["seq_id"], p["pos"])[k],
            }
            for p in places
            for k in range(p["pos"] + 1)
        ],
        "heads": [
            {
                **at,
                "attn_scale": ATTN_SCALE,
                "b_Q": BIAS_Q.tolist(),
                "b_K": BIAS_K.tolist(),
                "b_V": zero,
                "decoder_bias_query": zero,
                "decoder_bias_key": zero,
                "decoder_bias_value": zero,
            }
        ],
        "projections": [
            {
                **at,
                "feature": i,
                "key_vector": KEYS[i].tolist(),
                "query_vector": QUERIES[i].tolist(),
                "value_vector": VALUES[i].tolist(),
            }
            for i in (0, 1)
        ],
        "input_features": [{"layer": 0, "feature": i, "n_sequences": 0, "n_tokens": 0} for i in (0, 1)],
        "output_features": [
            {
                **at,
                "feature": 0,
                "n_sequences": 0,
                "n_tokens": 0,
                "encoder": ENCODER.tolist(),
                "bias": PREACTIVATION_BIAS,
                "preactivation_bias": PREACTIVATION_BIAS,
            }
        ],
        "feature_heads": [
            {**at, "feature": 0, "through_head": 0, "encoder": ENCODER.tolist(), "weight_share": 1.0}
        ],
        "examples": [
            {
                **at,
                "feature": 0,
                "example_set": "paper",
                "split": "train" if seq < N_TRAIN else "test",
                "label": int(y > 0),
                "seq_id": seq,
                "pos": 2,
                "activation": y,
            }
            for seq, y in enumerate(ACTIVE)
        ],
    }


@pytest.fixture(scope="module")
def batch(example: Warehouse, seed: int) -> Batch:
    features = np.array([0])
    batch = Batch(0, 0, features, head_scores(example, 0, 0, "paper"), bos_keys=False, seed=seed)
    example.execute(finding("make_mined_features"), {**batch.at, "seed": seed, "features": [0]})
    split_sequences(example, seed, n_held_out=1)
    example.execute(finding("make_train_active"), batch.at)
    return batch


def assert_by_hand(**found: float) -> None:
    """Compare with `by_hand`; the names of the numbers are the keywords."""
    expected = by_hand()
    assert found == pytest.approx({name: expected[name] for name in found}, abs=1e-6)


def scores_of(name: str, rules: RankedRules) -> dict[str, float]:
    """Return the scores of rules by the names that the page gives them."""
    queries = itertools.repeat(-1) if rules.query_feature is None else rules.query_feature.tolist()
    found = {}
    for i, j, score in zip(rules.key_feature.tolist(), queries, rules.score.tolist(), strict=False):
        found[f"{name}({NAMES[i]}{',' + NAMES[j] if j >= 0 else ''})"] = score
    return found


def test_scores_from_the_weights(example: Warehouse, batch: Batch) -> None:
    found = {
        f"V(f,{name})": example.value(f"SELECT value_score(0, 0, 0, {i})") for i, name in enumerate(NAMES)
    }
    for (i, a), (j, b) in itertools.product(enumerate(NAMES), repeat=2):
        found[f"S({a},{b})"] = example.value(f"SELECT attn_score(0, 0, {i}, {j})")
    model = head_scores(example, 0, 0, "model")
    found["S(Montreal,speaks), model"] = float(model.keys[0] @ model.queries[1])
    assert_by_hand(**found)
    by_v = unigram_rules(batch.scores, batch.features, num_values=2, max_rules=4, negative_values=False)
    assert by_v.key_feature.tolist() == [MONTREAL, SPEAKS]
    assert by_v.score.tolist() == [1.5, -1.0]


def test_scores_at_a_distance(example: Warehouse) -> None:
    quarter = {
        "layer": [0],
        "head": [0],
        "frequencies": [[np.pi / 2]],
        "pairing": ["halves"],
        "magnitude": [1.0],
    }
    # `example` is one session, in which a transaction would be for good.
    example.append("rotations", pa.table(quarter))
    found = {
        f"S_1({a},{b})": example.value(f"SELECT attn_score_at(0, 0, {i}, {j}, 1)")
        for (i, a), (j, b) in itertools.product(enumerate(NAMES), repeat=2)
    }
    example.execute("DELETE FROM rotations")
    assert_by_hand(**found)


def test_what_a_feature_says_by_weights() -> None:
    u = torch.tensor(DECODER_ROW @ W_O, dtype=torch.float32)[None]
    found = token_effects(lambda a, b: u[a:b], 1, torch.tensor(W_U, dtype=torch.float32), 4, centred=False)
    for side in (found.promoted, found.suppressed):
        effects = zip(side.token.tolist(), side.effect.tolist(), strict=True)
        assert_by_hand(**{f"L(f,{TOKENS[token]})": effect for token, effect in effects})
    assert_by_hand(kurtosis=float(found.kurtosis[0]))


def test_pairs_by_magnitude(batch: Batch) -> None:
    rules = magnitude_rules(
        batch.scores, batch.features, num_values=2, num_queries=2, max_rules=4, negative_values=False
    )
    pairs = zip(rules.key_feature.tolist(), rules.query_feature.tolist(), strict=True)
    assert list(pairs) == [(0, 1), (0, 0), (1, 0), (1, 1)]
    assert_by_hand(**scores_of("magnitude", rules))


def test_pairs_by_importance(batch: Batch) -> None:
    at_keys = np.array([[[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]]])
    s, v = batch.scores.keys @ batch.scores.queries.T, batch.scores.value_scores(batch.features)[0]
    found = closed_form_importance(at_keys, np.array([[0.0, 1.0]]), np.array([2]), s, v)
    assert_by_hand(**{"importance(Montreal,speaks)": found[0, 1], "importance(speaks,speaks)": found[1, 1]})


def test_rules_from_the_corpus(example: Warehouse, batch: Batch) -> None:
    means = key_means(example, batch)
    found = {
        **{f"mean G of {name} where f is active": means.when_active[0, i] for i, name in enumerate(NAMES)},
        **{f"mean G of {name} everywhere": means.everywhere[i] for i, name in enumerate(NAMES)},
        **scores_of("weighted", weighted_rules(batch, means, max_rules=4, signed=False)),
    }
    pairs = scores_of("weighted_pairs", paired_rules(example, batch, means, num_values=2, max_rules=4))
    mined = scores_of("mined", mined_rules(example, batch, means, num_values=2, max_rules=4))
    name = "(Montreal,speaks)"
    assert_by_hand(**found, **{f"weighted_pairs{name}": pairs[f"weighted_pairs{name}"]})
    assert_by_hand(**{f"mined{name}": mined[f"mined{name}"]})
    groups = grouped_rules(batch, means, max_rules=4)
    assert groups.rank.tolist() == [1, 2]
    gates = gated_rules(example, batch, means, max_rules=4)
    assert gates.query_feature[gates.key_feature == MONTREAL].tolist() == [SPEAKS]


def store(example: Warehouse, rules: RankedRules) -> None:
    n = len(rules.feature)
    columns = {
        name: getattr(rules, name) for name in ("feature", "rank", "key_feature", "value_score", "score")
    }
    same = {
        "layer": [0] * n,
        "head": [0] * n,
        "through_head": [0] * n,
        "method": ["weighted"] * n,
        "scaling": ["paper"] * n,
        "run_id": [1] * n,
    }
    example.append("rules", pa.table({**columns, **same}))


def test_predictions_and_metrics(example: Warehouse, batch: Batch, seed: int) -> None:
    rules = weighted_rules(batch, key_means(example, batch), max_rules=4, signed=False)
    store(example, rules)
    judge = Judge(("paper",), "max", (2,), 2, 1, seed, bos_keys=False, mined_now=(("weighted", "paper"),))
    evaluate(example, 0, 0, judge, run_id=1)
    predictions = example.rows(
        "SELECT method, seq_id, prediction FROM rule_predictions WHERE method IN"
        " ('weighted', 'ceiling_from_features', 'current_token') ORDER BY ALL"
    )
    of = {(method, seq): prediction for method, seq, prediction in predictions}
    row = dict(zip(*metric_row(example, "weighted"), strict=True))
    always = dict(zip(*metric_row(example, "always_active"), strict=True))
    fitted = example.rows("SELECT slope, intercept FROM rule_evaluations WHERE method = 'weighted'")[0]
    assert_by_hand(
        **{f"pred, sequence {seq + 1}": of["weighted", seq] for seq in range(N_TRAIN)},
        **{f"{name}, sequence 5": of[name, 4] for name in ("ceiling_from_features", "current_token")},
        **{"threshold": row["threshold"], "slope": fitted[0], "intercept": fitted[1]},
        **{"precision": row["precision"], "recall": row["recall"], "F1": row["f1"]},
        **{
            f"{name} at the threshold": row[f"{name.lower()}_at_threshold"]
            for name in ("precision", "recall", "F1")
        },
        **{"average precision": row["average_precision"], "Spearman": row["spearman"], "R2": row["r2"]},
        **{"F1 of always active": always["f1"]},
    )


def metric_row(warehouse: Warehouse, method: str) -> tuple[list[str], tuple[Any, ...]]:
    relation = warehouse.sql(
        "FROM rule_metrics WHERE method = $method AND split = 'test'", {"method": method}
    )
    rows = relation.fetchall()
    assert len(rows) == 1
    return relation.columns, rows[0]


def test_direct_feature_attribution(example: Warehouse) -> None:
    rows = example.rows("SELECT key_pos, contribution_from_features FROM dfa(0, 0, 0, 0, 2)")
    found = {f"c[2,{key_pos}]": contribution for key_pos, contribution in rows if key_pos}
    total = sum(contribution for _, contribution in rows) + PREACTIVATION_BIAS
    assert_by_hand(**found, **{"pre-activation": total})


def test_parts_of_an_activation(example: Warehouse, batch: Batch) -> None:
    store(example, weighted_rules(batch, key_means(example, batch), max_rules=4, signed=False))
    rows = example.rows("SELECT part, amount FROM activation_parts(0, 0, 0, 0, 2, 'weighted', 'paper', 1)")
    # No input feature is active at BOS.
    assert [part for part, _ in rows] == ["rule", "biases", "keys without a rule", "what the features miss"]
    named = {"rule": "rules", "what the features miss": "rest"}
    assert_by_hand(**{f"{named.get(part, part)}, sequence 1": amount for part, amount in rows})


def test_the_distractor(batch: Batch) -> None:
    found = find_distractors(batch.scores, batch.features)
    assert (found.key.tolist(), found.query.tolist(), found.distractor.tolist()) == ([0], [1], [1])
    assert_by_hand(**{"rank of Montreal": found.key_rank[0], "rank of speaks": found.distractor_rank[0]})
    assert not found.outranks.any()
    # With a larger S(speaks,speaks) it would outrank the key.
    keys = batch.scores.keys.copy()
    keys[SPEAKS] *= 3
    assert find_distractors(replace(batch.scores, keys=keys), batch.features).outranks.all()


def test_a_rule_as_it_is_read(example: Warehouse, seed: int) -> None:
    statement, _ = parse("[L0.i0] at -1 and [L0.i1] at 0")
    reading = read_rule(example, FeatureId(0, 0, 0), statement, seed=seed)
    assert reading.n_positions == 8
    assert_by_hand(
        **{
            f"{name} of Montreal before speaks": getattr(reading, name)
            for name in ("precision", "recall", "lift")
        }
    )


def test_information() -> None:
    assert_by_hand(information=float(information(np.array([2, 1, 0, 1]))))
