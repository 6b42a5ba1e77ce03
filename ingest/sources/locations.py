"""Where an SAE reads: the hooks of a model, how they are spelt, and what names of files say of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from attnrules.ingest.sources.sae_weights import Role
from attnrules.warehouse import WHOLE_LAYER, head_name

# Other names of a hook: those of TransformerLens's bridges, and the stream leaving the layer before.
_RESIDUAL = re.compile(r"blocks\.(\d{1,4})\.(hook_resid_pre|hook_in|hook_resid_post|hook_out)")
_Z = re.compile(r"blocks\.(\d{1,4})\.attn\.(?:hook_z|o\.hook_in)")
_ATTN_OUT = re.compile(r"blocks\.(\d{1,4})\.(?:hook_attn_out|attn\.hook_out)")
# `<name>_L{layer}_H{head}_..._v{version}.pt`, also written L{layer}H{head}; Hcat: all heads, concatenated.
_CHECKPOINT = re.compile(r"(?:^|[_-])L(\d{1,4})_?H(\d{1,4}|cat)(?=[_.-]|$)")


@dataclass(frozen=True)
class Location:
    """What an SAE reads: the residual stream entering `layer` (head None), or the output of its heads.

    Arguments:
        head: the one head that is read, `WHOLE_LAYER` for all of them.
    """

    layer: int
    head: int | None = None

    def __str__(self) -> str:
        return f"layer {self.layer}" if self.head is None else head_name(self.layer, self.head)

    @property
    def is_whole_layer(self) -> bool:
        """Whether all heads of the layer are read at once."""
        return self.head == WHOLE_LAYER

    @property
    def hook_names(self) -> tuple[str, ...]:
        """The TransformerLens hooks of which an SAE there must read one."""
        if self.head is None:
            return (f"blocks.{self.layer}.hook_resid_pre",)
        z = f"blocks.{self.layer}.attn.hook_z"
        return (z, f"blocks.{self.layer}.hook_attn_out") if self.is_whole_layer else (z,)


def place_of_hook(hook_name: str, head: int | None) -> tuple[Location, str] | None:
    """Return what is read at a hook, and TransformerLens's name of the hook; None for any other hook.

    `head` is the one head that is read of a hook of heads, None for all.
    """
    if match := _RESIDUAL.fullmatch(hook_name):
        # The residual stream leaving a layer is the one entering the next.
        leaves = match[2] in ("hook_resid_post", "hook_out")
        return _named(Location(int(match[1]) + leaves), 0)
    if match := _Z.fullmatch(hook_name):
        return _named(Location(int(match[1]), WHOLE_LAYER if head is None else head), 0)
    if head is None and (match := _ATTN_OUT.fullmatch(hook_name)):
        return _named(Location(int(match[1]), WHOLE_LAYER), 1)
    return None


def _named(at: Location, hook: int) -> tuple[Location, str]:
    return at, at.hook_names[hook]


def place_of_checkpoint(stem: str) -> Location | None:
    """Return what the name of a checkpoint, without its ending, says that it reads; None for nothing."""
    match = _CHECKPOINT.search(stem)
    if match is None:
        return None
    return Location(int(match[1]), WHOLE_LAYER if match[2] == "cat" else int(match[2]))


def place_of_file(path: str, role: Role) -> Location | None:
    """Return what the path of a weights file on the hub says that the SAE reads; None for nothing."""
    if role == "input":
        match = re.search(r"blocks\.(\d+)\.hook_resid_pre", path)
        return Location(int(match[1])) if match else None
    if at := place_of_checkpoint(path.rsplit("/", 1)[-1].rsplit(".", 1)[0]):
        return at
    match = re.search(r"blocks\.(\d+)\.(?:attn\.)?hook_(?:z|attn_out)(?:[._-]+(?:head[._-]?)?(\d+))?", path)
    if match is None:
        return None
    return Location(int(match[1]), WHOLE_LAYER if match[2] is None else int(match[2]))


def listing(locations: Iterable[Location]) -> str:
    """Return locations in words, the first dozen of them."""
    ordered = sorted(locations, key=lambda at: (at.layer, -2 if at.head is None else at.head))
    shown = ", ".join(str(at) for at in ordered[:12])
    return shown + (f" and {len(ordered) - 12} more" if len(ordered) > 12 else "")
