"""SAEs in the layout of Gemma Scope: `layer_12/width_16k/average_l0_82/params.npz`.

The file holds weights alone. What it reads is told by the names of the folders above it, as SAELens tells it
for the hub (`gemma_2_sae_huggingface_loader`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

from attnrules.errors import AttnRulesError

FILE = "params.npz"
# As its repository is named, or the hub's cache of it: google/gemma-scope-2b-pt-att.
_REPOSITORY = re.compile(r"gemma-scope-(\d+b)-(pt|it)-(res|att|mlp)(?![a-z])")
_LAYER = re.compile(r"layer_(\d{1,4})")
_HOOKS = {"res": "hook_resid_post", "att": "attn.hook_z", "mlp": "hook_mlp_out"}
_TENSORS = {"W_enc", "W_dec", "b_enc", "b_dec", "threshold"}
# Weights are noise to a compressor: what unpacks to more than this is no SAE.
_LARGEST_EXPANSION = 10


def hook_of(path: Path) -> str:
    """Return the hook that a `params.npz` reads; raises `AttnRulesError` where no folder says it."""
    folders = path.absolute().parent.parts
    layer = next((match[1] for part in reversed(folders) if (match := _LAYER.fullmatch(part))), None)
    repository = _repository(path)
    if repository is not None and "embedding" in folders:
        return "hook_embed"
    if layer is None or repository is None:
        raise AttnRulesError(
            f"SAE {path}: no folder above it says what it reads; keep the folders of its repository, such as"
            " gemma-scope-2b-pt-att/layer_12/width_16k/average_l0_82"
        )
    return f"blocks.{layer}.{_HOOKS[repository[3]]}"


def model_names(path: Path) -> set[str]:
    """Return the name of the model that the folders above a `params.npz` tell."""
    repository = _repository(path)
    return {f"gemma-2-{repository[1]}{'-it' * (repository[2] == 'it')}"} if repository else set()


def load(path: Path, device: str) -> Any:
    """Return the SAELens module of a `params.npz`; raises `AttnRulesError` where it is no JumpReLU SAE."""
    import torch
    from sae_lens import SAE

    arrays = _arrays(path)
    d_in, d_sae = arrays["W_enc"].shape
    module = SAE.from_dict(
        {
            "architecture": "jumprelu",
            "d_in": d_in,
            "d_sae": d_sae,
            "device": device,
            "apply_b_dec_to_input": False,
            "normalize_activations": "none",
            "metadata": {
                "hook_name": hook_of(path),
                "hook_head_index": None,
                "prepend_bos": True,
                "context_size": 1024,
            },
        }
    )
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return module.to(device)


def _repository(path: Path) -> re.Match[str] | None:
    folders = path.absolute().parent.parts
    return next((match for part in reversed(folders) if (match := _REPOSITORY.search(part))), None)


def _arrays(path: Path) -> dict[str, Any]:
    """Return the weights by SAELens's names, float32; no pickle is read."""
    with ZipFile(path) as archive:
        n_bytes = sum(member.file_size for member in archive.infolist())
    if n_bytes > _LARGEST_EXPANSION * path.stat().st_size:
        raise AttnRulesError(f"SAE {path}: unpacks to {n_bytes:,} bytes, which are no weights")
    with np.load(path, allow_pickle=False) as stored:
        arrays = {_saelens_name(name): stored[name].astype(np.float32) for name in stored}
    scale = arrays.pop("scaling_factor", np.ones(1))
    if set(arrays) != _TENSORS or arrays["W_enc"].ndim != 2 or not np.allclose(scale, 1):
        raise AttnRulesError(
            f"SAE {path}: holds {', '.join(sorted(arrays))[:200]}; expected {', '.join(sorted(_TENSORS))}"
            " of a JumpReLU SAE without a scaling factor"
        )
    return arrays


def _saelens_name(name: str) -> str:
    return f"W_{name[2:]}" if name.startswith("w_") else name
