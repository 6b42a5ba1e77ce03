"""What you ask of a warehouse: mining steps, ready-made questions, the card of a feature.

Knows nothing of torch. `skipgrams` finds and judges rules, `scores` computes the scores of method.md
section 2 from stored weights, `questions` holds the named queries, `card` gathers one feature.
"""

from __future__ import annotations

from attnrules.sql import Statements

step = Statements(__name__, "steps")
"""Returns a step of mining skip-gram rules and judging them."""
