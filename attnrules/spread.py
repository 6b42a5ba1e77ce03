"""How the tasks of a command are spread: over processes of this machine, a SLURM array or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attnrules.errors import UsageError

# Told of each task that was done, and of how many are left.
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Spread:
    """Where the tasks of a command are done; at most one of these ways, but for the number of workers.

    Arguments:
        workers: processes of this machine, or elements of the array; for an ingest also actors of Ray.
        slurm: the script to write. ray: the address of a cluster.
    """

    workers: int | None = None
    slurm: Path | None = None
    ray: str | None = None

    def __post_init__(self) -> None:
        """Refuse two ways at once, before anything is made; raises `UsageError`."""
        if self.slurm is not None and self.ray is not None:
            raise UsageError("--slurm and --ray: give one of them")

    @property
    def is_here(self) -> bool:
        """Whether this process does everything."""
        return self.workers is None and self.slurm is None and self.ray is None


@dataclass(frozen=True)
class Means:
    """What a worker may use.

    Arguments:
        threads: of DuckDB, and of torch on a CPU; None for one a processor. memory_limit: of DuckDB.
        device: of torch.
    """

    threads: int | None = None
    memory_limit: str | None = None
    device: str = "auto"

    def words(self) -> list[str]:
        """Return the options of `attnrules worker` that say the same."""
        given = {"--threads": self.threads, "--memory-limit": self.memory_limit}
        words = [word for name, value in given.items() if value is not None for word in (name, str(value))]
        return words if self.device == "auto" else [*words, "--device", self.device]
