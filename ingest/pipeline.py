"""`ingest`: the one pass from a model, its SAEs and a corpus into a warehouse.

The unit of work is a chunk of sequences: captured, then committed with its ledger row in one
transaction. A chunk remembers which heads it holds, so that resuming after a kill, adding sequences and
adding layers or heads are the same thing: doing whatever the ledger does not list yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from attnrules.errors import AttnRulesError, UsageError
from attnrules.ingest.capture import Capture, Part, Targets
from attnrules.ingest.corpus import CorpusSpec, documents, locate, shortage, token_rows
from attnrules.ingest.embeddings import embedding_descriptions
from attnrules.ingest.model import Model, is_out_of_memory, load_model
from attnrules.ingest.provenance import environment, stored_commits
from attnrules.ingest.saes import Location, Sae, SaeSource, find_saes, load_sae
from attnrules.warehouse import Warehouse

Tokens = npt.NDArray[np.int64]

_FACT_TABLES = ("input_activations", "output_activations", "attention_sources", "token_scales")
# Sequences in a forward pass, by type of device.
AUTO_BATCH = {"cpu": 32, "cuda": 256, "mps": 64}


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
        device: cpu, cuda, mps or auto. batch_size: sequences in a forward pass, None for automatic.
        chunk_size: sequences committed together.
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
    batch_size: int | None = None
    chunk_size: int = 512
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


@dataclass(frozen=True)
class _Work:
    """A range of sequences and what to capture from them; `is_new` when the ledger has no row yet."""

    chunk_id: int
    first_seq: int
    tokens: Tokens
    targets: Targets
    is_new: bool


def ingest(
    path: Path, spec: IngestSpec, report: Callable[[IngestProgress], None] = lambda _: None
) -> IngestResult:
    """Bring the warehouse at `path` to hold `spec`, making it when it does not exist.

    Does only what is missing: an interrupted ingest goes on, more sequences, layers or heads are added.
    Raises `AttnRulesError` when a source is missing or malformed, when the SAEs do not fit the model, or
    when the warehouse holds another model, SAE or cutting of the corpus; stored chunks stay as they are.
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
    try:
        if stored is not None:
            _refuse_other_corpus(stored, spec)
        report(IngestProgress("loading the model"))
        model = load_model(
            spec.model,
            revision=spec.revision,
            device=choose_device(spec.device),
            commit=commits.model.get(spec.revision),
        )
        if stored is not None:
            _refuse_other_model(stored, model)
        if spec.corpus.seq_len > model.n_ctx:
            raise UsageError(
                f"--seq-len {spec.corpus.seq_len}: the context of {model.name} is {model.n_ctx} tokens"
            )
        wanted = set(_choose_heads(spec, model, inputs, outputs))
        if stored is not None:
            wanted |= set(stored.rows("SELECT layer, head FROM heads"))
        heads = tuple(sorted(wanted))
        targets = Targets(tuple(sorted({layer for layer, _ in heads})), heads)
        report(IngestProgress("loading the SAEs"))
        saes = _load_saes(targets, inputs, outputs, model)
        if stored is not None:
            _refuse_other_saes(stored, saes)
        rows = _rows(spec, model, corpus_commit)
        first_row = next(rows, None)
        if first_row is None:
            raise AttnRulesError(
                f"corpus {spec.corpus.source}: no document is as long as a row of"
                f" {spec.corpus.seq_len} tokens; name a longer corpus or a smaller --seq-len"
            )
        capture = Capture(model, saes, min_attention=spec.min_attention)
        capture.verify(first_row[None], targets.layers)
        warehouse = stored or Warehouse.create(path, d_head=model.d_head)
        stored = warehouse
        result = IngestResult(warnings=_name_warnings(model, inputs, outputs))
        with warehouse.run("ingest", asdict(spec), environment(model)) as run_id:
            _store_weights(warehouse, spec, model, saes, corpus_commit)
            all_rows = _prepend(first_row, rows)
            _capture_all(warehouse, spec, capture, targets, all_rows, run_id, report, result)
        return result
    finally:
        if stored is not None:
            stored.close()


def _validate(spec: IngestSpec) -> None:
    if not 2 <= spec.corpus.seq_len <= 65_535:
        raise UsageError(f"--seq-len {spec.corpus.seq_len}: must lie between 2 and 65535")
    if spec.n_sequences < 1:
        raise UsageError(f"--sequences {spec.n_sequences}: must be at least 1")
    if not 0 <= spec.min_attention < 1:
        raise UsageError(f"--min-attention {spec.min_attention}: must be at least 0 and below 1")


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


def _load_saes(targets: Targets, inputs: SaeSource, outputs: SaeSource, model: Model) -> list[Sae]:
    return [
        *(load_sae(inputs, Location(layer), model) for layer in targets.layers),
        *(load_sae(outputs, Location(layer, head), model) for layer, head in targets.heads),
    ]


def _refuse_other_corpus(warehouse: Warehouse, spec: IngestSpec) -> None:
    rows = warehouse.rows(
        "SELECT source, split, text_column, seq_len, keep_long_documents, min_attention FROM corpus"
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
        spec.min_attention,
    )
    options = (
        "--corpus", "--split", "--text-column", "--seq-len", "--keep-long-documents", "--min-attention"
    )  # fmt: skip
    for option, held, wanted in zip(options, rows[0], asked, strict=True):
        if held != wanted:
            raise AttnRulesError(
                f"{warehouse.path}: was ingested with {option} {held}, not {wanted};"
                " use another file for other settings"
            )


def _refuse_other_model(warehouse: Warehouse, model: Model) -> None:
    for name, sha256 in warehouse.rows("SELECT name, sha256 FROM model"):
        if sha256 != model.sha256:
            raise AttnRulesError(
                f"{warehouse.path}: holds the model {name} (weights {sha256[:12]}), not {model.name}"
                f" (weights {model.sha256[:12]}); one warehouse holds one model, use another file"
            )


def _refuse_other_saes(warehouse: Warehouse, saes: list[Sae]) -> None:
    held = {
        (role, layer, head): (source, sha256)
        for role, layer, head, source, sha256 in warehouse.rows(
            "SELECT role, layer, head, source, sha256 FROM saes"
        )
    }
    for sae in saes:
        key = (sae.role, sae.location.layer, sae.location.head)
        if key in held and held[key][1] != sae.sha256:
            source, sha256 = held[key]
            raise AttnRulesError(
                f"{warehouse.path}: holds the {sae.role} SAE of {sae.location} from {source} (weights"
                f" {sha256[:12]}), not the one in {sae.source} (weights {sae.sha256[:12]});"
                " use another file"
            )


def _name_warnings(model: Model, *sources: SaeSource) -> list[str]:
    def plain(name: str) -> str:
        return name.rstrip("/").split("/")[-1].removesuffix("-small")

    return [
        f"{source.role} SAE {source.name}: its configuration names the model"
        f" {', '.join(sorted(source.model_names))}; used with {model.name}"
        for source in sources
        if source.model_names and plain(model.name) not in set(map(plain, source.model_names))
    ]


def _rows(spec: IngestSpec, model: Model, corpus_commit: str | None) -> Iterator[Tokens]:
    return token_rows(
        documents(spec.corpus, corpus_commit),
        model.bridge.tokenizer,
        bos_token_id=model.bos_token_id,
        n_ctx=model.n_ctx,
        spec=spec.corpus,
    )


def _prepend(first: Tokens, rest: Iterator[Tokens]) -> Iterator[Tokens]:
    yield first
    yield from rest


def _store_weights(
    warehouse: Warehouse, spec: IngestSpec, model: Model, saes: list[Sae], corpus_commit: str | None
) -> None:
    """Store the model, SAEs and everything that is known from the weights alone, where not yet there."""
    held = set(warehouse.rows("SELECT role, layer, head FROM saes"))
    missing = [s for s in saes if (s.role, s.location.layer, s.location.head) not in held]
    inputs = {s.location.layer: s for s in saes if s.role == "input"}
    with warehouse.transaction():
        if not warehouse.rows("FROM model"):
            warehouse.append("model", pa.Table.from_pylist([model.facts()]))
            warehouse.append("corpus", pa.Table.from_pylist([_corpus_facts(spec, corpus_commit)]))
            vocabulary = model.vocabulary()
            warehouse.append(
                "vocabulary", pa.table({"token_id": range(len(vocabulary)), "token": vocabulary})
            )
        for sae in missing:
            warehouse.append("saes", pa.Table.from_pylist([sae.facts()]))
            if sae.role == "input":
                warehouse.append("input_features", _input_features(sae))
                if sae.location.layer == 0:
                    warehouse.append("feature_descriptions", embedding_descriptions(model, sae))
            else:
                _store_head(warehouse, model, inputs[sae.location.layer], sae)


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
            "layer": np.full(n, sae.location.layer, np.uint8),
            "feature": np.arange(n, dtype=np.uint32),
            "n_sequences": np.zeros(n, np.uint32),
            "n_tokens": np.zeros(n, np.uint64),
        }
    )


def _store_head(warehouse: Warehouse, model: Model, input_sae: Sae, output_sae: Sae) -> None:
    layer, head = output_sae.location.layer, output_sae.location.head
    if head is None:
        raise ValueError("an output SAE belongs to a head")
    weights = model.head_weights(layer, head)
    projections = {"query": weights.W_Q, "key": weights.W_K, "value": weights.W_V}
    facts: dict[str, Any] = {
        "layer": np.array([layer], np.uint8),
        "head": np.array([head], np.uint8),
        "attn_scale": [weights.attn_scale],
    }
    for name in ("b_Q", "b_K", "b_V"):
        facts[name] = _vectors(getattr(weights, name)[None])
    for name, matrix in projections.items():
        facts[f"decoder_bias_{name}"] = _vectors((input_sae.b_dec @ matrix)[None])
    warehouse.append("heads", pa.table(facts))
    n = input_sae.d_sae
    warehouse.append(
        "projections",
        pa.table(
            {
                "layer": np.full(n, layer, np.uint8),
                "head": np.full(n, head, np.uint8),
                "feature": np.arange(n, dtype=np.uint32),
                **{f"{k}_vector": _vectors(input_sae.W_dec @ m) for k, m in projections.items()},
            }
        ),
    )
    n = output_sae.d_sae
    bias = output_sae.b_enc.double()
    centring = output_sae.b_dec.double() @ output_sae.W_enc.double()
    warehouse.append(
        "output_features",
        pa.table(
            {
                "layer": np.full(n, layer, np.uint8),
                "head": np.full(n, head, np.uint8),
                "feature": np.arange(n, dtype=np.uint32),
                "n_sequences": np.zeros(n, np.uint32),
                "n_tokens": np.zeros(n, np.uint64),
                "encoder": _vectors(output_sae.W_enc.T),
                "bias": bias.numpy(),
                "preactivation_bias": (bias - centring if output_sae.centres_input else bias).numpy(),
            }
        ),
    )


def _vectors(matrix: Any) -> pa.FixedSizeListArray:
    """Return a torch matrix [n, d] as an Arrow array of n vectors of width d."""
    flat = pa.array(matrix.contiguous().numpy().reshape(-1), pa.float32())
    return pa.FixedSizeListArray.from_arrays(flat, int(matrix.shape[1]))


def _capture_all(
    warehouse: Warehouse,
    spec: IngestSpec,
    capture: Capture,
    targets: Targets,
    rows: Iterator[Tokens],
    run_id: int,
    report: Callable[[IngestProgress], None],
    result: IngestResult,
) -> None:
    import torch

    torch.manual_seed(spec.seed)
    total = _sequences_to_capture(warehouse, spec, targets)
    batch_size = spec.batch_size or AUTO_BATCH.get(capture.model.device.type, 32)
    for work in _work(warehouse, spec, targets, rows):
        parts, batch_size = _capture_work(
            capture,
            work,
            batch_size,
            lambda n: report(IngestProgress("capturing", result.n_captured + n, total)),
        )
        _commit(warehouse, work, parts, run_id)
        result.n_captured += len(work.tokens)
    result.n_sequences = int(warehouse.value("SELECT coalesce(sum(n_seqs), 0) FROM chunks"))
    if result.n_sequences < spec.n_sequences:
        result.warnings.append(shortage(spec.corpus, result.n_sequences, spec.n_sequences))
    unfinished = "SELECT 1 FROM heads WHERE kept_attention_mass IS NULL"
    if result.n_captured or warehouse.rows(unfinished):
        report(IngestProgress("counting and describing features"))
        warehouse.refresh_derived()


def _missing(done: list[str], targets: Targets) -> Targets:
    """Return the targets that a chunk holding the heads `done` lacks."""
    heads = tuple((lay, head) for lay, head in targets.heads if f"L{lay}H{head}" not in done)
    layers_done = {int(name[1:].split("H")[0]) for name in done}
    return Targets(tuple(lay for lay in targets.layers if lay not in layers_done), heads)


def _ledger(warehouse: Warehouse) -> list[tuple[int, int, int, list[str]]]:
    return warehouse.rows("SELECT chunk_id, first_seq, n_seqs, heads FROM chunks ORDER BY first_seq")


def _sequences_to_capture(warehouse: Warehouse, spec: IngestSpec, targets: Targets) -> int:
    ledger = _ledger(warehouse)
    n_stored = sum(n_seqs for _, _, n_seqs, _ in ledger)
    incomplete = sum(n for _, _, n, done in ledger if _missing(done, targets).heads)
    return incomplete + max(0, spec.n_sequences - n_stored)


def _work(
    warehouse: Warehouse, spec: IngestSpec, targets: Targets, rows: Iterator[Tokens]
) -> Iterator[_Work]:
    """Yield what the ledger lacks: heads of stored chunks first, then new sequences."""
    ledger = _ledger(warehouse)
    n_stored = sum(n_seqs for _, _, n_seqs, _ in ledger)
    for chunk_id, first_seq, n_seqs, done in ledger:
        missing = _missing(done, targets)
        if missing.heads:
            tokens = _stored_tokens(warehouse, first_seq, n_seqs)
            yield _Work(chunk_id, first_seq, tokens, missing, is_new=False)
    if spec.n_sequences <= n_stored:
        return
    for _, first_seq, n_seqs, _ in ledger:
        _refuse_other_rows(warehouse, spec, first_seq, list(islice(rows, n_seqs)), n_seqs)
    next_id = 1 + max((chunk_id for chunk_id, _, _, _ in ledger), default=-1)
    first_seq = n_stored
    while first_seq < spec.n_sequences:
        chunk = list(islice(rows, min(spec.chunk_size, spec.n_sequences - first_seq)))
        if not chunk:
            return
        yield _Work(next_id, first_seq, np.stack(chunk), targets, is_new=True)
        first_seq += len(chunk)
        next_id += 1


def _stored_tokens(warehouse: Warehouse, first_seq: int, n_seqs: int) -> Tokens:
    columns = warehouse.connection.execute(
        "SELECT token_id FROM tokens WHERE seq_id >= $first AND seq_id < $last ORDER BY seq_id, pos",
        {"first": first_seq, "last": first_seq + n_seqs},
    ).fetchnumpy()
    return np.asarray(columns["token_id"], dtype=np.int64).reshape(n_seqs, -1)


def _refuse_other_rows(
    warehouse: Warehouse, spec: IngestSpec, first_seq: int, rows: list[Tokens], n_seqs: int
) -> None:
    stored = _stored_tokens(warehouse, first_seq, n_seqs)
    for index in range(n_seqs):
        if index >= len(rows) or not np.array_equal(rows[index], stored[index]):
            raise AttnRulesError(
                f"corpus {spec.corpus.source}: its sequence {first_seq + index} is not the one stored in"
                f" {warehouse.path}, the corpus has changed; give the same corpus or use another file"
            )


def _capture_work(
    capture: Capture, work: _Work, batch_size: int, on_batch: Callable[[int], None]
) -> tuple[list[Part], int]:
    """Capture a chunk; halve the batch for as long as the device runs out of memory."""
    parts: list[Part] = []
    start = 0
    while start < len(work.tokens):
        tokens = work.tokens[start : start + batch_size]
        try:
            parts += capture.run(tokens, work.first_seq + start, work.targets)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if batch_size == 1:
                raise AttnRulesError(
                    "the device has too little memory for one sequence; use --device cpu, a smaller"
                    " --seq-len or fewer --layers"
                ) from error
            batch_size = max(1, min(batch_size, len(tokens)) // 2)
            continue
        start += len(tokens)
        on_batch(start)
    return parts, batch_size


def _commit(warehouse: Warehouse, work: _Work, parts: list[Part], run_id: int) -> None:
    counts = dict.fromkeys(("tokens", *_FACT_TABLES), 0)
    with warehouse.transaction():
        if work.is_new:
            counts["tokens"] = warehouse.append("tokens", _token_table(work))
        # Head after head: rows of one head lie together and are skipped together when not asked for.
        ordered = sorted(parts, key=lambda part: (part.layer, part.head))
        for table in _FACT_TABLES:
            tables = [pa.table(part.columns) for part in ordered if part.table == table]
            if tables:
                counts[table] = warehouse.append(table, pa.concat_tables(tables))
        names = [f"L{layer}H{head}" for layer, head in work.targets.heads]
        if work.is_new:
            entry = {
                "chunk_id": work.chunk_id,
                "first_seq": work.first_seq,
                "n_seqs": len(work.tokens),
                "state": "done",
                **counts,
                "heads": names,
                "run_id": run_id,
            }
            warehouse.append("chunks", pa.Table.from_pylist([entry]))
        else:
            warehouse.extend_chunk({**counts, "heads": names, "run_id": run_id, "chunk_id": work.chunk_id})


def _token_table(work: _Work) -> pa.Table:
    n_seqs, seq_len = work.tokens.shape
    seq, pos = np.divmod(np.arange(n_seqs * seq_len), seq_len)
    return pa.table(
        {
            "seq_id": (seq + work.first_seq).astype(np.uint32),
            "pos": pos.astype(np.uint16),
            "token_id": work.tokens.reshape(-1).astype(np.uint32),
        }
    )
