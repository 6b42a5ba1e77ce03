"""A mining command at work: one run over heads, each of them stored whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from attnrules.errors import UsageError, closest, refuse_below
from attnrules.queries.arrays import Ints, one_blas_thread
from attnrules.queries.heads.rotation import refuse_unknown_rotation
from attnrules.queries.heads.scores import SCALINGS
from attnrules.queries.heads.selection import (
    choose_heads,
    features_of,
    finished_sequences,
    searched_heads,
)
from attnrules.sql import head_name

if TYPE_CHECKING:
    from attnrules.queries.heads.selection import FeatureId
    from attnrules.warehouse import Warehouse


# Added to the seed where two draws would otherwise put the same sequences in the same order: the examples of
# a rule would then be those that it is tested on, or the train half those that come first. The halves of
# counting have 2 (counting/make_counting_splits.sql).
TEST_EXAMPLES_SALT = 1
GRID_EXAMPLES_SALT = 3
OUTPUT_EXAMPLES_SALT = 4
# Of the examples of a set: bits of the golden ratio and of the square root of 2, far from any seed.
EXAMPLE_SPLIT_SALT = 2654435769
UNIFORM_EXAMPLES_SALT = 1779033703
# With any salt a number that DuckDB holds.
_LARGEST_SEED = 2**62


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What every mining command is told.

    Arguments:
        scaling: of attention scores, or of the rules to work on: `paper` or `model`.
        layers, heads: restrict to these; None for all in the warehouse. Of an SAE over a whole layer, `heads`
            are those through which rules are sought.
        n_features: features drawn per head, None for all. features: exactly these instead.
        seed: of every draw, and of the bootstrap.
    """

    scaling: str = "paper"
    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    n_features: int | None = None
    features: tuple[FeatureId, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        # What is named twice is meant once.
        object.__setattr__(self, "features", tuple(dict.fromkeys(self.features)))

    def refuse_out_of_bounds(self, *counts: str) -> None:
        """Raise `UsageError` for an unknown scaling or seed, and for features or one of `counts` below 1."""
        refuse_unknown("--scaling", self.scaling, SCALINGS)
        refuse_below(0, "--seed ", self.seed)
        if self.seed > _LARGEST_SEED:
            raise UsageError(f"--seed {self.seed}: must be at most {_LARGEST_SEED}")
        for name in (*counts, *(() if self.n_features is None else ("n_features",))):
            option = f"--{name.removeprefix('n_').replace('_', '-')} "
            refuse_below(1, option, getattr(self, name))


def refuse_unknown(option: str, value: str, known: Sequence[str]) -> None:
    """Raise `UsageError` for a value that an option does not have."""
    if value not in known:
        raise UsageError(f"{option} {value}: must be one of {', '.join(known)}{closest(value, known)}")


AnySpec = TypeVar("AnySpec", bound=Spec)
Found = TypeVar("Found")
Result = TypeVar("Result")


@dataclass(frozen=True)
class HeadRun(Generic[AnySpec]):
    """A run at one head, inside the transaction that stores what it finds.

    Arguments:
        head: `WHOLE_LAYER` for the SAE over the whole layer.
        features: [n], ascending, the output features to work on.
        through: the heads through which their rules are sought.
    """

    warehouse: Warehouse
    spec: AnySpec
    run_id: int
    layer: int
    head: int
    features: Ints
    through: tuple[int, ...]

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
    def as_asked(cls, warehouse: Warehouse, command: str, spec: AnySpec) -> Run[AnySpec]:
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

    def refuse_unknown_rotation(self) -> None:
        """Raise `AttnRulesError` where S(i,j), by which this command finds pairs, is not known of a head."""
        refuse_unknown_rotation(
            self.warehouse, [(layer, head) for layer, head, _ in self.heads], self.command
        )

    def over_heads(
        self, work: Callable[[HeadRun[AnySpec]], Found], report: Callable[[str], None]
    ) -> list[Found]:
        """Do `work` on one head after the other and return what it finds.

        Each head is a transaction, which ends with the digests of what was mined; `runs` records the whole
        with its specification. `report` is told the name of each head before it is worked on.
        """
        found = []
        with one_blas_thread(), self.warehouse.run(self.command, asdict(self.spec)) as run_id:
            for layer, head, features in self.heads:
                report(head_name(layer, head))
                with self.warehouse.transaction():
                    through = searched_heads(self.warehouse, layer, head, self.spec.heads)
                    here = HeadRun(self.warehouse, self.spec, run_id, layer, head, features, through)
                    found.append(work(here))
                    self.warehouse.stamp_mined(layer, head, features.tolist())
        return found


@dataclass(frozen=True)
class Mining(Generic[AnySpec, Found, Result]):
    """A mining command before it begins: heads are mined one after the other, or each somewhere else.

    Arguments:
        run: the heads and features that are to be mined.
        work: mines a head and says what it found, a dataclass of numbers and texts of the type `found`.
        result: what all heads found, in their order, to what the command returns.
    """

    run: Run[AnySpec]
    work: Callable[[HeadRun[AnySpec]], Found]
    found: type[Found]
    result: Callable[[list[Found]], Result]

    def all_heads(self, report: Callable[[str], None] = lambda _: None) -> Result:
        """Mine every head here; `report` is told the name of each before."""
        return self.result(self.run.over_heads(self.work, report))

    def one_head(self, place: int) -> Found:
        """Mine the head at `place` of the run alone; no head depends on what was mined of another."""
        run = replace(self.run, heads=[self.run.heads[place]])
        return run.over_heads(self.work, lambda _: None)[0]
