"""`ingest`: the one pass from a model, its SAEs and a corpus into a warehouse.

Here the request is compared with what the sources offer and with what the warehouse holds, and refused
or made into targets; `flow` then does whatever the ledger of the warehouse does not list yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from attnrules.errors import AttnRulesError, UsageError
from attnrules.ingest.capture.flow import Flow, Ledger, chunk_size, refuse_other_rows, work
from attnrules.ingest.capture.forward import DTYPES, Capture, Targets
from attnrules.ingest.capture.stages import in_thread
from attnrules.ingest.embeddings import embedding_descriptions
from attnrules.ingest.provenance import environment, stored_commits
from attnrules.ingest.sources.corpus import (
    SPECIAL_TOKENS,
    CorpusSpec,
    changed_file,
    documents,
    locate,
    shortage,
    token_rows,
)
from attnrules.ingest.sources.identity import differences, unrecorded
from attnrules.ingest.sources.local_corpus import FilesRead
from attnrules.ingest.sources.model import Model, load_model
from attnrules.ingest.sources.sae_weights import Role
from attnrules.ingest.sources.saes import Location, Sae, SaeSource, find_saes, load_sae
from attnrules.ingest.sources.vocabulary import special_tokens
from attnrules.warehouse import POOR_CAUSES, POOR_RECONSTRUCTION, Warehouse, digests
from attnrules.warehouse.inspect import dictionaries

Tokens = npt.NDArray[np.int64]

# Rows that the SAEs' reconstruction is tried on before anything is stored.
_SAMPLED_ROWS = 8

# What an INTEGER holds.
_MOST_SEQUENCES = 2**31 - 1


@dataclass(frozen=True)
class IngestSpec:
    """What to ingest.

    Arguments:
        model: local Hugging Face folder, name TransformerLens knows, or hub id; `revision` of the hub.
        input_sae, output_sae: SAELens release, hub repository or local folder; the ids are templates
            over {layer} and {head} for releases.
        corpus: documents and how to cut them.
        layers, heads: which to capture; None for all that the SAE sources offer.
        n_sequences: rows to hold in the end.
        min_attention: a pair of positions is stored where either weight exceeds this.
        device: cpu, cuda, mps, auto, or several separated by commas, such as cuda:0,cuda:1: each gets a
            copy of the model and the SAEs.
        dtype: precision of the forward pass and the encoding: float32, tf32 (CUDA) or bfloat16.
        batch_size: sequences in a forward pass, None to find it by trying.
        chunk_size: sequences committed together, None for as many as memory holds a few times.
        replace_output_saes: whether an output SAE that differs from the stored one of its head takes its
            place, instead of being refused.
        seed: seeds torch; recorded with the run.
    """

    model: str
    input_sae: str
    output_sae: str
    corpus: CorpusSpec
    revision: str | None = None
    input_sae_id: str | None = None
    output_sae_id: str | None = None
    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    n_sequences: int = 50_000
    min_attention: float = 0.01
    device: str = "auto"
    dtype: str = "float32"
    batch_size: int | None = None
    chunk_size: int | None = None
    replace_output_saes: bool = False
    seed: int = 0


@dataclass(frozen=True)
class IngestProgress:
    """How far an ingest is: `done` of `total` sequences to capture, or a stage without a count."""

    stage: str
    done: int = 0
    total: int = 0


@dataclass
class IngestResult:
    """What an ingest did: sequences captured by it and stored in the end, and what the user should know."""

    n_captured: int = 0
    n_sequences: int = 0
    warnings: list[str] = field(default_factory=list)


def ingest(
    path: Path, spec: IngestSpec, report: Callable[[IngestProgress], None] = lambda _: None
) -> IngestResult:
    """Bring the warehouse at `path` to hold `spec`, making it when it does not exist.

    Does only what is missing: an interrupted ingest goes on, more sequences, layers or heads are added.
    Raises `AttnRulesError` when a source is missing or malformed, when the SAEs do not fit the model, or
    when the warehouse holds another model, SAE or cutting of the corpus; stored chunks stay as they are.
    Ctrl-C ends it within a second or two, wherever it is.
    """
    _validate(spec)
    commits = stored_commits(path)
    corpus_commit = locate(spec.corpus, commits.corpus.get(spec.corpus.source))
    inputs = find_saes(
        "input",
        spec.input_sae,
        sae_id=spec.input_sae_id,
        layers=spec.layers,
        heads=None,
        commit=commits.saes.get(("input", spec.input_sae)),
    )
    outputs = find_saes(
        "output",
        spec.output_sae,
        sae_id=spec.output_sae_id,
        layers=spec.layers,
        heads=spec.heads,
        commit=commits.saes.get(("output", spec.output_sae)),
    )
    stored = Warehouse.open(path, writable=True) if path.exists() else None
    is_new = False
    try:
        if stored is not None:
            spec = _as_read_before(stored, spec)
            _refuse_other_corpus(stored, spec)
        report(IngestProgress("loading the model"))
        devices = _devices(spec)
        commit = commits.model.get(spec.revision)
        model = load_model(spec.model, revision=spec.revision, device=devices[0], commit=commit)
        if stored is not None:
            _refuse_other_model(stored, model, spec)
        if spec.corpus.seq_len > model.n_ctx:
            raise UsageError(
                f"--seq-len {spec.corpus.seq_len}: the context of {model.name} is {model.n_ctx} tokens"
            )
        chosen = _choose_heads(spec, model, inputs, outputs)
        heads = tuple(sorted({*chosen, *_unfinished_heads(stored, spec, model, chosen, corpus_commit)}))
        targets = Targets(tuple(sorted({layer for layer, _ in heads})), heads)
        report(IngestProgress("loading the SAEs"))
        saes = _load_saes(targets, inputs, outputs, model, stored)
        load = partial(load_model, spec.model, revision=spec.revision, commit=commit)
        model = _as_declared(model, saes, stored, lambda centred: load(device=devices[0], centred=centred))
        replaced = [] if stored is None else _differing_saes(stored, saes, spec)
        report(IngestProgress("beginning the corpus"))
        corpus = _read_corpus(stored, spec, model, corpus_commit)
        sample = corpus.sample
        _set_precision(spec)
        captures = [Capture(model, saes, min_attention=spec.min_attention, dtype=spec.dtype)]
        captures[0].verify(sample[0][None], targets.layers)
        errors = captures[0].reconstruction_errors(np.stack(sample))
        for device in devices[1:]:
            report(IngestProgress(f"loading onto {device}"))
            copy = load(device=device, centred=model.centred)
            copies = _load_saes(targets, inputs, outputs, copy, stored)
            captures.append(Capture(copy, copies, min_attention=spec.min_attention, dtype=spec.dtype))
        is_new = stored is None
        warehouse = stored or Warehouse.create(path, d_head=model.d_head)
        stored = warehouse
        result = IngestResult(warnings=_name_warnings(model, inputs, outputs))
        result.warnings += _context_warnings(saes, spec.corpus.seq_len)
        result.warnings += poor_reconstructions(errors)
        if unknown := unrecorded(warehouse):
            result.warnings.append(unknown)
        result.warnings += _store_changed_files(warehouse, spec, corpus)
        with warehouse.run("ingest", asdict(spec), environment(model)) as run_id:
            store = partial(_store_weights, warehouse, spec, model, saes, errors, replaced, corpus_commit)
            in_thread(store, warehouse.interrupt)
            flow = Flow(warehouse, captures, batch_size=spec.batch_size, run_id=run_id, files=corpus.files)
            size = spec.chunk_size or chunk_size(captures[0].run(sample[0][None], 0, targets))
            _capture_all(flow, warehouse, spec, targets, corpus.rows, size, report, result)
            result.warnings += _special_token_warnings(warehouse, model)
        return result
    except Exception:
        # A file that holds no sequence would only be in the way of the next try.
        if is_new and stored is not None and not stored.value("SELECT count(*) FROM chunks"):
            stored.close()
            path.unlink(missing_ok=True)
        raise
    finally:
        if stored is not None:
            stored.close()


def _validate(spec: IngestSpec) -> None:
    if not 2 <= spec.corpus.seq_len <= 65_535:
        raise UsageError(f"--seq-len {spec.corpus.seq_len}: must lie between 2 and 65535")
    if not 1 <= spec.n_sequences <= _MOST_SEQUENCES:
        raise UsageError(f"--sequences {spec.n_sequences}: must lie between 1 and {_MOST_SEQUENCES}")
    if not 0 <= spec.min_attention < 1:
        raise UsageError(f"--min-attention {spec.min_attention}: must be at least 0 and below 1")
    if spec.corpus.special_tokens not in SPECIAL_TOKENS:
        raise UsageError(
            f"--special-tokens {spec.corpus.special_tokens}: must be one of {', '.join(SPECIAL_TOKENS)}"
        )
    if spec.dtype not in DTYPES:
        raise UsageError(f"--dtype {spec.dtype}: must be one of {', '.join(DTYPES)}")


def _devices(spec: IngestSpec) -> list[str]:
    devices = [choose_device(name.strip()) for name in spec.device.split(",")]
    if spec.dtype == "tf32" and not all(device.startswith("cuda") for device in devices):
        raise UsageError("--dtype tf32: only CUDA devices have it; use float32 or bfloat16")
    return devices


def _set_precision(spec: IngestSpec) -> None:
    import torch

    torch.manual_seed(spec.seed)
    torch.set_float32_matmul_precision("high" if spec.dtype == "tf32" else "highest")


def choose_device(name: str) -> str:
    """Return the torch device of a `--device` option; raises `AttnRulesError` for one that is not there."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except Exception as error:
        raise AttnRulesError(f"--device {name}: not available here; use --device cpu or auto") from error
    return name


def _choose_heads(
    spec: IngestSpec, model: Model, inputs: SaeSource, outputs: SaeSource
) -> list[tuple[int, int]]:
    for option, values, limit in (
        ("--layers", spec.layers, model.n_layers),
        ("--heads", spec.heads, model.n_heads),
    ):
        for value in values or ():
            if value >= limit:
                raise UsageError(
                    f"{option} {value}: out of range, {model.name} has {option[2:]} 0 to {limit - 1}"
                )
    for source in (inputs, outputs):
        _refuse_foreign_locations(source, model)
    layers = range(model.n_layers) if spec.layers is None else spec.layers
    heads = range(model.n_heads) if spec.heads is None else spec.heads
    chosen = [(layer, head) for layer in layers for head in heads]
    # What was not asked for by number is limited to what the sources offer.
    if spec.layers is None and inputs.available is not None:
        chosen = [pair for pair in chosen if Location(pair[0]) in inputs.available]
    if spec.layers is None and outputs.available is not None:
        offered_layers = {at.layer for at in outputs.available}
        chosen = [pair for pair in chosen if pair[0] in offered_layers]
    if spec.heads is None and outputs.available is not None:
        chosen = [pair for pair in chosen if Location(*pair) in outputs.available]
    if not chosen:
        raise AttnRulesError(
            f"no head has both an input SAE in {spec.input_sae} and an output SAE in {spec.output_sae}"
        )
    return chosen


def _refuse_foreign_locations(source: SaeSource, model: Model) -> None:
    for at in source.available or ():
        # An SAE on the stream leaving the last layer is no mistake, it just feeds no attention.
        past_last_layer = at.layer > model.n_layers - (source.role == "output")
        if past_last_layer or (at.head or 0) >= model.n_heads:
            raise AttnRulesError(
                f"{source.role} SAE {source.name}: has one of {at}, but {model.name} has"
                f" {model.n_layers} layers of {model.n_heads} heads"
            )


def _unfinished_heads(
    stored: Warehouse | None,
    spec: IngestSpec,
    model: Model,
    chosen: list[tuple[int, int]],
    corpus_commit: str | None,
) -> list[tuple[int, int]]:
    """Return the stored heads that were not asked for, but without which sequences would be incomplete."""
    if stored is None:
        return []
    others = [pair for pair in stored.rows("SELECT layer, head FROM heads") if pair not in chosen]
    ledger = Ledger(stored)
    if others and spec.n_sequences > ledger.n_sequences:
        beyond = islice(_rows(spec, model, corpus_commit), ledger.n_sequences, None)
        if next(beyond, None) is not None:
            return others
    return [pair for pair in others if ledger.lacks(*pair)]


def _load_saes(
    targets: Targets, inputs: SaeSource, outputs: SaeSource, model: Model, stored: Warehouse | None
) -> list[Sae]:
    wanted = [
        *((inputs, Location(layer)) for layer in targets.layers),
        *((outputs, Location(layer, head)) for layer, head in targets.heads),
    ]
    return [load_sae(_source_of(source, at, stored), at, model) for source, at in wanted]


def _source_of(given: SaeSource, at: Location, stored: Warehouse | None) -> SaeSource:
    """Return `given`, or where it lacks the SAE of a stored head, the source that the head came from."""
    if stored is None or given.available is None or at in given.available:
        return given
    recorded = stored.value(
        "SELECT source FROM saes WHERE role = $role AND layer = $layer AND head IS NOT DISTINCT FROM $head",
        {"role": given.role, "layer": at.layer, "head": at.head},
    )
    if recorded is None or recorded == given.name:
        return given
    heads = None if at.head is None else (at.head,)
    try:
        return find_saes(given.role, recorded, sae_id=None, layers=(at.layer,), heads=heads)
    except AttnRulesError as error:
        raise AttnRulesError(
            f"{given.role} SAE {given.name}: has none of {at}, which {stored.path} holds and further"
            f" sequences need; nor is it where it came from ({error})"
        ) from error


def _as_read_before(warehouse: Warehouse, spec: IngestSpec) -> IngestSpec:
    """Return `spec`, with text files read by line where a version before schema 3 began, which did that."""
    if warehouse.value("SELECT lines IS NULL FROM corpus"):
        return replace(spec, corpus=replace(spec.corpus, lines=True))
    return spec


def _refuse_other_corpus(warehouse: Warehouse, spec: IngestSpec) -> None:
    rows = warehouse.rows(
        "SELECT source, split, text_column, seq_len, keep_long_documents, lines,"
        " coalesce(special_tokens, 'token'), min_attention FROM corpus"
    )
    if not rows:
        return
    corpus = spec.corpus
    asked = (
        Path(corpus.source).name if Path(corpus.source).exists() else corpus.source,
        corpus.split,
        corpus.text_column,
        corpus.seq_len,
        corpus.keep_long_documents,
        corpus.lines,
        corpus.special_tokens,
        spec.min_attention,
    )
    options = (
        "--corpus", "--split", "--text-column", "--seq-len", "--keep-long-documents", "--lines",
        "--special-tokens", "--min-attention",
    )  # fmt: skip
    for option, held, wanted in zip(options, rows[0], asked, strict=True):
        # What an older version has not recorded is NULL.
        if held is not None and held != wanted:
            raise AttnRulesError(
                f"{warehouse.path}: was ingested with {option} {held}, not {wanted};"
                " use another file for other settings"
            )


def _stored_files(warehouse: Warehouse) -> list[dict[str, Any]]:
    return dictionaries(warehouse, "FROM corpus_files ORDER BY file_id")


def _changed_file(warehouse: Warehouse, spec: IngestSpec) -> str | None:
    return changed_file(spec.corpus, _stored_files(warehouse))


def _pass_stored(warehouse: Warehouse, spec: IngestSpec, rows: Iterator[Tokens], changed: str | None) -> None:
    """Take the stored sequences from `rows` where more are to follow, or where files have changed."""
    if changed or spec.n_sequences > Ledger(warehouse).n_sequences:
        refuse_other_rows(warehouse, rows, changed)


@dataclass(frozen=True)
class _Corpus:
    """A corpus that was begun to be read.

    Arguments:
        sample: its first rows. rows: all that follow the stored ones, which it has yielded again.
        files: the files that were opened. changed: how they differ from those that were read, in words.
    """

    sample: list[Tokens]
    rows: Iterator[Tokens]
    files: FilesRead
    changed: str | None


def _read_corpus(
    stored: Warehouse | None, spec: IngestSpec, model: Model, corpus_commit: str | None
) -> _Corpus:
    changed = None if stored is None else _changed_file(stored, spec)
    # What is stored was compared just now, or a commit holds it: it need not be digested again.
    files = FilesRead([] if stored is None or changed else _stored_files(stored))
    rows = _rows(spec, model, corpus_commit, files)
    sample = list(islice(rows, _SAMPLED_ROWS))
    rows = chain(sample, rows)
    if stored is not None:
        _pass_stored(stored, spec, rows, changed)
    if not sample:
        raise AttnRulesError(
            f"corpus {spec.corpus.source}: no document is as long as a row of"
            f" {spec.corpus.seq_len} tokens; name a longer corpus or a smaller --seq-len"
        )
    return _Corpus(sample, rows, files, changed)


def _store_changed_files(warehouse: Warehouse, spec: IngestSpec, corpus: _Corpus) -> list[str]:
    """Record changed files, which have yielded the stored sequences again, and say so."""
    if not corpus.changed:
        return []
    with warehouse.transaction():
        warehouse.execute("DELETE FROM corpus_files")
        warehouse.append("corpus_files", pa.Table.from_pylist(corpus.files.rows))
        digests.restamp(warehouse, "corpus_files")
    return [f"corpus {spec.corpus.source}: {corpus.changed}; it yields the sequences stored here again"]


def _refuse_other_model(warehouse: Warehouse, model: Model, spec: IngestSpec) -> None:
    held = warehouse.rows("SELECT name, sha256, dtype, configuration, tokenizer FROM model")
    for name, sha256, dtype, configuration, tokenizer in held:
        if dtype != spec.dtype:
            raise AttnRulesError(
                f"{warehouse.path}: was ingested with --dtype {dtype}, not {spec.dtype};"
                " use another file for other settings"
            )
        if sha256 != model.sha256:
            raise AttnRulesError(
                f"{warehouse.path}: holds the model {name} (weights {sha256[:12]}), not {model.name}"
                f" (weights {model.sha256[:12]}); one warehouse holds one model, use another file"
            )
        for what, before, after in (
            ("configuration", configuration, model.configuration),
            ("tokenizer", tokenizer, model.tokenizer),
        ):
            if apart := differences(before, after):
                raise AttnRulesError(
                    f"{warehouse.path}: holds the model {name}; {model.name} has the same weights, but its"
                    f" {what} says {'; '.join(apart[:4])}; use another file"
                )


def _as_declared(
    model: Model, saes: list[Sae], stored: Warehouse | None, reload: Callable[[bool], Model]
) -> Model:
    """Return the model with the residual stream that its input SAEs say they were trained on.

    Raises `AttnRulesError` when they disagree with each other, or with what the warehouse holds.
    """
    if not model.can_centre:
        return model
    ways = {sae.declared.centred: sae for sae in saes if sae.role == "input"}
    if len(ways) == 2:
        raise AttnRulesError(
            f"input SAEs of {ways[True].location} and {ways[False].location} in {ways[True].source}: one was"
            " trained on a model with centred writing weights, the other on one without"
            " (model_from_pretrained_kwargs); ingest them into two files"
        )
    if model.centred not in ways:
        model = reload(not model.centred)
    held = None if stored is None else stored.value("SELECT any_value(processing) FROM model")
    if stored is not None and held not in (None, model.processing):
        raise AttnRulesError(
            f"{stored.path}: holds activations of the model with {held}, but these input SAEs were trained"
            f" with {model.processing}; use another file"
        )
    return model


def _differing_saes(warehouse: Warehouse, saes: list[Sae], spec: IngestSpec) -> list[Location]:
    """Return the heads whose output SAE is to be replaced; refuse any other difference."""
    held = {
        (role, layer, head): facts
        for role, layer, head, *facts in warehouse.rows(
            "SELECT role, layer, head, source, sha256, configuration FROM saes"
        )
    }
    replaced = []
    for sae in saes:
        source, sha256, configuration = held.get(
            (sae.role, sae.location.layer, sae.location.head), (None, sae.sha256, None)
        )
        apart = differences(configuration, sae.configuration)
        if sha256 == sae.sha256 and not apart:
            continue
        if sae.role == "output" and spec.replace_output_saes:
            replaced.append(sae.location)
            continue
        remedy = " or give --replace-output-sae" if sae.role == "output" else ""
        if sha256 != sae.sha256:
            how = f"(weights {sha256[:12]}), not the one in {sae.source} (weights {sae.sha256[:12]})"
        else:
            how = f"; the one in {sae.source} has the same weights, but {'; '.join(apart[:4])}"
        raise AttnRulesError(
            f"{warehouse.path}: holds the {sae.role} SAE of {sae.location} from {source} {how};"
            f" use another file{remedy}"
        )
    return replaced


def poor_reconstructions(errors: dict[tuple[Role, Location], float]) -> list[str]:
    """Return a warning for each role with SAEs that rebuild next to nothing of what they read."""
    warnings = []
    for role in ("input", "output"):
        poor = {
            at: error for (of, at), error in errors.items() if of == role and error >= POOR_RECONSTRUCTION
        }
        if poor:
            worst = max(poor, key=lambda at: poor[at])
            warnings.append(
                f"{len(poor)} {role} SAE{'s' if len(poor) > 1 else ''} rebuild next to nothing of what they"
                f" read (worst {worst}: {poor[worst]:.2f} of the variance is missed); {POOR_CAUSES}"
            )
    return warnings


def _context_warnings(saes: list[Sae], seq_len: int) -> list[str]:
    """Return warnings where sequences differ from those that the SAEs say they were trained on."""
    warnings = []
    for role in ("input", "output"):
        own = [sae for sae in saes if sae.role == role]
        short = [sae for sae in own if sae.declared.context_size and sae.declared.context_size < seq_len]
        if short:
            warnings.append(
                f"{role} SAE of {short[0].location} in {short[0].source}: was trained on contexts of"
                f" {short[0].declared.context_size} tokens; it has seen no later position of {seq_len}"
            )
        bare = [sae for sae in own if not sae.declared.prepend_bos]
        if bare:
            warnings.append(
                f"{role} SAE of {bare[0].location} in {bare[0].source}: was trained on sequences without BOS,"
                " and every row here begins with it"
            )
        ignored = sorted({word for sae in own for word in sae.declared.ignored})
        if ignored:
            warnings.append(
                f"{role} SAE {own[0].source}: was trained on a model loaded with {', '.join(ignored)[:200]},"
                " which is not done here"
            )
    return warnings


def _name_warnings(model: Model, *sources: SaeSource) -> list[str]:
    def plain(name: str) -> str:
        return name.rstrip("/").split("/")[-1].removesuffix("-small")

    return [
        f"{source.role} SAE {source.name}: its configuration names the model"
        f" {', '.join(sorted(source.model_names))}; used with {model.name}"
        for source in sources
        if source.model_names and plain(model.name) not in set(map(plain, source.model_names))
    ]


def _special_token_warnings(warehouse: Warehouse, model: Model) -> list[str]:
    """Say which special tokens the documents themselves have brought."""
    names = special_tokens(model.bridge.tokenizer)
    counted = warehouse.rows(
        "SELECT token_id, count(*) FROM main.tokens WHERE pos > 0 AND list_contains($ids, token_id)"
        " GROUP BY token_id ORDER BY token_id",
        {"ids": sorted(names)},
    )
    listed = ", ".join(f"{names[token_id]} {n:,} times" for token_id, n in counted)
    if not counted:
        return []
    return [
        f"the text of special tokens occurs in documents and was read as these tokens: {listed}; in a new"
        " warehouse --special-tokens text reads it as text"
    ]


def _rows(
    spec: IngestSpec, model: Model, corpus_commit: str | None, files: FilesRead | None = None
) -> Iterator[Tokens]:
    texts = documents(spec.corpus, corpus_commit, files.add if files else lambda _: None)
    return token_rows(
        texts,
        model.bridge.tokenizer,
        bos_token_id=model.bos_token_id,
        n_ctx=model.n_ctx,
        spec=spec.corpus,
        vocab_size=model.vocab_size,
    )


def _store_weights(
    warehouse: Warehouse,
    spec: IngestSpec,
    model: Model,
    saes: list[Sae],
    errors: dict[tuple[Role, Location], float],
    replaced: list[Location],
    corpus_commit: str | None,
) -> None:
    """Store the model, SAEs and everything that is known from the weights alone, where not yet there.

    Of the heads `replaced`, everything that came from their output SAE is deleted first; all or nothing.
    """
    inputs = {s.location.layer: s for s in saes if s.role == "input"}
    with warehouse.transaction():
        for at in replaced:
            warehouse.forget_output_features(at.layer, at.head or 0)
        if replaced:
            warehouse.outdate_derived()
        held = set(warehouse.rows("SELECT role, layer, head FROM saes"))
        heads_held = set(warehouse.rows("SELECT layer, head FROM heads"))
        if not warehouse.rows("FROM model"):
            warehouse.append("model", pa.Table.from_pylist([{**model.facts(), "dtype": spec.dtype}]))
            warehouse.append("corpus", pa.Table.from_pylist([_corpus_facts(spec, corpus_commit)]))
            warehouse.append("vocabulary", _vocabulary(model))
        for sae in saes:
            layer, head = sae.location.layer, sae.location.head
            if (sae.role, layer, head) in held:
                continue
            facts = {**sae.facts(), "sampled_reconstruction_error": errors[sae.role, sae.location]}
            warehouse.append("saes", pa.Table.from_pylist([facts]))
            if head is None:
                warehouse.append("input_features", _input_features(sae))
                if layer == 0:
                    warehouse.append("feature_descriptions", embedding_descriptions(model, sae))
                continue
            if (layer, head) not in heads_held:
                _store_head(warehouse, model, inputs[layer], layer, head)
            warehouse.append("output_features", _output_features(sae, layer, head))
        digests.stamp_new(warehouse)


def _vocabulary(model: Model) -> pa.Table:
    texts = model.vocabulary()
    partial = pa.array(model.token_bytes(), pa.string())
    return pa.table({"token_id": range(len(texts)), "token": texts, "token_bytes": partial})


def _corpus_facts(spec: IngestSpec, commit: str | None) -> dict[str, object]:
    local = Path(spec.corpus.source)
    return {
        **asdict(spec.corpus),
        "source": local.name if local.exists() else spec.corpus.source,
        "min_attention": spec.min_attention,
        "resolved_commit": commit,
    }


def _input_features(sae: Sae) -> pa.Table:
    n = sae.d_sae
    return pa.table(
        {
            "layer": np.full(n, sae.location.layer, np.int16),
            "feature": np.arange(n, dtype=np.int32),
            "n_sequences": np.zeros(n, np.int32),
            "n_tokens": np.zeros(n, np.int64),
        }
    )


def _store_head(warehouse: Warehouse, model: Model, input_sae: Sae, layer: int, head: int) -> None:
    weights = model.head_weights(layer, head)
    projections = {"query": weights.W_Q, "key": weights.W_K, "value": weights.W_V}
    facts: dict[str, Any] = {
        "layer": np.array([layer], np.int16),
        "head": np.array([head], np.int16),
        "attn_scale": [weights.attn_scale],
    }
    for name in ("b_Q", "b_K", "b_V"):
        facts[name] = _vectors(getattr(weights, name)[None])
    for name, matrix in projections.items():
        facts[f"decoder_bias_{name}"] = _vectors((input_sae.weights.decoder_bias @ matrix)[None])
    warehouse.append("heads", pa.table(facts))
    n = input_sae.d_sae
    warehouse.append(
        "projections",
        pa.table(
            {
                "layer": np.full(n, layer, np.int16),
                "head": np.full(n, head, np.int16),
                "feature": np.arange(n, dtype=np.int32),
                **{f"{k}_vector": _vectors(input_sae.weights.decoder @ m) for k, m in projections.items()},
            }
        ),
    )


def _output_features(sae: Sae, layer: int, head: int) -> pa.Table:
    n = sae.d_sae
    return pa.table(
        {
            "layer": np.full(n, layer, np.int16),
            "head": np.full(n, head, np.int16),
            "feature": np.arange(n, dtype=np.int32),
            "n_sequences": np.zeros(n, np.int32),
            "n_tokens": np.zeros(n, np.int64),
            "encoder": _vectors(sae.weights.encoder.T),
            "bias": sae.weights.bias.double().numpy(),
            "preactivation_bias": sae.weights.preactivation_bias.numpy(),
        }
    )


def _vectors(matrix: Any) -> pa.FixedSizeListArray:
    """Return a torch matrix [n, d] as an Arrow array of n vectors of width d."""
    flat = pa.array(matrix.contiguous().numpy().reshape(-1), pa.float32())
    return pa.FixedSizeListArray.from_arrays(flat, int(matrix.shape[1]))


def _capture_all(
    flow: Flow,
    warehouse: Warehouse,
    spec: IngestSpec,
    targets: Targets,
    rows: Iterator[Tokens],
    size: int,
    report: Callable[[IngestProgress], None],
    result: IngestResult,
) -> None:
    total = Ledger(warehouse).n_to_capture(targets, spec.n_sequences)
    try:
        todo = work(warehouse, targets, rows, n_sequences=spec.n_sequences, chunk_size=size)
        flow.run(todo, lambda n: report(IngestProgress("capturing", n, total)) if n else None)
    finally:
        result.n_captured = flow.n_committed
    result.n_sequences = int(warehouse.value("SELECT coalesce(sum(n_seqs), 0) FROM chunks"))
    if result.n_sequences < spec.n_sequences:
        result.warnings.append(shortage(spec.corpus, result.n_sequences, spec.n_sequences))
    if warehouse.rows("SELECT 1 FROM heads WHERE kept_attention_mass IS NULL"):
        report(IngestProgress("counting and describing features"))
        in_thread(warehouse.refresh_derived, warehouse.interrupt)
