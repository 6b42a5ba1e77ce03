"""Absence rules: the feature that keeps a rule from acting, by weight and in the corpus."""

from __future__ import annotations

from attnrules.queries.absence.mining import (
    AbsenceResult,
    AbsenceSpec,
    Distractors,
    find_distractors,
    matched_difference,
    mine_absence,
    plan_absence,
    strata,
)

__all__ = [
    "AbsenceResult",
    "AbsenceSpec",
    "Distractors",
    "find_distractors",
    "matched_difference",
    "mine_absence",
    "plan_absence",
    "strata",
]
