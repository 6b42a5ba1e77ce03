"""The card of a head as lines of text."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from attnrules.commands.terminal import visible

if TYPE_CHECKING:
    from attnrules.queries.card import HeadCard

_ROLES = {
    "previous_token": "previous token",
    "duplicate_token": "earlier copies of the token",
    "induction": "what followed an earlier copy",
    "bos": "BOS",
    "self": "itself",
}


def head_lines(card: HeadCard, path: Path) -> list[str]:
    """Return the card of a head as lines of text."""
    facts = card.head
    name = f"L{facts['layer']}H{facts['head']}"
    lines = [f"{name}  {facts['n_features_that_fire']} of {facts['n_features']} features fire"]
    if facts["kept_attention_mass"] is None:
        return [*lines, "its ingest is not finished"]
    lines += [
        f"attends to ({facts['kept_attention_mass']:.1%} of its attention is stored, the rest counts as 0)",
        f"  {'':30}  attention  [95% interval]  control{'  repeated tokens' if _probed(card) else ''}",
        *(_role_line(row) for row in card.roles),
    ]
    distances = ", ".join(f"{row['distance']}: {row['share']:.0%}" for row in card.distances)
    keys = ", ".join(f"{visible(row['token'])!r} {row['share']:.0%}" for row in card.keys)
    if distances:
        lines += ["", f"beside BOS, tokens back  {distances}", f"keys  {keys}"]
    return [*lines, "", *_feature_lines(card, name, path)]


def _probed(card: HeadCard) -> bool:
    return any(row["probe"] is not None for row in card.roles)


def _role_line(row: dict[str, Any]) -> str:
    words = f"  {_ROLES[row['role']]:30}"
    if row["attention"] is None:
        return f"{words}  no position has one"
    interval = "—"
    if row["attention_low"] is not None:
        interval = f"[{row['attention_low']:.3f}, {row['attention_high']:.3f}]"
    probed = "" if row["probe"] is None else f"  {row['probe']:15.3f}"
    return f"{words}  {row['attention']:9.3f}  {interval:14}  {row['control']:7.3f}{probed}"


def _feature_lines(card: HeadCard, name: str, path: Path) -> list[str]:
    if not card.features:
        return [
            f"no rules yet: `attnrules mine skipgrams {quote(str(path))}"
            f" --layers {card.head['layer']} --heads {card.head['head']}` finds them"
        ]
    return [
        "features that rules predict best, on all test positions",
        *(
            f"  {name}.{row['feature']}  {row['n_rules_used']} {row['method']} rules, average precision"
            f" {row['average_precision']:.2f} (ceiling {_number(row['ceiling_average_precision'])},"
            f" {row['base_rate']:.2%} active)  {visible(row['description'] or '')}"
            for row in card.features
        ),
    ]


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}"
