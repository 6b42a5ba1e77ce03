"""What heads attend to on repeated random tokens, read from the model: method.md section 14.2."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from attnrules.errors import AttnRulesError
from attnrules.queries.heads import choose_heads, searched_heads
from attnrules.queries.interventions.trials import Array, append_rows
from attnrules.sql import Statements

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "interventions")

_FEWEST_TOKENS = 2


class Reader(Protocol):
    """What runs the model: `attnrules.ingest.intervene.Laboratory`."""

    @property
    def bos_token_id(self) -> int:
        """The token put in front of every sequence."""

    @property
    def n_ctx(self) -> int:
        """Most tokens in a sequence."""

    def ordinary_tokens(self) -> Array:
        """Return the ids of tokens that are not special."""

    def attention(self, layer: int, tokens: Array, query_pos: Array, key_pos: Array) -> Array:
        """Return the mean over queries of the attention of each head to some keys, by sequence."""


@dataclass(frozen=True)
class ProbeSpec:
    """How to probe.

    Arguments:
        layers, heads: which heads of the warehouse; None for all.
        n_tokens: random tokens in r, of the sequence BOS, r, r; fewer where the model has less room or fewer
            tokens.
        n_sequences: sequences to run. seed: draws the tokens.
    """

    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    n_tokens: int = 48
    n_sequences: int = 16
    seed: int = 0


def probe(
    warehouse: Warehouse,
    spec: ProbeSpec,
    reader: Reader,
    report: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Read from the model what heads attend to on repeated random tokens, and store it; return the rows.

    Earlier rows of the same heads are replaced. Raises `UsageError` for a head that is not in the warehouse,
    `AttnRulesError` where the model has too little context for two tokens twice.
    """
    chosen = asked_of_heads(warehouse, spec)
    with warehouse.run("intervene", {"probe": True, **asdict(spec)}):
        rows = repeated_tokens(reader, spec)
        same = {"n_tokens": rows.shape[1] // 2, "n_sequences": len(rows), "seed": spec.seed}
        found = list(_attention(chosen, rows, reader, report))
        with warehouse.transaction():
            for layer, head in chosen:
                warehouse.execute(step("delete_head_probes"), {"layer": layer, "head": head})
            append_rows(warehouse, "head_probes", found, same)
            warehouse.stamp("head_probes")
    return [{**row, **same} for row in found]


def asked_of_heads(warehouse: Warehouse, spec: ProbeSpec) -> list[tuple[int, int]]:
    """Return (layer, head) of the heads to probe, of an SAE over a whole layer those that it reads.

    Raises `UsageError` for a head that is not in the warehouse.
    """
    saes = choose_heads(warehouse, spec.layers, spec.heads, ())
    return sorted(
        {(layer, own) for layer, head in saes for own in searched_heads(warehouse, layer, head, spec.heads)}
    )


def _attention(
    heads: Sequence[tuple[int, int]], rows: Array, reader: Reader, report: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Yield what each head attends to in rows of repeated tokens, role by role; heads are in order."""
    n_tokens = rows.shape[1] // 2
    roles = probed_keys(n_tokens)
    queries = np.arange(n_tokens + 1, 2 * n_tokens + 1)
    for layer, of_layer in groupby(heads, key=lambda at: at[0]):
        report(f"layer {layer}")
        attention = reader.attention(layer, rows, queries, np.stack(list(roles.values())))
        for _, head in of_layer:
            for role, values in zip(roles, attention[:, :, head], strict=True):
                yield {"layer": layer, "head": head, "role": role, **_interval(values)}


def repeated_tokens(reader: Reader, spec: ProbeSpec) -> Array:
    """Return sequences BOS, r, r of random tokens, none twice in r: [n_sequences, 1 + 2 n_tokens]."""
    ordinary = reader.ordinary_tokens()
    n = min(spec.n_tokens, len(ordinary), (reader.n_ctx - 1) // 2)
    if n < _FEWEST_TOKENS:
        raise AttnRulesError(
            f"the model has {len(ordinary)} tokens and a context of {reader.n_ctx}, too few to repeat any"
        )
    rng = np.random.default_rng(spec.seed)
    drawn = [rng.choice(ordinary, n, replace=False) for _ in range(spec.n_sequences)]
    return np.stack([np.concatenate([[reader.bos_token_id], r, r]) for r in drawn])


def probed_keys(n_tokens: int) -> dict[str, Array]:
    """Return, by role, the key position of each position of the second r: [n_tokens]."""
    queries = np.arange(n_tokens + 1, 2 * n_tokens + 1)
    return {
        "previous_token": queries - 1,
        "duplicate_token": queries - n_tokens,
        "induction": queries - n_tokens + 1,
        "bos": np.zeros_like(queries),
        "self": queries,
    }


def _interval(values: Array) -> dict[str, float | None]:
    """Return the mean over sequences and its 95% interval, None for one sequence."""
    mean = float(values.mean())
    if len(values) < 2:
        return {"attention": mean, "attention_low": None, "attention_high": None}
    half = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5
    return {
        "attention": mean,
        "attention_low": max(0.0, mean - half),
        "attention_high": min(1.0, mean + half),
    }
