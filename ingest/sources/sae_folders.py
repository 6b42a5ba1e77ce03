"""SAEs in a folder: SAELens folders, those of Gemma Scope, and `.pt` checkpoints named for what they read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from attnrules.errors import AttnRulesError
from attnrules.ingest.sources import gemma_scope, sae_checkpoint
from attnrules.ingest.sources.locations import Location, place_of_checkpoint, place_of_hook
from attnrules.ingest.sources.sae_config import check_saelens_config, metadata_of, read_json, whole_number
from attnrules.ingest.sources.sae_source import SaeSource
from attnrules.ingest.sources.sae_weights import Role, refuse_without_weights

# Files of other libraries, by which their formats are told.
_FOREIGN = {
    "ae.pt": "an SAE of dictionary_learning (ae.pt)",
    "sae.safetensors": "an SAE of sparsify (sae.safetensors)",
}
_EXPECTED = {
    "input": "hook_name blocks.{layer}.hook_resid_pre",
    "output": (
        "hook_name blocks.{layer}.attn.hook_z or blocks.{layer}.hook_attn_out or"
        " <name>_L{layer}_H{head}_..._v{n}.pt checkpoints"
    ),
}


@dataclass
class _Found:
    """What a folder holds for a role.

    Arguments:
        loaders: by location. exact: those whose hook is named as the location names it.
        other_hooks: what SAEs that are of no use read.
    """

    loaders: dict[Location, Callable[[str], Any]] = field(default_factory=dict)
    exact: set[Location] = field(default_factory=set)
    other_hooks: set[str] = field(default_factory=set)
    model_names: set[str] = field(default_factory=set)


def folder_source(role: Role, name: str, folder: Path) -> SaeSource:
    """List the SAEs of a role in `folder` and what is below it; `name` is how the user calls it.

    Raises `AttnRulesError` when there is none, when two read the same, or when a configuration is malformed.
    """
    found = _Found()
    for path in sorted(folder.rglob("cfg.json")):
        if not (path.parent / "sae.safetensors").is_file():
            config = read_json(path)
            hook = _hook_of(path, config)
            _add(found, role, name, hook, _saelens_loader(role, path, config), _model_names(path, config))
    for path in sorted(folder.rglob(gemma_scope.FILE)):
        hook = gemma_scope.hook_of(path), None
        _add(found, role, name, hook, partial(gemma_scope.load, path), gemma_scope.model_names(path))
    for location, path in _newest_checkpoints(folder, role):
        config = sae_checkpoint.read_config(path)
        sae_checkpoint.check_config(path, location, config)
        found.loaders.setdefault(location, _checkpoint_loader(path, location, config))
        found.model_names |= _model_names(path, config)
    if not found.loaders:
        raise _none_found(role, name, folder, found.other_hooks)
    return SaeSource(
        role,
        name,
        frozenset(found.loaders),
        lambda location, device: found.loaders[location](device),
        frozenset(found.model_names),
    )


def _add(
    found: _Found,
    role: Role,
    name: str,
    hook: tuple[str, int | None],
    load: Callable[[str], Any],
    model_names: set[str],
) -> None:
    """Add what reads `hook`, a name and the one head that is read of it, if that is of use for the role."""
    hook_name, head = hook
    place = place_of_hook(hook_name, head)
    if place is None or (place[0].head is None) != (role == "input"):
        found.other_hooks.add(hook_name)
        return
    location, _ = place
    is_exact = hook_name in location.hook_names
    if location in found.loaders and is_exact == (location in found.exact):
        raise AttnRulesError(
            f"{role} SAE {name}: holds several SAEs of {location}; name a folder with one of each"
        )
    if location in found.exact:
        return
    found.loaders[location] = load
    found.model_names |= model_names
    if is_exact:
        found.exact.add(location)


def _none_found(role: Role, name: str, folder: Path, other_hooks: set[str]) -> AttnRulesError:
    instead = f"; the SAEs there read {', '.join(sorted(other_hooks))}" if other_hooks else ""
    foreign = [what for file, what in _FOREIGN.items() if next(folder.rglob(file), None)]
    if foreign:
        instead = f"; it holds {foreign[0]}, which is not read: load it with SAELens and save_model it"
    return AttnRulesError(
        f"{role} SAE {name}: none found in it; expected SAELens folders (cfg.json beside"
        f" sae_weights.safetensors) or Gemma Scope's (params.npz) with {_EXPECTED[role]}{instead}"
    )


def _hook_of(path: Path, config: dict[str, Any]) -> tuple[str, int | None]:
    metadata = metadata_of(path, config)
    hook_name = metadata.get("hook_name") or config.get("hook_name") or config.get("hook_point")
    if hook_name is None:
        match = re.search(r"blocks\.\d+\.(?:attn\.)?hook_(?:resid_pre|z|attn_out)", path.parent.name)
        if match is None:
            raise AttnRulesError(
                f"SAE {path.parent}: neither cfg.json nor the name of the folder says which hook it reads"
            )
        hook_name = match[0]
    if not isinstance(hook_name, str) or len(hook_name) > 200:
        raise AttnRulesError(f"SAE configuration {path}: hook_name is not the name of a hook")
    for holder, key in (
        (metadata, "hook_head_index"),
        (config, "hook_head_index"),
        (config, "hook_point_head_index"),
    ):
        if holder.get(key) is not None:
            return hook_name, whole_number(path, key, holder[key])
    return hook_name, None


def _saelens_loader(role: Role, config_path: Path, config: dict[str, Any]) -> Callable[[str], Any]:
    folder = config_path.parent

    def load(device: str) -> Any:
        from sae_lens import SAE

        if not (folder / "sae_weights.safetensors").is_file():
            raise AttnRulesError(f"SAE {folder}: has no sae_weights.safetensors")
        check_saelens_config(config_path, config)
        architecture = str(config.get("architecture", "standard"))
        refuse_without_weights(f"SAE {folder}", role, architecture, config.get("normalize_activations"))
        return SAE.load_from_disk(folder, device=device, dtype="float32")

    return load


def _newest_checkpoints(folder: Path, role: Role) -> Iterator[tuple[Location, Path]]:
    newest: dict[Location, tuple[int, Path]] = {}
    for path in sorted(folder.rglob("*.pt")) if role == "output" else ():
        location = place_of_checkpoint(path.stem)
        if location is None:
            continue
        _, version = sae_checkpoint.unversioned(path.stem)
        if location not in newest or version > newest[location][0]:
            newest[location] = (version, path)
    for location, (_, path) in newest.items():
        yield location, path


def _checkpoint_loader(path: Path, location: Location, config: dict[str, Any]) -> Callable[[str], Any]:
    return lambda device: sae_checkpoint.load(path, location, config, device)


def _model_names(path: Path, config: dict[str, Any]) -> set[str]:
    name = metadata_of(path, config).get("model_name") or config.get("model_name")
    return {name} if isinstance(name, str) else set()
