"""Straightforward readings of method.md section 3, for a few features: what mining is measured against.

Each loop works on data that lie in Python dictionaries beforehand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import groupby

import numpy as np

from attnrules.queries.heads import head_scores
from attnrules.warehouse import Warehouse

Place = tuple[int, int]
"""(seq_id, pos)"""

N_KEYS = 64
"""Keys that `WeightedLoop` ranks."""
_TRAIN = "sequence_split(0, seq_id) = 'train'"


def _by_place(
    warehouse: Warehouse, query: str, parameters: Mapping[str, object]
) -> defaultdict[Place, list[tuple[int, float]]]:
    """Return the rows (sequence, position, id, amount) of a query by place."""
    found: defaultdict[Place, list[tuple[int, float]]] = defaultdict(list)
    for seq, pos, of, amount in warehouse.rows(query, parameters):
        found[seq, pos].append((of, amount))
    return found


class WeightedLoop:
    """Keys ranked token by token, and what they predict position by position (sections 3.5 and 5)."""

    def __init__(self, warehouse: Warehouse, features: list[int]) -> None:
        self.values = head_scores(warehouse, 0, 0, "paper").value_scores(np.array(features))
        self.features = features
        chosen = {"features": features}
        of = "feature IN (SELECT unnest($features::INTEGER[]))"
        held_out = defaultdict(set)
        for feature, seq in warehouse.rows(
            f"SELECT feature, seq_id FROM examples WHERE split <> 'train' AND {of}", chosen
        ):
            held_out[feature].add(seq)
        self.active: dict[int, list[Place]] = defaultdict(list)
        self.truth: dict[int, set[Place]] = defaultdict(set)
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
        where = "WHERE seq_id IN (SELECT unnest($sequences::INTEGER[]))"
        wanted = {"sequences": sorted(sequences)}
        self.inputs = _by_place(
            warehouse,
            "SELECT seq_id, pos, feature, activation / ln_scale_from_features FROM input_activations"
            f" JOIN token_scales USING (layer, seq_id, pos) {where}",
            wanted,
        )
        self.sources = _by_place(
            warehouse,
            "SELECT seq_id, query_pos, key_pos, weight_from_features FROM attention_sources"
            f" {where} AND key_pos > 0",
            wanted,
        )

    def received(self, place: Place) -> dict[int, float]:
        """G[q,i] of every input feature (method.md section 3.5)."""
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
        return sorted(scores.items(), key=lambda item: -item[1])[:N_KEYS]

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


class MinedLoop:
    """Pairs of one feature counted sequence by sequence (section 3.4)."""

    def __init__(self, warehouse: Warehouse, feature: int, pairs: list[tuple[int, int]]) -> None:
        chosen = {"features": sorted({i for pair in pairs for i in pair})}
        self.activations: dict[int, dict[Place, float]] = defaultdict(dict)
        self.positions: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for i, seq, pos, activation in warehouse.rows(
            "SELECT feature, seq_id, pos, activation FROM input_activations WHERE pos > 0"
            " AND feature IN (SELECT unnest($features::INTEGER[])) ORDER BY seq_id, pos",
            chosen,
        ):
            self.activations[i][seq, pos] = activation
            self.positions[i][seq].append(pos)
        of = {"feature": feature}
        active = "SELECT seq_id, pos FROM output_activations WHERE feature = $feature AND pos > 0"
        self.active = set(warehouse.rows(active, of))
        self.sources = _by_place(
            warehouse,
            "SELECT a.seq_id, a.query_pos, a.key_pos, a.weight FROM attention_sources AS a"
            f" JOIN ({active}) AS o ON a.seq_id = o.seq_id AND a.query_pos = o.pos WHERE a.key_pos > 0",
            of,
        )

    def counts(self, key: int, query: int) -> tuple[float, float, int, int, float]:
        """Return precision, recall, positions and sequences of support, and mean A[q,k] a[k,i] there."""
        n_matches, n_hits, total = 0, 0, 0.0
        supported: list[Place] = []
        for seq, positions in self.positions[query].items():
            if seq not in self.positions[key]:
                continue
            first = self.positions[key][seq][0]
            for pos in positions:
                if pos < first:
                    continue
                n_matches += 1
                if (seq, pos) not in self.active:
                    continue
                n_hits += 1
                found = [
                    weight * self.activations[key][seq, k]
                    for k, weight in self.sources[seq, pos]
                    if (seq, k) in self.activations[key]
                ]
                if found:
                    supported.append((seq, pos))
                    total += sum(found)
        n_sequences = len({seq for seq, _ in supported})
        mean = total / max(1, len(supported))
        return n_hits / n_matches, n_hits / len(self.active), len(supported), n_sequences, mean


class ImportanceLoop:
    """The gradient with respect to a mask over candidate pairs of a feature, by autograd (section 3.2)."""

    def __init__(self, warehouse: Warehouse, feature: int, *, num_values: int, num_queries: int) -> None:
        scores = head_scores(warehouse, 0, 0, "paper")
        v = scores.value_scores(np.array([feature]))[0]
        self.keys = np.sort(np.argsort(-v, kind="stable")[:num_values])
        s = scores.keys[self.keys] @ scores.queries.T
        self.queries = np.unique(np.argsort(-s, axis=1, kind="stable")[:, :num_queries])
        self.v, self.s = v[self.keys], s[:, self.queries]
        key_row = {int(i): row for row, i in enumerate(self.keys)}
        query_row = {int(j): row for row, j in enumerate(self.queries)}
        self.examples = []
        for seq, q in warehouse.rows(
            "SELECT seq_id, pos FROM examples"
            " WHERE feature = $feature AND example_set = 'paper' AND split = 'train'",
            {"feature": feature},
        ):
            at_keys, at_query = np.zeros((q + 1, len(key_row))), np.zeros(len(query_row))
            for pos, i, activation in warehouse.rows(
                "SELECT pos, feature, activation FROM input_activations WHERE seq_id = $seq AND pos <= $q",
                {"seq": seq, "q": q},
            ):
                if pos > 0 and i in key_row:
                    at_keys[pos, key_row[i]] = activation
                if pos == q and i in query_row:
                    at_query[query_row[i]] = activation
            self.examples.append((at_keys, at_query))

    def importance(self) -> dict[tuple[int, int], float]:
        """Return the importance of every pair where it is not 0."""
        import torch

        s, v = torch.from_numpy(self.s), torch.from_numpy(self.v)
        total = torch.zeros(s.shape, dtype=torch.float64)
        for at_keys, at_query in self.examples:
            mask = torch.ones(s.shape, dtype=torch.float64, requires_grad=True)
            keys, query = torch.from_numpy(at_keys), torch.from_numpy(at_query)
            prediction = torch.softmax(keys @ (mask * s) @ query, 0) @ (keys @ v)
            total += torch.autograd.grad(prediction, mask)[0]
        found = total.numpy()
        return {
            (int(self.keys[row]), int(self.queries[column])): float(found[row, column])
            for row, column in zip(*np.nonzero(found), strict=True)
        }
