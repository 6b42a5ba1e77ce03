"""Loading the model: a TransformerBridge with the classic weight processing, and facts about it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnrules.errors import AttnRulesError, one_line
from attnrules.ingest.sources.gguf_files import is_gguf, read_configuration, restore
from attnrules.ingest.sources.hub import hub_failure, resolve
from attnrules.ingest.sources.identity import canonical, identity
from attnrules.ingest.sources.model_files import WholeModel, check_folder
from attnrules.ingest.sources.own_attention import OwnAttention
from attnrules.ingest.sources.vocabulary import token_bytes, token_text

if TYPE_CHECKING:
    from torch import Tensor

PROCESSING = "layer norm folded, writing weights centred, value biases folded (compatibility mode)"
# For input SAEs that were trained on the residual stream of the unprocessed model.
UNCENTRED = "layer norm folded, writing weights not centred, value biases folded (compatibility mode)"

# Of a configuration: what no forward pass depends on, or what the weights or the tokenizer say themselves.
_NOT_IN_FORWARD = re.compile(
    r"^_|dropout|_pdrop$|token_id$|^(?:transformers_version|torch_dtype|dtype|use_cache|initializer_range"
    r"|return_dict|output_.*|id2label|label2id|problem_type|task_specific_params|tie_word_embeddings"
    r"|gradient_checkpointing|chunk_size_feed_forward|summary_.*|pruned_heads|finetuning_task|tokenizer_class"
    r"|prefix|is_encoder_decoder|name_or_path|pretraining_tp|attn_implementation|auto_map"
    r"|use_bfloat16|torchscript|keys_to_ignore_at_inference)$"
)
# Of a tokenizer: what decides which ids a text becomes.
_TOKENIZER_PARTS = ("normalizer", "pre_tokenizer", "added_tokens")
_PROBED_TOKENS = 3
_PROBED_OUTPUTS = 16


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
        configuration: what else decides its forward pass, canonical JSON.
        revision: hub revision asked for. commit: what it stood for, None for a local folder.
        centred: whether its writing weights are centred.
        unprocessed: boots it again without any processing.
    """

    def __init__(
        self,
        name: str,
        revision: str | None,
        bridge: Any,
        sha256: str,
        configuration: str,
        *,
        commit: str | None = None,
        centred: bool = True,
        unprocessed: Callable[[], Any] | None = None,
    ) -> None:
        self.bridge = bridge
        self.sha256 = sha256
        self.configuration = configuration
        self.tokenizer = tokenizer_configuration(bridge.tokenizer)
        self.centred = centred
        self._unprocessed = unprocessed
        self._value_biases: Tensor | None = None
        self.revision = revision
        self.resolved_commit = commit
        local = Path(name)
        self.name = local.resolve().name if local.exists() else name
        config = bridge.cfg
        self.n_layers = int(config.n_layers)
        self.n_heads = int(config.n_heads)
        self.n_kv_heads = int(getattr(config, "n_key_value_heads", None) or config.n_heads)
        self.d_model = int(config.d_model)
        self.d_head = int(config.d_head)
        self.n_ctx = int(config.n_ctx)
        self.vocab_size = int(bridge.W_E.shape[0])
        self.bos_token_id = _bos_token_id(name, bridge.tokenizer, self.vocab_size)

    @property
    def architecture(self) -> str:
        """The name of its class in transformers, where that is known."""
        return str(getattr(self.bridge.cfg, "architecture", None) or "its architecture")

    @property
    def device(self) -> Any:
        """The torch device that the model runs on."""
        return next(self.bridge.parameters()).device

    @property
    def can_centre(self) -> bool:
        """Whether centring changes the residual stream: layer norms remove its mean, RMS norms do not."""
        return str(self.bridge.cfg.normalization_type).startswith("LN")

    @property
    def logit_soft_cap(self) -> float | None:
        """What the logits are bounded by, with a hyperbolic tangent; None where they are not."""
        cap = float(getattr(self.bridge.cfg, "output_logits_soft_cap", None) or -1)
        return cap if cap > 0 else None

    @property
    def processing(self) -> str:
        """What was done to the weights, in words."""
        return PROCESSING if self.centred else UNCENTRED

    @property
    def identity(self) -> str:
        """Digest of weights, configuration and tokenizer together."""
        return identity(self.sha256, self.configuration, self.tokenizer)

    def folded_value_bias(self, layer: int, head: int) -> Tensor:
        """Return what z of the unprocessed model has and that of the processed one has not: [d_head], CPU.

        It is the value bias, which processing moves into the output bias; measured at first tokens, which
        attend to themselves alone. Raises `AttnRulesError` when the difference is no constant.
        """
        if self._value_biases is None:
            self._value_biases = self._measured_value_biases()
        return self._value_biases[layer, head]

    def _measured_value_biases(self) -> Tensor:
        import torch

        raw = self._unprocessed_bridge()
        ids = torch.linspace(0, self.vocab_size - 1, _PROBED_TOKENS).long()[:, None]
        names = [f"blocks.{layer}.attn.hook_z" for layer in range(self.n_layers)]
        z = []
        for bridge in (raw, self.bridge):
            with torch.no_grad():
                _, seen = bridge.run_with_cache(
                    ids.to(self.device), names_filter=lambda name: name in names, prepend_bos=False
                )
            stacked = torch.stack([seen[name].float().cpu() for name in names])
            z.append(stacked.reshape(self.n_layers, _PROBED_TOKENS, self.n_heads, self.d_head))
        apart = z[0] - z[1]
        shift = apart.mean(dim=1)
        if float((apart - shift[:, None]).abs().max()) > 1e-3 * (1 + float(z[1].abs().max())):
            raise AttnRulesError(
                f"model {self.name}: its head outputs without processing differ from those with it by more"
                " than a constant, so SAEs of the unprocessed model cannot be used"
            )
        return shift

    def output_map(self, where: str, layer: int, *, centred: bool) -> tuple[Tensor, Tensor]:
        """Return W_O [n_heads * d_head, d_model] and an offset [d_model], float32 on the CPU.

        z W_O + offset, z the outputs of all heads of the processed model side by side, is hook_attn_out of
        the model whose writing weights are `centred`, or not. The offset, all biases, is measured. Raises
        `AttnRulesError`, beginning with `where`, when it is no constant: then something lies between W_O and
        the hook.
        """
        as_processed = centred == self.centred or not self.can_centre
        bridge = self.bridge if as_processed else self._unprocessed_bridge()
        hook, of_z = f"blocks.{layer}.hook_attn_out", f"blocks.{layer}.attn.hook_z"
        weights = getattr(bridge.blocks[layer].attn, "W_O", None)
        if weights is None or tuple(weights.shape) != (self.n_heads, self.d_head, self.d_model):
            raise AttnRulesError(
                f"{where}: {self.name} has no W_O of its heads, by which rules would read {hook}; use an SAE"
                f" on {of_z}"
            )
        matrix = weights.detach().float().cpu().reshape(-1, self.d_model)
        output = self._probed(bridge, hook).reshape(-1, self.d_model)
        if not as_processed and centred:
            matrix, output = (x - x.mean(dim=-1, keepdim=True) for x in (matrix, output))
        of_heads = self._probed(self.bridge, of_z).reshape(len(output), -1) @ matrix
        offset = (output - of_heads).mean(dim=0)
        if float((output - of_heads - offset).abs().max()) > 1e-3 * float(output.abs().max()):
            raise AttnRulesError(
                f"{where}: {hook} of {self.name} is not the sum of what its heads write, a norm or a scale"
                f" lies between, so its features cannot be traced to heads; use an SAE on {of_z}"
            )
        return matrix, offset

    def _unprocessed_bridge(self) -> Any:
        return self._unprocessed() if self._unprocessed else self.bridge

    def _probed(self, bridge: Any, hook: str) -> Tensor:
        """Return what a hook holds at a few first tokens, which attend to themselves alone."""
        import torch

        ids = torch.linspace(0, self.vocab_size - 1, _PROBED_OUTPUTS).long()[:, None]
        with torch.no_grad():
            _, seen = bridge.run_with_cache(
                ids.to(self.device), names_filter=lambda name: name == hook, prepend_bos=False
            )
        return seen[hook].float().cpu()  # type: ignore[no-any-return]

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

    def soft_cap(self, layer: int) -> float | None:
        """Return what bounds the attention logits of a layer through tanh, None where nothing does."""
        original = getattr(self.bridge.blocks[layer].attn, "original_component", None)
        cap = getattr(original, "attn_logit_softcapping", None)
        return float(cap) if cap else None

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
            "processing": self.processing,
            "sha256": self.sha256,
            "resolved_commit": self.resolved_commit,
            "configuration": self.configuration,
            "tokenizer": self.tokenizer,
            "identity": self.identity,
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

    def output_weights(self, layer: int) -> Tensor:
        """Return W_O of a layer, by which its heads write: [n_heads, d_head, d_model], float32 on the CPU."""
        stored: Tensor = self.bridge.blocks[layer].attn.W_O
        return stored.detach().float().cpu().reshape(self.n_heads, self.d_head, self.d_model)

    def gain_behind_attention(self, layer: int) -> Tensor | None:
        """Return the weights [d_model] of a norm that a layer's attention passes before it is added; CPU.

        None where there is none. Raises `AttnRulesError` for one that does more than divide by the root mean
        square and multiply by weights.
        """
        import torch

        norm = getattr(self.bridge.blocks[layer], "ln1_post", None)
        if norm is None:
            return None
        generator = torch.Generator().manual_seed(0)
        probes = torch.randn(3, self.d_model, generator=generator)
        probes[0] = 1.0
        with torch.no_grad():
            found: Tensor = norm(probes[None].to(self.device))[0].float().cpu()
        expected = found[0] * probes / probes.square().mean(dim=1, keepdim=True).sqrt()
        if float((found - expected).abs().max()) > 1e-3 * float(expected.abs().max()):
            raise AttnRulesError(
                f"model {self.name}: the norm behind its attention does more than scale, so what features"
                " write is not known"
            )
        return found[0]

    def vocabulary(self) -> list[str]:
        """Return the text of every token id that the tokenizer knows, leading spaces kept."""
        return [token_text(self.bridge.tokenizer, i, piece) for i, piece in enumerate(self._pieces)]

    def token_bytes(self) -> list[str | None]:
        """Return the bytes, in hexadecimal, of tokens that hold parts of characters; None for the others."""
        return [token_bytes(self.bridge.tokenizer, i, piece) for i, piece in enumerate(self._pieces)]

    @property
    def n_tokens(self) -> int:
        """Number of token ids that the tokenizer knows; the model may have more, for padding."""
        return len(self._pieces)

    @cached_property
    def _pieces(self) -> list[str | None]:
        tokenizer = self.bridge.tokenizer
        # Ids may be left out, so that the largest is beyond their number.
        n_tokens = min(1 + max(tokenizer.get_vocab().values()), self.vocab_size)
        pieces: list[str | None] = tokenizer.convert_ids_to_tokens(list(range(n_tokens)))
        return pieces


def load_model(
    name: str, *, revision: str | None, device: str, commit: str | None = None, centred: bool = True
) -> Model:
    """Load a local Hugging Face folder, a GGUF file, a name TransformerLens knows, or a hub id.

    `commit`, where it is known, is what the `revision` stands for. The weights are processed as method.md
    section 1 says; not `centred` leaves the residual stream as it is. Raises `AttnRulesError` when there is
    no such model, its files are malformed or incomplete, or its attention lacks the hooks that ingest reads.
    """
    local = Path(name)
    if local.exists():
        # Without this a local load asks the hub about every file, minutes of retries offline.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        if not is_gguf(local):
            check_folder(local)
    import torch
    from transformer_lens.model_bridge import TransformerBridge

    logging.getLogger("transformer_lens").setLevel(logging.ERROR)
    target = str(local.resolve()) if local.exists() else official_name(name)

    own = OwnAttention()

    def boot() -> Any:
        if is_gguf(local):
            restored, tokenizer = restore(local, own.read)
            return TransformerBridge.boot_transformers(
                local.name, device=device, hf_model=restored.to(device), tokenizer=tokenizer
            )
        loader = WholeModel(name, own.read)
        return TransformerBridge.boot_transformers(
            target, device=device, revision=commit, dtype=torch.float32, model_class=loader
        )

    def unprocessed() -> Any:
        bridge = boot()
        bridge.enable_compatibility_mode(disable_warnings=True, no_processing=True)
        bridge.eval()
        return bridge

    try:
        if not local.exists():
            commit = commit or resolve(target, revision)
        bridge = boot()
        sha256 = tensors_sha256(dict(bridge.original_model.state_dict()))
        configuration = _configuration(bridge.original_model.config)
        bridge.enable_compatibility_mode(disable_warnings=True, center_writing_weights=centred)
        bridge.eval()
        if bridge.tokenizer is None:
            raise AttnRulesError(
                f"model {name}: has no tokenizer; put its tokenizer files beside the weights"
            )
        model = Model(
            name,
            None if local.exists() else revision,
            bridge,
            sha256,
            configuration,
            commit=commit,
            centred=centred,
            unprocessed=unprocessed,
        )
        _require_attention(model)
        # Here a model runs for the first time, and some architectures cannot.
        own.refuse_another(model)
    except (AttnRulesError, MemoryError):
        raise
    except Exception as error:
        raise AttnRulesError(_load_failure(name, error)) from error
    return model


def load_tokenizer(name: str, *, revision: str | None, commit: str | None = None) -> Any:
    """Load the tokenizer alone of what `load_model` would load, but for the weights of a GGUF file.

    Raises `AttnRulesError` where there is none.
    """
    from transformers import AutoTokenizer

    local = Path(name)
    try:
        if is_gguf(local):
            return restore(local)[1]
        if local.exists():
            return AutoTokenizer.from_pretrained(local.resolve(), local_files_only=True)
        target = official_name(name)
        return AutoTokenizer.from_pretrained(target, revision=commit or resolve(target, revision))
    except (AttnRulesError, MemoryError):
        raise
    except Exception as error:
        raise AttnRulesError(_load_failure(name, error)) from error


def _configuration(config: Any) -> str:
    """Return what of a transformers configuration decides the forward pass, as canonical JSON."""
    facts = config.to_dict()
    return canonical({key: value for key, value in facts.items() if not _NOT_IN_FORWARD.search(key)})


def tokenizer_configuration(tokenizer: Any) -> str:
    """Return what decides the ids that a text becomes, as canonical JSON; long parts as digests."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = json.loads(backend.to_str()) if backend is not None else {}
    model = content.get("model") or {"vocab": tokenizer.get_vocab()}
    parts: dict[str, object] = {f"model {key}": value for key, value in model.items()}
    # Libraries write a merge as one string or as a pair.
    merges = model.get("merges")
    if merges is not None:
        parts["model merges"] = [" ".join(m) if isinstance(m, list) else m for m in merges]
    parts |= {key: content.get(key) for key in _TOKENIZER_PARTS}
    special = {key: getattr(tokenizer, f"{key}_token", None) for key in ("bos", "eos", "pad", "unk")}
    parts |= {f"{key} token": None if token is None else str(token) for key, token in special.items()}
    return canonical({key: _brief(value) for key, value in parts.items()})


def _brief(value: object) -> object:
    text = canonical({"": value})
    return value if len(text) < 200 else f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _require_attention(model: Model) -> None:
    """Refuse by name a model without the hooks or projections of attention heads in any of its layers."""
    hooks = ("hook_resid_pre", "ln1.hook_scale", "attn.hook_pattern", "attn.hook_z")
    available = model.bridge.hook_dict
    architecture = model.architecture
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


def configuration_of(name: str, commit: str | None) -> Any:
    """Return the transformers configuration of a model, without its weights; `commit` where it is on the hub.

    Raises `AttnRulesError` for a GGUF file that cannot be restored, what transformers raises for the others.
    """
    from transformers import AutoConfig

    if is_gguf(Path(name)):
        return read_configuration(Path(name))
    return AutoConfig.from_pretrained(name, revision=commit)


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


def _bos_token_id(name: str, tokenizer: Any, vocab_size: int) -> int:
    for candidate in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
        if candidate is None:
            continue
        if not 0 <= int(candidate) < vocab_size:
            raise AttnRulesError(
                f"model {name}: its tokenizer starts a sequence with token {candidate}, but it embeds"
                f" {vocab_size} tokens; is this its tokenizer?"
            )
        return int(candidate)
    raise AttnRulesError(f"model {name}: its tokenizer has no BOS, EOS or PAD token to start a sequence with")


def _load_failure(name: str, error: Exception) -> str:
    if Path(name).exists():
        return f"model {name}: cannot be loaded: {one_line(error)}"
    if said := hub_failure(error):
        return f"model {name}: {said}"
    return f"model {name}: no such local folder, TransformerLens name or hub id ({one_line(error)})"
