"""The SAEs: found by what an option names, loaded, and made sure that they fit the model.

A source is first listed (`find_saes`), reading configurations only, so that what it offers can be
compared with what was asked for before any weights are loaded. Where it is: `sae_folders` (local folders),
`sae_releases` (SAELens) and `sae_hub` (repositories).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnrules.errors import AttnRulesError, one_line
from attnrules.ingest.sources.identity import identity
from attnrules.ingest.sources.locations import Location, listing, place_of_hook
from attnrules.ingest.sources.model import Model, tensors_sha256
from attnrules.ingest.sources.sae_config import Declared, configuration, declared
from attnrules.ingest.sources.sae_folders import folder_source
from attnrules.ingest.sources.sae_hub import download
from attnrules.ingest.sources.sae_releases import is_release, release_source
from attnrules.ingest.sources.sae_source import SaeSource
from attnrules.ingest.sources.sae_weights import Role, SaeWeights, effective_weights

if TYPE_CHECKING:
    from torch import Tensor

# Floats of encoder slices made at once (64 MB).
_SLICE_FLOATS = 1 << 24


@dataclass(frozen=True)
class Sae:
    """A loaded SAE on the model's device.

    What it is given, `x`, is the residual stream [n, d_model], the output z of its head [n, d_head], or, of
    an SAE over the whole layer, those of all heads side by side [n, n_heads * d_head]: all of the processed
    model.

    Arguments:
        role, location, source: what it is and where it came from.
        hook_name: TransformerLens's name of the hook that it reads.
        module: the SAELens module; `encode` maps [n, d_in] to [n, d_sae].
        architecture: SAELens's name of its architecture.
        sha256: digest of its weights. configuration: what else decides what it computes, canonical JSON.
        weights: the function that it computes of x mapped and not shifted, as weights.
        declared: what it says about the activations that it was trained on.
        output_map: [n_heads * d_head, d_in] on the device, W_O by which x becomes what it reads; None where
            it reads x.
        shift: [d_in] on the device, what it adds to x, mapped; None for nothing.
        resolved_commit: hub commit it was loaded from, None for a local folder.
    """

    role: Role
    location: Location
    source: str
    hook_name: str
    module: Any
    architecture: str
    sha256: str
    configuration: str
    weights: SaeWeights
    declared: Declared
    output_map: Tensor | None = None
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

    def reads(self, x: Tensor) -> Tensor:
        """Return what the module reads where the processed model holds x: [n, d_in]."""
        mapped = x if self.output_map is None else x @ self.output_map
        return mapped if self.shift is None else mapped + self.shift

    def encode(self, x: Tensor) -> Tensor:
        """Return the activations [n, d_sae] where the processed model holds x."""
        return self.module.encode(self.reads(x))  # type: ignore[no-any-return]

    def missed(self, x: Tensor) -> Tensor:
        """Return what its reconstruction misses of what it reads: [n, d_in]."""
        read = self.reads(x)
        rebuilt: Tensor = self.module.decode(self.module.encode(read)).float()
        return read - rebuilt

    def encoder_of_x(self) -> Tensor:
        """Return the effective encoder of x, [width of x, d_sae], float32 on the CPU.

        Its columns are w_f, and on hook_attn_out W_O w_f of all heads (method.md section 11).
        """
        if self.output_map is None:
            return self.weights.encoder
        return self.output_map.cpu() @ self.weights.encoder

    def head_norms(self, n_heads: int) -> Tensor:
        """Return the norms [d_sae, n_heads] of the parts of the decoder rows that write to each head.

        On hook_attn_out a part is the decoder row seen through W_O of the head (method.md section 11).
        """
        import torch

        parts = []
        for rows in self._decoder_rows():
            seen = rows if self.output_map is None else rows @ self.output_map.cpu().T
            parts.append(seen.reshape(len(rows), n_heads, -1).norm(dim=-1).double())
        return torch.cat(parts)

    def _decoder_rows(self) -> Iterator[Tensor]:
        decoder = self.weights.decoder
        width = decoder.shape[1] if self.output_map is None else max(self.output_map.shape)
        step = max(1, _SLICE_FLOATS // width)
        for start in range(0, len(decoder), step):
            yield decoder[start : start + step]

    def facts(self) -> dict[str, object]:
        """Return the row of the table `saes`, less what is measured."""
        return {
            "role": self.role,
            "layer": self.location.layer,
            "head": self.location.head,
            "source": self.source,
            "hook_name": self.hook_name,
            "d_in": int(self.weights.encoder.shape[0]),
            "d_sae": self.d_sae,
            "architecture": self.architecture,
            "sha256": self.sha256,
            "resolved_commit": self.resolved_commit,
            "configuration": self.configuration,
            "identity": self.identity,
        }


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
        return folder_source(role, source, folder)
    if source.startswith((".", "/", "~")):
        raise AttnRulesError(f"{role} SAE {source}: no such folder")
    if sae_id is not None or is_release(source):
        return release_source(role, source, sae_id)
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", source):
        folder = download(role, source, layers, heads, commit)
        return replace(folder_source(role, source, folder), commit=lambda: folder.name)
    raise AttnRulesError(
        f"{role} SAE {source}: no such folder, SAELens release or hub repository (owner/name)"
    )


def load_sae(source: SaeSource, location: Location, model: Model) -> Sae:
    """Load the SAE at `location` and make sure that it fits the model.

    Raises `AttnRulesError` naming the SAE when it is missing, malformed, damaged, of a width that the hook
    does not have, without effective weights (see `sae_weights`), or on a hook_attn_out that is no linear
    function of the heads' outputs.
    """
    where = f"{source.role} SAE of {location} in {source.name}"
    if source.available is not None and location not in source.available:
        raise AttnRulesError(f"{where}: there is none; it has {listing(source.available)}")
    try:
        return _loaded(where, source, location, model)
    except (AttnRulesError, MemoryError):
        raise
    except Exception as error:
        raise AttnRulesError(f"{where}: cannot be loaded: {one_line(error)}") from error


def _loaded(where: str, source: SaeSource, location: Location, model: Model) -> Sae:
    module = source.load(location, str(model.device))
    hook_name = _hook_name(location, module)
    _refuse_other_width(where, location, hook_name, module, model)
    # SAELens 3 to 5 wrote SAEs of one head as if they read all heads; what is read here is flat.
    module.turn_off_forward_pass_hook_z_reshaping()
    weights = effective_weights(where, source.role, module)
    read = declared(where, module.cfg.metadata.to_dict())
    output_map, shift = _between(where, location, hook_name, read, model)
    return Sae(
        role=source.role,
        location=location,
        source=source.name,
        hook_name=hook_name,
        module=module,
        architecture=str(module.cfg.architecture()),
        sha256=tensors_sha256(dict(module.state_dict())),
        configuration=configuration(module, read, hook_name if location.is_whole_layer else None),
        weights=weights if shift is None else weights.shifted(shift),
        declared=read,
        output_map=None if output_map is None else output_map.to(model.device),
        shift=None if shift is None else shift.to(model.device),
        resolved_commit=source.commit(),
    )


def _hook_name(location: Location, module: Any) -> str:
    """Return the hook that is read; what a location leaves open the configuration says."""
    metadata = module.cfg.metadata
    place = place_of_hook(str(metadata.hook_name), metadata.hook_head_index)
    return place[1] if place is not None and place[0] == location else location.hook_names[0]


def _refuse_other_width(where: str, location: Location, hook_name: str, module: Any, model: Model) -> None:
    if location.head is None or hook_name.endswith("attn_out"):
        d_in, of_what = model.d_model, f"{hook_name} of {model.name}"
    elif location.is_whole_layer:
        d_in = model.n_heads * model.d_head
        of_what = f"{hook_name} of all {model.n_heads} heads of {model.name}"
    else:
        d_in, of_what = model.d_head, f"{hook_name} of {model.name}"
    if module.cfg.d_in != d_in:
        raise AttnRulesError(
            f"{where}: reads width {module.cfg.d_in}, but {of_what} has width {d_in}; is it trained for this"
            " model?"
        )


def _between(
    where: str, location: Location, hook_name: str, read: Declared, model: Model
) -> tuple[Tensor | None, Tensor | None]:
    """Return the map and the shift, on the CPU, by which x becomes what the SAE reads."""
    import torch

    layer, head = location.layer, location.head
    if head is None:
        return None, None
    if hook_name.endswith("attn_out"):
        return model.output_map(where, layer, centred=read.centred)
    if read.biases_folded:
        return None, None
    if location.is_whole_layer:
        return None, torch.cat([model.folded_value_bias(layer, h) for h in range(model.n_heads)])
    return None, model.folded_value_bias(layer, head)
