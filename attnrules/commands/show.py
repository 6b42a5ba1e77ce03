"""`attnrules show`: one output feature, a head or the model, in words."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnrules.commands.card import card_lines
from attnrules.commands.head import head_lines
from attnrules.commands.legend import legend_lines
from attnrules.commands.model import model_lines
from attnrules.commands.options import Count, json_option, warehouse_argument
from attnrules.commands.output import tell_json
from attnrules.commands.terminal import tell

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse


def _legend(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        tell(*legend_lines())
        ctx.exit()


@click.command("show")
@warehouse_argument
@click.argument("feature", metavar="[L0H3.17 or L0H3]", required=False)
@click.option("--rules", "n_rules", type=Count(1), default=4, show_default=True, help="Per method.")
@click.option("--all-methods", is_flag=True, help="Every list of rules, with its figures.")
@click.option(
    "--legend",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_legend,
    help="Explain the words, and exit.",
)
@json_option("As JSON, every list in it.")
def command(warehouse: Path, feature: str | None, n_rules: int, all_methods: bool, as_json: bool) -> None:
    """Show what fires an output feature, the rules that say so best and how well they predict it.

    Of a head, written L0H3, show what it attends to and which features rules predict best; of a warehouse
    alone, its heads.

    \b
    attnrules show gpt2.duckdb
    attnrules show gpt2.duckdb L0H3
    attnrules show gpt2.duckdb L0H3.17 --all-methods
    attnrules show --legend
    """
    from attnrules.warehouse import Warehouse

    with Warehouse.open(warehouse) as opened:
        found, lines = _shown(opened, feature, warehouse, n_rules, all_methods, as_json)
    if as_json:
        tell_json(found)
    else:
        tell(*lines)


def _shown(
    opened: Warehouse, feature: str | None, path: Path, n_rules: int, all_methods: bool, as_json: bool
) -> tuple[dict[str, Any], list[str]]:
    """Return what is shown, as plain values and as lines."""
    from attnrules.queries.card import feature_card, head_card
    from attnrules.queries.heads import HeadId, parse_feature, parse_head
    from attnrules.queries.pages import site

    if feature is None:
        of_model = site(opened)
        return asdict(of_model), model_lines(of_model, path)
    wanted = parse_head(feature) or parse_feature(feature)
    if isinstance(wanted, HeadId):
        of_head = head_card(opened, wanted)
        return of_head.as_dict(), head_lines(of_head, path)
    card = feature_card(opened, wanted, n_rules=n_rules, every_list=all_methods or as_json)
    return card.as_dict(), card_lines(card, path, all_methods=all_methods)
