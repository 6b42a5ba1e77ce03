"""BatchTopK SAEs, saved as the JumpReLU SAEs that they stand for.

In training the k largest pre-activations a token, on average over a batch, are active. What they exceed
hardly moves from one batch to the next, so afterwards it is each feature's threshold, and features no
longer compete (Bussmann, Leask and Nanda, BatchTopK Sparse Autoencoders, arXiv 2412.06410).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.demo_model.files import edit_json
from benchmarks.smollm2.recipe import MODEL_NAME, SAERecipe

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)
# Where some activations are so many times larger than the median, the model parks its attention on them
# (BOS and some first words). They lie on a line or in a plane, and are left to features of their own ...
_MASSIVE = 10.0
_LEAST_SPREAD = 0.01
# ... while the others are trained on what is below so many medians, where these are silent.
_ORDINARY = 3.0
_SINK_MARGIN = 1.5
# Every so manyth token stands for its batch when the threshold is sought.
_STRIDE = 8
# Of the running mean of what the k largest exceed, the share that a step keeps.
_KEPT = 0.98
# Tokens that scale and mean are taken from.
_SAMPLE = 1 << 16
# Tokens read from disk at once; neighbours are too alike to make up a whole batch.
_RUN = 32


@dataclass
class Sae:
    """An SAE as effective weights, float32.

    Args:
        encoder: [d_in, d_sae]. bias: [d_sae].
        decoder: [d_sae, d_in], rows of norm 1. decoder_bias: [d_in].
        threshold: [d_sae]; a feature is active where its pre-activation is larger.
    """

    encoder: Tensor
    bias: Tensor
    decoder: Tensor
    decoder_bias: Tensor
    threshold: Tensor

    def encode(self, x: Tensor) -> Tensor:
        """Return the activations [n, d_sae] of inputs [n, d_in]."""
        pre = x @ self.encoder + self.bias
        return pre * (pre > self.threshold)

    def decode(self, features: Tensor) -> Tensor:
        """Return the reconstruction [n, d_in] of activations [n, d_sae]."""
        return features @ self.decoder + self.decoder_bias


class Activations:
    """What one SAE reads of what is captured at a hook: [n_tokens, d_in], in a file of float16.

    Args:
        path: the file, [n_tokens, width]. columns: those that the SAE reads.
    """

    def __init__(self, path: Path, width: int, columns: slice) -> None:
        import numpy as np

        self._values = np.memmap(path, dtype=np.float16, mode="r").reshape(-1, width)[:, columns]

    def __len__(self) -> int:
        return len(self._values)

    def take(self, start: int, stop: int) -> Tensor:
        """Return activations [n, d_in] of consecutive tokens, float32."""
        import torch

        return torch.from_numpy(self._values[start:stop].astype("float32"))

    def batches(self, size: int, seed: int) -> Iterator[Tensor]:
        """Yield endless batches [size, d_in]: short runs of tokens in an order shuffled anew each round."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        while True:
            order = torch.randperm(len(self) // _RUN, generator=generator)
            for chosen in torch.split(order, size // _RUN)[:-1]:
                yield torch.cat([self.take(n * _RUN, (n + 1) * _RUN) for n in chosen.tolist()])


def train(activations: Activations, recipe: SAERecipe) -> Sae:
    """Train one SAE; massive activations are given features of their own."""
    import torch

    torch.manual_seed(recipe.seed)
    sample = activations.take(0, min(len(activations), _SAMPLE))
    sinks = _sinks(sample)
    plain = sample if sinks is None else ordinary(sample)
    training = _Training(plain, sinks, recipe)
    for step, batch in zip(range(recipe.steps), activations.batches(recipe.batch, recipe.seed), strict=False):
        said = training.step(step, batch if sinks is None else ordinary(batch))
        if step % 100 == 0 or step == recipe.steps - 1:
            logger.info("step %d: %s", step, said())
    trained = training.finished()
    return trained if sinks is None else _with_sinks(trained, sinks, plain)


def ordinary(x: Tensor) -> Tensor:
    """Return the tokens [n, d_in] without those whose activations are massive."""
    norms = x.norm(dim=-1)
    return x[norms <= _ORDINARY * norms.median()]


def _sinks(sample: Tensor) -> Tensor | None:
    """Return one or two directions [n, d_in], of norm 1, whose cone holds massive activations, or None."""
    import torch

    norms = sample.norm(dim=-1)
    massive = sample[norms > _MASSIVE * norms.median()]
    if not len(massive):
        return None
    _, sizes, axes = torch.linalg.svd(massive, full_matrices=False)
    if len(sizes) < 2 or sizes[1] < _LEAST_SPREAD * sizes[0]:
        line: Tensor = axes[:1] * torch.sign(massive[0] @ axes[0])
        return line
    plane = axes[:2]
    places = massive @ plane.T
    angles = torch.atan2(places[:, 1], places[:, 0].abs())
    ends = massive[torch.stack([angles.argmin(), angles.argmax()])] @ plane.T @ plane
    return torch.nn.functional.normalize(ends)


class _Training:
    """The weights in training, of inputs scaled so that each value has variance 1 on average."""

    def __init__(self, sample: Tensor, sinks: Tensor | None, recipe: SAERecipe) -> None:
        import torch

        self.recipe = recipe
        self.mean = sample.mean(dim=0)
        self.scale = (sample - self.mean).square().mean().sqrt()
        self.blind = None if sinks is None else torch.linalg.qr(sinks.T).Q
        n_features = recipe.d_sae - (0 if sinks is None else len(sinks))
        starts = torch.nn.functional.normalize(torch.randn(n_features, len(self.mean)))
        self.decoder = starts.clone().requires_grad_()
        self.encoder = starts.T.contiguous().requires_grad_()
        self.bias = torch.zeros(n_features).requires_grad_()
        self.decoder_bias = torch.zeros(len(self.mean)).requires_grad_()
        self.silent_for = torch.zeros(n_features)
        self.level = 0.0
        parameters = [self.encoder, self.bias, self.decoder, self.decoder_bias]
        self.optimiser = torch.optim.Adam(parameters, lr=recipe.lr, betas=(0.9, 0.99), fused=True)

    def step(self, step: int, batch: Tensor) -> Callable[[], str]:
        """Take one step on tokens [n, d_in]; return what says how far it has come."""
        import torch

        x = (batch - self.mean) / self.scale
        # The encoder is given nothing of the directions of massive activations.
        seen = x if self.blind is None else x - x @ self.blind @ self.blind.T
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.lr * _schedule(step, self.recipe)
        with torch.autocast("cpu", torch.bfloat16):
            pre = torch.addmm(self.bias, seen, self.encoder)
            features = torch.nn.functional.threshold(pre, self._threshold(step, pre), 0)
            missed = x - torch.addmm(self.decoder_bias, features, self.decoder)
            self._count(features)
            loss_of_dead = self._loss_of_dead(pre, missed.detach())
        loss = missed.square().sum(-1).mean()
        self.optimiser.zero_grad()
        torch.autograd.backward(loss + self.recipe.aux_coefficient * loss_of_dead)
        self._stay_on_sphere()
        return lambda: (
            f"unexplained {loss.item() / x.var(0).sum().item():.3f}, {int(self._dead().sum())} dead"
        )

    def _threshold(self, step: int, pre: Tensor) -> float:
        """Return the level of this batch, and in the last third the running mean, which stands afterwards."""
        level = self._level(pre)
        self.level = level if step == 0 else _KEPT * self.level + (1 - _KEPT) * level
        return level if step < 2 * self.recipe.steps / 3 else self.level

    def _level(self, pre: Tensor) -> float:
        """Return what the k largest pre-activations a token exceed, and never less than 0."""
        part = pre.detach()[::_STRIDE]
        n_active = self.recipe.k * len(part)
        return max(0.0, float(part.flatten().float().topk(n_active, sorted=False).values.min()))

    def _count(self, features: Tensor) -> None:
        fired = features.detach().amax(0) > 0
        self.silent_for = (self.silent_for + len(features)) * ~fired

    def _dead(self) -> Tensor:
        return self.silent_for > self.recipe.dead_after

    def _loss_of_dead(self, pre: Tensor, missed: Tensor) -> Tensor:
        """Return how badly the dead features rebuild what the others miss (Gao et al., arXiv 2406.04093)."""
        import torch

        dead = self._dead().nonzero().flatten()
        if not len(dead):
            return torch.zeros(())
        features = torch.relu(pre[:, dead])
        if len(dead) > self.recipe.aux_k:
            least = features.detach().float().topk(self.recipe.aux_k, dim=1, sorted=False).values.amin(1)
            features = features * (features >= least[:, None])
        return (missed - features @ self.decoder[dead]).square().sum(-1).mean()

    def _stay_on_sphere(self) -> None:
        """Take the step without what would only change the norms of the decoder's rows."""
        import torch

        gradient = self.decoder.grad
        assert gradient is not None
        with torch.no_grad():
            gradient -= (gradient * self.decoder).sum(-1, keepdim=True) * self.decoder
            self.optimiser.step()
            self.decoder /= self.decoder.norm(dim=-1, keepdim=True)

    def finished(self) -> Sae:
        """Return the SAE of unscaled inputs."""
        import torch

        with torch.no_grad():
            encoder = self.encoder.detach()
            if self.blind is not None:
                encoder = encoder - self.blind @ (self.blind.T @ encoder)
            # Activations in the units of the inputs: then decoder rows keep norm 1, and no scale is left.
            bias = self.bias * self.scale - self.mean @ encoder
            decoder_bias = self.decoder_bias * self.scale + self.mean
            threshold = torch.full_like(bias, self.level * self.scale.item())
            return Sae(encoder, bias, self.decoder.detach(), decoder_bias, threshold)


def _schedule(step: int, recipe: SAERecipe) -> float:
    """Return the share of the learning rate: a warm-up, and down to nothing in the last third."""
    left = (recipe.steps - step) / (recipe.steps / 3)
    return min(1.0, (step + 1) / recipe.warmup, left)


def _with_sinks(sae: Sae, sinks: Tensor, plain: Tensor) -> Sae:
    """Return the SAE with features for massive activations in front of the others, which see none."""
    import torch

    readers = torch.linalg.pinv(sinks)
    bias = -(sae.decoder_bias @ readers)
    threshold = _SINK_MARGIN * (plain @ readers + bias).amax(dim=0).clamp_min(0)
    return Sae(
        torch.cat([readers, sae.encoder], dim=1),
        torch.cat([bias, sae.bias]),
        torch.cat([sinks, sae.decoder]),
        sae.decoder_bias,
        torch.cat([threshold, sae.threshold]),
    )


def save(sae: Sae, folder: Path, hook_name: str, head: int | None, row_len: int) -> None:
    """Save an SAE in SAELens's format, in half precision; `head` is None for the residual stream."""
    from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    d_in, d_sae = sae.encoder.shape
    metadata = SAEMetadata(
        model_name=MODEL_NAME,
        hook_name=hook_name,
        hook_head_index=head,
        context_size=row_len,
        prepend_bos=True,
        training_architecture="batchtopk",
    )
    module: Any = JumpReLUSAE(
        JumpReLUSAEConfig(
            d_in=d_in, d_sae=d_sae, dtype="float16", apply_b_dec_to_input=False, metadata=metadata
        )
    )
    named = {
        "W_enc": sae.encoder,
        "b_enc": sae.bias,
        "W_dec": sae.decoder,
        "b_dec": sae.decoder_bias,
        "threshold": sae.threshold,
    }
    module.load_state_dict({name: tensor.half() for name, tensor in named.items()})
    module.save_model(folder)
    edit_json(folder / "cfg.json")
