"""`attnrules info`: what is inside a warehouse."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnrules.commands.options import json_option, warehouse_argument
from attnrules.commands.output import tell_json
from attnrules.commands.provenance import configured, identified
from attnrules.commands.terminal import tell
from attnrules.sql import head_name

# Files of a corpus that are listed.
_FILES = 8

if TYPE_CHECKING:
    from attnrules.warehouse import WarehouseInfo


@click.command("info")
@warehouse_argument
@json_option("As JSON.")
def command(warehouse: Path, as_json: bool) -> None:
    """Show the model, SAEs, heads, sequences, row counts and rules of a warehouse."""
    from attnrules.warehouse import Warehouse, info

    with Warehouse.open(warehouse) as opened:
        inside = info(opened)
    if as_json:
        tell_json(inside.as_dict())
    else:
        tell(*_lines(inside, warehouse))


def _lines(inside: WarehouseInfo, path: Path) -> list[str]:
    lines = [f"{path}  {inside.file_bytes / 1e6:.1f} MB"]
    if inside.model and inside.corpus:
        model, corpus = inside.model, inside.corpus
        lines += [
            f"model      {model['name']}: {model['n_layers']} layers of {model['n_heads']} heads,"
            f" d_model {model['d_model']}, d_head {model['d_head']} ({identified(model)})",
            f"corpus     {corpus['source']}: {inside.n_sequences} sequences of {corpus['seq_len']} tokens",
        ]
    for file in inside.corpus_files[:_FILES]:
        lines.append(f"file       {file['file']}: {file['n_bytes']:,} bytes, sha256 {file['sha256'][:12]}")
    if (more := len(inside.corpus_files) - _FILES) > 0:
        lines.append(f"file       and {more:,} more, see the table corpus_files")
    for sae in inside.saes:
        at = f"layer {sae['layer']}" if sae["head"] is None else head_name(sae["layer"], sae["head"])
        lines.append(
            f"{sae['role']:6} SAE {at}: {sae['d_sae']} features, {configured(sae)},"
            f" {sae['hook_name']} ({sae['source']}, {identified(sae)})"
        )
    for head in inside.heads:
        kept = head["kept_attention_mass"]
        state = "ingest not finished" if kept is None else f"{kept:.1%} of the attention stored"
        lines.append(f"head       L{head['layer']}H{head['head']}: {state}")
    lines += [f"{'rows' if not i else '':10} {name}: {n:,}" for i, (name, n) in enumerate(_filled(inside))]
    for rule in inside.rules:
        lines.append(f"rules      {_ranked(rule)}: {rule['n_rules']:,} of {rule['n_features']} features")
    for run in inside.runs:
        lines.append(
            f"run        {run['run_id']}: {run['command']}, {run['status']}, {run['started_at']:%F %T}"
        )
    return lines


def _ranked(rule: dict[str, Any]) -> str:
    scaling = rule["scaling"]
    return rule["method"] if scaling == "none" else f"{rule['method']} ({scaling} scaling)"


def _filled(inside: WarehouseInfo) -> list[tuple[str, int]]:
    return [(name, n) for name, n in inside.rows.items() if n]
