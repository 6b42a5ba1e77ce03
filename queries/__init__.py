"""What you ask of a warehouse: mining steps, ready-made questions, the card of a feature.

Knows nothing of torch. `skipgrams` finds and judges rules, `scores` computes the scores of method.md
section 2 from stored weights, `questions` holds the named queries, `card` gathers one feature.
"""

from __future__ import annotations

from importlib.resources import files


def step(name: str) -> str:
    """Return the SQL of a mining step, one statement of `steps/`."""
    return (files(__name__) / "steps" / f"{name}.sql").read_text("utf-8")
