"""SAEs of a SAELens release, by templates of their ids."""

from __future__ import annotations

import re
from typing import Any

from attnrules.errors import AttnRulesError, UsageError, one_line
from attnrules.ingest.sources.hub import hub_failure, resolve
from attnrules.ingest.sources.locations import Location, place_of_hook
from attnrules.ingest.sources.sae_source import SaeSource
from attnrules.ingest.sources.sae_weights import Role
from attnrules.warehouse import WHOLE_LAYER

# Ids that releases use, tried in this order where none is given.
DEFAULT_SAE_IDS: dict[Role, tuple[str, ...]] = {
    "input": ("blocks.{layer}.hook_resid_pre",),
    "output": (
        "blocks.{layer}.attn.hook_z.head_{head}",
        "blocks.{layer}.attn.hook_z",
        "blocks.{layer}.hook_z",
        "blocks.{layer}.hook_attn_out",
    ),
}
_LAYER_FIELD = re.compile(r"\{layer([+-]\d{1,3})?\}")
# Beyond any model's.
_MOST_LAYERS, _MOST_HEADS = 256, 256


def is_release(name: str) -> bool:
    """Tell whether SAELens knows a release of this name."""
    return _ids(name) is not None


def repository(release: str) -> str:
    """Return the hub repository of a SAELens release; a release it does not know is a repository itself."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    known = get_pretrained_saes_directory().get(release)
    return str(known.repo_id) if known else release


def template_of(role: Role, release: str, sae_id: str | None) -> str:
    """Return the template of ids: the one given, else the first usual one that the release has ids of.

    Raises `UsageError` for a template with a field that is not known, `AttnRulesError` where no usual one
    fits.
    """
    known = _ids(release)
    if sae_id is None and known is not None:
        for template in DEFAULT_SAE_IDS[role]:
            if _offered(role, template, known):
                return template
        raise AttnRulesError(
            f"{role} SAE {release}: none of its ids is like {' or '.join(DEFAULT_SAE_IDS[role])}; they are"
            f" like {min(known, default='none')}: say which with --{role}-sae-id"
        )
    template = sae_id or DEFAULT_SAE_IDS[role][0]
    for name in re.findall(r"\{[^{}]*\}", _LAYER_FIELD.sub("", template)):
        if name != "{head}":
            raise UsageError(
                f"--{role}-sae-id {template}: {name} is not known; known are {{layer}}, {{layer-1}}"
                " and {head}"
            )
    return template


def fill(template: str, layer: object, head: object) -> str:
    """Return the SAE id at a layer and head; `{layer-1}` is the layer before, for SAEs on what leaves it."""

    def shifted(match: re.Match[str]) -> str:
        return str(layer + int(match[1] or 0)) if isinstance(layer, int) else str(layer)

    return _LAYER_FIELD.sub(shifted, template).replace("{head}", str(head))


def release_source(role: Role, release: str, sae_id: str | None) -> SaeSource:
    """Return the SAEs of a release, listed where SAELens lists them; raises what `template_of` raises."""
    template = template_of(role, release, sae_id)
    known = _ids(release)

    def load(location: Location, device: str) -> Any:
        from sae_lens import SAE

        this_id = fill(template, location.layer, location.head)
        where = f"{role} SAE {release}, {this_id}"
        try:
            resolve(repository(release), None)
            module = SAE.from_pretrained(release, this_id, device=device, dtype="float32")
        except Exception as error:
            if said := hub_failure(error):
                raise AttnRulesError(f"{where}: {said}") from error
            raise AttnRulesError(
                f"{role} SAE {release}: {this_id} cannot be loaded: {one_line(error)}"
            ) from error
        _refuse_other_hook(where, role, template, location, module.cfg.metadata)
        return module

    return SaeSource(
        role,
        release,
        None if known is None else _offered(role, template, known),
        load,
        commit=lambda: resolve(repository(release), None),
        is_release=known is not None,
        reads_whole_layers=role == "output" and "{head}" not in template,
    )


def _ids(release: str) -> frozenset[str] | None:
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    known = get_pretrained_saes_directory().get(release)
    return None if known is None else frozenset(known.saes_map)


def _offered(role: Role, template: str, known: frozenset[str]) -> frozenset[Location]:
    heads: list[int | None] = [None] if role == "input" else [WHOLE_LAYER]
    if "{head}" in template:
        heads = list(range(_MOST_HEADS))
    return frozenset(
        Location(layer, head)
        for layer in range(_MOST_LAYERS)
        for head in heads
        if fill(template, layer, head) in known
    )


def _refuse_other_hook(where: str, role: Role, template: str, location: Location, metadata: Any) -> None:
    hook_name, head = metadata.hook_name, metadata.hook_head_index
    if hook_name is None:
        raise AttnRulesError(f"{where}: does not say which hook it reads, so it may belong to another layer")
    found = place_of_hook(str(hook_name), head)
    if found is not None and found[0] == location:
        return
    remedy = ""
    if found is not None and found[0] == Location(location.layer + 1) and "{layer}" in template:
        remedy = (
            f"; what leaves a layer enters the next: give --{role}-sae-id"
            f" {template.replace('{layer}', '{layer-1}')}"
        )
    raise AttnRulesError(f"{where}: reads {hook_name}, not {' or '.join(location.hook_names)}{remedy}")
