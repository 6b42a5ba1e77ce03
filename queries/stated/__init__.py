"""Stated rules: conditions on the text, judged exactly as they are read (method.md section 13).

`language` is the grammar, `members` turns a rule into rows, `reading` judges rules as they are read,
`narrowing` does with one condition more and without it, `learning` finds them.
"""

from __future__ import annotations

from attnrules.queries.stated.language import Statement, parse
from attnrules.queries.stated.narrowing import Narrowing, read_confirmed
from attnrules.queries.stated.predicting import predict
from attnrules.queries.stated.reading import Example, Reading, parse_rule, read_rule

__all__ = [
    "Example",
    "Narrowing",
    "Reading",
    "Statement",
    "parse",
    "parse_rule",
    "predict",
    "read_confirmed",
    "read_rule",
]
