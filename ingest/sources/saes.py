"""Finding and loading the SAEs: SAELens releases and folders, and per-head `.pt` checkpoints.

A source is first listed (`list_saes`), reading configurations only, so that what a source offers can
be compared with what was asked for before any weights are loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnrules.errors import AttnRulesError, UsageError, one_line
from attnrules.ingest.sources import sae_checkpoint
from attnrules.ingest.sources.hub import hub_failure, resolve
from attnrules.ingest.sources.identity import identity
from attnrules.ingest.sources.model import Model, tensors_sha256
from attnrules.ingest.sources.sae_config import (
    Declared,
    check_saelens_config,
    configuration,
    declared,
    metadata_of,
    read_json,
    whole_number,
)
from attnrules.ingest.sources.sae_weights import (
    Role,
    SaeWeights,
    effective_weights,
    refuse_without_weights,
)

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_SAE_ID: dict[Role, str] = {
    "input": "blocks.{layer}.hook_resid_pre",
    "output": "blocks.{layer}.attn.hook_z.head_{head}",
}
# Files of other libraries, by which their formats are told.
_FOREIGN = {
    "ae.pt": "an SAE of dictionary_learning (ae.pt)",
    "params.npz": "an SAE in the format of Gemma Scope (params.npz)",
    "sae.safetensors": "an SAE of sparsify (sae.safetensors)",
}
# `<name>_L{layer}_H{head}_..._v{version}.pt`, also written L{layer}H{head}.
_CHECKPOINT_HEAD = re.compile(r"(?:^|[_-])L(\d+)_?H(\d+)(?=[_.-]|$)")


@dataclass(frozen=True)
class Location:
    """What an SAE reads: the residual stream entering `layer` (head None), or one head's output."""

    layer: int
    head: int | None = None

    def __str__(self) -> str:
        return f"layer {self.layer}" if self.head is None else f"L{self.layer}H{self.head}"

    @property
    def hook_name(self) -> str:
        """The TransformerLens hook that an SAE there must read."""
        if self.head is None:
            return f"blocks.{self.layer}.hook_resid_pre"
        return f"blocks.{self.layer}.attn.hook_z"


@dataclass(frozen=True)
class Sae:
    """A loaded SAE on the model's device.

    Arguments:
        role, location, source: what it is and where it came from.
        module: the SAELens module; `encode` maps [n, d_in] to [n, d_sae].
        architecture: SAELens's name of its architecture.
        sha256: digest of its weights. configuration: what else decides what it computes, canonical JSON.
        weights: the function that it computes of what `encode` reads, as weights.
        declared: what it says about the activations that it was trained on.
        shift: [d_in] on the device, what it adds to the hook of the processed model; None for nothing.
        resolved_commit: hub commit it was loaded from, None for a local folder.
    """

    role: Role
    location: Location
    source: str
    module: Any
    architecture: str
    sha256: str
    configuration: str
    weights: SaeWeights
    declared: Declared
    shift: Tensor | None = None
    resolved_commit: str | None = None

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return int(self.weights.encoder.shape[1])

    @property
    def identity(self) -> str:
        """Digest of weights and configuration together."""
        return identity(self.sha256, self.configuration)

    def encode(self, x: Tensor) -> Tensor:
        """Return the activations [n, d_sae] of what the hook of the processed model holds: [n, d_in]."""
        return self.module.encode(x if self.shift is None else x + self.shift)  # type: ignore[no-any-return]

    def missed(self, x: Tensor) -> Tensor:
        """Return what its reconstruction misses of what the hook of the processed model holds: [n, d_in]."""
        rebuilt: Tensor = self.module.decode(self.encode(x)).float()
        return (x if self.shift is None else x + self.shift) - rebuilt

    def facts(self) -> dict[str, object]:
        """Return the row of the table `saes`, less what is measured."""
        return {
            "role": self.role,
            "layer": self.location.layer,
            "head": self.location.head,
            "source": self.source,
            "hook_name": self.location.hook_name,
            "d_in": int(self.weights.encoder.shape[0]),
            "d_sae": self.d_sae,
            "architecture": self.architecture,
            "sha256": self.sha256,
            "resolved_commit": self.resolved_commit,
            "configuration": self.configuration,
            "identity": self.identity,
        }


@dataclass(frozen=True)
class SaeSource:
    """The SAEs that one `--input-sae` or `--output-sae` names.

    Arguments:
        role: what they are for.
        name: the source as the user wrote it.
        available: for a source that can be listed, where it has SAEs; None for a SAELens release.
        load: loads the SAELens module at a location onto a device.
        model_names: model names found in the configurations.
        commit: returns the hub commit that `load` has read from, None for a local folder.
    """

    role: Role
    name: str
    available: frozenset[Location] | None
    load: Callable[[Location, str], Any]
    model_names: frozenset[str] = field(default_factory=frozenset)
    commit: Callable[[], str | None] = lambda: None


def find_saes(
    role: Role,
    source: str,
    *,
    sae_id: str | None,
    layers: tuple[int, ...] | None,
    heads: tuple[int, ...] | None,
    commit: str | None = None,
) -> SaeSource:
    """Find what `source` is: a local folder, a SAELens release, or a hub repository.

    `layers` and `heads` limit what is fetched from a hub repository, None for all; `commit`, where it is
    known, is what the repository's revision stands for. Raises
    `AttnRulesError` when it is none of these or holds no SAE of the role.
    """
    folder = Path(source)
    if folder.exists():
        if folder.is_file():
            raise AttnRulesError(f"{role} SAE {source}: is a file; name the folder that holds it")
        return _folder_source(role, source, folder)
    if source.startswith((".", "/", "~")):
        raise AttnRulesError(f"{role} SAE {source}: no such folder")
    if sae_id is not None or _is_release(source):
        return _release_source(role, source, sae_id or DEFAULT_SAE_ID[role])
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", source):
        folder = _download(role, source, layers, heads, commit)
        return replace(_folder_source(role, source, folder), commit=lambda: folder.name)
    raise AttnRulesError(
        f"{role} SAE {source}: no such folder, SAELens release or hub repository (owner/name)"
    )


def load_sae(source: SaeSource, location: Location, model: Model) -> Sae:
    """Load the SAE at `location` and make sure that it fits the model.

    Raises `AttnRulesError` naming the SAE when it is missing, malformed, damaged, of a width that the hook
    does not have, or without effective weights (see `sae_weights`).
    """
    where = f"{source.role} SAE of {location} in {source.name}"
    if source.available is not None and location not in source.available:
        raise AttnRulesError(f"{where}: there is none; it has {_listing(source.available)}")
    try:
        return _loaded(where, source, location, model)
    except (AttnRulesError, MemoryError):
        raise
    except Exception as error:
        raise AttnRulesError(f"{where}: cannot be loaded: {one_line(error)}") from error


def _loaded(where: str, source: SaeSource, location: Location, model: Model) -> Sae:
    module = source.load(location, str(model.device))
    d_in = model.d_model if location.head is None else model.d_head
    if module.cfg.d_in != d_in:
        raise AttnRulesError(
            f"{where}: reads width {module.cfg.d_in}, but {location.hook_name} of"
            f" {model.name} has width {d_in}; is it trained for this model?"
        )
    # SAELens 3 to 5 wrote SAEs of one head as if they read all heads, flattened.
    module.turn_off_forward_pass_hook_z_reshaping()
    weights = effective_weights(where, source.role, module)
    read = declared(where, module.cfg.metadata.to_dict())
    shift = None
    if location.head is not None and not read.biases_folded:
        shift = model.folded_value_bias(location.layer, location.head)
        weights = weights.shifted(shift)
    return Sae(
        role=source.role,
        location=location,
        source=source.name,
        module=module,
        architecture=str(module.cfg.architecture()),
        sha256=tensors_sha256(dict(module.state_dict())),
        configuration=configuration(module, read),
        weights=weights,
        declared=read,
        shift=None if shift is None else shift.to(model.device),
        resolved_commit=source.commit(),
    )


def _folder_source(role: Role, name: str, folder: Path) -> SaeSource:
    found: dict[Location, Callable[[str], Any]] = {}
    exact: set[Location] = set()
    other_hooks: set[str] = set()
    model_names: set[str] = set()
    for config_path in sorted(folder.rglob("cfg.json")):
        config = read_json(config_path)
        if (config_path.parent / "sae.safetensors").is_file():
            continue
        hook_name, head = _hook_of(config_path, config)
        location = _location_of_hook(hook_name, head)
        if location is None or (location.head is None) != (role == "input"):
            whole_layer = role == "output" and hook_name.endswith("attn.hook_z") and head is None
            other_hooks.add(f"{hook_name} of all heads at once" if whole_layer else hook_name)
            continue
        is_exact = hook_name == location.hook_name
        if location in found and is_exact == (location in exact):
            raise AttnRulesError(
                f"{role} SAE {name}: holds several SAEs of {location}; name a folder with one of each"
            )
        if location in exact:
            continue
        found[location] = _saelens_loader(role, config_path, config)
        model_names |= _model_names(config_path, config)
        if is_exact:
            exact.add(location)
    checkpoints = _newest_checkpoints(folder, role)
    for location, path in checkpoints.items():
        config = sae_checkpoint.read_config(path)
        at = (location.hook_name, location.layer, location.head or 0)
        sae_checkpoint.check_config(path, *at, config)
        found.setdefault(location, _checkpoint_loader(path, location, config))
        model_names |= _model_names(path, config)
    if not found:
        expected = (
            "SAELens folders (cfg.json beside sae_weights.safetensors) with hook_name"
            f" {Location(0, None if role == 'input' else 0).hook_name.replace('.0.', '.{layer}.')}"
        )
        alternative = " or <name>_L{layer}_H{head}_..._v{n}.pt checkpoints" if role == "output" else ""
        instead = f"; the SAEs there read {', '.join(sorted(other_hooks))}" if other_hooks else ""
        foreign = [what for file, what in _FOREIGN.items() if next(folder.rglob(file), None)]
        if foreign:
            instead = f"; it holds {foreign[0]}, which is not read: load it with SAELens and save_model it"
        raise AttnRulesError(
            f"{role} SAE {name}: none found in it; expected {expected}{alternative}{instead}"
        )
    return SaeSource(
        role,
        name,
        frozenset(found),
        lambda location, device: found[location](device),
        frozenset(model_names),
    )


def _hook_of(path: Path, config: dict[str, Any]) -> tuple[str, int | None]:
    metadata = metadata_of(path, config)
    hook_name = metadata.get("hook_name") or config.get("hook_name") or config.get("hook_point")
    if hook_name is None:
        match = re.search(r"blocks\.\d+\.(?:attn\.)?hook_(?:resid_pre|z)", path.parent.name)
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


def _location_of_hook(hook_name: str, head: int | None) -> Location | None:
    if match := re.fullmatch(r"blocks\.(\d{1,4})\.(?:hook_resid_pre|hook_in)", hook_name):
        return Location(int(match[1]))
    if match := re.fullmatch(r"blocks\.(\d{1,4})\.(?:hook_resid_post|hook_out)", hook_name):
        # The residual stream leaving a layer is the one entering the next.
        return Location(int(match[1]) + 1)
    if head is not None and (match := re.fullmatch(r"blocks\.(\d{1,4})\.attn\.hook_z", hook_name)):
        return Location(int(match[1]), int(head))
    return None


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


def _newest_checkpoints(folder: Path, role: Role) -> dict[Location, Path]:
    if role == "input":
        return {}
    newest: dict[Location, tuple[int, Path]] = {}
    for path in sorted(folder.rglob("*.pt")):
        match = _CHECKPOINT_HEAD.search(path.stem)
        if match is None or max(map(len, match.groups())) > 4:
            continue
        location = Location(int(match[1]), int(match[2]))
        _, version = sae_checkpoint.unversioned(path.stem)
        if location not in newest or version > newest[location][0]:
            newest[location] = (version, path)
    return {location: path for location, (_, path) in newest.items()}


def _checkpoint_loader(path: Path, location: Location, config: dict[str, Any]) -> Callable[[str], Any]:
    def load(device: str) -> Any:
        return sae_checkpoint.load(path, location.hook_name, location.head or 0, config, device)

    return load


def _is_release(name: str) -> bool:
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    return name in get_pretrained_saes_directory()


def _repository(release: str) -> str:
    """Return the hub repository of a SAELens release; a release it does not know is a repository itself."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    known = get_pretrained_saes_directory().get(release)
    return str(known.repo_id) if known else release


_LAYER_FIELD = re.compile(r"\{layer([+-]\d{1,3})?\}")


def _fill(template: str, layer: object, head: object) -> str:
    """Return the SAE id at a layer and head; `{layer-1}` is the layer before, for SAEs on what leaves it."""

    def shifted(match: re.Match[str]) -> str:
        return str(layer + int(match[1] or 0)) if isinstance(layer, int) else str(layer)

    return _LAYER_FIELD.sub(shifted, template).replace("{head}", str(head))


def check_sae_id(role: Role, template: str) -> None:
    """Refuse a template of SAE ids with a field that is not known."""
    for name in re.findall(r"\{[^{}]*\}", _LAYER_FIELD.sub("", template)):
        if name != "{head}":
            raise UsageError(
                f"--{role}-sae-id {template}: {name} is not known; known are {{layer}}, {{layer-1}}"
                " and {head}"
            )


def _release_source(role: Role, release: str, sae_id: str) -> SaeSource:
    check_sae_id(role, sae_id)

    def load(location: Location, device: str) -> Any:
        from sae_lens import SAE

        this_id = _fill(sae_id, location.layer, location.head)
        where = f"{role} SAE {release}, {this_id}"
        try:
            resolve(_repository(release), None)
            module = SAE.from_pretrained(release, this_id, device=device, dtype="float32")
        except Exception as error:
            if said := hub_failure(error):
                raise AttnRulesError(f"{where}: {said}") from error
            raise AttnRulesError(
                f"{role} SAE {release}: {this_id} cannot be loaded: {one_line(error)}"
            ) from error
        _refuse_other_hook(where, role, sae_id, location, module.cfg.metadata)
        return module

    def commit() -> str:
        return resolve(_repository(release), None)

    return SaeSource(role, release, None, load, commit=commit)


def _refuse_other_hook(where: str, role: Role, template: str, location: Location, metadata: Any) -> None:
    hook_name, head = metadata.hook_name, metadata.hook_head_index
    if hook_name is None:
        raise AttnRulesError(f"{where}: does not say which hook it reads, so it may belong to another layer")
    found = _location_of_hook(str(hook_name), head)
    if found == location:
        return
    remedy = ""
    if found == Location(location.layer + 1) and "{layer}" in template:
        remedy = (
            f"; what leaves a layer enters the next: give --{role}-sae-id"
            f" {template.replace('{layer}', '{layer-1}')}"
        )
    elif role == "output" and str(hook_name).endswith("attn.hook_z") and head is None:
        remedy = "; it reads all heads at once, and rules need an SAE of one head"
    raise AttnRulesError(f"{where}: reads {hook_name}, not {location.hook_name}{remedy}")


def _download(
    role: Role,
    source: str,
    layers: tuple[int, ...] | None,
    heads: tuple[int, ...] | None,
    commit: str | None,
) -> Path:
    from huggingface_hub import snapshot_download

    repository, _, revision = source.partition("@")
    try:
        commit = commit or resolve(repository, revision or None)
        patterns = _file_patterns(role, layers, heads)
        return Path(snapshot_download(repository, revision=commit, allow_patterns=patterns))
    except Exception as error:
        said = hub_failure(error) or one_line(error)
        raise AttnRulesError(f"{role} SAE {source}: {said}") from error


def _file_patterns(role: Role, layers: tuple[int, ...] | None, heads: tuple[int, ...] | None) -> list[str]:
    if role == "input":
        return [f"*hook_resid_pre*{name}" for name in ("cfg.json", "sae_weights.safetensors")]
    pairs = [(layer, head) for layer in layers or ("*",) for head in heads or ("*",)]
    patterns = [f"*L{layer}{gap}H{head}_*" for layer, head in pairs for gap in ("", "_")]
    return patterns + [f"*hook_z*{name}" for name in ("cfg.json", "sae_weights.safetensors")]


@dataclass(frozen=True)
class HubListing:
    """What a source on the hub holds, without its weights.

    Arguments:
        commit: what it is at. missing_bytes: to download. largest_bytes: size of its largest weights file.
        available: where it has SAEs, as far as the names of files tell; None for a release.
    """

    commit: str
    missing_bytes: int
    largest_bytes: int
    available: frozenset[Location] | None


def list_hub(
    role: Role,
    source: str,
    *,
    sae_id: str | None,
    layers: tuple[int, ...] | None,
    heads: tuple[int, ...] | None,
    commit: str | None,
) -> HubListing:
    """List a release or hub repository without downloading; raises `AttnRulesError` when the hub fails."""
    from huggingface_hub import snapshot_download

    is_release = sae_id is not None or _is_release(source)
    repository, _, revision = (_repository(source), "", "") if is_release else source.partition("@")
    patterns = _file_patterns(role, layers, heads)
    if is_release:
        template = sae_id or DEFAULT_SAE_ID[role]
        patterns = [
            f"{_fill(template, layer, head)}/*" for layer in layers or ("*",) for head in heads or ("*",)
        ]
    try:
        commit = commit or resolve(repository, revision or None)
        files = snapshot_download(repository, revision=commit, allow_patterns=patterns, dry_run=True)
    except Exception as error:
        raise AttnRulesError(f"{role} SAE {source}: {hub_failure(error) or one_line(error)}") from error
    weights = [file for file in files if file.filename.endswith((".pt", "sae_weights.safetensors"))]
    places = {place for file in weights if (place := _place_in_name(file.filename, role))}
    return HubListing(
        commit=commit,
        missing_bytes=sum(file.file_size for file in files if file.will_download),
        largest_bytes=max((file.file_size for file in weights), default=0),
        available=None if is_release else frozenset(places),
    )


def _place_in_name(name: str, role: Role) -> Location | None:
    if role == "input":
        match = re.search(r"blocks\.(\d+)\.hook_resid_pre", name)
        return Location(int(match[1])) if match else None
    match = _CHECKPOINT_HEAD.search(Path(name).stem)
    match = match or re.search(r"blocks\.(\d+)\.attn\.hook_z\D*(\d+)", name)
    return Location(int(match[1]), int(match[2])) if match else None


def _model_names(path: Path, config: dict[str, Any]) -> set[str]:
    name = metadata_of(path, config).get("model_name") or config.get("model_name")
    return {name} if isinstance(name, str) else set()


def _listing(locations: frozenset[Location]) -> str:
    ordered = sorted(locations, key=lambda at: (at.layer, -1 if at.head is None else at.head))
    shown = ", ".join(str(at) for at in ordered[:12])
    return shown + (f" and {len(ordered) - 12} more" if len(ordered) > 12 else "")
