"""Presets: named sources of published work, one TOML file each in `presets/`.

A value may lie in an installed package, `package:NAME/PATH`, and may be a list: then the first of it that is
installed, or that lies in no package, is meant.
"""

from __future__ import annotations

import importlib.util
import tomllib
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from attnrules.errors import UsageError

_IN_PACKAGE = "package:"


@dataclass(frozen=True)
class Preset:
    """Values for the options of `attnrules ingest`, by the names of its parameters."""

    name: str
    title: str
    options: dict[str, Any]


def presets() -> dict[str, Preset]:
    """Return every preset by name, with its options as they are written."""
    found = {}
    for file in (files("attnrules.ingest.sources") / "presets").iterdir():
        if file.name.endswith(".toml"):
            content = tomllib.loads(file.read_text("utf-8"))
            name = file.name.removesuffix(".toml")
            found[name] = Preset(name, content["title"], content["options"])
    return dict(sorted(found.items()))


def preset(name: str) -> Preset:
    """Return one preset, its options found on this machine; raises `UsageError` naming those that exist."""
    known = presets()
    if name not in known:
        raise UsageError(f"--preset {name}: there is none; there are {', '.join(known)}")
    found = known[name]
    return replace(found, options={key: _located(value) for key, value in found.options.items()})


def _located(value: Any) -> Any:
    """Return an option's value, a path where it names a file of a package."""
    choices = value if isinstance(value, list) else [value]
    located = [_in_package(choice) for choice in choices]
    return next((choice for choice in located if choice is not None), choices[-1])


def _in_package(value: Any) -> Any:
    """Return the path of `package:NAME/PATH`, None where it is not there; other values as they are."""
    if not isinstance(value, str) or not value.startswith(_IN_PACKAGE):
        return value
    name, _, inside = value.removeprefix(_IN_PACKAGE).partition("/")
    # Found without being imported: what it imports may not be installed.
    package = importlib.util.find_spec(name)
    for folder in (package.submodule_search_locations if package else None) or []:
        if (path := Path(folder) / inside).exists():
            return str(path)
    return None
