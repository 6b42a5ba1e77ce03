"""The planted model: a GPT-2 whose attention heads follow rules that we wrote down beforehand.

`plant(directory)` writes a Hugging Face GPT-2 folder, its SAEs in both on-disk formats that users
bring and a corpus, and returns the ground truth. It needs no attnrules code, and holds none.

**Residual stream.** The rows of the Hadamard matrix of order 64, divided by 8, are orthonormal;
all but the first have mean zero. Each input feature i owns one such row h_i. A token is the sum
of its own feature and its class's, with levels (3/4, 1), (1, 3/4) or, for a word without a class,
(5/4, none): by the 3-4-5 triangle every embedding has norm 5/4. Position embeddings, W_O of the first
layer and the MLP weights are zero, but the first MLP adds the constant u of norm 15/16 along a row that no
feature owns. So the layer norm divides by exactly

    sigma_0 = (5/4) / 8 = 5/32,      sigma_1 = sqrt((5/4)^2 + (15/16)^2) / 8 = 25/128,

the input SAE reconstructs exactly, and layer 1 differs from layer 0 in scale, in its SAE's
decoder bias (u) and decoder norm (4, not 1), and in the order of the features. Every weight is a
sum of dyadic fractions times Hadamard entries, so float32 makes no rounding error in d_i W and
what should be zero is zero.

**Attention.** A `Channel` is one coordinate of the head space, in which its key features have the
amplitude (15/4) / level and its query features (15/8) / level. The product of the levels cancels,
so that a query token gives EVERY key of its channel the same logit N = (225/32) / (4 sigma^2), any
other token 0, and BOS the logit B = N/2: from the bias b_Q in layer 0, from u in layer 1. Hence,
with at most 31 tokens after BOS and BOS nowhere else, either no key is present and all but
31 exp(-B) of the attention rests on BOS, whose value is zero, or each key receives at least 1/31
of it (less exp(B - N)).
Strengths other than 1 on a key or query, and classes with two levels (`_GRADED`), scale N; N - B
stays >= 18 unless a feature is about that very difference.

**Values.** Each output feature f owns one coordinate of the value space, so that its
pre-activation is the sum over keys of (attention * level * V(f,i) / sigma) - theta. No head
attends to one feature of a token and reads the value of its other one: attention moves whole
tokens. A single key among 31 gives at least 30.72/31 = 0.99 (layer 1: level 3/4, V = 8), no key
less than 0.001, and theta = 1/2: the iff holds with a margin of 0.49, whatever else is in the row.

**Weights-only scores.** S(i,j) > 0 for the pairs of a channel and 0 for all others, V(f,i) > 0
for f's keys and 0 for all others (negative for suppressors). So S V > 0 exactly for f's rules,
these rank first by S + ln V, and the predicted score is positive exactly where f's skip-gram
condition holds, for any number of further candidates. Model scaling changes S to S / 4, less 1/4
for all pairs in head 0 of layer 0, where b_K . b_Q / 4 = -1/4.

**What features say** (`PROMOTED`, layer 1): W_O turns the feature's coordinate of the value space into a
quarter of the row of a word without a class, which no other token has: the feature raises the logit of this
word and, directly, of no other. All other features write nothing.

**Absence** (layer 0, head 1): the distractor's logit is 5/4 of the key's, so that one distractor
takes the attention of 30 keys. **Counting** (layer 0, head 2): a key and its opponent share a
channel with values p and -m, and z is 64 (p c - m c') / (c + c'), positive iff p c > m c'; or
the key's logit is equal to that of BOS, and z is 64 c / (c + 1), which thresholds split by c.

Traps, on purpose: b_V and the layer norm's weight are right only after the bridge's processing;
next to each output SAE (v10) lies a younger file with garbage (v2); exp(S) overflows float32 in
layer 1; some rules tie exactly; documents are empty, short, or longer than the context.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import log
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import GPT2Config, PreTrainedTokenizerFast

BOS, UNK = "<bos>", "<unk>"
N_LAYERS, N_HEADS, D_MODEL, D_HEAD, N_CTX = 2, 4, 64, 16, 80
D_OUT = 24  # output features of each head, most of them dead
ATTN_SCALE = 4.0  # sqrt(D_HEAD)
LN_SCALE = (5 / 32, 25 / 128)
DECODER_NORM = (1.0, 4.0)
CHECKPOINT_NAME = "planted_L{layer}_H{head}_z_f24_v{version}"

# class -> word -> level of the class on that word; the word's own feature takes the other level.
CLASSES: dict[str, dict[str, float]] = {
    "[Canadian city]": {"Montreal": 1.0, "Quebec": 1.0, "Toronto": 0.75, "Ottawa": 0.75},
    "[French city]": {"Paris": 1.0, "Lyon": 1.0},
    "[British city]": {"London": 0.75, "Leeds": 0.75},
    "[speech verb]": {"speaks": 1.0, "sings": 1.0, "says": 0.75},
    "[animal]": {"cat": 1.0, "dog": 1.0, "horse": 1.0},
    "[predator]": {"fox": 1.0, "wolf": 1.0, "owl": 1.0},
    "[food]": {"bread": 1.0, "cheese": 1.0, "soup": 1.0},
    "[negation]": {"no": 1.0, "never": 1.0},
}
CLASSLESS = (
    *("Reykjavik", "child", "eats", "drinks", "plays", "skates", "squeaks", "sleeps", "night"),
    *("lamp", "drum", "glows", "bell", "whisper", "rings", "yes", "decides", "knock", "answers"),
    *("the", "a", "of", "and", "in"),
)
FILLERS = ("the", "a", "of", "and", "in")
NEVER = ("(never 0)", "(never 1)", "(never 2)")

WORDS = (*(word for words in CLASSES.values() for word in words), *CLASSLESS)
VOCABULARY = (UNK, *WORDS, BOS)  # token id -> token; BOS last, so that id 0 means nothing special
INPUT_FEATURES = (*VOCABULARY, *CLASSES, *NEVER)  # k-th name: Hadamard row k + 1
_GRADED = frozenset(name for name, words in CLASSES.items() if len(set(words.values())) > 1)

CANADIAN, FRENCH, BRITISH, SPEECH, ANIMALS, PREDATORS, FOOD, NEGATIONS = map(frozenset, CLASSES.values())

Predicate = Callable[[list[str], int], bool]
"""(the row's words, query position q) -> is the feature active at q?"""

HeadFeature = tuple[int, int, int]
"""(layer, head, output feature id)"""


def count(words: list[str], q: int, wanted: set[str] | frozenset[str]) -> int:
    """How many of the positions 1..q hold a wanted word. Position 0 is BOS."""
    return sum(word in wanted for word in words[1 : q + 1])


def seen(words: list[str], q: int, wanted: set[str] | frozenset[str]) -> bool:
    """Whether a wanted word stands at some position 1..q."""
    return count(words, q, wanted) > 0


@dataclass(frozen=True)
class Channel:
    """Query features that attend to key features, with factors on the standard amplitude."""

    keys: dict[str, float]
    queries: dict[str, float]


@dataclass(frozen=True)
class OutputFeature:
    """An output feature: its values V per key feature, and when it is active, in words.

    Args:
        values: V(f,i) for unit decoder rows, by key feature; zero for all others.
        is_active: the truth, from the row's words alone.
        theta: what the pre-activation has to exceed.
    """

    values: dict[str, float]
    is_active: Predicate
    theta: float = 0.5


@dataclass(frozen=True)
class AbsenceRule:
    """[key] ... [distractor] ... [query] -/-> f: active iff query now, key seen, distractor not."""

    key_feature: int
    distractor_feature: int
    query_feature: int


@dataclass(frozen=True)
class CountingRule:
    """Active iff the query is at q and key_weight * c - opponent_weight * c' >= threshold.

    c and c' count the positions 1..q where the key and the opponent are active.
    """

    key_feature: int
    opponent_feature: int | None
    query_feature: int
    key_weight: int
    opponent_weight: int
    threshold: int


TALKATIVE = (
    *("Montreal", "Quebec", "Toronto", "Ottawa", "Reykjavik"),
    *("[French city]", "[British city]"),
)

CHANNELS: dict[tuple[int, int], list[Channel]] = {
    (0, 0): [
        Channel(dict.fromkeys(TALKATIVE, 1), {"[speech verb]": 1}),
        Channel({"[animal]": 1, "child": 1}, {"eats": 1, "drinks": 1.25}),
    ],
    (0, 1): [
        Channel({"[food]": 1, "[predator]": 1.25}, {"squeaks": 1}),
        Channel({"night": 1, "drum": 1.25}, {"sleeps": 1}),
        Channel({"lamp": 1}, {"glows": 1}),
        Channel({"bell": 1.25, "whisper": 1}, {"rings": 1}),
    ],
    (0, 2): [
        Channel({"yes": 1, "[negation]": 1}, {"decides": 1}),
        Channel({"knock": 1}, {"answers": 0.5}),
    ],
    (0, 3): [
        Channel({"[Canadian city]": 1}, {"plays": 1, "skates": 1.5}),
        Channel({"cat": 1}, {"[animal]": 1}),
    ],
    (1, 0): [
        Channel({"night": 1, "lamp": 1}, {"sleeps": 1, "squeaks": 1.25}),
        Channel({"bread": 1, "cheese": 1, "[French city]": 1}, {"eats": 1}),
    ],
}

# Every head has one that is active whatever the input: ruled by nothing, too frequent to mine.
ALWAYS = OutputFeature({}, lambda _words, _q: True, theta=-1.0)

OUTPUT_FEATURES: dict[tuple[int, int, str], OutputFeature] = {
    (0, 0, "speaks French"): OutputFeature(
        {"Montreal": 8, "Quebec": 8, "[French city]": 12},
        lambda words, q: words[q] in SPEECH and seen(words, q, {"Montreal", "Quebec", *FRENCH}),
    ),
    (0, 0, "speaks English"): OutputFeature(
        {"Toronto": 8, "Ottawa": 8, "[British city]": 12},
        lambda words, q: words[q] in SPEECH and seen(words, q, {"Toronto", "Ottawa", *BRITISH}),
    ),
    (0, 0, "speaks Icelandic"): OutputFeature(
        {"Reykjavik": 8},
        lambda words, q: words[q] in SPEECH and seen(words, q, {"Reykjavik"}),
    ),
    (0, 0, "somebody speaks"): OutputFeature(
        dict.fromkeys(TALKATIVE, 8),
        lambda words, q: words[q] in SPEECH and seen(words, q, {"Reykjavik"} | CANADIAN | FRENCH | BRITISH),
    ),
    (0, 0, "animal's meal"): OutputFeature(
        {"[animal]": 8},
        lambda words, q: words[q] in {"eats", "drinks"} and seen(words, q, ANIMALS),
    ),
    (0, 0, "meal"): OutputFeature(
        {"[animal]": 8, "child": 10},
        lambda words, q: words[q] in {"eats", "drinks"} and seen(words, q, {"child", *ANIMALS}),
    ),
    (0, 1, "mouse at food"): OutputFeature(
        {"[food]": 8, "[predator]": -2},
        lambda words, q: words[q] == "squeaks" and seen(words, q, FOOD) and not seen(words, q, PREDATORS),
    ),
    (0, 1, "quiet night"): OutputFeature(
        {"night": 8, "drum": -2},
        lambda words, q: words[q] == "sleeps" and seen(words, q, {"night"}) and not seen(words, q, {"drum"}),
    ),
    # No key lowers it: no distractor.
    (0, 1, "lamp glows"): OutputFeature(
        {"lamp": 8},
        lambda words, q: words[q] == "glows" and seen(words, q, {"lamp"}),
    ),
    # "bell" lowers it and stands about as often as not, but "glows" never attends to it: no distractor either.
    (0, 1, "lamp, whatever rings"): OutputFeature(
        {"lamp": 8, "bell": -2},
        lambda words, q: words[q] == "glows" and seen(words, q, {"lamp"}),
    ),
    # "whisper" lowers it but attracts less attention than "bell": no distractor either.
    (0, 1, "bell rings"): OutputFeature(
        {"bell": 8, "whisper": -2},
        lambda words, q: words[q] == "rings" and seen(words, q, {"bell"}),
    ),
    (0, 2, "more yes than no"): OutputFeature(
        {"yes": 8, "[negation]": -10},
        lambda words, q: words[q] == "decides" and count(words, q, {"yes"}) > count(words, q, NEGATIONS),
    ),
    (0, 2, "a third yes"): OutputFeature(
        {"yes": 24, "[negation]": -10},
        lambda words, q: words[q] == "decides" and 3 * count(words, q, {"yes"}) > count(words, q, NEGATIONS),
    ),
    # z is 64 c / (c + 1): 32, 42.7, 48, ...
    (0, 2, "two knocks"): OutputFeature(
        {"knock": 8},
        lambda words, q: words[q] == "answers" and count(words, q, {"knock"}) >= 2,
        theta=37.5,
    ),
    (0, 2, "three knocks"): OutputFeature(
        {"knock": 8},
        lambda words, q: words[q] == "answers" and count(words, q, {"knock"}) >= 3,
        theta=45.5,
    ),
    (0, 3, "Canadian sport"): OutputFeature(
        {"[Canadian city]": 8},
        lambda words, q: words[q] in {"plays", "skates"} and seen(words, q, CANADIAN),
    ),
    # The key may stand at the query's own position: "cat" alone fires it.
    (0, 3, "cat about"): OutputFeature(
        {"cat": 8},
        lambda words, q: words[q] in ANIMALS and seen(words, q, {"cat"}),
    ),
    (1, 0, "midnight"): OutputFeature(
        {"night": 8},
        lambda words, q: words[q] in {"sleeps", "squeaks"} and seen(words, q, {"night"}),
    ),
    (1, 0, "night or lamp"): OutputFeature(
        {"night": 8, "lamp": 8},
        lambda words, q: words[q] in {"sleeps", "squeaks"} and seen(words, q, {"night", "lamp"}),
    ),
    (1, 0, "breakfast"): OutputFeature(
        {"bread": 8, "cheese": 8},
        lambda words, q: words[q] == "eats" and seen(words, q, {"bread", "cheese"}),
    ),
    (1, 0, "French kitchen"): OutputFeature(
        {"cheese": 8, "[French city]": 12},
        lambda words, q: words[q] == "eats" and seen(words, q, {"cheese", *FRENCH}),
    ),
    **{(layer, head, "always"): ALWAYS for layer in range(N_LAYERS) for head in range(N_HEADS)},
}

# The one token that a feature makes the model say; all others write nothing.
PROMOTED = {
    (1, 0, "midnight"): "whisper",
    (1, 0, "night or lamp"): "bell",
    (1, 0, "breakfast"): "knock",
    (1, 0, "French kitchen"): "drum",
}

# Truth beyond skip-grams, by (layer, head, name): (key, distractor, query).
ABSENCE = {
    (0, 1, "mouse at food"): ("[food]", "[predator]", "squeaks"),
    (0, 1, "quiet night"): ("night", "drum", "sleeps"),
}
# (key, opponent, query, key weight, opponent weight, threshold), see `CountingRule`.
COUNTING = {
    (0, 2, "more yes than no"): ("yes", "[negation]", "decides", 1, 1, 1),
    (0, 2, "a third yes"): ("yes", "[negation]", "decides", 3, 1, 1),
    (0, 2, "two knocks"): ("knock", None, "answers", 1, 0, 2),
    (0, 2, "three knocks"): ("knock", None, "answers", 1, 0, 3),
}

# Words that a document draws from together: (keys and distractors, queries).
THEMES = (
    (("Montreal", "Toronto", "Paris", "London", "Leeds", "Quebec"), ("speaks", "says")),
    (("Ottawa", "Lyon", "Reykjavik", "Quebec", "Toronto"), ("sings", "says")),
    (("Montreal", "Quebec", "Toronto", "Ottawa", "Paris"), ("plays", "skates", "speaks")),
    (("dog", "child", "cat"), ("eats", "drinks", "horse")),
    (("bread", "cheese", "soup", "fox", "owl", "wolf"), ("squeaks", "eats")),
    (("night", "drum", "lamp"), ("sleeps", "squeaks")),
    (("lamp", "bell", "whisper"), ("glows", "rings")),
    (("yes", "no", "never"), ("decides", "yes")),
    (("knock", "bell"), ("answers", "knock")),
    (("Paris", "Lyon", "cheese", "bread", "London"), ("eats", "drinks")),
)


def levels(token: str) -> dict[str, float]:
    """The input features active on a token with their levels, as coordinates of its embedding."""
    for name, words in CLASSES.items():
        if token in words:
            return {token: 1.75 - words[token], name: words[token]}
    return {token: 1.25}


def nominal_level(feature: str) -> float:
    """The level of an input feature, the upper one for a class with two."""
    if feature in CLASSES:
        return max(CLASSES[feature].values())
    return levels(feature)[feature]


def input_feature_ids(layer: int) -> dict[str, int]:
    """Name -> id in the layer's input SAE, in an order of its own."""
    ids = random.Random(f"input {layer}").sample(range(len(INPUT_FEATURES)), len(INPUT_FEATURES))
    return dict(zip(INPUT_FEATURES, ids, strict=True))


def output_feature_ids() -> dict[tuple[int, int, str], int]:
    """(layer, head, name) -> id in the head's output SAE; ids that nobody holds are dead."""
    ids: dict[tuple[int, int, str], int] = {}
    for layer in range(N_LAYERS):
        for head in range(N_HEADS):
            named = [key for key in OUTPUT_FEATURES if key[:2] == (layer, head)]
            order = random.Random(f"output {layer} {head}").sample(range(D_OUT), len(named))
            ids.update(zip(named, order, strict=True))
    return ids


@dataclass(frozen=True)
class PlantedModel:
    """Where everything lies, and what is true of it.

    Args:
        model_dir: Hugging Face GPT-2 folder with tokenizer.
        input_sae_dir: holds a SAELens folder `blocks.{l}.hook_resid_pre` per layer.
        output_sae_dir: holds a checkpoint `CHECKPOINT_NAME`.pt and `..._cfg.json` per head.
        corpus_path: jsonl, one {"text": ...} a line, words separated by single spaces.
        seq_len: longest row for which the truth holds, and the one to ingest with.
        vocabulary: token id -> token.
    """

    model_dir: Path
    input_sae_dir: Path
    output_sae_dir: Path
    corpus_path: Path
    seq_len: int
    vocabulary: tuple[str, ...] = VOCABULARY

    @property
    def bos_token_id(self) -> int:
        """The token id of BOS."""
        return self.vocabulary.index(BOS)

    @cached_property
    def input_features(self) -> dict[tuple[int, str], int]:
        """(layer, name) -> input feature id. A token's feature bears the token's name."""
        return {(layer, name): i for layer in range(N_LAYERS) for name, i in input_feature_ids(layer).items()}

    @cached_property
    def output_features(self) -> dict[tuple[int, int, str], int]:
        """(layer, head, name) -> output feature id."""
        return output_feature_ids()

    @cached_property
    def output_feature_names(self) -> dict[HeadFeature, str]:
        """(layer, head, output feature id) -> name; the dead ones are not in it."""
        return {(layer, head, f): name for (layer, head, name), f in self.output_features.items()}

    def _by_head_feature(self, key: tuple[int, int, str]) -> HeadFeature:
        return (key[0], key[1], self.output_features[key])

    @cached_property
    def planted_pairs(self) -> dict[HeadFeature, list[tuple[int, int]]]:
        """Per feature with values, ALL (key, query) with V > 0 and S > 0, in exact rank order.

        The order is that of S + ln V, largest first, exact ties by (key, query). For features
        that count or need an absence too, these pairs rank first although they are not the truth.
        """
        return {
            self._by_head_feature(key): rank_pairs(key[0], CHANNELS[key[:2]], feature.values)
            for key, feature in OUTPUT_FEATURES.items()
            if feature.values
        }

    @cached_property
    def skipgram_rules(self) -> dict[HeadFeature, list[tuple[int, int]]]:
        """Per feature that IS a disjunction of skip-grams: its (key, query) in exact rank order."""
        other = {self._by_head_feature(key) for key in (*ABSENCE, *COUNTING)}
        return {key: pairs for key, pairs in self.planted_pairs.items() if key not in other}

    @cached_property
    def absence_rules(self) -> dict[HeadFeature, AbsenceRule]:
        """Per feature that is a skip-gram unless a distractor stands before."""
        ids = self.input_features
        return {
            self._by_head_feature(at): AbsenceRule(ids[at[0], i], ids[at[0], i2], ids[at[0], j])
            for at, (i, i2, j) in ABSENCE.items()
        }

    @cached_property
    def counting_rules(self) -> dict[HeadFeature, CountingRule]:
        """Per feature that depends on counts."""
        ids = self.input_features
        return {
            self._by_head_feature(at): CountingRule(
                ids[at[0], i], None if i2 is None else ids[at[0], i2], ids[at[0], j], *numbers
            )
            for at, (i, i2, j, *numbers) in COUNTING.items()
        }

    @cached_property
    def promoted_tokens(self) -> dict[HeadFeature, int]:
        """Per feature that makes the model say a token: that token."""
        return {self._by_head_feature(at): self.vocabulary.index(word) for at, word in PROMOTED.items()}

    def is_active(self, layer: int, head: int, feature: int, tokens: list[int], q: int) -> bool:
        """Whether the output feature is active at position q of a row (token ids, BOS first)."""
        name = self.output_feature_names.get((layer, head, feature))
        if name is None:
            return False
        words = [self.vocabulary[token] for token in tokens]
        return OUTPUT_FEATURES[layer, head, name].is_active(words, q)

    def input_activation(self, layer: int, feature: int, token: int) -> float:
        """The activation of an input feature on a token: it depends on nothing else."""
        for name, level in levels(self.vocabulary[token]).items():
            if self.input_features[layer, name] == feature:
                return level / DECODER_NORM[layer]
        return 0.0

    def checkpoint(self, layer: int, head: int) -> Path:
        """The right checkpoint of a head's output SAE."""
        name = CHECKPOINT_NAME.format(layer=layer, head=head, version=10)
        return self.output_sae_dir / f"{name}.pt"


def rank_pairs(layer: int, channels: list[Channel], values: dict[str, float]) -> list[tuple[int, int]]:
    """The (key, query) ids of a feature with these values, by S + ln V, then by (key, query)."""
    ids, norm = input_feature_ids(layer), DECODER_NORM[layer]

    def score(i: str, j: str, channel: Channel) -> float:
        S = norm**2 * key_amplitude(i, channel) * query_amplitude(j, channel)
        return S + log(norm * values[i])

    ranked = [
        (-score(i, j, channel), ids[i], ids[j])
        for channel in channels
        for i in channel.keys
        if values.get(i, 0) > 0
        for j in channel.queries
    ]
    return [(i, j) for _, i, j in sorted(ranked)]


def key_amplitude(feature: str, channel: Channel) -> float:
    """Coordinate of the feature's unit row times W_K in the channel."""
    return channel.keys[feature] * 3.75 / nominal_level(feature)


def query_amplitude(feature: str, channel: Channel) -> float:
    """Coordinate of the feature's unit row times W_Q in the channel."""
    return channel.queries[feature] * 1.875 / nominal_level(feature)


def plant(directory: Path, *, seq_len: int = 32, n_documents: int = 600, seed: int = 0) -> PlantedModel:
    """Write model, SAEs and corpus into the directory, and return the truth about them.

    Args:
        directory: created where missing.
        seq_len: row length, at most 32: the proof above counts 31 tokens after BOS.
        n_documents: size of the corpus.
        seed: of the corpus; the weights are always the same.
    """
    if not 2 <= seq_len <= 32:
        raise ValueError(f"seq_len must lie in 2..32, not {seq_len}")
    planted = PlantedModel(
        model_dir=directory / "model",
        input_sae_dir=directory / "input_saes",
        output_sae_dir=directory / "output_saes",
        corpus_path=directory / "corpus.jsonl",
        seq_len=seq_len,
    )
    planted.model_dir.mkdir(parents=True)
    planted.output_sae_dir.mkdir()
    write_model(planted.model_dir)
    for layer in range(N_LAYERS):
        write_input_sae(planted.input_sae_dir / f"blocks.{layer}.hook_resid_pre", layer)
        for head in range(N_HEADS):
            write_output_sae(planted.output_sae_dir, layer, head, seq_len)
    with planted.corpus_path.open("w") as file:
        for text in documents(n_documents, seed):
            file.write(json.dumps({"text": text}) + "\n")
    return planted


def reference_rows(planted: PlantedModel) -> list[list[int]]:
    """The rows of token ids that ingest should make of the corpus, in the obvious way."""
    rows: list[list[int]] = []
    for line in planted.corpus_path.read_text().splitlines():
        words = [BOS, *json.loads(line)["text"].split()][:N_CTX]
        while len(words) >= planted.seq_len:
            row, words = words[: planted.seq_len], words[planted.seq_len :]
            rows.append([planted.vocabulary.index(word) for word in [BOS, *row[1:]]])
    return rows


def documents(n_documents: int, seed: int) -> Iterator[str]:
    """Texts of 0 to 120 words about two themes each: keys, queries, distractors and filler."""
    rng = random.Random(f"corpus {seed}")
    for _ in range(n_documents):
        picked: list[str] = []
        for keys, queries in rng.sample(THEMES, 2):
            picked += rng.sample(keys, rng.randint(1, 2))
            picked += rng.sample(queries, rng.randint(1, 2))
        if rng.random() < 0.1:
            n_words = rng.choice([0, 1, 7, 30])
        else:
            n_words = rng.randint(31, 120)
        words = (rng.choice(FILLERS if rng.random() < 0.3 else picked) for _ in range(n_words))
        yield " ".join(words)


def hadamard_rows() -> Tensor:
    """Orthonormal rows [63, d_model] of mean zero, entries +-1/8."""
    rows = torch.ones(1, 1)
    while len(rows) < D_MODEL:
        rows = torch.cat([torch.cat([rows, rows], 1), torch.cat([rows, -rows], 1)])
    return rows[1:] / 8


def direction(feature: str) -> Tensor:
    """The unit row [d_model] of an input feature."""
    return hadamard_rows()[INPUT_FEATURES.index(feature)]


def constant_of_first_mlp() -> Tensor:
    """u [d_model], of norm 15/16, orthogonal to every feature."""
    return hadamard_rows()[-1] * 15 / 16


BOS_CHANNEL = D_HEAD - 1
DECODER_GAIN = 8.0  # w_f is this times a unit vector, W_V that much smaller


def head_weights(layer: int, head: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The head's W_Q, W_K, W_V [d_model, d_head] and b_Q, b_K, b_V [d_head], as processed."""
    W = {name: torch.zeros(D_MODEL, D_HEAD) for name in "QKV"}
    b = {name: torch.zeros(D_HEAD) for name in "QKV"}
    channels = CHANNELS.get((layer, head), [])
    for dim, channel in enumerate(channels):
        for i in channel.keys:
            W["K"][:, dim] += direction(i) * key_amplitude(i, channel)
        for j in channel.queries:
            W["Q"][:, dim] += direction(j) * query_amplitude(j, channel)
    for dim, feature in enumerate(features_of(layer, head).values()):
        for i, value in feature.values.items():
            W["V"][:, dim] += direction(i) * value / DECODER_GAIN
    if channels and layer == 0:
        W["K"][:, BOS_CHANNEL] = direction(BOS) * 4.5
        b["Q"][BOS_CHANNEL] = 4.0
    if channels and layer == 1:
        W["K"][:, BOS_CHANNEL] = direction(BOS) * 1.5
        W["Q"][:, BOS_CHANNEL] = hadamard_rows()[-1] * 2.0
    if (layer, head) == (0, 0):
        b["K"][BOS_CHANNEL] = -0.25
    return W, b


def write_weights(layer: int) -> Tensor:
    """The layer's W_O [n_heads * d_head, d_model]."""
    W_O = torch.zeros(N_HEADS * D_HEAD, D_MODEL)
    for head in range(N_HEADS):
        for dim, name in enumerate(features_of(layer, head)):
            if (layer, head, name) in PROMOTED:
                W_O[head * D_HEAD + dim] = direction(PROMOTED[layer, head, name]) / 4
    return W_O


def features_of(layer: int, head: int) -> dict[str, OutputFeature]:
    """A head's output features by name; the k-th owns coordinate k of the value space."""
    return {key[2]: f for key, f in OUTPUT_FEATURES.items() if key[:2] == (layer, head)}


def write_model(directory: Path) -> None:
    """Write the Hugging Face folder: config, weights and word-level tokenizer."""
    embedding = torch.stack(
        [sum((direction(i) * a for i, a in levels(t).items()), torch.zeros(D_MODEL)) for t in VOCABULARY]
    )
    state = {"transformer.wte.weight": embedding, "transformer.wpe.weight": torch.zeros(N_CTX, 64)}
    for layer in range(N_LAYERS):
        heads = [head_weights(layer, head) for head in range(N_HEADS)]
        W = torch.cat([head_W[name] for name in "QKV" for head_W, _ in heads], dim=1)
        b = torch.cat([head_b[name] for name in "QKV" for _, head_b in heads])
        # Undone by the processing: ln_1 doubles, and b_V moves to b_O, beyond which nothing is read.
        b[-N_HEADS * D_HEAD :] += 0.25
        state |= {
            f"transformer.h.{layer}.{name}": value
            for name, value in {
                "ln_1.weight": torch.full((D_MODEL,), 2.0),
                "ln_1.bias": torch.zeros(D_MODEL),
                "attn.c_attn.weight": W / 2,
                "attn.c_attn.bias": b,
                "attn.c_proj.weight": write_weights(layer),
                "attn.c_proj.bias": torch.zeros(D_MODEL),
                "ln_2.weight": torch.ones(D_MODEL),
                "ln_2.bias": torch.zeros(D_MODEL),
                "mlp.c_fc.weight": torch.zeros(D_MODEL, 4 * D_MODEL),
                "mlp.c_fc.bias": torch.zeros(4 * D_MODEL),
                "mlp.c_proj.weight": torch.zeros(4 * D_MODEL, D_MODEL),
                "mlp.c_proj.bias": constant_of_first_mlp() * (layer == 0),
            }.items()
        }
    state |= {"transformer.ln_f.weight": torch.ones(64), "transformer.ln_f.bias": torch.zeros(64)}
    save_file(state, directory / "model.safetensors", metadata={"format": "pt"})

    bos = VOCABULARY.index(BOS)
    GPT2Config(
        vocab_size=len(VOCABULARY),
        n_positions=N_CTX,
        n_embd=D_MODEL,
        n_layer=N_LAYERS,
        n_head=N_HEADS,
        layer_norm_epsilon=1e-9,
        bos_token_id=bos,
        eos_token_id=bos,
        architectures=["GPT2LMHeadModel"],
        dtype="float32",
    ).save_pretrained(directory)
    ids = {token: i for i, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=UNK))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=BOS,
        unk_token=UNK,
        model_max_length=N_CTX,
    ).save_pretrained(directory)


def write_input_sae(directory: Path, layer: int) -> None:
    """Write a SAELens folder: W_enc [d_model, d_sae], W_dec [d_sae, d_model], b_enc, b_dec.

    A feature with one level a is encoded as relu(2 x.h - a), any other as relu(x.h): both give x.h.
    """
    ids, norm = input_feature_ids(layer), DECODER_NORM[layer]
    W_enc, W_dec = torch.zeros(D_MODEL, len(ids)), torch.zeros(len(ids), D_MODEL)
    b_enc = torch.zeros(len(ids))
    for name, i in ids.items():
        graded = name in _GRADED
        W_enc[:, i] = direction(name) / norm * (1 if graded else 2)
        b_enc[i] = 0.0 if graded else -nominal_level(name) / norm
        W_dec[i] = direction(name) * norm
    weights = {
        "W_enc": W_enc,
        "W_dec": W_dec,
        "b_enc": b_enc,
        "b_dec": constant_of_first_mlp() * (layer == 1),
    }
    hook_name = f"blocks.{layer}.hook_resid_pre"
    config = {
        "architecture": "standard",
        "d_in": D_MODEL,
        "d_sae": len(ids),
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": "6.54.12",
            "model_name": "planted",
            "hook_name": hook_name,
            "prepend_bos": True,
        },
    }
    directory.mkdir(parents=True)
    save_file(weights, directory / "sae_weights.safetensors")
    (directory / "cfg.json").write_text(json.dumps(config))


def write_output_sae(directory: Path, layer: int, head: int, seq_len: int) -> None:
    """Write a head's checkpoint (version 10) and, after it, a garbage version 2.

    W_enc [d_head, d_out], W_dec [d_out, d_head]; relu((z - b_dec) @ W_enc + b_enc).
    """
    W_enc, b_enc = torch.zeros(D_HEAD, D_OUT), torch.full((D_OUT,), -1.0)
    b_dec = torch.arange(D_HEAD) % 5 / 8 - 0.25
    ids = output_feature_ids()
    for dim, (name, feature) in enumerate(features_of(layer, head).items()):
        f = ids[layer, head, name]
        W_enc[dim, f] = DECODER_GAIN if feature.values else 0.0
        b_enc[f] = b_dec @ W_enc[:, f] - feature.theta
    right = {"W_enc": W_enc, "W_dec": W_enc.T / DECODER_GAIN**2, "b_enc": b_enc, "b_dec": b_dec}
    garbage = {name: torch.flip(value, (0,)) - 3 for name, value in right.items()}
    config = {
        "act_size": D_HEAD,
        "dict_size": D_OUT,
        "act_name": f"blocks.{layer}.attn.hook_z",
        "site": "z",
        "layer": layer,
        "head": head,
        "seq_len": seq_len,
        "model_name": "planted",
    }
    for version, state in ((10, right), (2, garbage)):
        stem = CHECKPOINT_NAME.format(layer=layer, head=head, version=version)
        torch.save({k: v.contiguous() for k, v in state.items()}, directory / f"{stem}.pt")
        (directory / f"{stem}_cfg.json").write_text(json.dumps(config))
