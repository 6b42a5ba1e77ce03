"""Interpolated n-gram models of the same text: what the language model is compared with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence


class NgramModel:
    """Interpolated Kneser-Ney with one absolute discount; order 1 is the unigram model.

    Args:
        documents: token ids of the training documents.
        order: 1 for unigram, 2 for bigram, 3 for trigram.
        vocab_size: size of the uniform distribution that ends the interpolation.
    """

    def __init__(
        self, documents: Sequence[list[int]], order: int, vocab_size: int, discount: float = 0.75
    ) -> None:
        self.order, self.vocab_size, self.discount = order, vocab_size, discount
        self._counts: dict[int, Counter[tuple[int, ...]]] = {}
        self._totals: dict[int, Counter[tuple[int, ...]]] = {}
        self._types: dict[int, Counter[tuple[int, ...]]] = {}
        counts = Counter(
            tuple(ids[start : start + order]) for ids in documents for start in range(len(ids) - order + 1)
        )
        for n in range(order, 0, -1):
            self._counts[n] = counts
            self._totals[n], self._types[n] = Counter(), Counter()
            for gram, count in counts.items():
                self._totals[n][gram[:-1]] += count
                self._types[n][gram[:-1]] += 1
            # Lower orders count the distinct left neighbours of a gram, not its occurrences.
            counts = Counter(gram[1:] for gram in counts)

    def probability(self, context: tuple[int, ...], token: int) -> float:
        """P(token | context), for a context of at most order - 1 tokens."""
        result = 1 / self.vocab_size
        for n in range(1, len(context) + 2):
            suffix = context[len(context) - n + 1 :]
            total = self._totals[n][suffix]
            if not total:
                break
            kept = max(self._counts[n][(*suffix, token)] - self.discount, 0)
            result = (kept + self.discount * self._types[n][suffix] * result) / total
        return result

    def loss(self, rows: Sequence[list[int]]) -> float:
        """Mean negative log-likelihood (nats a token) of rows of token ids; BOS is no context."""
        bodies = [row[1:] for row in rows]
        terms = [
            -math.log(self.probability(tuple(body[max(0, i - self.order + 1) : i]), body[i]))
            for body in bodies
            for i in range(len(body))
        ]
        return sum(terms) / len(terms)
