"""`ingest --dry-run`: what an ingest would do, and what it would cost, without doing it.

Local sources are checked by loading them, as an ingest would. Of sources on the hub only names, commits,
sizes and the model's configuration are looked up: no weights are downloaded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from attnrules.errors import AttnRulesError, one_line
from attnrules.ingest.capture.flow import Tokens
from attnrules.ingest.capture.forward import Targets
from attnrules.ingest.devices import choose_devices
from attnrules.ingest.held import changed_file, reconcile
from attnrules.ingest.loading import Loaded, find, load
from attnrules.ingest.reading import begin
from attnrules.ingest.request import IngestSpec, Request, accept, choose_outputs
from attnrules.ingest.sources.hub import hub_failure, is_offline, resolve
from attnrules.ingest.sources.model import configuration_of, official_name
from attnrules.ingest.sources.sae_hub import list_hub
from attnrules.ingest.sources.sae_source import SaeSource
from attnrules.ingest.sources.sae_weights import Role
from attnrules.warehouse import WHOLE_LAYER, Warehouse

# Of the demo's warehouse: 2,000 sequences of 64 tokens, 2 layers of 4 heads, TopK 16 and 8, the default
# --min-attention. Rows per token and layer or head; bytes on disk per row.
_DEMO_ROWS = {"input_activations": 16.0, "output_activations": 8.0, "attention_sources": 17.4}
_DEMO_BYTES = {
    "tokens": 4.1,
    "token_scales": 11.3,
    "input_activations": 6.0,
    "output_activations": 5.3,
    "attention_sources": 8.2,
}
_DEMO_BASIS = "of the embedded demo model"
_MEASURED_SEQUENCES = 32


@dataclass(frozen=True)
class Rates:
    """What a token costs.

    Arguments:
        rows: table -> rows per token and layer (input_activations, token_scales) or head (the others).
        bytes: table -> bytes on disk per row.
        tokens_per_second: None where nothing comparable was measured.
        basis: where rows, bytes and speed were measured, in words.
    """

    rows: Mapping[str, float]
    bytes: Mapping[str, float]
    tokens_per_second: float | None
    basis: str


@dataclass(frozen=True)
class IngestPlan:
    """What `attnrules ingest --dry-run` prints.

    Arguments:
        sources: (what, where it comes from and what is known of it).
        stored_heads, stored_sequences: what the warehouse holds.
        heads: what it would hold in the end. outputs: the output SAEs, by layer and head, `WHOLE_LAYER` for
            one over a whole layer.
        n_sequences: sequences to hold in the end; n_to_capture: sequences that run through the model.
        rows: table -> rows to add. n_bytes: disk that they take. seconds: time, None where unknown.
        basis: where rows, bytes and time come from.
    """

    sources: list[tuple[str, str]]
    stored_heads: list[tuple[int, int]]
    stored_sequences: int
    heads: list[tuple[int, int]]
    outputs: list[tuple[int, int]]
    n_sequences: int
    n_to_capture: int
    rows: dict[str, int]
    n_bytes: int
    seconds: float | None
    basis: str


@dataclass
class _Facts:
    """What is known of the sources before an ingest.

    Arguments:
        outputs: the (layer, head) pairs of the output SAEs asked for. n_heads: heads of a layer.
        changed: how local files of the corpus differ from those that were read, None where they do not.
    """

    sources: list[tuple[str, str]] = field(default_factory=list)
    outputs: list[tuple[int, int]] = field(default_factory=list)
    n_heads: int = 0
    d_head: int = 0
    input_width: int = 0
    output_width: int = 0
    rates: Rates | None = None
    changed: str | None = None


def plan(path: Path, spec: IngestSpec) -> IngestPlan:
    """Find out what ingesting `spec` into `path` would do; writes nothing.

    Raises what the ingest itself would raise, as far as it can be known without the weights of the hub.
    """
    request = accept(path, spec)
    stored = Warehouse.open(path) if Warehouse.is_there(path) else None
    with stored or nullcontext():
        if stored is not None:
            request = reconcile(stored, request)
        names = (spec.model, spec.input_sae, spec.output_sae)
        is_local = all(Path(name).exists() for name in names)
        facts = _checked(request, stored) if is_local else _looked_up(request, stored)
        commit = request.corpus_commit
        where = f"hub, commit {commit}" if commit else f"local, {facts.changed or 'found'}"
        facts.sources.append((f"corpus {spec.corpus.source}", where))
        return _estimate(spec, stored, facts)


def _checked(request: Request, stored: Warehouse | None) -> _Facts:
    """Load local sources as an ingest would, and run the first sequences for the rates."""
    loaded = load(request, find(request), stored)
    model, saes, targets = loaded.model, loaded.saes, loaded.targets
    n_sampled = min(_MEASURED_SEQUENCES, request.spec.n_sequences)
    corpus = begin(loaded, stored, n_sampled, recorded=False)
    return _Facts(
        sources=[
            (f"model {model.name}", f"local, weights {model.sha256[:12]}, checked"),
            (f"input SAEs {loaded.sources.inputs.name}", f"local, {len(targets.layers)} checked"),
            (f"output SAEs {loaded.sources.outputs.name}", f"local, {len(targets.outputs)} checked"),
        ],
        outputs=list(loaded.outputs),
        n_heads=model.n_heads,
        d_head=model.d_head,
        input_width=max(sae.d_sae for sae in saes if sae.role == "input"),
        output_width=max(sae.d_sae for sae in saes if sae.role == "output"),
        rates=_measured(loaded, corpus.sample),
        changed=corpus.changed,
    )


def _measured(loaded: Loaded, rows: Tokens) -> Rates:
    """Capture `rows`, the first sequences, and return what a token of them has cost."""
    spec, targets = loaded.request.spec, loaded.targets
    capture = loaded.capture()
    capture.verify(rows[:1], targets.layers)
    started = time.perf_counter()
    parts = [block.part() for block in capture.run(rows, 0, targets)]
    seconds = time.perf_counter() - started
    n_tokens = len(rows) * spec.corpus.seq_len
    per_token = {
        table: sum(len(part.columns["seq_id"]) for part in parts if part.table == table)
        / (n_tokens * _places(table, targets))
        for table in _DEMO_ROWS
    }
    basis = f"rows and time: {len(rows)} sequences captured here just now; bytes a row: those {_DEMO_BASIS}"
    return Rates(per_token, _DEMO_BYTES, n_tokens / seconds, basis)


def _looked_up(request: Request, stored: Warehouse | None) -> _Facts:
    """Look up what the hub says of the sources without their weights."""
    config, where = _configuration(request)
    facts = _Facts(
        sources=[(f"model {request.spec.model}", where)], n_heads=config.n_heads, d_head=config.d_head
    )
    inputs, facts.input_width, found = _look_up_saes(request, "input", config)
    facts.sources.append(found)
    outputs, facts.output_width, found = _look_up_saes(request, "output", config)
    facts.sources.append(found)
    facts.outputs = sorted(choose_outputs(request.spec, config, inputs, outputs))
    facts.rates = _computed(request.spec, config.d_model, facts)
    facts.changed = None if stored is None else changed_file(stored, request.spec)
    return facts


def _look_up_saes(
    request: Request, role: Role, config: _Configuration
) -> tuple[SaeSource, int, tuple[str, str]]:
    """Return the SAEs of a role, the features of one as far as known (else 0), and a line on them."""
    name, sae_id = request.sae(role)
    what = f"{role} SAEs {name}"
    if Path(name).exists() or is_offline():
        source = request.find_saes(role)
        first = sorted(source.available or (), key=str)[:1]
        width = sum(int(source.load(location, "cpu").cfg.d_sae) for location in first)
        return source, width, (what, "local or cached")
    listing = list_hub(
        role,
        name,
        sae_id=sae_id,
        layers=request.spec.layers,
        heads=request.sae_heads(role),
        commit=request.sae_commit(role),
    )
    # W_enc, W_dec and the encoder's bias, float32.
    width = round(listing.largest_bytes / (4 * (2 * _width_read(listing.source, config) + 1)))
    where = f"hub, commit {listing.commit}, {_to_download(listing.missing_bytes)}"
    return listing.source, width, (what, where)


def _width_read(source: SaeSource, config: _Configuration) -> int:
    """Return how many numbers an SAE reads at a token, as far as the names of files tell."""
    if source.role == "input":
        return config.d_model
    whole = source.reads_whole_layers or any(at.is_whole_layer for at in source.available or ())
    return config.n_heads * config.d_head if whole else config.d_head


def _computed(spec: IngestSpec, d_model: int, facts: _Facts) -> Rates:
    """Return the demo's rows and bytes, and the speed that the arithmetic alone allows on this machine."""
    layers = {layer for layer, _ in facts.outputs}
    body = 24 * d_model**2 * (max(layers) + 1)
    features = len(layers) * (4 * d_model * facts.input_width + 8 * d_model**2)
    heads = _heads_read(facts.outputs, facts.n_heads) * 2 * facts.d_head * facts.output_width
    devices = choose_devices(spec.device, spec.dtype)
    per_token, speed = body + features + heads, _arithmetic_speed(devices[0])
    basis = (
        f"rows and bytes: those {_DEMO_BASIS}; time: the arithmetic alone, {per_token / 1e9:.2f} GFLOP a"
        f" token at {speed / 1e9:,.0f} GFLOP/s (a matrix product timed here), so no less than this"
    )
    return Rates(_DEMO_ROWS, _DEMO_BYTES, speed / per_token, basis)


def _arithmetic_speed(device: str) -> float:
    """Return how many floating-point operations a second a float32 matrix product reaches."""
    import torch

    n, best = 1024, 0.0
    matrix = torch.ones(n, n, device=device)
    for _ in range(4):
        started = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # reading an entry waits for the device
        best = max(best, 2 * n**3 / (time.perf_counter() - started))
    return best


@dataclass(frozen=True)
class _Configuration:
    """What the configuration of a model says of it."""

    name: str
    n_layers: int
    n_heads: int
    d_model: int
    d_head: int


def _configuration(request: Request) -> tuple[_Configuration, str]:
    """Return the dimensions of the model and where its weights come from."""
    name = request.spec.model
    local = Path(name).exists()
    target = name if local else official_name(name)
    try:
        commit = None if local else request.model_commit or resolve(target, request.spec.revision)
        config = configuration_of(target, commit)
        where = "local, found" if local else f"hub, commit {commit}, {_missing_of_model(target, commit)}"
    except AttnRulesError:
        raise
    except Exception as error:
        raise AttnRulesError(f"model {name}: {hub_failure(error) or one_line(error)}") from error
    n_heads = int(config.num_attention_heads)
    d_head = int(getattr(config, "head_dim", None) or config.hidden_size // n_heads)
    return _Configuration(
        name, int(config.num_hidden_layers), n_heads, int(config.hidden_size), d_head
    ), where


def _missing_of_model(repository: str, commit: str | None) -> str:
    """Say what of a model on the hub is to be downloaded."""
    from huggingface_hub import snapshot_download

    if is_offline():
        return "offline: from the cache"
    patterns = ["config.json", "model*.safetensors", "tokenizer*", "vocab*", "merges.txt"]
    files = snapshot_download(repository, revision=commit, allow_patterns=patterns, dry_run=True)
    return _to_download(sum(file.file_size for file in files if file.will_download))


def _to_download(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB to download" if n_bytes else "in the cache"


def _estimate(spec: IngestSpec, stored: Warehouse | None, facts: _Facts) -> IngestPlan:
    held, n_stored = Targets((), (), ()), 0
    rates = facts.rates or Rates(_DEMO_ROWS, _DEMO_BYTES, None, f"rows and bytes: those {_DEMO_BASIS}")
    if stored is not None:
        held = _held(stored)
        n_stored = int(stored.value("SELECT coalesce(sum(n_seqs), 0) FROM chunks"))
        rates = _stored_rates(stored, held) or rates
    in_the_end = Targets.of(sorted({*held.outputs, *facts.outputs}), facts.n_heads)
    added = _without(in_the_end, held)
    n_new = max(0, spec.n_sequences - n_stored)
    n_to_capture = n_new + (0 if added.is_empty else n_stored)
    rows = {"tokens": n_new * spec.corpus.seq_len}
    for table in _DEMO_BYTES:
        if table != "tokens":
            places = n_new * _places(table, in_the_end) + n_stored * _places(table, added)
            rows[table] = round(rates.rows.get(table, 1.0) * places * spec.corpus.seq_len)
    n_bytes = sum(rates.bytes[table] * n for table, n in rows.items())
    rows |= {
        "projections": len(added.attention) * facts.input_width,
        "output_features": len(added.outputs) * facts.output_width,
        "feature_heads": _heads_read(added.outputs, facts.n_heads) * facts.output_width,
    }
    n_bytes += 4 * facts.d_head * (3 * rows["projections"] + rows["output_features"] + rows["feature_heads"])
    seconds = None
    if rates.tokens_per_second:
        seconds = n_to_capture * spec.corpus.seq_len / rates.tokens_per_second
    return IngestPlan(
        sources=facts.sources,
        stored_heads=list(held.attention),
        stored_sequences=n_stored,
        heads=list(in_the_end.attention),
        outputs=list(in_the_end.outputs),
        n_sequences=max(spec.n_sequences, n_stored),
        n_to_capture=n_to_capture,
        rows=rows,
        n_bytes=round(n_bytes),
        seconds=seconds,
        basis=rates.basis,
    )


def _held(stored: Warehouse) -> Targets:
    """Return what a warehouse holds."""
    heads = stored.rows("SELECT layer, head FROM heads ORDER BY ALL")
    outputs = stored.rows("SELECT layer, head FROM saes WHERE role = 'output' ORDER BY ALL")
    return Targets(tuple(sorted({layer for layer, _ in heads})), tuple(heads), tuple(outputs))


def _without(wanted: Targets, held: Targets) -> Targets:
    return Targets(
        tuple(layer for layer in wanted.layers if layer not in held.layers),
        tuple(pair for pair in wanted.attention if pair not in held.attention),
        tuple(pair for pair in wanted.outputs if pair not in held.outputs),
    )


def _heads_read(outputs: Sequence[tuple[int, int]], n_heads: int) -> int:
    """Count the heads that output SAEs read, one for each that reads one."""
    return sum(n_heads if head == WHOLE_LAYER else 1 for _, head in outputs)


def _stored_rates(stored: Warehouse, held: Targets) -> Rates | None:
    """Return what a token has cost in this warehouse, None while it holds none."""
    columns = ", ".join(f"sum({table})" for table in _DEMO_BYTES)
    counts = dict(zip(_DEMO_BYTES, stored.rows(f"SELECT {columns} FROM chunks")[0], strict=True))
    if not counts["tokens"]:
        return None
    n_tokens, n_rows = int(counts["tokens"]), int(sum(counts.values()))
    runs = stored.rows(
        "SELECT sum(tokens) AS n, any_value(date_diff('millisecond', started_at, finished_at)) AS ms"
        " FROM chunks INNER JOIN runs USING (run_id) WHERE status = 'done' GROUP BY run_id ORDER BY n DESC"
    )
    speed = int(runs[0][0]) / runs[0][1] * 1000 if runs and runs[0][1] else None
    return Rates(
        {table: counts[table] / (n_tokens * _places(table, held)) for table in _DEMO_ROWS},
        dict.fromkeys(_DEMO_BYTES, stored.n_bytes / n_rows),
        speed,
        "rows, bytes and time: those of what this warehouse holds",
    )


def _places(table: str, targets: Targets) -> int:
    """Count what a token of `table` has rows for: layers, heads, or output SAEs."""
    if table in ("input_activations", "token_scales"):
        return len(targets.layers)
    return len(targets.outputs if table == "output_activations" else targets.attention)
