"""`attnrules show`: one output feature, in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnrules.commands.options import warehouse_argument
from attnrules.commands.wording import absence_lines, counting_lines

if TYPE_CHECKING:
    from attnrules.queries.card import FeatureCard

_SHOWN_LISTS = (4, 16, 64, 256, 1024, 4096)


@click.command("show")
@warehouse_argument
@click.argument("feature", metavar="L0H3.17")
@click.option("--rules", "n_rules", type=click.IntRange(1), default=8, show_default=True, help="Per method.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(warehouse: Path, feature: str, n_rules: int, as_json: bool) -> None:
    """Show what fires an output feature, its rules and how well they predict it."""
    from attnrules.queries.card import feature_card, parse_feature
    from attnrules.warehouse import Warehouse

    wanted = parse_feature(feature)
    with Warehouse.open(warehouse) as opened:
        card = feature_card(opened, wanted, n_rules=n_rules)
    if as_json:
        click.echo(json.dumps(card.as_dict(), indent=2, default=str))
    else:
        click.echo("\n".join(card_lines(card)))


def rule_words(rule: dict[str, Any]) -> str:
    """Return a rule as words: `[key] ... [query]`."""
    key = f"[{rule['key_description'] or 'never fires'}]"
    if rule["query_feature"] is None:
        return f"{key} …"
    return f"{key} … [{rule['query_description'] or 'never fires'}]"


def card_lines(card: FeatureCard) -> list[str]:
    """Return the card of a feature as lines of text."""
    facts = card.feature
    name = f"L{facts['layer']}H{facts['head']}.{facts['feature']}"
    lines = [
        f"{name}  active in {facts['n_sequences']} of {facts['n_sequences_stored']} sequences,"
        f" {facts['n_tokens']} tokens"
    ]
    if not facts["n_tokens"]:
        return [*lines, "never fires on this corpus"]
    lines.append(f"fires on  {facts['description']}")
    lines.append("\nstrongest examples")
    for example in card.examples:
        before = _visible(example["before"])[-72:]
        token = _visible(example["token"])
        lines.append(f"  {example['activation']:7.3f}  …{before}«{token}»")
    if not card.rules:
        lines.append("\nno rules yet: run `attnrules mine skipgrams`")
    for method, scaling in dict.fromkeys((r["method"], r["scaling"]) for r in card.rules):
        lines += ["", *_method_lines(card, name, method, scaling)]
    return [*lines, *absence_lines(card.absences, name), *counting_lines(card.counting)]


def _method_lines(card: FeatureCard, name: str, method: str, scaling: str) -> list[str]:
    lines = [f"{method} rules ({scaling} scaling)"]
    for rule in card.rules:
        if (rule["method"], rule["scaling"]) == (method, scaling):
            attn = "" if rule["attn_score"] is None else f"S {rule['attn_score']:.2f}, "
            lines.append(
                f"  {rule['rank']:3}  {rule_words(rule)} → {name}   ({attn}V {rule['value_score']:.2f})"
            )
    lines.append("  rules used  precision  recall     F1  Spearman  (test examples)")
    seen: set[int] = set()
    for row in card.metrics:
        same = (row["method"], row["scaling"]) == (method, scaling)
        if same and row["n_rules"] in _SHOWN_LISTS and row["n_rules_used"] not in seen:
            seen.add(row["n_rules_used"])
            spearman = "       —" if row["spearman"] is None else f"{row['spearman']:8.3f}"
            lines.append(
                f"  {row['n_rules_used']:10}  {row['precision']:9.3f}  {row['recall']:6.3f}"
                f"  {row['f1']:5.3f}  {spearman}"
            )
    return lines


def _visible(text: str) -> str:
    return text.replace("\n", "⏎").replace("\t", "⇥")
