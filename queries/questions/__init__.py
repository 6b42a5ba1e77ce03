"""Named questions and ad hoc SQL: `attnrules query`."""

from __future__ import annotations

from attnrules.queries.questions.asking import Question, ask, questions, seems_sql, why_empty

__all__ = [
    "Question",
    "ask",
    "questions",
    "seems_sql",
    "why_empty",
]
