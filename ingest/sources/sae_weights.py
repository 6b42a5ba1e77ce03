"""Effective weights: the function that an SAE computes, written as one encoder, one decoder and their biases.

SAELens's classes differ in what they scale, centre and gate around the tensors that they store. Rules are
products of weights, so they need tensors for which

    activation     = act(x . encoder + preactivation_bias)      act: 0, or its argument
    reconstruction = activations . decoder + decoder_bias

hold as they stand. An SAE that has none (its scale depends on the input, or it encodes step by step) is
refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from attnrules.errors import AttnRulesError

if TYPE_CHECKING:
    from torch import Tensor

Role = Literal["input", "output"]

# Inputs that the identities are tried on when an SAE is loaded.
_PROBES = 16
_TOLERANCE = 1e-3
# Encoder columns made float64 at once.
_COLUMNS = 4096

_NO_WEIGHTS = {
    "abstopk": "its features are active with either sign, and an activation here is never negative",
    "temporal": "it encodes a position together with those before it",
    "transcoder": "it reads one place of the model and writes another",
    "skip_transcoder": "it reads one place of the model and writes another",
    "jumprelu_transcoder": "it reads one place of the model and writes another",
    "jumprelu_skip_transcoder": "it reads one place of the model and writes another",
}
_NORMALISATIONS = {
    "constant_norm_rescale": "it scales every input by its own norm, so it has no constant weights",
    "layer_norm": "it normalises every input by its own mean and deviation, so it has no constant weights",
    "constant_scalar_rescale": "rescaling by a constant is not supported",
    "expected_average_only_in": (
        "it was trained on scaled inputs and the scale is not folded into its weights; fold it with SAELens"
        " (sae.fold_activation_norm_scaling_factor) and save it again"
    ),
    "covariance_whitening": (
        "it was trained on whitened inputs and the whitening is not folded into its weights; fold it with"
        " SAELens (sae.fold_activation_whitening) and save it again"
    ),
}


@dataclass(frozen=True)
class SaeWeights:
    """What an SAE computes, as weights; float32 on the CPU.

    Arguments:
        encoder: [d_in, d_sae], column f is w_f.
        bias: [d_sae], b_f as the SAE adds it, after centring its input.
        preactivation_bias: [d_sae], float64: the same for inputs that are not centred.
        decoder: [d_sae, d_in], row i is d_i. decoder_bias: [d_in], b_dec.
    """

    encoder: Tensor
    bias: Tensor
    preactivation_bias: Tensor
    decoder: Tensor
    decoder_bias: Tensor

    def shifted(self, shift: Tensor) -> SaeWeights:
        """Return the weights of the SAE that reads x + shift where this one reads x; shift: [d_in]."""
        return replace(self, preactivation_bias=self.preactivation_bias + _read_off(shift, self.encoder))


def effective_weights(where: str, role: Role, module: Any) -> SaeWeights:
    """Return the effective weights of a SAELens module.

    `where` names the SAE in messages. Raises `AttnRulesError` when it has none, when a tensor is missing,
    of a shape that does not fit or not finite, and when the module computes something else than they say.
    """
    architecture = str(module.cfg.architecture())
    refuse_without_weights(where, role, architecture, module.cfg.normalize_activations)
    _refuse_damaged(where, module)
    weights = _BY_ARCHITECTURE[architecture](where, module)
    _refuse_other_function(where, role, module, weights)
    return weights


def refuse_without_weights(where: str, role: Role, architecture: str, normalisation: object) -> None:
    """Raise `AttnRulesError` for an architecture or a normalisation of inputs without effective weights."""
    reason = _NO_WEIGHTS.get(architecture)
    if architecture == "matching_pursuit" and role == "output":
        reason = "it chooses features one by one, so a feature has no pre-activation"
    if reason is None and architecture not in _BY_ARCHITECTURE:
        reason = "how it computes activations is not known here"
    if reason is not None:
        usable = ", ".join(sorted(_BY_ARCHITECTURE))
        raise AttnRulesError(
            f"{where}: architecture {architecture} is not supported: {reason}; use an SAE of {usable}"
        )
    if normalisation not in ("none", None, False):
        known = _NORMALISATIONS.get(str(normalisation), "it is not known here")
        raise AttnRulesError(f"{where}: normalize_activations {normalisation} is not supported: {known}")


def _refuse_damaged(where: str, module: Any) -> None:
    import torch

    for name, tensor in module.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise AttnRulesError(f"{where}: {name} holds values that are not finite; the file is damaged")
    d_sae, d_in = module.W_dec.shape
    if (d_in, d_sae) != (module.cfg.d_in, module.cfg.d_sae):
        raise AttnRulesError(
            f"{where}: W_dec is {d_sae} x {d_in}, but its configuration says d_sae {module.cfg.d_sae} and"
            f" d_in {module.cfg.d_in}"
        )
    expected = {"W_enc": (d_in, d_sae), "b_dec": (d_in,)}
    expected |= dict.fromkeys(("b_enc", "threshold", "b_mag", "b_gate", "r_mag"), (d_sae,))
    for name, shape in expected.items():
        tensor = getattr(module, name, None)
        if tensor is not None and tuple(tensor.shape) != shape:
            raise AttnRulesError(
                f"{where}: {name} is {_shape(tensor.shape)}, but W_dec of {d_sae} x {d_in} needs"
                f" {_shape(shape)}"
            )


def _shape(shape: Any) -> str:
    return " x ".join(map(str, shape)) or "a single number"


def _plain(where: str, module: Any) -> SaeWeights:  # noqa: ARG001
    return _centred(module, _float(module.W_enc), _float(module.b_enc), _float(module.W_dec))


def _topk(where: str, module: Any) -> SaeWeights:
    """Return the weights of a TopK SAE, whose activations may be counted in units of decoder norms."""
    if not module.cfg.rescale_acts_by_decoder_norm:
        return _plain(where, module)
    decoder = _float(module.W_dec)
    norms = decoder.norm(dim=-1)
    if not bool((norms > 0).all()):
        feature = int((norms <= 0).nonzero()[0])
        raise AttnRulesError(
            f"{where}: decoder row {feature} is zero, and rescale_acts_by_decoder_norm divides by its norm"
        )
    return _centred(
        module, _float(module.W_enc) * norms, _float(module.b_enc) * norms, decoder / norms[:, None]
    )


def _gated(where: str, module: Any) -> SaeWeights:  # noqa: ARG001
    """Return the weights of the magnitudes: the gate is a threshold on them, since it shares directions."""
    encoder = _float(module.W_enc) * _float(module.r_mag).exp()
    return _centred(module, encoder, _float(module.b_mag), _float(module.W_dec))


def _pursuit(where: str, module: Any) -> SaeWeights:  # noqa: ARG001
    """Return the decoder, and as encoder its transpose, by which matching pursuit chooses features."""
    import torch

    decoder = _float(module.W_dec)
    weights = _centred(module, decoder.T.contiguous(), torch.zeros(len(decoder)), decoder)
    if module.cfg.apply_b_dec_to_input:
        return weights
    return replace(weights, decoder_bias=torch.zeros(decoder.shape[1]))


_BY_ARCHITECTURE: dict[str, Callable[[str, Any], SaeWeights]] = {
    "standard": _plain,
    "jumprelu": _plain,
    "topk": _topk,
    "gated": _gated,
    "matching_pursuit": _pursuit,
}


def _centred(module: Any, encoder: Tensor, bias: Tensor, decoder: Tensor) -> SaeWeights:
    centre = _float(module.b_dec)
    uncentred = bias.double()
    if module.cfg.apply_b_dec_to_input:
        uncentred = uncentred - _read_off(centre, encoder)
    return SaeWeights(encoder, bias, uncentred, decoder, centre)


def _read_off(vector: Tensor, encoder: Tensor) -> Tensor:
    """Return vector @ encoder in float64, without a copy of the whole encoder."""
    import torch

    parts = torch.split(encoder, _COLUMNS, dim=1)
    return torch.cat([vector.double() @ part.double() for part in parts])


def _refuse_other_function(where: str, role: Role, module: Any, weights: SaeWeights) -> None:
    """Raise where the module's own activations and reconstructions are not those of the weights."""
    import torch

    rows = weights.decoder[:: max(1, len(weights.decoder) // _PROBES)][:_PROBES]
    scale = 10.0 ** torch.arange(len(rows)).remainder(3)
    x = rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12) * scale[:, None] + weights.decoder_bias
    with torch.no_grad():
        device = module.W_dec.device
        dense = module.encode(x.to(device))
        rebuilt, dense = module.decode(dense).float().cpu(), dense.float().cpu()
    expected = x @ weights.encoder + weights.preactivation_bias.float()
    pairs = [(rebuilt, dense @ weights.decoder + weights.decoder_bias)]
    if module.cfg.architecture() != "matching_pursuit":
        pairs.append((dense, torch.where(dense != 0, expected, dense)))
    for found, wanted in pairs:
        allowed = _TOLERANCE * (1 + float(wanted.abs().max()))
        if not bool(((found - wanted).abs() <= allowed).all()) or bool((dense < 0).any()):
            raise AttnRulesError(
                f"{where}: architecture {module.cfg.architecture()} of this SAELens computes something else"
                f" than its weights say, so {role} features cannot be scored; this version is not supported"
            )


def _float(tensor: Tensor) -> Tensor:
    return tensor.detach().float().cpu()
