"""Ingest against the forward pass that it cannot do without, at GPT-2-small shape, same data, same run.

python -m benchmarks.ingest --layers 1
python -m benchmarks.ingest --layers 12 --device cuda --sequences 2048 --chunk-size 128 --batch-size 128

The model and its SAEs have random weights: 12 layers, d_model 768, 12 heads, 24,576 input features and
2,048 output features a head, of which about 60 and 30 are active at a token; queries and keys are scaled
so that a query attends to about as many tokens as a trained model's. The text is the demo's.

Timed in turn, several times, medians taken:
(a) body: the forward pass, stopped after the last hook that is needed;
(b) capture: (a), the encodes and the attention from features, their rows dropped;
(c) ingest: reading, tokenising, (b), packing and writing; by the clock from the first commit to the last.
Layers are taken from the end, so that the body is the whole model's.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.resources import as_file, files
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attnrules.demo.corpus import write_corpus
from attnrules.ingest.capture.flow import FACT_TABLES, Flow, Work
from attnrules.ingest.capture.forward import Capture, Targets
from attnrules.ingest.sources.corpus import CorpusSpec, documents, token_rows
from attnrules.ingest.sources.local_corpus import FilesRead
from attnrules.ingest.sources.locations import Location
from attnrules.ingest.sources.model import Model, load_model
from attnrules.ingest.sources.sae_config import configuration, declared
from attnrules.ingest.sources.sae_weights import Role, effective_weights
from attnrules.ingest.sources.saes import Sae
from attnrules.warehouse import Warehouse

N_LAYERS, N_HEADS, D_MODEL, SEQ_LEN = 12, 12, 768, 64
N_INPUT, N_OUTPUT, ACTIVE_INPUT, ACTIVE_OUTPUT = 24_576, 2_048, 60, 30
# Standard deviation of the attention logits; 3 keeps about as many sources a query as the demo model.
LOGIT_STD = 3.0


def make_model(folder: Path, device: str) -> Model:
    """Return a GPT-2 of random weights with the demo's tokenizer."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    with as_file(files("attnrules.demo") / "weights" / "attnrules-demo") as demo:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(demo / name, folder / name)
    network = GPT2LMHeadModel(GPT2Config(n_layer=N_LAYERS, n_embd=D_MODEL, n_head=N_HEADS))
    for block in network.transformer.h:
        # c_attn is [d_model, query | key | value]; the layer norm's output has variance 1.
        scale = (LOGIT_STD**0.5) / D_MODEL**0.5
        torch.nn.init.normal_(block.attn.c_attn.weight[:, : 2 * D_MODEL].data, std=scale)
        torch.nn.init.normal_(block.attn.c_attn.weight[:, 2 * D_MODEL :].data, std=0.5 / D_MODEL**0.5)
    network.save_pretrained(folder)
    return load_model(str(folder), revision=None, device=device)


def make_saes(model: Model, targets: Targets, tokens: Any) -> list[Sae]:
    """Return SAEs of random weights whose biases let the wanted number of features fire."""
    seen: dict[str, torch.Tensor] = {}

    def keep(tensor: torch.Tensor, hook: Any, *, name: str) -> None:  # noqa: ARG001
        seen[name] = tensor.detach()

    names = {Location(layer, head).hook_names[0] for layer in targets.layers for head in (None, 0)}
    with torch.no_grad(), model.bridge.hooks(fwd_hooks=[(name, partial(keep, name=name)) for name in names]):
        model.bridge(torch.as_tensor(tokens, device=model.device), return_type=None, use_cache=False)
    saes = []
    for at in [*map(Location, targets.layers), *(Location(*pair) for pair in targets.outputs)]:
        stream = seen[at.hook_names[0]]
        if at.head is not None:
            stream = stream.reshape(*stream.shape[:2], N_HEADS, -1)[:, :, at.head]
        saes.append(make_sae(at, stream.reshape(-1, stream.shape[-1]).float()))
    return saes


def make_sae(at: Location, x: torch.Tensor) -> Sae:
    """Return an SAE for inputs distributed as `x` [n, d_in]."""
    from sae_lens import StandardSAE, StandardSAEConfig

    d_in, is_input = x.shape[1], at.head is None
    d_sae, n_active = (N_INPUT, ACTIVE_INPUT) if is_input else (N_OUTPUT, ACTIVE_OUTPUT)
    config = StandardSAEConfig(d_in=d_in, d_sae=d_sae, apply_b_dec_to_input=True, device=str(x.device))
    module = StandardSAE(config)
    decoder = torch.randn(d_sae, d_in, device=x.device) / d_in**0.5
    hidden = (x - x.mean(0)) @ decoder.T
    threshold = hidden.reshape(-1).topk(n_active * len(x)).values[-1]
    # The decoder is scaled to reconstruct as well as random directions can.
    rebuilt = (hidden - threshold).relu() @ decoder
    scale = ((x - x.mean(0)) * rebuilt).sum() / rebuilt.square().sum()
    module.load_state_dict(
        {
            "W_enc": decoder.T.contiguous(),
            "W_dec": scale * decoder,
            "b_enc": (-threshold).expand(d_sae).clone(),
            "b_dec": x.mean(0),
        }
    )
    role: Role = "input" if is_input else "output"
    read = declared("random SAE", {})
    weights = effective_weights("random SAE", role, module)
    return Sae(
        role,
        at,
        "random",
        at.hook_names[0],
        module,
        "standard",
        str(at),
        configuration(module, read),
        weights,
        read,
    )


@dataclass(frozen=True)
class Cost:
    """What a measurement took: tokens per second, and processor seconds for a thousand tokens.

    The second is what tells on a machine that does other work at the same time.
    """

    rate: float
    processor: float

    @classmethod
    def since(cls, started: tuple[float, float], n_tokens: int) -> Cost:
        """Return the cost of `n_tokens` since `now()` was `started`."""
        wall, processor = (b - a for a, b in zip(started, now(), strict=True))
        return cls(n_tokens / wall, 1000 * processor / n_tokens)


def now() -> tuple[float, float]:
    """Return wall and processor time, seconds."""
    return time.perf_counter(), time.process_time()


def body(capture: Capture, targets: Targets, batches: list[Any]) -> Cost:
    """Return the cost of the bare forward pass."""

    class StopError(Exception):
        pass

    def stop(tensor: Any, hook: Any) -> None:  # noqa: ARG001
        raise StopError

    bridge = capture.model.bridge
    hook_name = Location(max(targets.layers), 0).hook_names[0]
    started = now()
    for batch in batches:
        tensor = torch.as_tensor(batch, device=capture.model.device)
        with torch.no_grad(), bridge.hooks(fwd_hooks=[(hook_name, stop)]), suppress(StopError):
            bridge(tensor, return_type=None, use_cache=False, prepend_bos=False)
    synchronise(capture)
    return Cost.since(started, sum(batch.size for batch in batches))


def captured(capture: Capture, targets: Targets, batches: list[Any]) -> Cost:
    """Return the cost of the forward pass with encodes and attention from features."""
    started = now()
    for batch in batches:
        capture.run(batch, 0, targets)
    synchronise(capture)
    return Cost.since(started, sum(batch.size for batch in batches))


def ingested(warehouse: Warehouse, capture: Capture, todo: Iterator[Work], batch_size: int) -> Cost:
    """Return the cost of an ingest; its rate is that from the first commit to the last."""
    commits: list[tuple[float, int]] = []

    class Timed(Flow):
        def commit(self, packed: Any) -> None:
            super().commit(packed)
            commits.append((time.perf_counter(), packed[0].tokens.size))

    started = now()
    flow = Timed(warehouse, [capture], batch_size=batch_size, run_id=1, files=FilesRead())
    flow.run(todo, lambda _: None)
    whole = Cost.since(started, sum(n for _, n in commits))
    return Cost(sum(n for _, n in commits[1:]) / (commits[-1][0] - commits[0][0]), whole.processor)


def fresh(
    stream: Iterator[Any], targets: Targets, first: int, n_sequences: int, chunk_size: int
) -> Iterator[Work]:
    """Read and tokenise the next sequences of the corpus, in chunks."""
    for start in range(first, first + n_sequences, chunk_size):
        rows = list(islice(stream, min(chunk_size, first + n_sequences - start)))
        yield Work(start, start, np.stack(rows), targets, None)


def in_a_thread(measure: Callable[..., Cost], *arguments: Any) -> Cost:
    """Measure in a thread, as ingest runs its forward pass: allocation there can be much faster."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(measure, *arguments).result()


def synchronise(capture: Capture) -> None:
    """Wait until the device has done what was asked of it."""
    if capture.model.device.type == "cuda":
        torch.cuda.synchronize(capture.model.device)


def bytes_by_table(warehouse: Warehouse) -> dict[str, tuple[int, int]]:
    """Return the bytes on disk and the rows of each fact table."""
    warehouse.execute("CHECKPOINT")
    block_size = warehouse.value("SELECT block_size FROM pragma_database_size()")
    found = {}
    for table in ("tokens", *FACT_TABLES):
        n_blocks = warehouse.value(
            "SELECT count(DISTINCT block_id) FROM pragma_storage_info($table) WHERE block_id >= 0",
            {"table": table},
        )
        n_rows = len(warehouse.relation(table))
        found[table] = (n_blocks * block_size, n_rows)
    return found


def bytes_by_column(warehouse: Warehouse, table: str) -> list[tuple[str, str, int]]:
    """Return column, compression and number of blocks, for a look at what takes the room."""
    return warehouse.rows(
        "SELECT column_name, string_agg(DISTINCT compression, ' '), count(DISTINCT block_id)"
        " FROM pragma_storage_info($table) WHERE segment_type <> 'VALIDITY' GROUP BY ALL ORDER BY 1",
        {"table": table},
    )


def main() -> None:
    """Run the benchmark and print rates, ratios, bytes per token and peak memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--sequences", type=int, default=64, help="sequences of each measurement")
    parser.add_argument("--chunk-size", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    layers = tuple(range(N_LAYERS - options.layers, N_LAYERS))
    heads = tuple((layer, head) for layer in layers for head in range(N_HEADS))
    targets = Targets(layers, heads, heads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder, options.device)
        corpus = CorpusSpec(str(folder / "corpus.jsonl"), seq_len=SEQ_LEN, keep_long_documents=True)
        write_corpus(Path(corpus.source))

        stream = token_rows(
            documents(corpus),
            model.bridge.tokenizer,
            bos_token_id=model.bos_token_id,
            n_ctx=model.n_ctx,
            spec=corpus,
        )
        size = options.batch_size
        tokens = np.stack(list(islice(stream, options.sequences)))
        batches = [tokens[i : i + size] for i in range(0, len(tokens), size)]
        saes = make_saes(model, targets, tokens[:16])
        capture = Capture(model, saes, min_attention=0.01, dtype=options.dtype)
        measured: dict[str, list[Cost]] = {"body": [], "capture": [], "ingest": []}
        with Warehouse.create(folder / "w.duckdb", d_head=D_MODEL // N_HEADS) as warehouse:
            in_a_thread(captured, capture, targets, batches[:1])
            # Rows of the repeats follow each other in the warehouse.
            stored = 0
            for _ in range(options.repeats):
                measured["body"].append(in_a_thread(body, capture, targets, batches))
                measured["capture"].append(in_a_thread(captured, capture, targets, batches))
                todo = fresh(stream, targets, stored, options.sequences, options.chunk_size)
                stored += options.sequences
                measured["ingest"].append(ingested(warehouse, capture, todo, size))
            sizes = bytes_by_table(warehouse)
            columns = {table: bytes_by_column(warehouse, table) for table in FACT_TABLES}
    print_results(options, measured, sizes, stored * SEQ_LEN, columns)


def print_results(
    options: Any,
    measured: dict[str, list[Cost]],
    sizes: dict[str, tuple[int, int]],
    n_tokens: int,
    columns: dict[str, list[tuple[str, str, int]]],
) -> None:
    """Print what was measured."""
    print(f"{options.layers} layers x {N_HEADS} heads, {options.device}, {options.dtype}; tokens/s")
    for name, costs in measured.items():
        rates = ", ".join(f"{cost.rate:.0f}" for cost in costs)
        print(
            f"  {name:8} {statistics.median(c.rate for c in costs):9.0f}   ({rates});"
            f" {statistics.median(c.processor for c in costs):.2f} processor seconds for 1,000 tokens"
        )
    for other in ("capture", "body"):
        pairs = list(zip(measured[other], measured["ingest"], strict=True))
        print(
            f"ingest / {other}: {statistics.median(c.rate / b.rate for b, c in pairs):.3f} by the clock,"
            f" {statistics.median(b.processor / c.processor for b, c in pairs):.3f} by processor time"
        )
    print(f"bytes on disk a token, of {n_tokens} tokens:")
    for table, (n_bytes, n_rows) in sizes.items():
        print(
            f"  {table:18} {n_bytes / n_tokens:8.0f}   {n_rows / n_tokens:7.1f} rows a token,"
            f" {n_bytes / max(1, n_rows):.2f} bytes a row"
        )
        for column, compression, n_blocks in columns.get(table, []):
            print(f"      {column:22} {n_blocks:6} blocks  {compression}")
    print(f"  in all             {sum(n for n, _ in sizes.values()) / n_tokens:8.0f}")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")


if __name__ == "__main__":
    main()
