"""Whether the attention that hooks show is that of the model itself.

A bridge runs attention again, so that hooks see it. For some architectures it turns queries and keys in
another way than transformers does (Cohere's pairs of adjacent dimensions); rules would then be about a model
that nobody uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnrules.errors import AttnRulesError

if TYPE_CHECKING:
    from torch import Tensor

    from attnrules.ingest.sources.model import Model

_HOOK = ".attn.hook_pattern"
_N_TOKENS = 8
# Of attention in float32; that of another rotation is off by much more from the second token on.
_TOLERANCE = 1e-3


class OwnAttention:
    """The attention that transformers computes of a few tokens, kept to compare a bridge with."""

    def __init__(self) -> None:
        self._patterns: list[Tensor] = []
        self._ids: Tensor

    def read(self, model: Any) -> None:
        """Keep the attention of a transformers model that no bridge has been put around yet."""
        import torch

        # The first and the last ids are often padding, which is masked.
        self._ids = torch.linspace(0, model.config.vocab_size - 1, _N_TOKENS + 2).long()[None, 1:-1]
        try:
            with torch.no_grad():
                said = model(self._ids, attention_mask=torch.ones_like(self._ids), output_attentions=True)
        except (AttributeError, RuntimeError, TypeError, ValueError):
            return  # no decoder; what it lacks is told where its hooks are looked for
        patterns = getattr(said, "attentions", None) or ()
        self._patterns = [p.float().cpu() for p in patterns if p is not None]

    def refuse_another(self, model: Model) -> None:
        """Raise `AttnRulesError` naming the model unless its hooks show the attention that was kept."""
        where = f"model {model.name}"
        shown = self._shown(model.bridge)
        if len(shown) != len(self._patterns):
            raise AttnRulesError(
                f"{where}: transformers does not tell the attention of {model.architecture}, so that what"
                " hooks show cannot be compared with it; this model is not supported"
            )
        for layer, (theirs, own) in enumerate(zip(shown, self._patterns, strict=True)):
            difference = float((theirs - own).abs().max()) if theirs.shape == own.shape else 1.0
            if not difference < _TOLERANCE:
                raise AttnRulesError(
                    f"{where}: the attention that TransformerLens computes in layer {layer} of"
                    f" {model.architecture} is not that of transformers (they differ by {difference:.2g}), so"
                    " rules would be about another model; this model is not supported"
                )

    def _shown(self, bridge: Any) -> list[Tensor]:
        import torch

        with torch.no_grad():
            _, seen = bridge.run_with_cache(
                self._ids.to(bridge.cfg.device),
                names_filter=lambda name: name.endswith(_HOOK),
                prepend_bos=False,
            )
        return [
            seen[name].float().cpu() for name in bridge.hook_dict if name.endswith(_HOOK) and name in seen
        ]
