"""A mining command at work: one run over heads, each of them stored whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from attnrules.queries.arrays import Ints, one_blas_thread
from attnrules.queries.heads.selection import choose_heads, features_of, finished_sequences

if TYPE_CHECKING:
    from attnrules.queries.heads.selection import FeatureId
    from attnrules.warehouse import Warehouse


# Added to the seed where two draws would otherwise put the same sequences in the same order: the examples of
# a rule would then be those that it is tested on, or the train half those that come first.
TEST_EXAMPLES_SALT = 1
COUNTING_SPLIT_SALT = 2
GRID_EXAMPLES_SALT = 3
# Of the examples of a set: bits of the golden ratio and of the square root of 2, far from any seed.
EXAMPLE_SPLIT_SALT = 2654435769
UNIFORM_EXAMPLES_SALT = 1779033703


class Spec(Protocol):
    """What every specification of a mining command says."""

    @property
    def layers(self) -> tuple[int, ...] | None:
        """Restrict to these; None for all in the warehouse."""

    @property
    def heads(self) -> tuple[int, ...] | None:
        """Restrict to these; None for all in the warehouse."""

    @property
    def n_features(self) -> int | None:
        """Features drawn per head, None for all."""

    @property
    def features(self) -> tuple[FeatureId, ...]:
        """Exactly these instead."""

    @property
    def seed(self) -> int:
        """Of every draw."""


AnySpec = TypeVar("AnySpec", bound=Spec)
Found = TypeVar("Found")


@dataclass(frozen=True)
class HeadRun(Generic[AnySpec]):
    """A run at one head, inside the transaction that stores what it finds.

    Arguments:
        features: [n], ascending, the output features to work on.
    """

    warehouse: Warehouse
    spec: AnySpec
    run_id: int
    layer: int
    head: int
    features: Ints

    @property
    def at(self) -> dict[str, int]:
        """The parameters that place a statement."""
        return {"layer": self.layer, "head": self.head}


@dataclass(frozen=True)
class Run(Generic[AnySpec]):
    """A run of a mining command.

    Arguments:
        command: as `runs` names it. n_sequences: in the warehouse. heads: (layer, head, features) in order.
    """

    warehouse: Warehouse
    command: str
    spec: AnySpec
    n_sequences: int
    heads: Sequence[tuple[int, int, Ints]]

    @classmethod
    def of_all_features(cls, warehouse: Warehouse, command: str, spec: AnySpec) -> Run[AnySpec]:
        """Return the run on the heads and features that `spec` asks for.

        Raises `AttnRulesError` when the ingest is unfinished, `UsageError` for a head or feature that is not
        in the warehouse: of the last head too, before the first is worked on for hours.
        """
        n_sequences = finished_sequences(warehouse)
        chosen = choose_heads(warehouse, spec.layers, spec.heads, spec.features)
        heads = [
            (*at, features_of(warehouse, *at, spec.n_features, spec.features, spec.seed)) for at in chosen
        ]
        return cls(warehouse, command, spec, n_sequences, heads)

    def over_heads(
        self,
        work: Callable[[HeadRun[AnySpec]], Found],
        report: Callable[[str], None],
        arguments: dict[str, Any],
    ) -> list[Found]:
        """Do `work` on one head after the other and return what it finds.

        Each head is a transaction, which ends with the digests of what was mined; `runs` records the whole
        with its `arguments`. `report` is told the name of each head before it is worked on.
        """
        found = []
        with one_blas_thread(), self.warehouse.run(self.command, arguments) as run_id:
            for layer, head, features in self.heads:
                report(f"L{layer}H{head}")
                with self.warehouse.transaction():
                    here = HeadRun(self.warehouse, self.spec, run_id, layer, head, features)
                    found.append(work(here))
                    self.warehouse.stamp_mined(layer, head, features.tolist())
        return found
