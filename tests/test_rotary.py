"""Rotary positions: S(i,j) at a distance is the model's own logit, and rules are ranked where the head attends."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from attnrules.errors import AttnRulesError
from attnrules.ingest import IngestSpec, ingest
from attnrules.ingest.sources.corpus import CorpusSpec
from attnrules.ingest.sources.model import Model, load_model
from attnrules.queries.absence import AbsenceSpec, mine_absence
from attnrules.queries.counting import CountingSpec, mine_counting
from attnrules.queries.heads import HeadScores, Rotation, head_scores
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.queries.skipgrams.importance import closed_form_importance, turned_importance
from attnrules.queries.skipgrams.weights import magnitude_rules
from attnrules.sql import not_known
from attnrules.warehouse import Warehouse, check
from tests.planted import BOS, VOCABULARY, PlantedModel
from tests.slow import assert_logits_give_attention
from tests.test_other_models import GROUPED, add_tokenizer, build, save, spec_for

rngs = st.integers(0, 2**32 - 1).map(np.random.default_rng)


# --- the rotation ----------------------------------------------------------------------------------


def matrix_of(rotation: Rotation, distance: int, d_head: int) -> np.ndarray:
    """R_D of method.md section 2.4, entry by entry: S_D(i,j) is query_j R_D key_i."""
    n = len(rotation.frequencies)
    found = np.eye(d_head)
    for f, frequency in enumerate(rotation.frequencies):
        a, b = (2 * f, 2 * f + 1) if rotation.adjacent else (f, f + n)
        cos, sin = math.cos(distance * frequency), math.sin(distance * frequency)
        found[np.ix_([a, b], [a, b])] = rotation.magnitude**2 * np.array([[cos, sin], [-sin, cos]])
    return found


@st.composite
def rotations(draw: Any, magnitudes: tuple[float, ...] = (1.0, 1.25)) -> Rotation:
    """Rotations of up to six dimensions."""
    frequencies = draw(st.lists(st.floats(-2, 2), max_size=3))
    return Rotation(np.array(frequencies), draw(st.booleans()), draw(st.sampled_from(magnitudes)))


@given(rotation=rotations(), distance=st.integers(0, 40), rng=rngs)
def test_vectors_are_turned_as_the_matrix_says(
    rotation: Rotation, distance: int, rng: np.random.Generator
) -> None:
    vectors = rng.normal(size=(5, 6))
    expected = vectors @ matrix_of(rotation, distance, 6).T
    np.testing.assert_allclose(rotation.turned_back(vectors, distance), expected, atol=1e-12)


@given(rotation=rotations(magnitudes=(1.0,)), distance=st.integers(0, 40), rng=rngs)
def test_turning_keeps_lengths_and_can_be_undone(
    rotation: Rotation, distance: int, rng: np.random.Generator
) -> None:
    vectors = rng.normal(size=(5, 6))
    turned = rotation.turned_back(vectors, distance)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(vectors, axis=1))
    np.testing.assert_allclose(rotation.turned_back(turned, -distance), vectors, atol=1e-12)
    np.testing.assert_array_equal(rotation.turned_back(vectors, 0), vectors)


def random_scores(
    rng: np.random.Generator, rotation: Rotation | None, distances: tuple[int, ...]
) -> HeadScores:
    draw = lambda n: rng.normal(size=(n, 6))  # noqa: E731
    return HeadScores(draw(9), draw(9), draw(9), draw(2), distances, rotation)


@given(rotation=rotations(), distances=st.lists(st.integers(0, 9), min_size=1, unique=True), rng=rngs)
def test_the_score_is_the_largest_over_the_distances(
    rotation: Rotation, distances: list[int], rng: np.random.Generator
) -> None:
    scores = random_scores(rng, rotation, tuple(distances))
    everything = np.arange(9)
    by_distance = [scores.queries @ matrix_of(rotation, d, 6) @ scores.keys.T for d in distances]
    expected = np.max(by_distance, axis=0).T
    np.testing.assert_allclose(scores.attn_to_queries(everything), expected, atol=1e-12)
    np.testing.assert_allclose(scores.attn_to_keys(everything), expected.T, atol=1e-12)
    i, j = (grid.ravel() for grid in np.meshgrid(everything, everything, indexing="ij"))
    found, best = scores.attn_scores(i, j)
    np.testing.assert_allclose(found.reshape(9, 9), expected, atol=1e-12)
    of_best = [by_distance[d][b, a] for a, b, d in zip(i, j, best, strict=True)]
    np.testing.assert_allclose(of_best, found, atol=1e-12)


@given(rotation=rotations(), rng=rngs)
def test_pairs_by_magnitude_are_those_of_the_largest_score(
    rotation: Rotation, rng: np.random.Generator
) -> None:
    scores = random_scores(rng, rotation, (1, 4))
    rules = magnitude_rules(
        scores, np.array([1]), num_values=9, num_queries=9, max_rules=5, negative_values=False
    )
    s, v = scores.attn_to_queries(np.arange(9)), scores.value_scores(np.array([1]))[0]
    ranked = sorted(np.ndindex(9, 9), key=lambda p: -math.exp(s[p]) * v[p[0]])[:5]
    assert rules.query_feature is not None
    assert list(zip(rules.key_feature.tolist(), rules.query_feature.tolist(), strict=True)) == ranked


# --- importance ------------------------------------------------------------------------------------


def slow_importance(
    at_keys: np.ndarray,
    at_query: np.ndarray,
    pos: np.ndarray,
    score: Callable[[int], np.ndarray],
    v: np.ndarray,
) -> np.ndarray:
    """Section 3.2 of the method word by word; `score(D)` is S_D, [n_keys, n_queries]."""
    total = np.zeros((at_keys.shape[2], at_query.shape[1]))
    for a, at_q, q in zip(at_keys, at_query, pos, strict=True):
        s = np.array([a[n] @ score(q - n) @ at_q for n in range(q + 1)])
        p = np.exp(s - s.max()) / np.exp(s - s.max()).sum()
        u = a[: q + 1] @ v
        for n in range(q + 1):
            total += score(q - n) * np.outer(a[n], at_q) * p[n] * (u[n] - p @ u)
    return total


@given(rotation=rotations(), rng=rngs)
def test_importance_takes_the_distance_of_each_example(rotation: Rotation, rng: np.random.Generator) -> None:
    at_keys, at_query = rng.random((4, 5, 3)), rng.random((4, 2))
    pos, v = np.array([0, 4, 2, 4]), rng.normal(size=3)
    keys, queries = rng.normal(size=(3, 6)), rng.normal(size=(2, 6))
    found = turned_importance(at_keys, at_query, pos, keys, queries, v, rotation)

    def score(distance: int) -> np.ndarray:
        return np.asarray(keys @ matrix_of(rotation, distance, 6).T @ queries.T)

    np.testing.assert_allclose(found, slow_importance(at_keys, at_query, pos, score, v), atol=1e-10)
    still = replace(rotation, frequencies=np.zeros(0))
    np.testing.assert_allclose(
        turned_importance(at_keys, at_query, pos, keys, queries, v, still),
        closed_form_importance(at_keys, at_query, pos, keys @ queries.T, v),
        atol=1e-10,
    )


# --- the model's own logits ------------------------------------------------------------------------


def scaled_llama() -> Any:
    import transformers as t

    rope = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
    return t.LlamaForCausalLM(t.LlamaConfig(**GROUPED, rope_parameters=rope))


def partly_still_model() -> Any:
    """Its layer 1 turns nothing."""
    import transformers as t

    return t.SmolLM3ForCausalLM(t.SmolLM3Config(**GROUPED, no_rope_layers=[1, 0], pad_token_id=0))


MODELS: dict[str, Callable[[], Any]] = {
    "llama-yarn": scaled_llama,
    "smollm-3": partly_still_model,
    **{name: lambda name=name: build(name) for name in ("gpt-neox", "gpt-j", "gemma-2")},  # type: ignore[misc]
}
EXPECTED = {
    # (pairs of dimensions, pairing, magnitude) of layers 0 and 1
    "llama-yarn": [(3, "halves", pytest.approx(0.1 * math.log(4) + 1, abs=1e-6))] * 2,
    "smollm-3": [(3, "halves", 1), (0, "halves", 1)],
    "gpt-neox": [(1, "halves", 1)] * 2,
    "gpt-j": [(3, "adjacent", 1)] * 2,
    "gemma-2": [(3, "halves", 1)] * 2,
}


@pytest.fixture(scope="module", params=list(MODELS))
def family(
    request: pytest.FixtureRequest, planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Warehouse, Model]]:
    torch.manual_seed(0)
    home = tmp_path_factory.mktemp("rotary")
    save(MODELS[request.param](), home / "model", planted)
    ingest(home / "w.duckdb", spec_for(home, planted, 6))
    with Warehouse.open(home / "w.duckdb") as warehouse:
        yield request.param, warehouse, load_model(str(home / "model"), revision=None, device="cpu")


def test_the_rotation_of_every_head_is_stored(family: tuple[str, Warehouse, Model]) -> None:
    name, warehouse, _ = family
    rows = warehouse.rows(
        "SELECT layer, head, len(frequencies), pairing, magnitude FROM rotations ORDER BY ALL"
    )
    expected = [(layer, head, *EXPECTED[name][layer]) for layer in (0, 1) for head in (1, 2)]
    assert rows == expected
    assert [result for result in check(warehouse) if result.n_problems] == []


def logit_of_model(model: Model, layer: int, head: int, query: Any, key: Any, distance: int) -> float:
    """What the attention computes, before its bound, when it reads `key` and, `distance` later, `query`."""
    at = 3
    x = torch.zeros(1, 12, model.d_model)
    x[0, at], x[0, at + distance] = key, query

    def read(_: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if positional:
            return (x, *positional[1:]), named
        return positional, {**named, "hidden_states": x}

    handle = model.bridge.blocks[layer].attn.register_forward_pre_hook(read, with_kwargs=True)
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(torch.zeros(1, 12, dtype=torch.long), prepend_bos=False)
    handle.remove()
    if model.bridge.cfg.architecture == "GPTJForCausalLM":
        # Its logits are not to be had: this is the difference to that of the zero vector at position 0.
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"][0, head, at + distance]
        return float((pattern[at] / pattern[0]).log())
    logit = float(cache[f"blocks.{layer}.attn.hook_attn_scores"][0, head, at + distance, at])
    cap = model.soft_cap(layer)
    return cap * math.atanh(logit / cap) if cap else logit


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("distance", [1, 2, 7])
def test_the_score_at_a_distance_is_the_logit_of_the_model(
    family: tuple[str, Warehouse, Model], layer: int, distance: int
) -> None:
    from sae_lens import SAE

    name, warehouse, model = family
    decoder = SAE.load_from_disk(warehouse.path.parent / "in" / str(layer)).W_dec.detach()
    i, j, head = 3, 11, 2
    expected = logit_of_model(model, layer, head, decoder[j], decoder[i], distance)
    for scaling in ("model", "paper"):
        scores = replace(head_scores(warehouse, layer, head, scaling), distances=(distance,))
        found, _ = scores.attn_scores(np.array([i]), np.array([j]))
        if scaling == "model" and name == "gpt-j":
            [(bias,)] = warehouse.rows(f"SELECT b_K FROM heads WHERE (layer, head) = ({layer}, {head})")
            at_start = replace(scores, keys=np.array([bias], np.float64), distances=(3 + distance,))
            found = found - at_start.attn_scores(np.array([0]), np.array([j]))[0]
        if scaling == "model":
            assert found[0] == pytest.approx(expected, abs=1e-4, rel=1e-4)
        else:
            ask = "SELECT attn_score_at($layer, $head, $i, $j, $distance)"
            at = {"layer": layer, "head": head, "i": i, "j": j, "distance": distance}
            assert warehouse.value(ask, at) == pytest.approx(found[0], abs=1e-9)


def test_the_parts_of_a_logit_give_the_stored_attention(family: tuple[str, Warehouse, Model]) -> None:
    _, warehouse, model = family
    for layer in (0, 1):
        cap = model.soft_cap(layer)
        assert_logits_give_attention(warehouse, [(layer, 2)], query_pos=7, n_sequences=3, cap=cap)


def test_at_distance_0_the_score_is_the_plain_product(family: tuple[str, Warehouse, Model]) -> None:
    name, warehouse, _ = family
    ask = "SELECT attn_score_at(layer, head, 3, 11, 0), attn_score(layer, head, 3, 11) FROM heads WHERE layer = 0"
    for turned, plain in warehouse.rows(ask):
        # YaRN scales queries and keys, at any distance.
        factor = EXPECTED[name][0][2].expected ** 2 if name == "llama-yarn" else 1
        assert turned == pytest.approx(factor * plain, abs=1e-5, rel=1e-5)


def test_learned_positions_have_one_score(small_once: Path) -> None:
    with Warehouse.open(small_once) as warehouse:
        for distance in (0, 5):
            ask = f"SELECT attn_score_at(0, 0, 5, 9, {distance}), attn_score(0, 0, 5, 9)"
            assert len(set(warehouse.rows(ask)[0])) == 1
        assert head_scores(warehouse, 0, 0, "paper").distances == ()
        assert warehouse.value("SELECT count(attn_distance) FROM rules") == 0


# --- a planted head --------------------------------------------------------------------------------

# 1.8 radians a position: within six tokens no other distance is as good as a whole turn.
FREQUENCY = 1.8
AMPLITUDE = 8**0.5
TRUE, DECOY, DISTRACTOR, DECOY_DISTRACTOR = "Montreal", "Quebec", "night", "drum"
QUERY, DECOY_QUERY = "speaks", "sings"
WORDS = (TRUE, DECOY, DISTRACTOR, DECOY_DISTRACTOR, QUERY, DECOY_QUERY, "the", "of")
VALUES = {TRUE: 1.0, DECOY: 0.96, DISTRACTOR: -1.0, DECOY_DISTRACTOR: -1.0}
ID = {word: VOCABULARY.index(word) for word in (*WORDS, BOS)}


def planted_vectors(turned: float) -> dict[str, dict[str, tuple[float, ...]]]:
    """Keys and queries, of width 4: the pair (0, 2) turns, the pair (1, 3) hardly does.

    At distance 1, and there alone, QUERY attends to what is turned on by one position; anything attends to BOS by
    4/5 of that. At distance 0, at which no two words can stand, QUERY would attend to the decoys, and the true key would
    be attended to by DECOY_QUERY.
    """
    a, cos, sin = AMPLITUDE, math.cos(turned), math.sin(turned)
    aside = dict.fromkeys(WORDS, (0.0, 1.0, 0.0, 0.0))
    return {
        "k": {
            TRUE: (a * cos, 0, a * sin, 0),
            DISTRACTOR: (1.2 * a * cos, 0, 1.2 * a * sin, 0),
            DECOY: (0.9 * a, 0, 0, 0),
            DECOY_DISTRACTOR: (1.2 * a, 0, 0, 0),
            BOS: (0, 0.8 * a * a, 0, 0),
        },
        "q": {**aside, QUERY: (a, 1, 0, 0), DECOY_QUERY: (0.9 * a * cos, 1, 0.9 * a * sin, 0)},
        "v": {word: (value / 4, 0, 0, 0) for word, value in VALUES.items()},
    }


def plant_llama(folder: Path, planted: PlantedModel) -> None:
    """A Llama whose head 0 looks at the token before: a word is one coordinate, the layer norm multiplies it by 4."""
    import transformers as t

    rope = {"rope_type": "linear", "factor": 1 / FREQUENCY, "rope_theta": 1e12}
    shape = {"vocab_size": 48, "hidden_size": 64, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 4, "rms_norm_eps": 0.0}
    ids = {"bos_token_id": ID[BOS], "eos_token_id": ID[BOS], "max_position_embeddings": 64}
    model = t.LlamaForCausalLM(t.LlamaConfig(**shape, **heads, **ids, rope_parameters=rope))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith("norm.weight"):
                parameter.zero_()
        # sqrt(mean of squares) is 1/8 of the length, so the norm gives 8 on the word's coordinate.
        model.model.embed_tokens.weight[:, :48] = torch.eye(48)
        for side, vectors in planted_vectors(FREQUENCY).items():
            for word, vector in vectors.items():
                projection = getattr(model.model.layers[0].self_attn, f"{side}_proj").weight
                projection[:, ID[word]] = torch.tensor(vector)
    model.save_pretrained(folder)
    add_tokenizer(folder, planted)


def plant_sae(folder: Path, hook: str, head: int | None, encoder: torch.Tensor, bias: torch.Tensor) -> None:
    folder.mkdir(parents=True)
    decoder = encoder.T.contiguous()
    weights = {"W_enc": encoder, "W_dec": decoder, "b_enc": bias, "b_dec": torch.zeros(len(encoder))}
    save_file(
        {name: tensor.contiguous() for name, tensor in weights.items()}, folder / "sae_weights.safetensors"
    )
    config = {"architecture": "standard", "d_in": len(encoder), "d_sae": encoder.shape[1], "dtype": "float32"}
    metadata = {
        "sae_lens_version": "6.54.12",
        "hook_name": hook,
        "hook_head_index": head,
        "model_name": "model",
    }
    rest = {"device": "cpu", "apply_b_dec_to_input": False, "metadata": metadata}
    (folder / "cfg.json").write_text(json.dumps({**config, **rest}))


@pytest.fixture(scope="module")
def rotary_spec(planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory) -> IngestSpec:
    home = tmp_path_factory.mktemp("planted-rotary")
    plant_llama(home / "model", planted)
    plant_sae(home / "in", "blocks.0.hook_resid_pre", None, torch.eye(64), torch.zeros(64))
    # Feature 0 is active where more than 0.6 of the attention is on a key, feature 1 never.
    encoder = torch.zeros(4, 2)
    encoder[0, 0] = 1
    plant_sae(home / "out", "blocks.0.attn.hook_z", 0, encoder, torch.tensor([-1.2, -1.0]))
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(WORDS, 6)) for _ in range(240)]
    (home / "corpus.txt").write_text("\n".join(lines))
    return IngestSpec(
        model=str(home / "model"),
        input_sae=str(home / "in"),
        output_sae=str(home / "out"),
        corpus=CorpusSpec(str(home / "corpus.txt"), seq_len=7, lines=True),
        n_sequences=240,
        min_attention=0.01,
        device="cpu",
    )


@pytest.fixture(scope="module")
def rotary_once(rotary_spec: IngestSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rotary") / "w.duckdb"
    ingest(path, rotary_spec)
    return path


@pytest.fixture
def rotary(rotary_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(rotary_once, tmp_path / "w.duckdb"))


def as_without_rotation(path: Path) -> Path:
    """Let the warehouse be one of a model whose S is the same at every distance."""
    with Warehouse.open(path, writable=True) as warehouse:
        warehouse.execute("DELETE FROM rotations")
        warehouse.execute("UPDATE model SET positional_embedding = 'standard'")
    return path


MINING = SkipgramSpec(
    n_features=None,
    num_values=4,
    num_queries=4,
    examples_per_split=5,
    example_sets=("paper",),
    baselines=False,
)


def best_pair(path: Path, method: str) -> tuple[str, str, int | None, bool]:
    """The key and query of the first rule, the distance stated with them, and whether they raise the feature."""
    with Warehouse.open(path, writable=True) as warehouse:
        mine_skipgrams(warehouse, replace(MINING, method=method))
        [(key, query, distance, score)] = warehouse.rows(
            "SELECT key_feature, query_feature, attn_distance, score FROM rules WHERE method = $method AND rank = 1",
            {"method": method},
        )
    return VOCABULARY[key], VOCABULARY[query], distance, score > 0


def test_the_planted_feature_is_active_after_its_key_alone(rotary_once: Path) -> None:
    with Warehouse.open(rotary_once) as warehouse:
        active = set(warehouse.rows("SELECT seq_id, pos FROM output_activations WHERE feature = 0"))
        tokens = dict.fromkeys(active, False)
        rows = warehouse.rows("SELECT seq_id, pos, token_id FROM tokens")
    tokens = {(seq, pos): VOCABULARY[token] for seq, pos, token in rows}
    expected = {at for at in tokens if at[1] and tokens[at] == QUERY and tokens[at[0], at[1] - 1] == TRUE}
    assert active == expected
    assert len(active) > 15


@pytest.mark.parametrize("method", ["magnitude", "importance", "mined", "weighted_pairs"])
def test_the_true_pair_is_ranked_first_at_its_distance(rotary: Path, method: str) -> None:
    assert best_pair(rotary, method) == (TRUE, QUERY, 1, True)
    with Warehouse.open(rotary) as warehouse:
        ask = (
            "SELECT max(abs(attn_score - attn_score_at(layer, head, key_feature, query_feature, attn_distance)))"
            " FROM rules"
        )
        assert warehouse.value(ask) < 1e-9


@pytest.mark.parametrize("method", ["magnitude", "importance"])
def test_without_the_distance_the_true_pair_would_not_be_first_or_hold_down(
    rotary: Path, method: str
) -> None:
    key, query, distance, raises = best_pair(as_without_rotation(rotary), method)
    assert (key, query, raises) != (TRUE, QUERY, True)
    assert distance is None


def distractor_of(path: Path) -> tuple[str, str, str, int | None, int | None]:
    with Warehouse.open(path, writable=True) as warehouse:
        mine_absence(warehouse, AbsenceSpec())
        [(key, query, distractor, *distances)] = warehouse.rows(
            "SELECT key_feature, query_feature, distractor_feature, attn_distance, distractor_attn_distance"
            " FROM distractors WHERE feature = 0"
        )
    return VOCABULARY[key], VOCABULARY[query], VOCABULARY[distractor], distances[0], distances[1]


def test_the_distractor_is_the_one_that_is_attended_to(rotary: Path) -> None:
    assert distractor_of(rotary) == (TRUE, QUERY, DISTRACTOR, 1, 1)


def test_without_the_distance_another_query_would_be_found(rotary: Path) -> None:
    key, query, _, *distances = distractor_of(as_without_rotation(rotary))
    assert (key, query) == (TRUE, DECOY_QUERY)
    assert distances == [None, None]


def test_the_card_says_at_which_distance_the_score_is(rotary: Path, attnrules: Callable[..., Any]) -> None:
    best_pair(rotary, "magnitude")
    shown = attnrules("show", rotary, "L0H0.0", "--all-methods").out
    assert "(S 8.00 at distance 1, V 0.25)" in shown


# --- warehouses of before --------------------------------------------------------------------------


def as_before(path: Path) -> Path:
    """Let nothing say how the positions of the rotary model turn keys and queries."""
    with Warehouse.open(path, writable=True) as warehouse:
        warehouse.execute("DELETE FROM rotations")
        warehouse.execute("DELETE FROM digests WHERE table_name = 'rotations'")
    return path


@pytest.mark.parametrize("method", ["magnitude", "importance", "all"])
def test_pairs_are_not_ranked_by_a_score_that_is_not_known(rotary: Path, method: str) -> None:
    with pytest.raises(AttnRulesError, match=r"L0H0 rests on S\(i,j\).*attnrules ingest"):
        best_pair(as_before(rotary), method)


def test_absence_and_counting_are_refused_where_the_score_is_not_known(rotary: Path) -> None:
    with Warehouse.open(as_before(rotary), writable=True) as warehouse:
        with pytest.raises(AttnRulesError, match="mine absence of L0H0 rests on"):
            mine_absence(warehouse, AbsenceSpec())
        with pytest.raises(AttnRulesError, match="mine counting of L0H0 rests on"):
            mine_counting(warehouse, CountingSpec())
        with pytest.raises(AttnRulesError, match="is not stored"):
            warehouse.rows("SELECT attn_score_at(0, 0, 1, 2, 3)")


def test_other_rules_say_that_their_score_is_at_distance_0(rotary: Path) -> None:
    assert best_pair(as_before(rotary), "weighted_pairs") == (TRUE, QUERY, 0, True)


def test_what_is_not_known_is_said_and_ingest_fills_it(rotary: Path, rotary_spec: IngestSpec) -> None:
    def said() -> list[str]:
        with Warehouse.open(rotary) as warehouse:
            return [
                words for query in not_known() for (words,) in warehouse.rows(query) if "distance" in words
            ]

    with Warehouse.open(rotary) as warehouse:
        before = warehouse.rows("FROM rotations")
    assert said() == []
    best_pair(rotary, "magnitude")
    with Warehouse.open(rotary, writable=True) as warehouse:
        warehouse.execute("UPDATE rules SET attn_distance = NULL")
    as_before(rotary)
    assert [words.split(" ")[0] for words in said()] == ["at", "how"]
    done = ingest(rotary, rotary_spec)
    assert done.n_captured == 0
    with Warehouse.open(rotary) as warehouse:
        assert warehouse.rows("FROM rotations") == before
        assert {r.name for r in check(warehouse) if r.n_problems} == {"contents of rules"}  # changed above
    assert [words.split(" ")[0] for words in said()] == ["at"]


def test_a_model_that_normalises_its_keys_is_named(planted: PlantedModel, tmp_path: Path) -> None:
    import transformers as t

    torch.manual_seed(0)
    save(t.Qwen3ForCausalLM(t.Qwen3Config(**GROUPED, head_dim=6)), tmp_path / "model", planted)
    done = ingest(tmp_path / "w.duckdb", spec_for(tmp_path, planted, 6))
    assert any(
        "the attention of layers 0, 1 is not that of W_Q, W_K and a rotation" in w for w in done.warnings
    )
    with (
        Warehouse.open(tmp_path / "w.duckdb", writable=True) as warehouse,
        pytest.raises(AttnRulesError, match="rests on S"),
    ):
        mine_skipgrams(warehouse, replace(MINING, method="magnitude"))
