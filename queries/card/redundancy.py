"""The few rules of a ranked list that predict as well as all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnrules.queries.arrays import Floats, Ints
from attnrules.sql import Statements
from attnrules.sql.methods import method_named

if TYPE_CHECKING:
    from attnrules.queries.heads import FeatureId
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "card")

# Rules of a list that are looked at, and how close to the whole list's F1 is close enough.
_LONGEST = 256
_CLOSE = 0.99


@dataclass(frozen=True)
class MinimalRules:
    """A few rules that do what their list does.

    Arguments:
        ranks: of the rules kept, in the order in which they were taken.
        n_rules: length of the list they stand for.
        f1, f1_of_list: on test examples, with the threshold that is best on the others.
    """

    method: str
    scaling: str
    ranks: tuple[int, ...]
    n_rules: int
    f1: float
    f1_of_list: float


def minimal_rules(
    warehouse: Warehouse, feature: FeatureId, method: str, scaling: str, *, bos_keys: bool
) -> MinimalRules | None:
    """Find the smallest set of rules whose F1 is within 1% of that of the first 256.

    Rules are taken one by one, each time the one that raises F1 most (ties by rank), on the train and val
    examples of the set `paper`. None where the feature has no such examples.
    """
    at: dict[str, int] = {"layer": feature.layer, "head": feature.head, "feature": feature.feature}
    examples = warehouse.rows(step("judged_examples"), at)
    if not examples:
        return None
    row_of = {(seq_id, pos): row for row, (seq_id, pos, _, _) in enumerate(examples)}
    active = np.array([label == 1 for *_, label in examples])
    test = np.array([split == "test" for _, _, split, _ in examples])
    named = {"method": method, "scaling": scaling, "n_rules": _LONGEST, "bos_keys": bos_keys}
    matches = warehouse.rows(step("rule_matches"), {**at, **named})
    ranks = np.array(sorted({rank for rank, *_ in matches}), dtype=np.int64)
    if not len(ranks):
        return None
    additive = method_named(method).is_sum
    scores = np.full((len(ranks), len(examples)), 0.0 if additive else -np.inf)
    column = np.searchsorted(ranks, [rank for rank, *_ in matches])
    scores[column, [row_of[seq_id, pos] for _, seq_id, pos, _ in matches]] = [m[3] for m in matches]
    chosen, _ = _take_rules(scores[:, ~test], active[~test], additive=additive)

    def f1_on_test(rules: Ints) -> float:
        predicted = _together(scores[rules], additive=additive)
        threshold = _best_f1(predicted[~test], active[~test])[1]
        hits = int((active & (predicted > threshold))[test].sum())
        return 2 * hits / max(1, int((predicted[test] > threshold).sum() + active[test].sum()))

    return MinimalRules(
        method,
        scaling,
        tuple(int(ranks[rule]) for rule in chosen),
        len(ranks),
        f1_on_test(chosen),
        f1_on_test(np.arange(len(ranks))),
    )


def _take_rules(scores: Floats, active: Ints, *, additive: bool) -> tuple[Ints, float]:
    """Return the rules taken, in order, and their F1; scores are [n_rules, n_examples]."""
    goal = _CLOSE * _best_f1(_together(scores, additive=additive), active)[0]
    taken: list[int] = []
    so_far = np.full(scores.shape[1], 0.0 if additive else -np.inf)
    f1 = 0.0
    while f1 < goal and len(taken) < len(scores):
        left = [rule for rule in range(len(scores)) if rule not in taken]
        tried = [
            _best_f1(_pair_together(so_far, scores[rule], additive=additive), active)[0] for rule in left
        ]
        best = int(np.argmax(tried))
        taken.append(left[best])
        f1 = tried[best]
        so_far = _pair_together(so_far, scores[left[best]], additive=additive)
    return np.array(taken, dtype=np.int64), f1


def _pair_together(first: Floats, second: Floats, *, additive: bool) -> Floats:
    return first + second if additive else np.maximum(first, second)


def _together(scores: Floats, *, additive: bool) -> Floats:
    together = scores.sum(axis=0) if additive else scores.max(axis=0)
    return np.where(np.isneginf(together), 0.0, together)


def _best_f1(predicted: Floats, active: Ints) -> tuple[float, float]:
    """Return the largest F1 of any threshold, and that threshold, as insert_evaluations.sql stores them.

    A card asks for up to 136 sets of rules of a list: 0.16 ms each here, where the smallest statement took
    0.33 ms.
    """
    predicted = np.where(np.isneginf(predicted), 0.0, predicted)
    order = np.argsort(-predicted, kind="stable")
    descending = predicted[order]
    hits = np.cumsum(active[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + active.sum())
    last = np.r_[descending[1:] != descending[:-1], True]
    best = int(np.argmax(np.where(last, f1, -1)))
    lower = descending[best + 1] if best + 1 < len(order) else descending[best] - 2
    return float(f1[best]), float((descending[best] + lower) / 2)
