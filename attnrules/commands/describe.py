"""`attnrules describe`: how the numbers of a warehouse came about, as a methods section."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from attnrules.commands.options import json_option, warehouse_argument
from attnrules.commands.output import tell_json
from attnrules.commands.provenance import configured
from attnrules.commands.terminal import tell, visible
from attnrules.errors import AttnRulesError
from attnrules.sql import WHOLE_LAYER, head_name

_DIGITS = 12
# What a reader needs to compute the same again, in the order of mention.
_NAMED_LIBRARIES = ("attnrules", "transformer_lens", "transformers", "sae-lens", "torch", "duckdb")


@click.command("describe")
@warehouse_argument
@json_option("Everything, as JSON.")
def command(warehouse: Path, as_json: bool) -> None:
    """Describe the model, SAEs, corpus, settings and versions as a methods paragraph.

    \b
    attnrules describe gpt2.duckdb
    attnrules describe gpt2.duckdb --json
    """
    from attnrules.warehouse import Warehouse, describe

    with Warehouse.open(warehouse) as opened:
        facts = describe(opened)
    if as_json:
        tell_json(facts)
        return
    if facts["model"] is None:
        raise AttnRulesError(f"{warehouse}: nothing is ingested yet; run `attnrules ingest {warehouse} ...`")
    for paragraph in methods(facts):
        tell(*_wrapped(paragraph), "")
    tell(*_listing(facts))


def methods(facts: dict[str, Any]) -> list[str]:
    """Return the paragraphs of a methods section from what `warehouse.describe` returns."""
    return [
        " ".join((_model(facts["model"]), *_saes(facts["saes"], facts["poor_reconstruction"]))),
        " ".join((_corpus(facts["corpus"], facts["model"]), _attention(facts), _computation(facts["runs"]))),
        *_mining(facts),
    ]


def _model(model: dict[str, Any]) -> str:
    return (
        f"The model is {model['name']}{_at(model)} ({model['architecture']}, {model['n_layers']} layers of"
        f" {model['n_heads']} heads, d_model {model['d_model']}, d_head {model['d_head']}; weights sha256"
        f" {model['sha256'][:_DIGITS]}, {_identity(model)}), with these changes to its weights:"
        f" {model['processing']}."
    )


def _identity(model: dict[str, Any]) -> str:
    if model["identity"] is None:
        return "its configuration and tokenizer were not recorded"
    return f"with configuration and tokenizer {model['identity'][:_DIGITS]}"


def _at(row: dict[str, Any]) -> str:
    parts = [f"revision {row['revision']}"] if row.get("revision") else []
    if row.get("resolved_commit"):
        parts.append(f"commit {row['resolved_commit']}")
    return f" at {', '.join(parts)}" if parts else ""


def _saes(saes: list[dict[str, Any]], poor: tuple[float, str]) -> Iterable[str]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for sae in saes:
        hook = re.sub(r"\.\d+\.", ".{layer}.", sae["hook_name"], count=1)
        whole = sae["head"] == WHOLE_LAYER
        key = (sae["role"], sae["source"], sae["resolved_commit"], hook, configured(sae), sae["d_sae"], whole)
        groups.setdefault(key, []).append(sae)
    for (role, source, _, hook, configuration, width, whole), members in groups.items():
        architecture, _, options = configuration.partition(", ")
        places = _numbers("layer", [sae["layer"] for sae in members])
        what = f"on {hook}"
        if whole:
            what += " of all heads of a layer at once"
        elif role == "output":
            what += " of one head each"
            places = f"{len(members)} heads, {places}"
        yield (
            f"Its {role} features are those of {architecture} sparse autoencoders {what}, {width:,} features"
            f" each ({options + '; ' if options else ''}{places}; {_plain(source)}{_at(members[0])})."
            f"{_rebuilt(members, *poor)}"
        )


def _rebuilt(saes: list[dict[str, Any]], poor_from: float, causes: str) -> str:
    """Word how much of what they read SAEs miss, and what it means where that is nearly all."""
    errors = [error for sae in saes if (error := sae["sampled_reconstruction_error"]) is not None]
    if not errors:
        return ""
    said = f" Their reconstructions miss {min(errors):.1%} to {max(errors):.1%} of the variance."
    poor = [error for error in errors if error >= poor_from]
    return f"{said} {len(poor)} of them rebuild next to nothing; {causes}." if poor else said


def _plain(source: str) -> str:
    """Leave out where a local folder lies: it says nothing on another machine."""
    return Path(source).name if source.startswith((".", "/", "~")) else source


def _numbers(noun: str, numbers: list[int]) -> str:
    """Word a list of numbers: layer 3, layers 0-2 and 5."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    listed = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return f"{noun}{'s' if len(set(numbers)) > 1 else ''} {listed}"


def _corpus(corpus: dict[str, Any], model: dict[str, Any]) -> str:
    beyond = "kept beyond" if corpus["keep_long_documents"] else "truncated to"
    bos = "the BOS token" if corpus["bos_token"] is None else f"the BOS token {corpus['bos_token']!r}"
    return (
        f"The corpus is {corpus['source']}{_at(corpus)} (split {corpus['split']}, column"
        f" {corpus['text_column']}{_reading(corpus)}), read in its stored order: each document was tokenised"
        f" with {bos} (id {model['bos_token_id']}) in front, {beyond} the context of {model['n_ctx']:,}"
        f" tokens, cut to a multiple of {corpus['seq_len']} tokens and split into sequences of"
        f" {corpus['seq_len']}; shorter documents were skipped, and the first token of every sequence was"
        f" then overwritten with BOS. This gave {corpus['n_sequences']:,} sequences,"
        f" {corpus['n_tokens']:,} tokens."
    )


def _reading(corpus: dict[str, Any]) -> str:
    """Say what is recorded of the files, and how they were read where not in the usual way."""
    n_files = len(corpus["files"])
    n_bytes = sum(file["n_bytes"] for file in corpus["files"])
    said = f", {n_bytes:,} bytes in {n_files} file{'s' if n_files > 1 else ''}" if n_files else ""
    said += ", each line of a text file a document" if corpus["lines"] else ""
    return said + (", the names of special tokens read as text" if corpus["special_tokens"] == "text" else "")


def _attention(facts: dict[str, Any]) -> str:
    kept = facts["attention"]
    threshold = (
        "A pair of positions was stored where the attention, the model's or the one computed from the input"
        f" features, exceeds {facts['corpus']['min_attention']:g}"
    )
    if kept["mean_kept"] is None:
        return f"{threshold}."
    return (
        f"{threshold}, which keeps {kept['mean_kept']:.1%} of the model's attention"
        f" ({kept['least_kept']:.1%} to {kept['most_kept']:.1%} by head)."
    )


def _computation(runs: list[dict[str, Any]]) -> str:
    ingests = [run for run in runs if "device" in run["environment"]]
    if not ingests:
        return ""
    sentences = []
    for where, versions in dict.fromkeys((_where(run), _versions(run)) for run in ingests):
        sentences.append(f"The model ran {where} with {versions}.")
    return " ".join(sentences)


def _where(run: dict[str, Any]) -> str:
    used = run["environment"]
    device = f"{used['device']} ({used['device_name']})" if used.get("device_name") else used["device"]
    seed = f", seed {run['arguments']['seed']}" if "seed" in run["arguments"] else ""
    return f"in {used['dtype']} on {device}{seed},"


def _versions(run: dict[str, Any]) -> str:
    versions = run["versions"]
    named = [f"{name} {versions[name]}" for name in _NAMED_LIBRARIES if versions.get(name)]
    return f"{run['environment']['python']}, {', '.join(named)}"


def _mining(facts: dict[str, Any]) -> Iterable[str]:
    sentences = [
        f"The warehouse holds {row['n_rules']:,} {row['method']} rules of {row['n_features']:,} features"
        f"{_scaled(row['scaling'])}."
        for row in facts["rules"]
    ]
    for run in facts["runs"]:
        if run["command"] != "ingest" and run["status"] == "done":
            sentences.append(f"Run {run['run_id']}, `{run['command']}`: {_settings(run['arguments'])}.")
    if sentences:
        yield " ".join(sentences)


def _scaled(scaling: str) -> str:
    return "" if scaling == "none" else f" ({scaling} scaling)"


def _settings(arguments: dict[str, Any]) -> str:
    given = [
        (name, value)
        for name, value in arguments.items()
        if value is not None and value is not False and value != []
    ]
    return ", ".join(
        name.replace("_", " ") if value is True else f"{name.replace('_', ' ')} {value}"
        for name, value in given
    )


def _listing(facts: dict[str, Any]) -> list[str]:
    """List what prose would drown: the digest of every SAE, the command and arguments of every run."""
    lines = ["Weights, sha256", f"  {facts['model']['sha256']}  model {facts['model']['name']}"]
    for sae in facts["saes"]:
        at = f"layer {sae['layer']}" if sae["head"] is None else head_name(sae["layer"], sae["head"])
        lines.append(f"  {sae['sha256']}  {sae['role']} SAE {at}, {sae['source']}")
    files = facts["corpus"]["files"]
    lines += ["", "Corpus files, sha256"] if files else []
    lines += [f"  {file['sha256']}  {file['file']}, {file['n_bytes']:,} bytes" for file in files]
    lines += ["", "Runs"]
    for run in facts["runs"]:
        lines.append(
            f"  {run['run_id']}  {run['started_at']:%F %T} UTC  {run['status']}  attnrules"
            f" {run['versions'].get('attnrules')}  {run['command']} {json.dumps(run['arguments'])}"
        )
    return lines


def _wrapped(paragraph: str) -> list[str]:
    return textwrap.wrap(visible(paragraph), 110, break_long_words=False, break_on_hyphens=False)
