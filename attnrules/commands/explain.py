"""`attnrules explain`: which features fire at a text, and which stated rules say so."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnrules.commands.card import folded
from attnrules.commands.options import (
    Count,
    device_option,
    heads_option,
    ingested_sources_options,
    json_option,
    layers_option,
    warehouse_argument,
)
from attnrules.commands.output import tell_json
from attnrules.commands.progress import quiet_libraries
from attnrules.commands.terminal import say, tell, visible

if TYPE_CHECKING:
    from attnrules.queries.explain import Explained

_NAMED = 6


@click.command("explain")
@warehouse_argument
@click.argument("text")
@click.option(
    "--features", default="all", show_default=True, help="L0H3.17,L5.1234,... or all with stated rules."
)
@layers_option
@heads_option
@click.option("--rules", "n_rules", type=Count(1), help="The first rules of each feature.  [all]")
@click.option("--no-model", is_flag=True, help="Do not run the model: evaluate rules of tokens alone.")
@ingested_sources_options
@device_option("cpu, cuda, mps or auto.")
@json_option("As JSON.")
def command(
    warehouse: Path,
    text: str,
    features: str,
    layers: tuple[int, ...] | None,
    heads: tuple[int, ...] | None,
    n_rules: int | None,
    no_model: bool,
    as_json: bool,
    **sources: Any,
) -> None:
    """Explain TEXT token by token: which features fire, and which stated rules say so.

    The model of the warehouse runs the text, with BOS before it. Three things can be at a token: a feature
    fires and a rule says so, it fires and no rule does, or a rule says so where it is silent. With --no-model
    only its tokenizer is loaded, and rules that name input features are left out and counted.

    \b
    attnrules explain gpt2.duckdb "When Mary and John went to the store"
    attnrules explain gpt2.duckdb "See https://example.org" --features L0H3.17 --no-model
    """
    quiet_libraries()
    from attnrules.explainer import Explainer
    from attnrules.ingest.intervene import LaboratorySpec
    from attnrules.queries.explain import explained_features
    from attnrules.queries.heads import parse_feature
    from attnrules.warehouse import Warehouse

    named = () if features.strip().lower() == "all" else tuple(map(parse_feature, features.split(",")))
    with Warehouse.open(warehouse) as opened:
        chosen = explained_features(opened, features=named, layers=layers, heads=heads)
        if not no_model:
            say("loading the model ...")
        explainer = Explainer(opened, LaboratorySpec(**sources), with_model=not no_model)
        found = explainer.explain(text, chosen, n_rules=n_rules)
    if as_json:
        rows = found.rows.to_dicts()
        tell_json({"tokens": found.tokens, "rows": rows, "left_out": found.left_out})
    else:
        tell(*_lines(found, len(chosen)))


def _lines(found: Explained, n_features: int) -> list[str]:
    by_pos: dict[int, list[dict[str, Any]]] = {}
    for row in found.rows.iter_rows(named=True):
        by_pos.setdefault(row["pos"], []).append(row)
    lines = []
    for pos, token in enumerate(found.tokens, 1):
        lines.append(f"{pos:4}  '{visible(token)}'")
        for row in by_pos.get(pos, []):
            lines += folded(_said(row), 8)
    counts = Counter(found.rows["status"].to_list())
    said = "; ".join(f"{status}: {n}" for status, n in sorted(counts.items()))
    summary = f"{n_features} features with stated rules at {len(found.tokens)} tokens"
    return [*lines, "", f"{summary}: {said or 'none fires, no rule holds'}", *_left_out(found)]


def _said(row: dict[str, Any]) -> str:
    activation = f"{'':8}" if row["activation"] is None else f" {row['activation']:.3f}"
    words = f"      {row['feature']}{activation}  {row['status']}"
    if not row["rules"]:
        return words
    more = len(row["rules"]) - 1
    others = f" and {more} more" if more else ""
    return f"{words} ({row['probability']:.2f}): {row['statements'][0]}{others}"


def _left_out(found: Explained) -> list[str]:
    if not found.left_out:
        return []
    named = ", ".join(f"{name} ({n})" for name, n in list(found.left_out.items())[:_NAMED])
    more = len(found.left_out) - _NAMED
    rest = f" and {more} more features" if more > 0 else ""
    why = "not evaluated, since they name input features, which only the model knows"
    return folded(f"{why}: rules of {named}{rest}", 2)
