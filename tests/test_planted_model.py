"""The planted model keeps its promises, checked with torch alone: no attnrules code here."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sae_lens import SAE
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoTokenizer

from tests.planted import (
    ATTN_SCALE,
    BOS,
    CHANNELS,
    CLASSES,
    D_HEAD,
    D_MODEL,
    D_OUT,
    DECODER_NORM,
    LN_SCALE,
    N_HEADS,
    N_LAYERS,
    NEVER,
    OUTPUT_FEATURES,
    UNK,
    VOCABULARY,
    WORDS,
    HeadFeature,
    PlantedModel,
    count,
    plant,
    reference_rows,
)

HEADS = [(layer, head) for layer in range(N_LAYERS) for head in range(N_HEADS)]
MARGIN = 0.49


@dataclass(frozen=True)
class Loaded:
    """The planted model as its users load it.

    Args:
        input_saes: by layer; W_dec [d_sae, d_model].
        output_saes: by (layer, head); W_enc [d_head, d_out], b_enc [d_out], b_dec [d_head].
    """

    planted: PlantedModel
    bridge: Any
    input_saes: list[Any]
    output_saes: dict[tuple[int, int], dict[str, Tensor]]

    def run(self, rows: list[list[int]]) -> dict[str, Tensor]:
        """The cached activations of rows [batch, pos]."""
        with torch.no_grad():
            _, cache = self.bridge.run_with_cache(torch.tensor(rows), return_type=None)
        return dict(cache.items())

    def input_activations(self, cache: dict[str, Tensor], layer: int) -> Tensor:
        """[batch, pos, d_sae]."""
        with torch.no_grad():
            acts: Tensor = self.input_saes[layer].encode(cache[f"blocks.{layer}.hook_resid_pre"])
        return acts

    def pre_activations(self, cache: dict[str, Tensor], layer: int, head: int) -> Tensor:
        """[batch, pos, d_out]: positive where an output feature is active."""
        sae = self.output_saes[layer, head]
        z = cache[f"blocks.{layer}.attn.hook_z"][:, :, head]
        return (z - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"]

    def scores(self, layer: int, head: int, scaling: str) -> tuple[Tensor, Tensor]:
        """V [d_out, d_sae] and S [d_sae (key), d_sae (query)] from the processed weights."""
        attn = self.bridge.blocks[layer].attn
        W_dec = self.input_saes[layer].W_dec.detach()
        W_Q, W_K, W_V = attn.W_Q[head], attn.W_K[head], attn.W_V[head]
        V = (W_dec @ W_V @ self.output_saes[layer, head]["W_enc"]).T
        if scaling == "paper":
            return V.detach(), ((W_dec @ W_K) @ (W_dec @ W_Q).T).detach()
        keys, queries = W_dec @ W_K + attn.b_K[head], W_dec @ W_Q + attn.b_Q[head]
        return V.detach(), (keys @ queries.T).detach() / ATTN_SCALE


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    planted = plant(tmp_path_factory.mktemp("planted") / "here")
    bridge = TransformerBridge.boot_transformers(str(planted.model_dir), device="cpu")
    bridge.enable_compatibility_mode(disable_warnings=True)
    yield Loaded(
        planted,
        bridge,
        [
            SAE.load_from_disk(planted.input_sae_dir / f"blocks.{layer}.hook_resid_pre")
            for layer in range(N_LAYERS)
        ],
        {at: torch.load(planted.checkpoint(*at), weights_only=True) for at in HEADS},
    )
    torch.set_num_threads(n_threads)


def assert_as_planted(loaded: Loaded, rows: list[list[int]]) -> None:
    """At every position of the rows every output feature is what its predicate says, by MARGIN."""
    cache = loaded.run(rows)
    for layer, head in HEADS:
        pre = loaded.pre_activations(cache, layer, head)
        truth = torch.tensor(
            [
                [
                    [loaded.planted.is_active(layer, head, f, row, q) for f in range(D_OUT)]
                    for q in range(len(row))
                ]
                for row in rows
            ]
        )
        assert torch.equal(pre > 0, truth)
        assert pre.abs().min() > MARGIN


def token_ids(words: list[str]) -> list[int]:
    return [VOCABULARY.index(word) for word in words]


def words_of(feature: str) -> list[str]:
    return list(CLASSES.get(feature, [feature]))


def test_rows_of_the_corpus_behave_as_planted(loaded: Loaded) -> None:
    assert_as_planted(loaded, reference_rows(loaded.planted)[:250])


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_random_rows_behave_as_planted(loaded: Loaded, data: st.DataObject) -> None:
    palette = data.draw(st.lists(st.sampled_from([*WORDS, UNK]), min_size=1, max_size=5))
    body = st.lists(st.sampled_from(palette), min_size=31, max_size=31)
    bodies = data.draw(st.lists(body, min_size=1, max_size=4))
    assert_as_planted(loaded, [token_ids([BOS, *words]) for words in bodies])


@pytest.mark.parametrize(("layer", "head"), CHANNELS)
def test_one_key_among_thirty_of_another_is_not_drowned(loaded: Loaded, layer: int, head: int) -> None:
    rows = [
        token_ids([BOS, *[other] * 29, key, query])
        for channel in CHANNELS[layer, head]
        for feature in channel.keys
        for key in words_of(feature)
        for rival in channel.keys
        for other in words_of(rival)[-1:]
        for query_feature in channel.queries
        for query in words_of(query_feature)
    ]
    assert_as_planted(loaded, rows)


def test_corpus_holds_plenty_of_both_sides(loaded: Loaded) -> None:
    planted, rows = loaded.planted, reference_rows(loaded.planted)
    assert len(rows) > 600
    cache = loaded.run(rows)
    active = {at: loaded.pre_activations(cache, *at) > 0 for at in HEADS}
    for (layer, head, name), f in planted.output_features.items():
        n_active = int(active[layer, head][:, :, f].any(dim=1).sum())
        if name == "always":
            assert n_active == len(rows)
        else:
            assert 30 <= n_active <= len(rows) // 2, name
    # Every single rule is seen at work: its key before or at its query.
    for (layer, _, _), pairs in planted.planted_pairs.items():
        present = loaded.input_activations(cache, layer) > 0
        so_far = present[:, 1:].cumsum(dim=1) > 0
        for key, query in pairs:
            at_work = so_far[:, :, key] & present[:, 1:, query]
            assert at_work.any(dim=1).sum() >= 20


def test_reference_rows_are_those_of_the_tokenizer(loaded: Loaded) -> None:
    tokenizer = AutoTokenizer.from_pretrained(loaded.planted.model_dir)
    assert tokenizer.bos_token_id == loaded.planted.bos_token_id
    assert tokenizer.convert_ids_to_tokens(range(len(VOCABULARY))) == list(VOCABULARY)
    rows, seq_len = [], loaded.planted.seq_len
    texts = [json.loads(line)["text"] for line in loaded.planted.corpus_path.open()]
    for text in texts:
        ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False).input_ids]
        ids = ids[: loaded.bridge.cfg.n_ctx]
        for start in range(0, len(ids) // seq_len * seq_len, seq_len):
            rows.append([tokenizer.bos_token_id, *ids[start + 1 : start + seq_len]])
    assert rows == reference_rows(loaded.planted)
    assert min(map(len, texts)) == 0
    assert max(len(text.split()) for text in texts) > loaded.bridge.cfg.n_ctx


def test_layer_norm_is_a_known_scale_and_the_input_sae_exact(loaded: Loaded) -> None:
    planted, rows = loaded.planted, [token_ids([BOS, *words]) for words in (WORDS[:24], WORDS[21:])]
    rows = [row[:20] for row in rows] + [row[-20:] for row in rows]
    cache = loaded.run(rows)
    for layer in range(N_LAYERS):
        sae, resid = loaded.input_saes[layer], cache[f"blocks.{layer}.hook_resid_pre"]
        acts = loaded.input_activations(cache, layer)
        expected = torch.tensor(
            [
                [[planted.input_activation(layer, i, token) for i in range(acts.shape[-1])] for token in row]
                for row in rows
            ]
        )
        assert torch.equal(acts, expected)
        assert torch.equal(sae.decode(acts), resid)
        assert torch.equal(resid.mean(dim=-1), torch.zeros(resid.shape[:2]))
        scale = resid.square().mean(dim=-1).sqrt()
        torch.testing.assert_close(scale, torch.full_like(scale, LN_SCALE[layer]))
        torch.testing.assert_close(sae.W_dec.norm(dim=-1), torch.full((acts.shape[-1],), DECODER_NORM[layer]))
        assert sae.cfg.metadata.hook_name == f"blocks.{layer}.hook_resid_pre"


def test_dead_and_bos_only_input_features(loaded: Loaded) -> None:
    planted = loaded.planted
    cache = loaded.run(reference_rows(planted)[:250])
    for layer in range(N_LAYERS):
        acts = loaded.input_activations(cache, layer)
        for name in NEVER:
            assert not acts[:, :, planted.input_features[layer, name]].any()
        on_bos = acts[:, :, planted.input_features[layer, BOS]] > 0
        assert on_bos[:, 0].all()
        assert not on_bos[:, 1:].any()


def rank(V: Tensor, S: Tensor, num_values: int, num_queries: int) -> list[tuple[int, int]]:
    """method.md section 3.1: (key, query) by sign(V), then S + ln|V|, ties by (key, query).

    Args:
        V: [d_sae], of one output feature.
        S: [d_sae (key), d_sae (query)].
    """
    return [(i, j) for *_, i, j in sorted(candidates(V, S, num_values, num_queries))]


def candidates(
    V: Tensor, S: Tensor, num_values: int, num_queries: int
) -> list[tuple[float, float, int, int]]:
    """(-sign(V), -sign(V) (S + ln|V|), key, query) of the candidate pairs."""
    V, S = V.double(), S.double()
    size = len(V)
    score = (V.sign()[:, None] * (S + V.abs().log()[:, None])).nan_to_num()
    signs, scores = V.sign().tolist(), score.tolist()
    return [
        (-signs[i], -scores[i][j], i, j)
        for i in V.topk(min(num_values, size)).indices.tolist()
        for j in S[i].topk(min(num_queries, size)).indices.tolist()
    ]


def first_size(pairs: list[tuple[int, int]]) -> tuple[int, int]:
    """The smallest candidate sizes that can hold these pairs."""
    keys = [key for key, _ in pairs]
    return len(set(keys)), max(map(keys.count, keys))


@pytest.mark.parametrize("scaling", ["paper", "model"])
def test_weights_alone_rank_the_planted_pairs_first(loaded: Loaded, scaling: str) -> None:
    for (layer, head, f), pairs in loaded.planted.planted_pairs.items():
        V, S = loaded.scores(layer, head, scaling)
        for sizes in ((100, 100), (12, 5), first_size(pairs)):
            assert rank(V[f], S, *sizes)[: len(pairs)] == pairs
        scores = [-score for _, score, _, _ in sorted(candidates(V[f], S, 100, 100))]
        assert scores[len(pairs) - 1] - scores[len(pairs)] > 0.5


@pytest.mark.parametrize("scaling", ["paper", "model"])
def test_pairs_that_are_not_planted_never_predict(loaded: Loaded, scaling: str) -> None:
    for layer, head in HEADS:
        V, S = loaded.scores(layer, head, scaling)
        for f in range(D_OUT):
            planted = set(loaded.planted.planted_pairs.get((layer, head, f), []))
            assert {(int(i), int(j)) for i, j in (V[f][:, None] * S > 0).nonzero()} == planted


@pytest.mark.parametrize("scaling", ["paper", "model"])
@pytest.mark.parametrize("bos_keys", [False, True])
def test_predicted_score_is_positive_exactly_where_active(
    loaded: Loaded, scaling: str, bos_keys: bool
) -> None:
    rows = reference_rows(loaded.planted)[:40]
    cache = loaded.run(rows)
    for (layer, head, f), pairs in loaded.planted.skipgram_rules.items():
        V, S = loaded.scores(layer, head, scaling)
        ranked = rank(V[f], S, 100, 100)
        acts = loaded.input_activations(cache, layer)
        keys = acts.clone()
        keys[:, 0] *= bos_keys
        strongest = keys.cummax(dim=1).values
        active = loaded.pre_activations(cache, layer, head)[:, :, f] > 0
        for n in (4, 8, 16, 64, 4096):
            if n < len(pairs):
                continue
            weight = torch.zeros_like(S)
            for i, j in ranked[:n]:
                weight[i, j] = S[i, j] * V[f, i]
            products = strongest.square()[..., :, None] * acts[..., None, :] * weight
            assert torch.equal(products.amax(dim=(-1, -2)) > 0, active)


def distractor(V: Tensor, S: Tensor) -> tuple[int, int, int | None, bool]:
    """method.md section 6.1: key, query, i' or None, and whether i' outranks the key."""
    i = int(V.argmax())
    j = int(S[i].argmax())
    order = S[:, j].argsort(descending=True, stable=True).tolist()
    lowering = [key for key in order if V[key] < 0]
    if not lowering:
        return i, j, None, False
    return i, j, lowering[0], order.index(i) > order.index(lowering[0])


def test_absence_rules_follow_from_the_weights(loaded: Loaded) -> None:
    planted = loaded.planted
    assert len(planted.absence_rules) == 2
    for (layer, head, f), rule in planted.absence_rules.items():
        V, S = loaded.scores(layer, head, "paper")
        expected = (rule.key_feature, rule.query_feature, rule.distractor_feature, True)
        assert distractor(V[f], S) == expected
    V, S = loaded.scores(0, 1, "paper")
    lamp, bell = (planted.output_features[0, 1, name] for name in ("lamp glows", "bell rings"))
    assert distractor(V[lamp], S)[2:] == (None, False)
    whisper = planted.input_features[0, "whisper"]
    assert distractor(V[bell], S)[2:] == (whisper, False)


def test_counting_rules_hold_over_a_grid_of_counts(loaded: Loaded) -> None:
    planted = loaded.planted
    for (layer, head, f), rule in planted.counting_rules.items():
        names = {i: name for (at, name), i in planted.input_features.items() if at == layer}
        key, query = names[rule.key_feature], names[rule.query_feature]
        opponents = ["the"] if rule.opponent_feature is None else words_of(names[rule.opponent_feature])
        grid = [(c, opposed) for c in range(8) for opposed in range(8)]
        rows = [
            token_ids(([BOS] + [opponents[-1]] * opposed + [key] * c + [query] + ["of"] * 16)[:17])
            for c, opposed in grid
        ]
        pre = loaded.pre_activations(loaded.run(rows), layer, head)[:, :, f]
        for (c, opposed), row_pre in zip(grid, pre, strict=True):
            balance = rule.key_weight * c - rule.opponent_weight * opposed
            assert bool(row_pre[c + opposed + 1] > 0) == (balance >= rule.threshold)


def test_one_distractor_more_and_the_activation_falls(loaded: Loaded) -> None:
    """The insertion of method.md section 6.5: at once for an absence rule, step by step where counts matter."""

    def activations(at: tuple[int, int, str], words: list[str], inserted: str) -> list[float]:
        feature = loaded.planted.output_features[at]
        rows = [token_ids([BOS, *[inserted] * n, *words, *["of"] * (3 - n)]) for n in range(4)]
        pre = loaded.pre_activations(loaded.run(rows), *at[:2])[:, :, feature].relu()
        return [float(pre[n, len(words) + n]) for n in range(4)]

    assert activations((0, 1, "mouse at food"), ["soup", "a", "squeaks"], "fox")[1:] == [0, 0, 0]
    falling = activations((0, 2, "a third yes"), ["yes", "the", "decides"], "no")
    assert falling[0] > falling[1] > falling[2] > falling[3] == 0


def test_newest_checkpoint_is_the_right_one_only_by_number(loaded: Loaded) -> None:
    for layer, head in HEADS:
        right = loaded.planted.checkpoint(layer, head)
        decoy = Path(str(right).replace("_v10", "_v2"))
        assert decoy.name > right.name
        assert decoy.stat().st_mtime_ns >= right.stat().st_mtime_ns
        garbage = torch.load(decoy, weights_only=True)
        assert not torch.equal(garbage["b_enc"], loaded.output_saes[layer, head]["b_enc"])
        config = json.loads(right.with_name(f"{right.stem}_cfg.json").read_text())
        assert config["act_name"] == f"blocks.{layer}.attn.hook_z"
        assert (config["layer"], config["head"], config["site"]) == (layer, head, "z")
        assert (config["act_size"], config["dict_size"]) == (D_HEAD, D_OUT)


def test_only_processed_weights_are_the_planted_ones(loaded: Loaded) -> None:
    raw = TransformerBridge.boot_transformers(str(loaded.planted.model_dir), device="cpu")
    rows = reference_rows(loaded.planted)[:5]
    with torch.no_grad():
        _, cache = raw.run_with_cache(torch.tensor(rows), return_type=None)
    f = loaded.planted.output_features[0, 0, "speaks Icelandic"]
    assert (loaded.pre_activations(cache, 0, 0)[:, :, f] > 0).all()


def test_predicates_agree_with_the_declared_rules(loaded: Loaded) -> None:
    """The predicates in words and the rules in feature ids are two tellings of one truth."""
    planted, rows = loaded.planted, reference_rows(loaded.planted)[:60]
    holds: dict[tuple[int, int], list[str]] = {
        (layer, i): [w for w in WORDS if planted.input_activation(layer, i, VOCABULARY.index(w))]
        for (layer, _), i in planted.input_features.items()
    }

    def told(at: HeadFeature, words: list[str], q: int) -> bool:
        def n(feature: int) -> int:
            return count(words, q, set(holds[at[0], feature]))

        def now(feature: int) -> bool:
            return words[q] in holds[at[0], feature]

        if at in planted.absence_rules:
            a = planted.absence_rules[at]
            return now(a.query_feature) and n(a.key_feature) > 0 == n(a.distractor_feature)
        if at in planted.counting_rules:
            c = planted.counting_rules[at]
            opposed = 0 if c.opponent_feature is None else n(c.opponent_feature)
            balance = c.key_weight * n(c.key_feature) - c.opponent_weight * opposed
            return now(c.query_feature) and balance >= c.threshold
        return any(n(i) > 0 and now(j) for i, j in planted.skipgram_rules[at])

    ruled = [at for at, name in planted.output_feature_names.items() if name != "always"]
    assert len(ruled) == len(OUTPUT_FEATURES) - len(HEADS)
    for row in rows:
        words = [VOCABULARY[token] for token in row]
        for q in range(len(row)):
            for at in ruled:
                assert told(at, words, q) == planted.is_active(*at, row, q)


def test_shapes_are_of_a_kind_that_shows_transposition(loaded: Loaded) -> None:
    assert loaded.bridge.cfg.d_model == D_MODEL != loaded.input_saes[0].W_dec.shape[0]
    assert loaded.output_saes[0, 0]["W_enc"].shape == (D_HEAD, D_OUT)
