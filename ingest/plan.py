"""`ingest --dry-run`: what an ingest would do, and what it would cost, without doing it.

Local sources are checked by loading them, as an ingest would. Of sources on the hub only names, commits,
sizes and the model's configuration are looked up: no weights are downloaded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from attnrules.errors import AttnRulesError, UsageError, one_line
from attnrules.ingest import pipeline
from attnrules.ingest.capture.forward import Capture, Targets
from attnrules.ingest.provenance import StoredCommits, stored_commits
from attnrules.ingest.sources.corpus import locate
from attnrules.ingest.sources.hub import hub_failure, is_offline, resolve
from attnrules.ingest.sources.model import Model, load_model, official_name
from attnrules.ingest.sources.sae_weights import Role
from attnrules.ingest.sources.saes import Location, SaeSource, find_saes, list_hub
from attnrules.warehouse import Warehouse

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
        heads: what it would hold in the end.
        n_sequences: sequences to hold in the end; n_to_capture: sequences that run through the model.
        rows: table -> rows to add. n_bytes: disk that they take. seconds: time, None where unknown.
        basis: where rows, bytes and time come from.
    """

    sources: list[tuple[str, str]]
    stored_heads: list[tuple[int, int]]
    stored_sequences: int
    heads: list[tuple[int, int]]
    n_sequences: int
    n_to_capture: int
    rows: dict[str, int]
    n_bytes: int
    seconds: float | None
    basis: str


@dataclass
class _Facts:
    """What is known of the sources before an ingest."""

    sources: list[tuple[str, str]] = field(default_factory=list)
    heads: list[tuple[int, int]] = field(default_factory=list)
    d_head: int = 0
    input_width: int = 0
    output_width: int = 0
    rates: Rates | None = None


def plan(path: Path, spec: pipeline.IngestSpec) -> IngestPlan:
    """Find out what ingesting `spec` into `path` would do; writes nothing.

    Raises what the ingest itself would raise, as far as it can be known without the weights of the hub.
    """
    pipeline._validate(spec)
    commits = stored_commits(path)
    corpus_commit = locate(spec.corpus, commits.corpus.get(spec.corpus.source))
    stored = Warehouse.open(path) if path.exists() else None
    try:
        if stored is not None:
            pipeline._refuse_other_corpus(stored, spec)
        names = (spec.model, spec.input_sae, spec.output_sae)
        if all(Path(name).exists() for name in names):
            facts = _checked(spec, stored, corpus_commit)
        else:
            facts = _looked_up(spec, commits)
        changed = None if stored is None else pipeline._changed_file(stored, spec)
        where = f"hub, commit {corpus_commit}" if corpus_commit else f"local, {changed or 'found'}"
        facts.sources.append((f"corpus {spec.corpus.source}", where))
        return _estimate(spec, stored, facts)
    finally:
        if stored is not None:
            stored.close()


def _checked(spec: pipeline.IngestSpec, stored: Warehouse | None, commit: str | None) -> _Facts:
    """Load local sources as an ingest would, and run the first sequences for the rates."""
    inputs = find_saes("input", spec.input_sae, sae_id=None, layers=spec.layers, heads=None)
    outputs = find_saes("output", spec.output_sae, sae_id=None, layers=spec.layers, heads=spec.heads)
    model = load_model(spec.model, revision=None, device=pipeline._devices(spec)[0])
    if stored is not None:
        pipeline._refuse_other_model(stored, model, spec)
    if spec.corpus.seq_len > model.n_ctx:
        raise UsageError(
            f"--seq-len {spec.corpus.seq_len}: the context of {model.name} is {model.n_ctx} tokens"
        )
    heads = sorted(pipeline._choose_heads(spec, model, inputs, outputs))
    targets = Targets(tuple(sorted({layer for layer, _ in heads})), tuple(heads))
    saes = pipeline._load_saes(targets, inputs, outputs, model, stored)
    model = pipeline._as_declared(
        model,
        saes,
        stored,
        lambda centred: load_model(
            spec.model, revision=None, device=pipeline._devices(spec)[0], centred=centred
        ),
    )
    if stored is not None:
        pipeline._differing_saes(stored, saes, spec)
        changed = pipeline._changed_file(stored, spec)
        pipeline._pass_stored(stored, spec, pipeline._rows(spec, model, commit), changed)
    capture = Capture(model, saes, min_attention=spec.min_attention, dtype=spec.dtype)
    return _Facts(
        sources=[
            (f"model {model.name}", f"local, weights {model.sha256[:12]}, checked"),
            (f"input SAEs {inputs.name}", f"local, {len(targets.layers)} checked"),
            (f"output SAEs {outputs.name}", f"local, {len(heads)} checked"),
        ],
        heads=heads,
        d_head=model.d_head,
        input_width=max(sae.d_sae for sae in saes if sae.role == "input"),
        output_width=max(sae.d_sae for sae in saes if sae.role == "output"),
        rates=_measured(spec, model, capture, targets, commit),
    )


def _measured(
    spec: pipeline.IngestSpec, model: Model, capture: Capture, targets: Targets, commit: str | None
) -> Rates:
    rows = list(islice(pipeline._rows(spec, model, commit), min(_MEASURED_SEQUENCES, spec.n_sequences)))
    if not rows:
        raise AttnRulesError(
            f"corpus {spec.corpus.source}: no document is as long as a row of {spec.corpus.seq_len} tokens;"
            " name a longer corpus or a smaller --seq-len"
        )
    capture.verify(rows[0][None], targets.layers)
    started = time.perf_counter()
    parts = [block.part() for block in capture.run(np.stack(rows), 0, targets)]
    seconds = time.perf_counter() - started
    n_tokens = len(rows) * spec.corpus.seq_len
    per_token = {
        table: sum(len(part.columns["seq_id"]) for part in parts if part.table == table)
        / (n_tokens * _places(table, targets.heads))
        for table in _DEMO_ROWS
    }
    basis = f"rows and time: {len(rows)} sequences captured here just now; bytes a row: those {_DEMO_BASIS}"
    return Rates(per_token, _DEMO_BYTES, n_tokens / seconds, basis)


def _looked_up(spec: pipeline.IngestSpec, commits: StoredCommits) -> _Facts:
    """Look up what the hub says of the sources without their weights."""
    config, where = _configuration(spec, commits)
    facts = _Facts(sources=[(f"model {spec.model}", where)], d_head=config.d_head)
    widths: dict[Role, int] = {}
    found: dict[Role, SaeSource] = {}
    roles: tuple[tuple[Role, str, str | None, int], ...] = (
        ("input", spec.input_sae, spec.input_sae_id, config.d_model),
        ("output", spec.output_sae, spec.output_sae_id, config.d_head),
    )
    for role, name, sae_id, d_in in roles:
        commit = commits.saes.get((role, name))
        if Path(name).exists() or is_offline():
            source = find_saes(role, name, sae_id=sae_id, layers=spec.layers, heads=spec.heads, commit=commit)
            for location in sorted(source.available or (), key=str)[:1]:
                widths[role] = int(source.load(location, "cpu").cfg.d_sae)
            facts.sources.append((f"{role} SAEs {name}", "local or cached"))
            found[role] = source
            continue
        listing = list_hub(role, name, sae_id=sae_id, layers=spec.layers, heads=spec.heads, commit=commit)
        found[role] = SaeSource(role, name, listing.available, _never)
        # W_enc, W_dec and the encoder's bias, float32.
        widths[role] = round(listing.largest_bytes / (4 * (2 * d_in + 1)))
        facts.sources.append(
            (f"{role} SAEs {name}", f"hub, commit {listing.commit}, {_to_download(listing.missing_bytes)}")
        )
    facts.heads = sorted(pipeline._choose_heads(spec, config, found["input"], found["output"]))
    facts.input_width, facts.output_width = widths.get("input", 0), widths.get("output", 0)
    facts.rates = _computed(spec, config.d_model, facts)
    return facts


def _computed(spec: pipeline.IngestSpec, d_model: int, facts: _Facts) -> Rates:
    """Return the demo's rows and bytes, and the speed that the arithmetic alone allows on this machine."""
    layers = {layer for layer, _ in facts.heads}
    body = 24 * d_model**2 * (max(layers) + 1)
    features = len(layers) * (4 * d_model * facts.input_width + 8 * d_model**2)
    heads = len(facts.heads) * 2 * facts.d_head * facts.output_width
    per_token, speed = body + features + heads, _arithmetic_speed(pipeline._devices(spec)[0])
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


def _never(location: Location, device: str) -> Any:
    raise ValueError(f"a plan loads nothing: {location} on {device}")


def _configuration(spec: pipeline.IngestSpec, commits: StoredCommits) -> tuple[Any, str]:
    """Return the dimensions of the model and where its weights come from."""
    from huggingface_hub import snapshot_download
    from transformers import AutoConfig

    local = Path(spec.model).exists()
    target = spec.model if local else official_name(spec.model)
    try:
        commit = None if local else commits.model.get(spec.revision) or resolve(target, spec.revision)
        config = AutoConfig.from_pretrained(target, revision=commit)
        where = "local, found"
        if not local:
            where = f"hub, commit {commit}, offline: from the cache"
        if not local and not is_offline():
            patterns = ["config.json", "model*.safetensors", "tokenizer*", "vocab*", "merges.txt"]
            files = snapshot_download(target, revision=commit, allow_patterns=patterns, dry_run=True)
            where = f"hub, commit {commit}, {_to_download(_missing_bytes(files))}"
    except Exception as error:
        raise AttnRulesError(f"model {spec.model}: {hub_failure(error) or one_line(error)}") from error
    n_heads = int(config.num_attention_heads)
    d_head = int(getattr(config, "head_dim", None) or config.hidden_size // n_heads)
    dimensions = {"n_layers": int(config.num_hidden_layers), "n_heads": n_heads, "d_head": d_head}
    return SimpleNamespace(name=spec.model, d_model=int(config.hidden_size), **dimensions), where


def _missing_bytes(files: list[Any]) -> int:
    return sum(file.file_size for file in files if file.will_download)


def _to_download(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB to download" if n_bytes else "in the cache"


def _estimate(spec: pipeline.IngestSpec, stored: Warehouse | None, facts: _Facts) -> IngestPlan:
    held: list[tuple[int, int]] = []
    n_stored = 0
    rates = facts.rates or Rates(_DEMO_ROWS, _DEMO_BYTES, None, f"rows and bytes: those {_DEMO_BASIS}")
    if stored is not None:
        held = [(layer, head) for layer, head in stored.rows("SELECT layer, head FROM heads ORDER BY ALL")]
        n_stored = int(stored.value("SELECT coalesce(sum(n_seqs), 0) FROM chunks"))
        rates = _stored_rates(stored, held) or rates
    heads = sorted({*held, *facts.heads})
    added = [pair for pair in heads if pair not in held]
    n_new = max(0, spec.n_sequences - n_stored)
    n_to_capture = n_new + (n_stored if added else 0)
    rows = {"tokens": n_new * spec.corpus.seq_len}
    for table in _DEMO_BYTES:
        if table != "tokens":
            per_token = rates.rows.get(table, 1.0)
            places = n_new * _places(table, heads) + n_stored * _places(table, added, held)
            rows[table] = round(per_token * places * spec.corpus.seq_len)
    n_bytes = sum(rates.bytes[table] * n for table, n in rows.items())
    rows |= {
        "projections": len(added) * facts.input_width,
        "output_features": len(added) * facts.output_width,
    }
    n_bytes += 4 * facts.d_head * (3 * rows["projections"] + rows["output_features"])
    seconds = None
    if rates.tokens_per_second:
        seconds = n_to_capture * spec.corpus.seq_len / rates.tokens_per_second
    return IngestPlan(
        sources=facts.sources,
        stored_heads=held,
        stored_sequences=n_stored,
        heads=heads,
        n_sequences=max(spec.n_sequences, n_stored),
        n_to_capture=n_to_capture,
        rows=rows,
        n_bytes=round(n_bytes),
        seconds=seconds,
        basis=rates.basis,
    )


def _stored_rates(stored: Warehouse, held: list[tuple[int, int]]) -> Rates | None:
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
        dict.fromkeys(_DEMO_BYTES, stored.path.stat().st_size / n_rows),
        speed,
        "rows, bytes and time: those of what this warehouse holds",
    )


def _places(table: str, heads: Sequence[tuple[int, int]], held: Sequence[tuple[int, int]] = ()) -> int:
    """Count what a token of `table` has a row for: layers, or heads; layers that are `held` do not count."""
    if table in ("input_activations", "token_scales"):
        return len({layer for layer, _ in heads} - {layer for layer, _ in held})
    return len(heads)
