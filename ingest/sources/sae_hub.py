"""SAEs in a hub repository: which of its files are wanted, their download, and their list without one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnrules.errors import AttnRulesError, one_line
from attnrules.ingest.sources.hub import hub_failure, resolve
from attnrules.ingest.sources.locations import Location, place_of_file
from attnrules.ingest.sources.sae_releases import fill, is_release, release_source, repository, template_of
from attnrules.ingest.sources.sae_source import SaeSource
from attnrules.ingest.sources.sae_weights import Role

_SAELENS_FILES = ("cfg.json", "sae_weights.safetensors")
# What weights are in, as far as their size tells the number of features.
_WEIGHTS = (".pt", "sae_weights.safetensors", "params.npz")


@dataclass(frozen=True)
class HubListing:
    """What a source on the hub holds, without its weights.

    Arguments:
        commit: what it is at. missing_bytes: to download. largest_bytes: size of its largest weights file.
        source: where it has SAEs, as far as the names of files or SAELens's list of releases tell.
    """

    commit: str
    missing_bytes: int
    largest_bytes: int
    source: SaeSource


def download(
    role: Role,
    source: str,
    layers: tuple[int, ...] | None,
    heads: tuple[int, ...] | None,
    commit: str | None,
) -> Path:
    """Download the SAEs of a role from a repository (owner/name[@revision]) and return their folder.

    `layers` and `heads` limit what is fetched, as far as file names tell. Raises `AttnRulesError` when the
    hub fails.
    """
    from huggingface_hub import snapshot_download

    name, _, revision = source.partition("@")
    try:
        commit = commit or resolve(name, revision or None)
        patterns = _file_patterns(role, layers, heads)
        return Path(snapshot_download(name, revision=commit, allow_patterns=patterns))
    except Exception as error:
        said = hub_failure(error) or one_line(error)
        raise AttnRulesError(f"{role} SAE {source}: {said}") from error


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

    of_release = sae_id is not None or is_release(source)
    name, _, revision = (repository(source), "", "") if of_release else source.partition("@")
    patterns = _file_patterns(role, layers, heads)
    release = release_source(role, source, sae_id) if of_release else None
    if release is not None:
        patterns = _release_patterns(role, source, sae_id, layers, heads)
    try:
        commit = commit or resolve(name, revision or None)
        files = snapshot_download(name, revision=commit, allow_patterns=patterns, dry_run=True)
    except Exception as error:
        raise AttnRulesError(f"{role} SAE {source}: {hub_failure(error) or one_line(error)}") from error
    weights = [file for file in files if file.filename.endswith(_WEIGHTS)]
    places = {place for file in weights if (place := place_of_file(file.filename, role))}
    return HubListing(
        commit=commit,
        missing_bytes=sum(file.file_size for file in files if file.will_download),
        largest_bytes=max((file.file_size for file in weights), default=0),
        source=release or SaeSource(role, source, frozenset(places), _never),
    )


def _never(location: Location, device: str) -> Any:
    raise ValueError(f"a list loads nothing: {location} on {device}")


def _release_patterns(
    role: Role,
    release: str,
    sae_id: str | None,
    layers: tuple[int, ...] | None,
    heads: tuple[int, ...] | None,
) -> list[str]:
    """Return patterns of the files of a release; SAELens knows where it keeps an id, which may be a file."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    template = template_of(role, release, sae_id)
    known = get_pretrained_saes_directory().get(release)
    if known is None:
        ids = [fill(template, layer, head) for layer in layers or ("*",) for head in heads or ("*",)]
        return [f"{this_id}/*" for this_id in ids]
    offered = release_source(role, release, sae_id).available or ()
    wanted = [
        at
        for at in offered
        if (layers is None or at.layer in layers) and (heads is None or at.head in (None, *heads))
    ]
    places = [str(known.saes_map[fill(template, at.layer, at.head)]) for at in wanted]
    of_files = [f"{place.split('.pt')[0]}*" for place in places if place.endswith(".pt")]
    return [*of_files, *(f"{place}/*" for place in places if not place.endswith(".pt"))]


def _file_patterns(role: Role, layers: tuple[int, ...] | None, heads: tuple[int, ...] | None) -> list[str]:
    if role == "input":
        return [f"*hook_resid_pre*{name}" for name in _SAELENS_FILES]
    pairs = [(layer, head) for layer in layers or ("*",) for head in heads or ("*",)]
    patterns = [f"*L{layer}{gap}H{head}_*" for layer, head in pairs for gap in ("", "_")]
    return patterns + [f"*hook_{hook}*{name}" for hook in ("z", "attn_out") for name in _SAELENS_FILES]
