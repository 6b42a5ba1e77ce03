"""What `attnrules ingest --dry-run` prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attnrules.sql import WHOLE_LAYER

if TYPE_CHECKING:
    from attnrules.ingest.plan import IngestPlan


def plan_lines(path: Path, plan: IngestPlan) -> list[str]:
    """Return a plan as lines of text."""
    new = [pair for pair in plan.heads if pair not in plan.stored_heads]
    whole = [layer for layer, head in plan.outputs if head == WHOLE_LAYER]
    stored = f"{plan.stored_sequences:,} sequences, {len(plan.stored_heads)} heads"
    lines = [f"{path}: {f'holds {stored}' if plan.stored_heads else 'would be made'}", "", "sources"]
    lines += [f"  {what}: {where}" for what, where in plan.sources]
    lines += [
        "",
        f"layers      {_listing(sorted({layer for layer, _ in plan.heads}))}",
        f"heads       {len(plan.heads)}, {len(new)} of them new",
        *([f"output SAEs over whole layers: {_listing(whole)}"] if whole else []),
        f"sequences   {plan.n_sequences:,} in the end, {plan.n_to_capture:,} to run through the model",
        "",
        "rows to add (estimated)",
        *(f"  {table:20} {n:>15,}" for table, n in plan.rows.items()),
        "",
        f"disk        {_size(plan.n_bytes)}",
        f"time        {_duration(plan.seconds)}",
        f"basis       {plan.basis}",
    ]
    return lines


def _listing(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown: nothing was measured on this machine"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
