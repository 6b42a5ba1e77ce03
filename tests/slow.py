"""The definitions of method.md read slowly, position by position and rule by rule.

What the product computes in SQL is computed here a second time, from the same tables, as dictionaries.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from attnrules.queries.evaluation import bootstrap_weights
from attnrules.queries.skipgrams.weighted import MAX_KEY_RULES, SAME_DIRECTION
from attnrules.warehouse import Warehouse

Pair = tuple[int, int]
Place = tuple[int, int]
"""(seq_id, pos)"""


def mix32(number: int) -> int:
    """The finaliser of MurmurHash3."""
    h = number & 0xFFFFFFFF
    h ^= h >> 16
    h = h * 0x85EBCA6B & 0xFFFFFFFF
    h ^= h >> 13
    h = h * 0xC2B2AE35 & 0xFFFFFFFF
    return h ^ (h >> 16)


class Tables:
    """The facts of one head, as dictionaries.

    Args:
        head: of the output SAE. through: the head that it reads, of an SAE over a whole layer (head -1) one of
            those.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        layer: int,
        head: int,
        *,
        through: int | None = None,
        seed: int = 0,
        bos_keys: bool = False,
    ) -> None:
        at = {"layer": layer, "head": head}
        at_read = {"layer": layer, "head": head if through is None else through}
        self.layer, self.head, self.seed = layer, head, seed
        self.first_key = 0 if bos_keys else 1
        self.active: dict[Place, dict[int, float]] = defaultdict(dict)
        for seq, pos, feature, activation in warehouse.rows(
            "SELECT seq_id, pos, feature, activation FROM input_activations WHERE layer = $layer",
            {"layer": layer},
        ):
            self.active[seq, pos][feature] = activation
        # The layer norm's scale: the model's, and that of the reconstruction.
        self.scale: dict[Place, tuple[float, float]] = {
            row[:2]: row[2:]
            for row in warehouse.rows(
                "SELECT seq_id, pos, ln_scale, ln_scale_from_features FROM token_scales WHERE layer = $layer",
                {"layer": layer},
            )
        }
        # (key position, the model's weight, weight from the features)
        self.sources: dict[Place, list[tuple[int, float, float]]] = defaultdict(list)
        for seq, q, *source in warehouse.rows(
            "SELECT seq_id, query_pos, key_pos, weight, weight_from_features FROM attention_sources"
            " WHERE layer = $layer AND head = $head",
            at_read,
        ):
            self.sources[seq, q].append(tuple(source))
        self.out: dict[int, dict[Place, float]] = defaultdict(dict)
        for feature, seq, pos, activation in warehouse.rows(
            "SELECT feature, seq_id, pos, activation FROM output_activations"
            " WHERE layer = $layer AND head = $head",
            at,
        ):
            self.out[feature][seq, pos] = activation
        self.tokens: dict[Place, int] = {
            row[:2]: row[2] for row in warehouse.rows("SELECT seq_id, pos, token_id FROM tokens")
        }
        self.positions = [place for place in self.tokens if place[1] > 0]
        self.split_of = dict(
            warehouse.rows(
                "SELECT seq_id, sequence_split($seed, seq_id) FROM tokens WHERE pos = 0", {"seed": seed}
            )
        )
        self.train = {seq for seq, split in self.split_of.items() if split == "train"}
        self.held_out: dict[int, set[int]] = defaultdict(set)
        for feature, seq in warehouse.rows(
            "SELECT feature, seq_id FROM examples WHERE layer = $layer AND head = $head AND split <> 'train'",
            at,
        ):
            self.held_out[feature].add(seq)
        self.train_examples: dict[int, list[Place]] = defaultdict(list)
        for feature, seq, q in warehouse.rows(
            "SELECT feature, seq_id, pos FROM examples WHERE layer = $layer AND head = $head"
            " AND example_set = 'paper' AND split = 'train'",
            at,
        ):
            if seq in self.train and seq not in self.held_out[feature]:
                self.train_examples[feature].append((seq, q))
        vectors = warehouse.rows(
            "SELECT feature, key_vector, query_vector, value_vector FROM projections"
            " WHERE layer = $layer AND head = $head",
            at_read,
        )
        self.keys, self.queries, self.values = (
            {row[0]: np.array(row[i], dtype=float) for row in vectors} for i in (1, 2, 3)
        )
        read_off = warehouse.rows(
            "SELECT f.feature, h.encoder, f.preactivation_bias FROM output_features AS f"
            " INNER JOIN feature_heads AS h USING (layer, head, feature)"
            " WHERE f.layer = $layer AND f.head = $head AND h.through_head = $through",
            {**at, "through": at_read["head"]},
        )
        self.encoders = {f: np.array(encoder, dtype=float) for f, encoder, _ in read_off}
        self.bias = {f: bias for f, _, bias in read_off}
        [(b_k, b_q, b_v, decoder_bias, self.attn_scale)] = warehouse.rows(
            "SELECT b_K, b_Q, b_V, decoder_bias_value, attn_scale FROM heads"
            " WHERE layer = $layer AND head = $head",
            at_read,
        )
        self.b_k, self.b_q, self.b_v, self.decoder_bias = map(np.array, (b_k, b_q, b_v, decoder_bias))

    # --- scores that come from the weights alone

    def v(self, f: int, i: int) -> float:
        """V(f,i)."""
        return float(self.values[i] @ self.encoders[f])

    def s(self, i: int, j: int, scaling: str) -> float:
        """S(i,j), under `model` scaling with the model's biases and scale."""
        if scaling == "paper":
            return float(self.keys[i] @ self.queries[j])
        return float((self.keys[i] + self.b_k) @ (self.queries[j] + self.b_q)) / self.attn_scale

    # --- what reaches a position

    def scaled(self, place: Place, scaling: str) -> dict[int, float]:
        """The activations at a position, divided by the layer norm's scale under `model` scaling."""
        scale = self.scale[place][0] if scaling == "model" else 1.0
        return {i: a / scale for i, a in self.active[place].items()}

    def received(self, seq: int, q: int) -> dict[int, float]:
        """G[q,i] of every input feature at a source that is stored."""
        amount: dict[int, float] = defaultdict(float)
        for k, _, weight in self.sources[seq, q]:
            if k >= self.first_key:
                for i, a in self.active[seq, k].items():
                    amount[i] += weight * a / self.scale[seq, k][1]
        return amount

    def train_places(self) -> list[Place]:
        """The train positions."""
        return [place for place in self.positions if place[0] in self.train]

    def train_active(self, f: int) -> list[Place]:
        """The train positions where a feature is active."""
        return [
            (seq, q) for seq, q in self.out[f] if q > 0 and seq in self.train and seq not in self.held_out[f]
        ]

    def matches(self, i: int, j: int) -> list[Place]:
        """The positions after BOS where j is active and i is, or was before."""
        return [
            (seq, q)
            for seq, q in self.positions
            if j in self.active[seq, q]
            and any(i in self.active[seq, k] for k in range(self.first_key, q + 1))
        ]


# --- rules: each function returns the score of every rule there is --------------------------------------------


def top(items: Iterable[int], score: Callable[[int], float], n: int) -> list[int]:
    """The n items of largest score, ties by item."""
    return sorted(items, key=lambda item: (-score(item), item))[:n]


def candidate_keys(tables: Tables, f: int, num_values: int, negative_values: bool) -> list[int]:
    """The keys with the largest V(f,i), or |V|."""
    size = abs if negative_values else float
    return top(tables.keys, lambda i: size(tables.v(f, i)), num_values)


def candidate_queries(tables: Tables, i: int, num_queries: int, scaling: str) -> list[int]:
    """The queries with the largest S(i,j)."""
    return top(tables.queries, lambda j: tables.s(i, j, scaling), num_queries)


def magnitude(tables: Tables, f: int, keys: list[int], num_queries: int, scaling: str) -> dict[Pair, float]:
    """The score of every pair, infinite where exp(S) leaves a double."""
    scores = {}
    for i in keys:
        for j in candidate_queries(tables, i, num_queries, scaling):
            v = tables.v(f, i)
            with np.errstate(over="ignore"):
                scores[i, j] = float(np.exp(tables.s(i, j, scaling) + 1e-10)) * v if v else 0.0
    return scores


def magnitude_order(tables: Tables, f: int, pair: Pair, scaling: str) -> tuple[float, ...]:
    """What pairs are sorted by: the score, largest first, in log space; ties by (key, query)."""
    v = tables.v(f, pair[0])
    sign = (v > 0) - (v < 0)
    log = sign * (tables.s(*pair, scaling) + math.log(abs(v))) if sign else 0.0
    return (-sign, -log, *pair)


def importance(tables: Tables, f: int, keys: list[int], num_queries: int, scaling: str) -> dict[Pair, float]:
    """The gradient of the linearised head with respect to a mask over all pairs, by autograd in float64."""
    queries = sorted({j for i in keys for j in candidate_queries(tables, i, num_queries, scaling)})
    s = torch.tensor([[tables.s(i, j, scaling) for j in queries] for i in keys], dtype=torch.float64)
    v = torch.tensor([tables.v(f, i) for i in keys], dtype=torch.float64)
    at_keys, at_query = [], []
    for seq, q in tables.train_examples[f]:
        here = [tables.scaled((seq, n), scaling) if n >= tables.first_key else {} for n in range(q + 1)]
        at_keys.append(torch.tensor([[a.get(i, 0.0) for i in keys] for a in here], dtype=torch.float64))
        active = tables.scaled((seq, q), scaling)
        at_query.append(torch.tensor([active.get(j, 0.0) for j in queries], dtype=torch.float64))
    gradient = autograd_importance(at_keys, at_query, s, v)
    return {
        (i, j): float(gradient[row, column]) for row, i in enumerate(keys) for column, j in enumerate(queries)
    }


def autograd_importance(
    at_keys: list[torch.Tensor], at_query: list[torch.Tensor], s: torch.Tensor, v: torch.Tensor
) -> torch.Tensor:
    """The gradient with respect to the mask [n_keys, n_queries].

    Args:
        at_keys: of each example the candidate keys' activations at positions 0 to q, [q + 1, n_keys].
        at_query: of each example the candidate queries' activations at q, [n_queries].
    """
    mask = torch.ones(s.shape, dtype=torch.float64, requires_grad=True)
    # Without an example the gradient is 0, which autograd says only of what depends on the mask.
    total = 0 * mask.sum()
    for keys, query in zip(at_keys, at_query, strict=True):
        total = total + torch.softmax(keys @ (mask * s) @ query, 0) @ (keys @ v)
    return torch.autograd.grad(total, mask, allow_unused=True, materialize_grads=True)[0]


def mean_received(tables: Tables, places: list[Place]) -> dict[int, float]:
    """The mean of G[q,i] over positions, of every input feature."""
    total = dict.fromkeys(tables.keys, 0.0)
    for place in places:
        for i, amount in tables.received(*place).items():
            total[i] += amount
    return {i: amount / max(1, len(places)) for i, amount in total.items()}


def weighted(tables: Tables, f: int) -> dict[int, float]:
    """V(f,i) times how much more attention carries i where f is active."""
    active = mean_received(tables, tables.train_active(f))
    everywhere = mean_received(tables, tables.train_places())
    return {i: tables.v(f, i) * (active[i] - everywhere[i]) for i in tables.keys}


def weighted_groups(tables: Tables, f: int) -> list[tuple[list[int], float]]:
    """Groups of keys with the sum of their scores, best first."""
    scores = weighted(tables, f)
    left = [i for i in top(scores, scores.__getitem__, MAX_KEY_RULES) if scores[i] > 0]
    groups = []
    while left:
        similar = [i for i in left if cosine(tables.values[left[0]], tables.values[i]) > SAME_DIRECTION]
        group = [left[0], *(i for i in similar if i != left[0])][:8]
        groups.append((group, sum(scores[i] for i in group)))
        left = [i for i in left if i not in group]
    return sorted(groups, key=lambda group: -group[1])


def rule_tokens(
    tables: Tables, f: int, keys: set[int], queries: set[int]
) -> tuple[dict[int, float], dict[int, float]]:
    """What each key token, and each query token, adds to the score of a rule; no queries are any query."""
    added: tuple[dict[int, float], dict[int, float]] = (defaultdict(float), defaultdict(float))
    active = [place for place in tables.out[f] if place[1] > 0]
    for places, sign in ((active, 1), (tables.positions, -1)):
        for seq, q in places:
            if queries and not queries & tables.active[seq, q].keys():
                continue
            for k, _, weight in tables.sources[seq, q]:
                for i in keys & tables.active[seq, k].keys() if k >= tables.first_key else ():
                    a = tables.active[seq, k][i] / tables.scale[seq, k][1]
                    amount = sign * tables.v(f, i) * weight * a / len(places)
                    added[0][tables.tokens[seq, k]] += amount
                    added[1][tables.tokens[seq, q]] += amount
    return added


def token_lifts(tables: Tables, f: int) -> dict[int, float]:
    """How many times more often than anywhere a feature is active at a token, where it is at least 5 times."""
    n_positions, n_active = Counter(tables.tokens.values()), Counter(tables.tokens[p] for p in tables.out[f])
    anywhere = len(tables.out[f]) / len(tables.tokens)
    return {
        token: (n + 20 * anywhere) / (n_positions[token] + 20) / anywhere
        for token, n in n_active.items()
        if n >= 5
    }


def token_sources(tables: Tables, f: int) -> dict[int, tuple[float, float]]:
    """What each source token brings to a feature by the model's attention, where it is active and everywhere."""
    brought: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    active = [place for place in tables.out[f] if place[1] > 0]
    for column, places in enumerate((active, tables.positions)):
        for seq, q in places:
            for k, weight, _ in tables.sources[seq, q]:
                values = sum(a * tables.v(f, i) for i, a in tables.active[seq, k].items())
                amount = weight * values / tables.scale[seq, k][0] / len(places)
                brought[tables.tokens[seq, k]][column] += amount
    return {token: (when_active, everywhere) for token, (when_active, everywhere) in brought.items()}


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def reached_pairs(tables: Tables, f: int, keys: list[int]) -> set[Pair]:
    """The pairs of these keys that attention, any attention, brings together where f is active on train."""
    return {
        (i, j)
        for seq, q in tables.train_active(f)
        for k, *_ in tables.sources[seq, q]
        if k >= tables.first_key
        for i in tables.active[seq, k]
        if i in keys
        for j in tables.active[seq, q]
    }


def leading_keys(tables: Tables, f: int, num_values: int) -> list[int]:
    """The keys that pairs are made of: the first of the `weighted` ranking, whatever their sign."""
    scores = weighted(tables, f)
    return top(scores, scores.__getitem__, num_values)


def weighted_pairs(tables: Tables, f: int, pairs: Iterable[Pair]) -> dict[Pair, float]:
    """V(f,i) times how much more G[q,i] 1[a_j > 0] is where f is active."""

    def mean(i: int, j: int, places: list[Place]) -> float:
        here = [tables.received(*place).get(i, 0.0) for place in places if j in tables.active[place]]
        return sum(here) / max(1, len(places))

    active, everywhere = tables.train_active(f), tables.train_places()
    return {(i, j): tables.v(f, i) * (mean(i, j, active) - mean(i, j, everywhere)) for i, j in pairs}


def mined_score(tables: Tables, f: int, i: int, j: int) -> float:
    """The lower end of the Wilson interval of the precision on train positions."""
    learnt_from = tables.train - tables.held_out[f]
    matches = [place for place in tables.matches(i, j) if place[0] in learnt_from]
    hits = {*matches} & {*tables.train_active(f)}
    return wilson_interval(len(hits), len(matches))[0]


def wilson_interval(hits: float, trials: int) -> tuple[float, float]:
    """The proportions p that lie 1.96 of their own standard errors from the share of hits."""
    z2, share = 1.959963984540054**2 / trials, hits / trials
    low, high = sorted(np.roots([1 + z2, -(2 * share + z2), share**2]).real)
    return float(low), float(high)


def mined_support(tables: Tables, f: int, i: int, j: int) -> dict[str, float]:
    """The support columns of a mined rule, counted over the whole corpus."""
    matches = tables.matches(i, j)
    active = [place for place in tables.out[f] if place[1] > 0]
    hits = [place for place in matches if place in tables.out[f]]
    reached = {
        (seq, q): [
            weight * tables.active[seq, k][i]
            for k, weight, _ in tables.sources[seq, q]
            if k >= tables.first_key and i in tables.active[seq, k]
        ]
        for seq, q in hits
    }
    supported = {place: sum(amounts) for place, amounts in reached.items() if amounts}
    base = len(active) / len(tables.positions)
    low, high = wilson_interval(len(hits), len(matches))
    return {
        "support_positions": len(supported),
        "support_sequences": len({seq for seq, _ in supported}),
        "contribution": tables.v(f, i) * sum(supported.values()) / max(1, len(supported)),
        "precision": len(hits) / len(matches),
        "recall": len(hits) / len(active),
        "lift": len(hits) / len(matches) / base,
        "lift_low": low / base,
        "lift_high": high / base,
    }


# --- predictions (sections 3.5 and 5) --------------------------------------------------------------------------


class Predictor:
    """What lists of rules predict at any position of a head.

    Args:
        lists: of (feature, method, scaling) the rules as (rank, key, query, S, V, score).
    """

    def __init__(
        self, tables: Tables, lists: dict[tuple[int, str, str], list[tuple[Any, ...]]], aggregation: str
    ) -> None:
        self.tables, self.lists, self.aggregation = tables, lists, aggregation
        self.matches = lru_cache(maxsize=None)(self._matches)

    def predict(self, of: tuple[int, str, str], place: Place, n: int) -> float:
        """Predict with the first n rules of a list."""
        by_key: dict[int, list[float]] = defaultdict(list)
        for rank, k, score in self.matches(of, place):
            if rank <= n:
                by_key[k].append(score)
        if not by_key:
            return 0.0
        aggregation = "sum" if of[1].startswith("weighted") else self.aggregation
        inner = sum if aggregation in ("sum", "max_of_sums") else max
        outer = sum if aggregation in ("sum", "sum_of_maxima") else max
        return float(outer(inner(scores) for scores in by_key.values()))

    def _matches(self, of: tuple[int, str, str], place: Place) -> list[tuple[int, int, float]]:
        """The rank, the key position and the score of every match of a list's rules."""
        _, method, scaling = of
        seq, q = place
        at_query = self.tables.scaled(place, scaling)
        weights = {k: weight for k, _, weight in self.tables.sources[place]}
        found = []
        counted = set()
        for rank, key, query, s, v, score in self.lists[of]:
            # A rule is one rank: each of its keys counts once, whichever of its queries is active.
            if (query is not None and query not in at_query) or (rank, key) in counted:
                continue
            if method.startswith("weighted_g"):
                counted.add((rank, key))
            for k in range(self.tables.first_key, q + 1):
                if key not in self.tables.active[seq, k]:
                    continue
                a_k = self.tables.scaled((seq, k), scaling)[key]
                if method.startswith("weighted"):
                    a_k = self.tables.active[seq, k][key] / self.tables.scale[seq, k][1]
                    predicted = v * weights.get(k, 0.0) * a_k
                elif method == "mined":
                    predicted = score
                elif query is None:
                    predicted = a_k * v
                elif method == "importance":
                    predicted = (at_query[query] * a_k * s) * v
                else:
                    predicted = (at_query[query] * a_k * s) * (a_k * v)
                found.append((rank, k, predicted))
        return found


def stored_lists(warehouse: Warehouse, layer: int, head: int) -> dict[tuple[int, str, str], list[Any]]:
    """The rules of a head, as `Predictor` takes them."""
    lists: dict[tuple[int, str, str], list[Any]] = defaultdict(list)
    for row in warehouse.rows(
        "SELECT feature, method, scaling, rank, key_feature, query_feature, attn_score, value_score, score"
        " FROM rules WHERE layer = $layer AND head = $head ORDER BY rank, key_feature",
        {"layer": layer, "head": head},
    ):
        lists[row[:3]].append(row[3:])
    for feature, *rule in warehouse.rows(
        "SELECT feature, rank, statement, weight, prior FROM stated_rules"
        " WHERE layer = $layer AND head = $head ORDER BY rank",
        {"layer": layer, "head": head},
    ):
        lists[feature, "stated", "none"].append(tuple(rule))
    return lists


def token_mean(tables: Tables, f: int, place: Place, n_tokens: int) -> float:
    """The mean train activation on the same token, or the same two; 0 where these never occurred."""

    def gram(seq: int, q: int) -> list[int]:
        return [tables.tokens[seq, q - back] for back in range(n_tokens)]

    if place[1] == 0:
        return 0.0
    same = [
        tables.out[f].get(other, 0.0)
        for other in tables.train_places()
        if other[0] not in tables.held_out[f] and gram(*other) == gram(*place)
    ]
    return sum(same) / max(1, len(same))


def ceiling(tables: Tables, f: int, place: Place, *, by_model: bool) -> float:
    """The pre-activation of the head output rebuilt from all input features at every stored source."""
    seq, _ = place
    z = np.zeros_like(tables.b_v)
    for k, weight, weight_from_features in tables.sources[place]:
        features = sum((a * tables.values[i] for i, a in tables.active[seq, k].items()), tables.decoder_bias)
        z = z + (weight if by_model else weight_from_features) * (
            features / tables.scale[seq, k][1] + tables.b_v
        )
    return float(z @ tables.encoders[f]) + tables.bias[f]


def held_out_sequences(tables: Tables, n: int) -> dict[str, list[int]]:
    """The sequences of each split whose every position is judged: the first n in a seeded order."""
    order = sorted(tables.split_of, key=lambda seq: (mix32(mix32(tables.seed) + seq), seq))
    return {
        split: sorted([seq for seq in order if tables.split_of[seq] == split][:n])
        for split in ("train", "test")
    }


# --- metrics (section 5), of (activation, prediction) pairs ----------------------------------------------------


def rates(pairs: list[tuple[float, float]], least: float) -> tuple[float, float, float]:
    """Precision, recall and F1 of predicting active above `least`."""
    hits = sum(a > 0 and p > least for a, p in pairs)
    predicted, actual = sum(p > least for _, p in pairs), sum(a > 0 for a, _ in pairs)
    precision = hits / predicted if predicted else 1.0
    recall = hits / actual if actual else 1.0
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def average_precision(pairs: list[tuple[float, float]]) -> float | None:
    """Average precision, equal predictions taken together."""
    actual = sum(a > 0 for a, _ in pairs)
    average = 0.0
    for threshold in {p for _, p in pairs}:
        above = [a > 0 for a, p in pairs if p >= threshold]
        at = sum(a > 0 for a, p in pairs if p == threshold)
        average += at * sum(above) / len(above)
    return average / actual if actual else None


def spearman(pairs: list[tuple[float, float]]) -> float | None:
    """Rank correlation with average ranks for ties, None where one side is constant."""

    def ranks(values: np.ndarray) -> np.ndarray:
        below = (values[None, :] < values[:, None]).sum(axis=1)
        return np.asarray(below + ((values[None, :] == values[:, None]).sum(axis=1) + 1) / 2)

    of_activation, of_prediction = (ranks(side) for side in np.array(pairs).T)
    if np.ptp(of_activation) == 0 or np.ptp(of_prediction) == 0:
        return None
    return float(np.corrcoef(of_activation, of_prediction)[0, 1])


def best_threshold(pairs: list[tuple[float, float]]) -> float | None:
    """The prediction above which F1 is largest, half-way to the next smaller one; the highest of several."""
    values = sorted({p for _, p in pairs}, reverse=True)
    if not any(a > 0 for a, _ in pairs):
        return None

    def f1(least: float) -> float:
        hits = sum(a > 0 and p >= least for a, p in pairs)
        return hits / (sum(p >= least for _, p in pairs) + sum(a > 0 for a, _ in pairs))

    best = max(values, key=lambda value: (round(f1(value), 12), value))
    lower = [value for value in values if value < best]
    return (best + lower[0]) / 2 if lower else best - 1


def fitted_line(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Slope and intercept of the least-squares line from prediction to activation."""
    a, p = np.array(pairs).T
    variance = ((p - p.mean()) ** 2).sum()
    constant = variance <= 1e-12 * (p**2).sum()
    slope = 0.0 if constant else ((p - p.mean()) * (a - a.mean())).sum() / variance
    return float(slope), float(a.mean() - slope * p.mean())


def r2(pairs: list[tuple[float, float]], line: tuple[float, float]) -> float | None:
    """The share of the activation's variance that a line explains, None where it is constant."""
    a, p = np.array(pairs).T
    total = ((a - a.mean()) ** 2).sum()
    missed = np.minimum((a - line[1] - line[0] * p) ** 2, 1e15 * a.max(initial=0) ** 2)
    return float(1 - missed.sum() / total) if total else None


def intervals(
    rows: list[tuple[int, float, float]], sequences: list[int], threshold: float | None, seed: int
) -> list[float | None]:
    """Low and high ends of the bootstrap intervals of F1, of F1 at the threshold and of average precision.

    Args:
        rows: (sequence, activation, prediction). sequences: those that are drawn with replacement.
    """
    drawn = bootstrap_weights(np.array(sequences), seed)
    w = drawn[[sequences.index(seq) for seq, _, _ in rows]]
    a, p = (np.array([row[side] for row in rows]) for side in (1, 2))

    def total(chosen: np.ndarray) -> np.ndarray:
        return np.asarray(w[chosen].sum(axis=0))

    actual = total(a > 0)
    usable = actual > 0
    few = len({seq for seq, activation, _ in rows if activation > 0}) < 5
    if few or not usable.any():
        return [None] * 6
    metrics: list[np.ndarray | None] = []
    for least in (0.0, threshold):
        if least is None:
            metrics.append(None)
            continue
        metrics.append(2 * total((a > 0) & (p > least))[usable] / (total(p > least) + actual)[usable])
    average = np.zeros(int(usable.sum()))
    for value in set(p.tolist()):
        above = np.maximum(total(p >= value), 1)[usable]
        average += total((a > 0) & (p == value))[usable] * total((a > 0) & (p >= value))[usable] / above
    metrics.append(average / actual[usable])
    return [
        None if values is None else float(np.quantile(values, end))
        for values in metrics
        for end in (0.025, 0.975)
    ]


# --- comparing rankings ----------------------------------------------------------------------------------------


def levels(scores: dict[Any, float], tolerance: float) -> dict[Any, int]:
    """Number scores from the largest down, those within the tolerance of their neighbour alike."""
    order = sorted(scores, key=lambda item: -scores[item])
    level, numbered = 0, {}
    for above, item in zip([None, *order], order, strict=False):
        level += above is not None and scores[above] - scores[item] > tolerance
        numbered[item] = level
    return numbered


def assert_ranked(
    found: list[tuple[Any, float]], expected: dict[Any, float], n: int, *, by_size: bool
) -> None:
    """Assert that `found`, (item, score) by rank, are the n best items, up to rounding among those that tie.

    Args:
        by_size: whether the ranking is by the absolute score. Scores within 1e-9 of the largest are zero.
    """
    tolerance = 1e-9 * max((abs(score) for score in expected.values()), default=0.0)
    for item, score in found:
        assert abs(score - expected[item]) <= tolerance, (item, score, expected[item])
    size = abs if by_size else float
    sizes = {item: size(score) for item, score in expected.items() if size(score) > tolerance}
    level = levels(sizes, tolerance)
    kept = [item for item, score in found if item in sizes]
    assert [item for item, _ in found[: len(kept)]] == kept
    assert len(set(kept)) == len(kept) == min(n, len(sizes))
    assert [level[item] for item in kept] == sorted(level.values())[:n]
    scores = [(-size(score), item) for item, score in found]
    assert scores == sorted(scores)


def assert_logits_give_attention(
    warehouse: Warehouse,
    heads: list[tuple[int, int]],
    *,
    query_pos: int,
    n_sequences: int,
    cap: float | None = None,
) -> None:
    """The softmax of the sums over all keys is the stored attention from the features."""
    for layer, head in heads:
        rows = warehouse.rows(
            "SELECT a.seq_id, a.weight_from_features, t.logit FROM attention_sources AS a, LATERAL ("
            " SELECT sum(logit) AS logit FROM attention_terms(a.layer, a.head, a.seq_id, a.query_pos, a.key_pos)) AS t"
            f" WHERE (a.layer, a.head, a.query_pos) = ({layer}, {head}, {query_pos}) AND a.seq_id < {n_sequences}"
        )
        for seq in range(n_sequences):
            weights = np.array([row[1] for row in rows if row[0] == seq])
            logits = np.array([row[2] for row in rows if row[0] == seq])
            logits = logits if cap is None else cap * np.tanh(logits / cap)
            assert len(weights) == query_pos + 1
            np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), weights, atol=1e-4)
