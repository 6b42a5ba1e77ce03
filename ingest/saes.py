"""Finding and loading the SAEs: SAELens releases and folders, and per-head `.pt` checkpoints.

A source is first listed (`list_saes`), reading configurations only, so that what a source offers can
be compared with what was asked for before any weights are loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attnrules.errors import AttnRulesError
from attnrules.ingest.hub import hub_failure, resolve
from attnrules.ingest.model import Model, one_line, tensors_sha256

if TYPE_CHECKING:
    from torch import Tensor

Role = Literal["input", "output"]

DEFAULT_SAE_ID: dict[Role, str] = {
    "input": "blocks.{layer}.hook_resid_pre",
    "output": "blocks.{layer}.attn.hook_z.head_{head}",
}
# `<name>_L{layer}_H{head}_..._v{version}.pt`, also written L{layer}H{head}.
_CHECKPOINT_HEAD = re.compile(r"(?:^|[_-])L(\d+)_?H(\d+)(?=[_.-]|$)")
_CHECKPOINT_VERSION = re.compile(r"_v?(\d+)$")
_CHECKPOINT_KEYS = {"W_enc", "W_dec", "b_enc", "b_dec"}


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
        sha256: digest of its weights.
        resolved_commit: hub commit it was loaded from, None for a local folder.
        W_enc: [d_in, d_sae], W_dec: [d_sae, d_in], b_enc: [d_sae], b_dec: [d_in]; float32, CPU.
        centres_input: whether b_dec is subtracted from the input before encoding.
    """

    role: Role
    location: Location
    source: str
    module: Any
    architecture: str
    sha256: str
    W_enc: Tensor
    W_dec: Tensor
    b_enc: Tensor
    b_dec: Tensor
    centres_input: bool
    resolved_commit: str | None = None

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return int(self.W_enc.shape[1])

    def facts(self) -> dict[str, object]:
        """Return the row of the table `saes`."""
        return {
            "role": self.role,
            "layer": self.location.layer,
            "head": self.location.head,
            "source": self.source,
            "hook_name": self.location.hook_name,
            "d_in": int(self.W_enc.shape[0]),
            "d_sae": self.d_sae,
            "architecture": self.architecture,
            "sha256": self.sha256,
            "resolved_commit": self.resolved_commit,
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

    Raises `AttnRulesError` naming the SAE when it is missing, malformed, of a width that the hook does
    not have, or of an architecture without an encoder.
    """
    where = f"{source.role} SAE of {location} in {source.name}"
    if source.available is not None and location not in source.available:
        raise AttnRulesError(f"{where}: there is none; it has {_listing(source.available)}")
    try:
        module = source.load(location, str(model.device))
    except AttnRulesError:
        raise
    except Exception as error:
        raise AttnRulesError(f"{where}: cannot be loaded: {one_line(error)}") from error
    weights = _weights(where, module)
    d_in = model.d_model if location.head is None else model.d_head
    if weights["W_enc"].shape[0] != d_in:
        raise AttnRulesError(
            f"{where}: reads width {weights['W_enc'].shape[0]}, but {location.hook_name} of"
            f" {model.name} has width {d_in}; is it trained for this model?"
        )
    return Sae(
        role=source.role,
        location=location,
        source=source.name,
        module=module,
        architecture=str(module.cfg.architecture()),
        sha256=tensors_sha256(dict(module.state_dict())),
        W_enc=weights["W_enc"],
        W_dec=weights["W_dec"],
        b_enc=weights["b_enc"],
        b_dec=weights["b_dec"],
        centres_input=bool(module.cfg.apply_b_dec_to_input),
        resolved_commit=source.commit(),
    )


def _folder_source(role: Role, name: str, folder: Path) -> SaeSource:
    found: dict[Location, Callable[[str], Any]] = {}
    exact: set[Location] = set()
    other_hooks: set[str] = set()
    model_names: set[str] = set()
    for config_path in sorted(folder.rglob("cfg.json")):
        config = _read_json(config_path)
        hook_name, head = _hook_of(config_path, config)
        location = _location_of_hook(hook_name, head)
        if location is None or (location.head is None) != (role == "input"):
            other_hooks.add(hook_name)
            continue
        is_exact = hook_name == location.hook_name
        if location in found and is_exact == (location in exact):
            raise AttnRulesError(
                f"{role} SAE {name}: holds several SAEs of {location}; name a folder with one of each"
            )
        if location in exact:
            continue
        found[location] = _saelens_loader(config_path.parent)
        model_names |= _model_names(config)
        if is_exact:
            exact.add(location)
    checkpoints = _newest_checkpoints(folder, role)
    for location, path in checkpoints.items():
        config = _checkpoint_config(path)
        _check_checkpoint_config(path, location, config)
        found.setdefault(location, _checkpoint_loader(path))
        model_names |= _model_names(config)
    if not found:
        expected = (
            "SAELens folders (cfg.json beside sae_weights.safetensors) with hook_name"
            f" {Location(0, None if role == 'input' else 0).hook_name.replace('.0.', '.{layer}.')}"
        )
        alternative = " or <name>_L{layer}_H{head}_..._v{n}.pt checkpoints" if role == "output" else ""
        instead = f"; the SAEs there read {', '.join(sorted(other_hooks))}" if other_hooks else ""
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


def _hook_of(config_path: Path, config: dict[str, Any]) -> tuple[str, int | None]:
    metadata = config.get("metadata") or {}
    hook_name = metadata.get("hook_name") or config.get("hook_name") or config.get("hook_point")
    if hook_name is None:
        match = re.search(r"blocks\.\d+\.(?:attn\.)?hook_(?:resid_pre|z)", config_path.parent.name)
        if match is None:
            raise AttnRulesError(
                f"SAE {config_path.parent}: neither cfg.json nor the name of the folder says which hook"
                " it reads"
            )
        hook_name = match[0]
    for holder, key in (
        (metadata, "hook_head_index"),
        (config, "hook_head_index"),
        (config, "hook_point_head_index"),
    ):
        if holder.get(key) is not None:
            return str(hook_name), int(holder[key])
    return str(hook_name), None


def _location_of_hook(hook_name: str, head: int | None) -> Location | None:
    if match := re.fullmatch(r"blocks\.(\d+)\.(?:hook_resid_pre|hook_in)", hook_name):
        return Location(int(match[1]))
    if match := re.fullmatch(r"blocks\.(\d+)\.(?:hook_resid_post|hook_out)", hook_name):
        # The residual stream leaving a layer is the one entering the next.
        return Location(int(match[1]) + 1)
    if head is not None and (match := re.fullmatch(r"blocks\.(\d+)\.attn\.hook_z", hook_name)):
        return Location(int(match[1]), int(head))
    return None


def _saelens_loader(folder: Path) -> Callable[[str], Any]:
    def load(device: str) -> Any:
        from sae_lens import SAE

        if not (folder / "sae_weights.safetensors").is_file():
            raise AttnRulesError(f"SAE {folder}: has no sae_weights.safetensors")
        return SAE.load_from_disk(folder, device=device, dtype="float32")

    return load


def _newest_checkpoints(folder: Path, role: Role) -> dict[Location, Path]:
    if role == "input":
        return {}
    newest: dict[Location, tuple[int, Path]] = {}
    for path in sorted(folder.rglob("*.pt")):
        match = _CHECKPOINT_HEAD.search(path.stem)
        if match is None:
            continue
        location = Location(int(match[1]), int(match[2]))
        numbered = _CHECKPOINT_VERSION.search(path.stem)
        version = int(numbered[1]) if numbered else -1
        if location not in newest or version > newest[location][0]:
            newest[location] = (version, path)
    return {location: path for location, (_, path) in newest.items()}


def _checkpoint_config(path: Path) -> dict[str, Any]:
    unversioned = _CHECKPOINT_VERSION.sub("", path.stem)
    for name in (f"{path.stem}_cfg.json", f"{path.stem}.json", f"{unversioned}_cfg.json"):
        if (path.parent / name).is_file():
            return _read_json(path.parent / name)
    raise AttnRulesError(
        f"SAE {path}: its configuration {path.stem}_cfg.json is missing; put it beside the checkpoint"
    )


def _check_checkpoint_config(path: Path, location: Location, config: dict[str, Any]) -> None:
    hook_name = config.get("act_name")
    if hook_name is not None and hook_name != location.hook_name:
        raise AttnRulesError(
            f"SAE {path}: its configuration says hook {hook_name}, its name says {location.hook_name}"
        )
    for key, value in (("layer", location.layer), ("head", location.head)):
        if config.get(key) is not None and int(config[key]) != value:
            raise AttnRulesError(
                f"SAE {path}: its configuration says {key} {config[key]}, its name says {value}"
            )


def _checkpoint_loader(path: Path) -> Callable[[str], Any]:
    def load(device: str) -> Any:
        import pickle

        import torch
        from sae_lens import StandardSAE, StandardSAEConfig

        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise AttnRulesError(
                f"SAE {path}: is not a plain state dict (it may hold code) and was not loaded"
            ) from error
        if not isinstance(state, dict) or set(state) != _CHECKPOINT_KEYS:
            keys = ", ".join(sorted(map(str, state))) if isinstance(state, dict) else type(state)
            raise AttnRulesError(f"SAE {path}: holds {keys}; expected {', '.join(sorted(_CHECKPOINT_KEYS))}")
        d_in, d_sae = state["W_enc"].shape
        config = StandardSAEConfig(d_in=d_in, d_sae=d_sae, apply_b_dec_to_input=True, device=device)
        module = StandardSAE(config)
        module.load_state_dict({key: value.float() for key, value in state.items()})
        return module.to(device)

    return load


def _is_release(name: str) -> bool:
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    return name in get_pretrained_saes_directory()


def _repository(release: str) -> str:
    """Return the hub repository of a SAELens release; a release it does not know is a repository itself."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    known = get_pretrained_saes_directory().get(release)
    return str(known.repo_id) if known else release


def _release_source(role: Role, release: str, sae_id: str) -> SaeSource:
    def load(location: Location, device: str) -> Any:
        from sae_lens import SAE

        this_id = sae_id.format(layer=location.layer, head=location.head)
        try:
            resolve(_repository(release), None)
            module = SAE.from_pretrained(release, this_id, device=device, dtype="float32")
        except Exception as error:
            if said := hub_failure(error):
                raise AttnRulesError(f"{role} SAE {release}, {this_id}: {said}") from error
            raise AttnRulesError(
                f"{role} SAE {release}: {this_id} cannot be loaded: {one_line(error)}"
            ) from error
        hook_name = module.cfg.metadata.hook_name
        found = _location_of_hook(str(hook_name), module.cfg.metadata.hook_head_index)
        if hook_name is not None and found != location:
            raise AttnRulesError(
                f"{role} SAE {release}: {this_id} reads {hook_name}, not {location.hook_name}"
            )
        return module

    def commit() -> str:
        return resolve(_repository(release), None)

    return SaeSource(role, release, None, load, commit=commit)


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
            f"{template.format(layer=layer, head=head)}/*"
            for layer in layers or ("*",)
            for head in heads or ("*",)
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


def _weights(where: str, module: Any) -> dict[str, Tensor]:
    import torch

    weights: dict[str, Tensor] = {}
    for name in ("W_enc", "W_dec", "b_dec"):
        tensor = getattr(module, name, None)
        if tensor is None:
            raise AttnRulesError(
                f"{where}: architecture {module.cfg.architecture()} has no {name}; rules need an SAE"
                " with an encoder and a decoder matrix"
            )
        weights[name] = tensor.detach().float().cpu()
    d_in, d_sae = weights["W_enc"].shape
    if weights["W_dec"].shape != (d_sae, d_in):
        raise AttnRulesError(
            f"{where}: W_enc is {d_in} x {d_sae} but W_dec is"
            f" {' x '.join(map(str, weights['W_dec'].shape))}; transcoders are not SAEs"
        )
    # A gated SAE keeps the bias of its magnitudes under another name.
    b_enc = getattr(module, "b_enc", None)
    if b_enc is None:
        b_enc = getattr(module, "b_mag", None)
    weights["b_enc"] = torch.zeros(d_sae) if b_enc is None else b_enc.detach().float().cpu()
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise AttnRulesError(f"{where}: {name} holds values that are not finite; the file is damaged")
    return weights


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise AttnRulesError(f"SAE configuration {path}: cannot be read: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise AttnRulesError(f"SAE configuration {path}: is not a JSON object")
    return content


def _model_names(config: dict[str, Any]) -> set[str]:
    metadata = config.get("metadata") or {}
    name = metadata.get("model_name") or config.get("model_name")
    return {str(name)} if name else set()


def _listing(locations: frozenset[Location]) -> str:
    ordered = sorted(locations, key=lambda at: (at.layer, -1 if at.head is None else at.head))
    shown = ", ".join(str(at) for at in ordered[:12])
    return shown + (f" and {len(ordered) - 12} more" if len(ordered) > 12 else "")
