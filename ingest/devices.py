"""Where it computes: the devices that an option names, their precision, and what a run records of them."""

from __future__ import annotations

import gc

from attnrules.errors import AttnRulesError, UsageError
from attnrules.ingest.sources.model import Model


def choose_device(name: str) -> str:
    """Return the torch device of a `--device` option; raises `AttnRulesError` for one that is not there."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except Exception as error:
        raise AttnRulesError(f"--device {name}: not available here; use --device cpu or auto") from error
    return name


def choose_devices(names: str, dtype: str) -> list[str]:
    """Return the torch devices of a `--device` option that may name several, separated by commas.

    Raises `AttnRulesError` for one that is not there, `UsageError` for one without the precision `dtype`.
    """
    devices = [choose_device(name.strip()) for name in names.split(",")]
    if dtype == "tf32" and not all(device.startswith("cuda") for device in devices):
        raise UsageError("--dtype tf32: only CUDA devices have it; use float32 or bfloat16")
    return devices


def set_precision(dtype: str, seed: int) -> None:
    """Set, for this process, how float32 matrices are multiplied, and seed torch."""
    import torch

    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")


def environment(model: Model) -> dict[str, object]:
    """Return where a model computes: device, its name, dtype, threads; recorded with the run."""
    import torch

    device = model.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": str(device),
        "device_name": name,
        "dtype": str(next(model.bridge.parameters()).dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


def devices_of_workers(names: str, n_workers: int) -> list[str]:
    """Return a `--device` for each of the processes that share an ingest on this machine, in turn."""
    import torch

    found = [name.strip() for name in names.split(",")]
    if found == ["auto"] and torch.cuda.is_available():
        found = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [found[worker % len(found)] for worker in range(n_workers)]


def use_threads(n: int | None) -> None:
    """Let torch compute with `n` threads of this process, None for what it chooses."""
    import torch

    if n is not None:
        torch.set_num_threads(n)


def free_devices() -> None:
    """Give back what torch keeps of GPUs after the model on them is gone."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
