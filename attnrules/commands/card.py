"""The card of a feature as lines of text that fit a screen."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from attnrules.commands.lists import list_lines, rule_lines, rule_lists
from attnrules.commands.terminal import visible
from attnrules.commands.wording import (
    absence_lines,
    best_list_words,
    counting_lines,
    feature_name,
    reading_lines,
    right_side,
    share_lines,
    stated_lines,
)
from attnrules.sentence import sentence, token

if TYPE_CHECKING:
    from attnrules.queries.card import FeatureCard

_WIDTH = 100
# Characters of the text of an example, and of those the ones after the active token.
_TEXT, _AFTER = 87, 16
_JUDGED = (
    *("n_rules_used", "base_rate", "precision", "recall", "average_precision"),
    "ceiling_average_precision",
)


def card_lines(card: FeatureCard, path: Path, *, all_methods: bool = False) -> list[str]:
    """Return the card of a feature as lines of text; `path` is named in what to run next.

    With `all_methods`, every list and every absence and counting rule follow, with their figures.
    """
    facts, name = card.feature, feature_name(card)
    title = (
        f"{name}  active in {facts['n_sequences']} of {facts['n_sequences_stored']} sequences,"
        f" {facts['n_tokens']} tokens"
    )
    if not facts["n_tokens"]:
        return [title, "never fires on this corpus"]
    lines = [title, *folded(_sentence(card)), ""]
    for line in [*reading_lines(card), *share_lines(card.heads)]:
        lines += folded(line, 10)
    lines += [*_rule_lines(card, path), *_example_lines(card)]
    if all_methods:
        ends = right_side(card)
        return [
            *lines,
            *list_lines(card),
            *absence_lines(card.absences, ends, card.narrowings),
            *counting_lines(card.counting, ends, card.narrowings),
        ]
    return [*lines, *_supported_lines(card), "", _further(card, path)]


def folded(line: str, indent: int = 0) -> list[str]:
    """Return a line in lines of at most 100 characters: broken between words and tokens, not inside one.

    How a rule ends stays whole.
    """
    head, *ends = re.split(r"(?<= )(?=[→↛] |   ?\()", visible(line))
    lines = [""]
    for piece in [*re.split(r"(?<=[\w,;:.)\]%] )(?! )", head), *ends]:
        if lines[-1].strip() and len(lines[-1]) + len(piece.rstrip()) > _WIDTH:
            lines.append(" " * indent)
            lines[-1] += piece.lstrip()
        else:
            lines[-1] += piece
    return [each.rstrip() for each in lines]


def _sentence(card: FeatureCard) -> str:
    best = next((row for row in card.best if row["example_set"] == "all_positions"), {})
    return sentence(
        {**card.feature, **{name: best.get(name) for name in _JUDGED}},
        attended=[token(row["token"]) for row in card.attended],
        distances={row["distance"]: row["attention"] - row["attention_everywhere"] for row in card.distances},
        fires_on=[row["token"] for row in card.fires_on],
    )


def _rule_lines(card: FeatureCard, path: Path) -> list[str]:
    """Return the stated rules, or where there are none the first rules of the best list."""
    best = [row for row in card.best if row["example_set"] == "all_positions"]
    words = [line for row in best for line in folded(best_list_words(row), 2)]
    if card.stated:
        return [*_folded_rules(stated_lines(card)), *([""] if words else []), *words]
    lists = rule_lists(card)
    if not lists:
        command = f"attnrules mine skipgrams {quote(str(path))} --features {feature_name(card)}"
        return ["", f"no rules yet: `{command}` finds them in seconds"]
    method, scaling = next(((row["method"], row["scaling"]) for row in best), lists[0])
    rules = rule_lines(card, method, scaling)
    return ["", *(words or [f"{method} rules ({scaling} scaling)"]), *_folded_rules(rules)]


def _folded_rules(lines: list[str]) -> list[str]:
    return [part for line in lines for part in folded(line, 7)]


def _example_lines(card: FeatureCard) -> list[str]:
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for run in card.example_runs:
        found.setdefault((run["seq_id"], run["example_pos"]), []).append(run)
    lines = ["", "strongest examples: «active», ‹what brings a tenth of it or more›"]
    for (_, pos), runs in found.items():
        before = "".join(_marked(run) for run in runs if run["pos"] < pos)
        here = "".join(_marked(run) for run in runs if run["pos"] == pos)
        after = "".join(_marked(run) for run in runs if run["pos"] > pos)[:_AFTER]
        room = max(1, _TEXT - len(here) - len(after))
        lines.append(f"  {runs[0]['activation']:7.3f}  …{before[-room:]}{here}{after}…")
    return lines


def _marked(run: dict[str, Any]) -> str:
    text = visible(run["text"])
    if run["is_source"]:
        text = f"‹{text}›"
    return f"«{text}»" if run["is_here"] else text


def _supported_lines(card: FeatureCard) -> list[str]:
    """Return the absence and counting rules that the model confirms, and how many others there are."""
    ends = right_side(card)
    lines = [
        *absence_lines([rule for rule in card.absences if rule["confirmed"]], ends, card.narrowings),
        *counting_lines([rule for rule in card.counting if rule["confirmed"]], ends, card.narrowings),
    ]
    others = [
        words
        for kind, rules in (("absence", card.absences), ("counting", card.counting))
        for words in _unconfirmed(kind, [rule for rule in rules if not rule["confirmed"]])
    ]
    said = ["", f"not confirmed on the model: {', '.join(others)}"] if others else []
    return [*_folded_rules(lines), *said]


def _unconfirmed(kind: str, rules: list[dict[str, Any]]) -> list[str]:
    found = []
    untested = sum(rule["status"] == "not tested" for rule in rules)
    for n, how in ((len(rules) - untested, ""), (untested, ", not tested: run `attnrules intervene`")):
        if n:
            found.append(f"{n} {kind} rule{'s' if n > 1 else ''}{how}")
    return found


def _further(card: FeatureCard, path: Path) -> str:
    page = f"`attnrules report {quote(str(path))} DIR --features {feature_name(card)}`"
    return f"more: --all-methods, every list with its figures; --legend, the words; {page}, a page"
