"""`attnrules import-descriptions`: what others say of the input features."""

from __future__ import annotations

from pathlib import Path

import click

from attnrules.commands.options import warehouse_argument


@click.command("import-descriptions")
@warehouse_argument
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--layer", type=click.IntRange(0), help="Layer described, or the one to take.  [all]")
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
        click.echo(f"layer {at}: {n} descriptions", err=True)
    if result.n_empty:
        click.echo(f"attnrules: note: {result.n_empty} records hold no description", err=True)
    for name in sorted(result.models):
        if name.removesuffix("-small") != str(model).split("/")[-1].removesuffix("-small"):
            click.echo(f"attnrules: note: {file} describes the model {name}; used with {model}", err=True)
