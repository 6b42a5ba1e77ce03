"""Loading the model: a TransformerBridge with the classic weight processing, and facts about it."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnrules.errors import AttnRulesError
from attnrules.ingest.hub import hub_failure, resolve

if TYPE_CHECKING:
    from torch import Tensor

PROCESSING = "layer norm folded, writing weights centred, value biases folded (compatibility mode)"


@dataclass(frozen=True)
class HeadWeights:
    """The projections of one head, processed, float32 on the CPU.

    Arguments:
        W_K, W_Q, W_V: [d_model, d_head].
        b_K, b_Q, b_V: [d_head], zeros where the model has no bias.
        attn_scale: divisor of the attention logits.
    """

    W_K: Tensor
    W_Q: Tensor
    W_V: Tensor
    b_K: Tensor
    b_Q: Tensor
    b_V: Tensor
    attn_scale: float


class Model:
    """A loaded model; hides how TransformerBridge names things.

    Arguments:
        name: the name or folder asked for.
        bridge: the TransformerBridge, in compatibility mode.
        sha256: digest of the weights before processing.
        revision: hub revision asked for. commit: what it stood for, None for a local folder.
    """

    def __init__(
        self, name: str, revision: str | None, bridge: Any, sha256: str, *, commit: str | None = None
    ) -> None:
        self.bridge = bridge
        self.sha256 = sha256
        self.revision = revision
        self.resolved_commit = commit
        local = Path(name)
        self.name = local.resolve().name if local.is_dir() else name
        config = bridge.cfg
        self.n_layers = int(config.n_layers)
        self.n_heads = int(config.n_heads)
        self.n_kv_heads = int(getattr(config, "n_key_value_heads", None) or config.n_heads)
        self.d_model = int(config.d_model)
        self.d_head = int(config.d_head)
        self.n_ctx = int(config.n_ctx)
        self.vocab_size = int(bridge.W_E.shape[0])
        self.bos_token_id = _bos_token_id(name, bridge.tokenizer)

    @property
    def device(self) -> Any:
        """The torch device that the model runs on."""
        return next(self.bridge.parameters()).device

    def attn_scale(self, layer: int) -> float:
        """Return the divisor of the attention logits of a layer."""
        config = self.bridge.cfg
        # What the attention module itself multiplies by, where it says so: Gemma's is not 1 / sqrt(d_head).
        original = getattr(self.bridge.blocks[layer].attn, "original_component", None)
        factor = getattr(original, "scaling", None)
        if isinstance(factor, float) and factor > 0:
            return 1 / factor
        if getattr(config, "architecture", None) == "GPTNeoForCausalLM":
            return 1.0  # the one family that does not scale its logits
        scale = float(getattr(config, "attn_scale", -1.0))
        if scale <= 0:
            scale = self.d_head**0.5 if getattr(config, "use_attn_scale", True) else 1.0
        if getattr(config, "scale_attn_by_inverse_layer_idx", False):
            scale *= layer + 1
        return scale

    def facts(self) -> dict[str, object]:
        """Return the row of the table `model`."""
        config = self.bridge.cfg
        return {
            "name": self.name,
            "revision": self.revision,
            "architecture": str(getattr(config, "architecture", None) or "unknown"),
            "n_layers": self.n_layers,
            "n_heads": self.n_heads,
            "n_kv_heads": self.n_kv_heads,
            "d_model": self.d_model,
            "d_head": self.d_head,
            "n_ctx": self.n_ctx,
            "vocab_size": self.vocab_size,
            "attn_scale": self.attn_scale(0),
            "normalization": str(config.normalization_type),
            "positional_embedding": str(config.positional_embedding_type),
            "bos_token_id": self.bos_token_id,
            "processing": PROCESSING,
            "sha256": self.sha256,
            "resolved_commit": self.resolved_commit,
        }

    def head_weights(self, layer: int, head: int) -> HeadWeights:
        """Return the projections of one head; key/value heads are the query head's group's."""
        attn = self.bridge.blocks[layer].attn
        kv_head = head // (self.n_heads // self.n_kv_heads)
        d_head = self.d_head

        def weight(name: str, index: int) -> Tensor:
            return getattr(attn, name)[index].detach().float().cpu()  # type: ignore[no-any-return]

        def bias(name: str, index: int) -> Tensor:
            import torch

            stored = getattr(attn, name)
            if stored is None:
                return torch.zeros(d_head)
            return stored.reshape(-1, d_head)[index].detach().float().cpu()  # type: ignore[no-any-return]

        return HeadWeights(
            W_K=weight("W_K", kv_head),
            W_Q=weight("W_Q", head),
            W_V=weight("W_V", kv_head),
            b_K=bias("b_K", kv_head),
            b_Q=bias("b_Q", head),
            b_V=bias("b_V", kv_head),
            attn_scale=self.attn_scale(layer),
        )

    def token_embeddings(self) -> Tensor:
        """Return the row of every token id: [vocab_size, d_model], float32 on the CPU."""
        return self.bridge.W_E.detach().float().cpu()  # type: ignore[no-any-return]

    def position_embeddings(self) -> Tensor | None:
        """Return the row of every position: [n_positions, d_model], None where positions are not added."""
        component = getattr(self.bridge, "pos_embed", None)
        return None if component is None else component.W_pos.detach().float().cpu()

    def vocabulary(self) -> list[str]:
        """Return the text of every token id that the tokenizer knows, leading spaces kept."""
        tokenizer = self.bridge.tokenizer
        n_tokens = min(len(tokenizer), self.vocab_size)
        pieces = tokenizer.convert_ids_to_tokens(list(range(n_tokens)))
        return [_token_text(tokenizer, i, piece) for i, piece in enumerate(pieces)]


def load_model(name: str, *, revision: str | None, device: str, commit: str | None = None) -> Model:
    """Load a local Hugging Face folder, a name TransformerLens knows, or a hub id.

    `commit`, where it is known, is what the `revision` stands for. The weights are processed as method.md
    section 1 says. Raises `AttnRulesError` when there is no such model, its files are malformed, or its
    attention lacks the hooks that ingest reads.
    """
    local = Path(name)
    if local.exists():
        _require_model_folder(local)
        # Without this a local load asks the hub about every file, minutes of retries offline.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from transformer_lens.model_bridge import TransformerBridge

    logging.getLogger("transformer_lens").setLevel(logging.ERROR)
    target = str(local.resolve()) if local.is_dir() else official_name(name)
    try:
        if not local.exists():
            commit = commit or resolve(target, revision)
        bridge = TransformerBridge.boot_transformers(
            target, device=device, revision=commit, dtype=torch.float32
        )
        sha256 = tensors_sha256(dict(bridge.original_model.state_dict()))
        bridge.enable_compatibility_mode(disable_warnings=True)
    except Exception as error:
        raise AttnRulesError(_load_failure(name, error)) from error
    bridge.eval()
    if bridge.tokenizer is None:
        raise AttnRulesError(f"model {name}: has no tokenizer; put its tokenizer files beside the weights")
    model = Model(name, None if local.exists() else revision, bridge, sha256, commit=commit)
    _require_attention(model)
    return model


def _require_attention(model: Model) -> None:
    """Refuse by name a model without the hooks or projections of attention heads in any of its layers."""
    hooks = ("hook_resid_pre", "ln1.hook_scale", "attn.hook_pattern", "attn.hook_z")
    available = model.bridge.hook_dict
    config = model.bridge.cfg
    architecture = str(getattr(config, "architecture", None) or "its architecture")
    for layer in range(model.n_layers):
        lacking = [hook for hook in hooks if f"blocks.{layer}.{hook}" not in available]
        if not lacking:
            break
    else:
        raise AttnRulesError(
            f"model {model.name}: {architecture} does not expose {', '.join(lacking)} in any layer, which"
            " ingest reads; this model is not supported"
        )
    try:
        weights = model.head_weights(layer, 0)
        shapes = {tuple(matrix.shape) for matrix in (weights.W_K, weights.W_Q, weights.W_V)}
    except (AttributeError, IndexError, RuntimeError, TypeError):
        shapes = set()
    if shapes != {(model.d_model, model.d_head)}:
        raise AttnRulesError(
            f"model {model.name}: {architecture} has no projections W_K, W_Q, W_V of its heads of"
            f" {model.d_model} x {model.d_head}, which rules are made of; this model is not supported"
        )


def official_name(name: str) -> str:
    """Return the hub id of a model, which TransformerLens may know under a shorter name."""
    from transformer_lens.supported_models import MODEL_ALIASES

    return next((official for official, aliases in MODEL_ALIASES.items() if name in aliases), name)


def tensors_sha256(tensors: dict[str, Tensor]) -> str:
    """Return the digest of named tensors: names, dtypes, shapes and bytes, in order of name."""
    import torch

    digest = hashlib.sha256()
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _require_model_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise AttnRulesError(f"model {folder}: is a file; name the folder that holds config.json")
    if not (folder / "config.json").is_file():
        raise AttnRulesError(f"model {folder}: no config.json in it; name a Hugging Face model folder")


def _bos_token_id(name: str, tokenizer: Any) -> int:
    for candidate in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
        if candidate is not None:
            return int(candidate)
    raise AttnRulesError(f"model {name}: its tokenizer has no BOS, EOS or PAD token to start a sequence with")


def _token_text(tokenizer: Any, token_id: int, piece: str | None) -> str:
    # SentencePiece marks the leading space with U+2581, and decoding one token drops it.
    if piece is not None and piece.startswith("▁"):
        return " " + piece[1:]
    return str(tokenizer.decode([token_id], clean_up_tokenization_spaces=False))


def _load_failure(name: str, error: Exception) -> str:
    if Path(name).is_dir():
        return f"model {name}: cannot be loaded: {one_line(error)}"
    if said := hub_failure(error):
        return f"model {name}: {said}"
    return f"model {name}: no such local folder, TransformerLens name or hub id ({one_line(error)})"


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error says that the device ran out of memory."""
    return type(error).__name__ == "OutOfMemoryError" or "out of memory" in str(error)


def one_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
