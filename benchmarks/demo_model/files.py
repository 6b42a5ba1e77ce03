"""JSON and weights files of the recipe, read and written."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def edit_json(path: Path, drop: Sequence[str] = (), **values: Any) -> None:
    """Set values of a JSON object in a file and drop keys of it."""
    content = {**json.loads(path.read_text()), **values}
    kept = {key: value for key, value in content.items() if key not in drop}
    path.write_text(json.dumps(kept, indent=2) + "\n")


def n_stored(path: Path) -> int:
    """Number of weights in a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def rounded(value: Any) -> Any:
    """Return a JSON value with its numbers at four significant digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def read_timings(out: Path) -> dict[str, float]:
    """Return the CPU minutes of the stages that have run, by their names."""
    path = out / "cpu_minutes.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}
