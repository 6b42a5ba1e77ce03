"""Presets: named sources of published work, one TOML file each in `presets/`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from attnrules.errors import UsageError


@dataclass(frozen=True)
class Preset:
    """Values for the options of `attnrules ingest`, by the names of its parameters."""

    name: str
    title: str
    options: dict[str, Any]


def presets() -> dict[str, Preset]:
    """Return every preset by name."""
    found = {}
    for file in (files("attnrules.ingest.sources") / "presets").iterdir():
        if file.name.endswith(".toml"):
            content = tomllib.loads(file.read_text("utf-8"))
            name = file.name.removesuffix(".toml")
            found[name] = Preset(name, content["title"], content["options"])
    return dict(sorted(found.items()))


def preset(name: str) -> Preset:
    """Return one preset; raises `UsageError` naming those that exist."""
    known = presets()
    if name not in known:
        raise UsageError(f"--preset {name}: there is none; there are {', '.join(known)}")
    return known[name]
