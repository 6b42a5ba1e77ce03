"""`attnrules ingest`: from a model and a corpus to a warehouse."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from attnrules.commands.options import (
    Amount,
    Count,
    batch_size_option,
    device_option,
    heads_option,
    layers_option,
    output_sae_id_option,
    revision_option,
    seed_option,
    spread_options,
)
from attnrules.commands.progress import quiet_libraries, run_ingest
from attnrules.commands.terminal import tell
from attnrules.errors import UsageError
from attnrules.spread import Spread


def _take_preset(context: click.Context, _: click.Parameter, name: str | None) -> None:
    if name is not None:
        from attnrules.ingest.sources.published import preset

        context.default_map = {**(context.default_map or {}), **preset(name).options}


def _unless_of_preset(option: str, value: str | None, source: str) -> str | None:
    """Return what chooses among what a hub has; None where a preset says it and a file or folder is named."""
    of_preset = click.get_current_context().get_parameter_source(option) is ParameterSource.DEFAULT_MAP
    return None if of_preset and Path(source).exists() else value


def _list_presets(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from attnrules.ingest.sources.published import presets

        for known in presets().values():
            tell(f"{known.name:16} {known.title}")
            for option, value in known.options.items():
                tell(f"{'':16}   --{option.replace('_', '-')} {value}")
        context.exit()


@click.command("ingest")
@click.argument("warehouse", metavar="WAREHOUSE")
@click.option(
    "--preset",
    is_eager=True,
    expose_value=False,
    callback=_take_preset,
    help="Named sources, such as gpt2-small; other options override them.",
)
@click.option(
    "--list-presets",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_presets,
    help="List the presets with their options.",
)
@click.option(
    "--model", required=True, help="Hugging Face folder, GGUF file, TransformerLens name or hub id."
)
@revision_option
@click.option("--input-sae", required=True, help="SAELens release, hub repository or local folder.")
@click.option("--input-sae-id", help="SAE id in the release.  [blocks.{layer}.hook_resid_pre]")
@click.option("--output-sae", required=True, help="The same for the SAEs of heads or whole layers.")
@output_sae_id_option
@click.option(
    "--corpus",
    required=True,
    help="json, jsonl, parquet or text file, a folder, or a hub dataset name[:config][@rev].",
)
@click.option("--split", default="train", show_default=True, help="Split of the dataset.")
@click.option("--text-column", default="text", show_default=True, help="Column that holds the text.")
@click.option("--lines", is_flag=True, help="Each line of a text file is a document, not the whole file.")
@click.option(
    "--special-tokens",
    type=click.Choice(["token", "text"]),
    default="token",
    show_default=True,
    help="How text such as <|endoftext|> in a document is read.",
)
@layers_option
@heads_option
@click.option("--sequences", type=Count(1), default=50_000, show_default=True)
@click.option("--seq-len", type=Count(2), default=64, show_default=True, help="Tokens, with BOS.")
@click.option(
    "--keep-long-documents", is_flag=True, help="Use the part of a document beyond the context too."
)
@click.option(
    "--min-attention",
    type=Amount(0, 1, max_open=True),
    default=0.01,
    show_default=True,
    help="Store a pair of positions where the attention exceeds this.",
)
@device_option("cpu, cuda, mps or auto; several share the work, such as cuda:0,cuda:1.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "tf32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Precision of the forward pass.",
)
@batch_size_option("Sequences in a forward pass; auto tries.")
@click.option("--chunk-size", type=Count(1), help="Sequences per commit.  [what memory holds]")
@click.option(
    "--replace-output-sae",
    is_flag=True,
    help="Replace the output features of a head whose SAE differs from the stored one, and drop its rules.",
)
@click.option(
    "--output-tokens",
    "n_output_tokens",
    type=Count(1),
    help="Tokens kept that an output feature promotes most, and suppresses most.  [20, or those stored]",
)
@seed_option
@spread_options(
    "capture", "the sequences", "Capture into a lake by N processes; with --slurm or --ray, N of theirs."
)
@click.option("--dry-run", is_flag=True, help="Check the sources and print the plan; write nothing.")
def command(
    warehouse: str,
    model: str,
    revision: str | None,
    input_sae: str,
    input_sae_id: str | None,
    output_sae: str,
    output_sae_id: str | None,
    corpus: str,
    split: str,
    text_column: str,
    lines: bool,
    special_tokens: str,
    layers: tuple[int, ...] | None,
    heads: tuple[int, ...] | None,
    sequences: int,
    seq_len: int,
    keep_long_documents: bool,
    min_attention: float,
    device: str,
    dtype: str,
    batch_size: int | None,
    chunk_size: int | None,
    replace_output_sae: bool,
    n_output_tokens: int | None,
    seed: int,
    spread: Spread,
    dry_run: bool,
) -> None:
    """Run a model over a corpus and store its features and attention.

    Running the same command again goes on where it stopped; more --sequences, --layers or --heads are
    added to what is there. A name that ends in / makes a lake, a folder of Parquet files.

    \b
    attnrules ingest gpt2.duckdb --preset gpt2-small --layers 0
    attnrules ingest mine.duckdb --model ./model --input-sae ./saes/in --output-sae ./saes/out \\
        --corpus documents.jsonl --sequences 5000
    """
    quiet_libraries()
    path = Path(warehouse)
    revision = _unless_of_preset("revision", revision, model)
    input_sae_id = _unless_of_preset("input_sae_id", input_sae_id, input_sae)
    output_sae_id = _unless_of_preset("output_sae_id", output_sae_id, output_sae)
    from attnrules.ingest import IngestSpec
    from attnrules.ingest.sources.corpus import CorpusSpec

    spec = IngestSpec(
        model=model,
        revision=revision,
        input_sae=input_sae,
        input_sae_id=input_sae_id,
        output_sae=output_sae,
        output_sae_id=output_sae_id,
        corpus=CorpusSpec(corpus, split, text_column, seq_len, keep_long_documents, lines, special_tokens),
        layers=layers,
        heads=heads,
        n_sequences=sequences,
        min_attention=min_attention,
        device=device,
        batch_size=batch_size,
        chunk_size=chunk_size,
        dtype=dtype,
        replace_output_saes=replace_output_sae,
        n_output_tokens=n_output_tokens,
        seed=seed,
    )
    lake = warehouse.endswith("/")
    if not (lake or spread.is_here or path.is_dir()):
        raise UsageError(f"{warehouse}: several processes fill a lake; end its name with /")
    if dry_run:
        from attnrules.commands.plan import plan_lines
        from attnrules.ingest.plan import plan

        tell(*plan_lines(path, plan(path, spec)))
        return
    run_ingest(path, spec, lake=lake, spread=spread)
