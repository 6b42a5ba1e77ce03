"""`attnrules import-descriptions`: what others say of the input features."""

from __future__ import annotations

from pathlib import Path

import click

from attnrules.commands.options import Count, warehouse_argument
from attnrules.commands.terminal import say


@click.command("import-descriptions")
@warehouse_argument
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--layer", type=Count(0), help="Layer described, or the one to take.  [all]")
@click.option("--source-set", help="Take only this source set of the file, such as 0-res-jb.")
def command(warehouse: Path, file: Path, layer: int | None, source_set: str | None) -> None:
    """Describe input features by a Neuronpedia export (json, jsonl, or .gz of these).

    They take the place of the descriptions by tokens wherever features are shown; every description is
    kept in the table feature_descriptions.

    \b
    attnrules import-descriptions gpt2.duckdb batch-0.jsonl.gz
    attnrules import-descriptions gpt2.duckdb explanations.json --layer 5
    """
    from attnrules.warehouse import Warehouse, import_descriptions

    with Warehouse.open(warehouse, writable=True) as opened:
        result = import_descriptions(opened, file, layer=layer, source_set=source_set)
        model = opened.value("SELECT name FROM model")
    for at, n in result.n_by_layer.items():
        say(f"layer {at}: {n} descriptions")
    if result.n_empty:
        say(f"attnrules: note: {result.n_empty} records hold no description")
    for name in sorted(result.models):
        if name.removesuffix("-small") != str(model).split("/")[-1].removesuffix("-small"):
            say(f"attnrules: note: {file} describes the model {name}; used with {model}")
