"""Interventions (METHOD.md sections 6 and 7): which sequences to change and how, and what the outcome says.

Needs a `Laboratory` to run the model; knows nothing of torch itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from attnrules.errors import AttnRulesError, UsageError
from attnrules.queries.absence import SCALINGS, statement
from attnrules.queries.resampling import SequenceBootstrap
from attnrules.queries.selection import choose_heads, features_of, finished_sequences

if TYPE_CHECKING:
    import pyarrow as pa

    from attnrules.queries.skipgrams import FeatureId
    from attnrules.warehouse import Warehouse

Array = npt.NDArray[Any]

# A token must occur this often before "never fires on it" is taken for neutral.
_OCCURRENCES_OF_NEUTRAL = 5
# Added to a token's occurrences when the mean activation on it is taken: a rare token needs more than luck.
_SHRINKAGE = 5


class Laboratory(Protocol):
    """What runs the model: `attnrules.ingest.intervene.Laboratory`."""

    def exciting_tokens(self, layer: int, features: Array) -> list[int | None]:
        """Return the token whose embedding excites each input feature most, of layer 0."""

    def measure(self, layer: int, head: int, trials: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model on trials and read a head of it."""


@dataclass(frozen=True)
class InterveneSpec:
    """How to intervene.

    Arguments:
        scaling: of the rules to test, `paper` or `model`.
        n_examples: sequences to change, per rule.
        copies: tokens are inserted 0, 1, ..., copies times.
        n_controls: neutral tokens, each inserted as often as the distractor's.
        layers, heads: restrict to these; None for all in the warehouse.
        n_features: features drawn per head, None for all. features: exactly these instead.
        seed: of the draws and the bootstrap.
    """

    scaling: str = "paper"
    n_examples: int = 20
    copies: int = 3
    n_controls: int = 3
    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    n_features: int | None = None
    features: tuple[FeatureId, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class InterveneHead:
    """What was tested in one head: pairs with a distractor key, those tested, those confirmed."""

    layer: int
    head: int
    n_pairs: int
    n_tested: int
    n_confirmed: int
    n_passes: int


@dataclass(frozen=True)
class InterveneResult:
    """What was tested, head by head."""

    heads: list[InterveneHead] = field(default_factory=list)


@dataclass(frozen=True)
class _Pair:
    """A rule to test, with the tokens to insert; None where there is none."""

    feature: int
    pair: int
    key: int
    query: int
    distractor: int
    token: int | None
    controls: tuple[int, ...]

    @property
    def status(self) -> str:
        if self.token is None:
            return "no distractor token"
        return "tested" if self.controls else "no neutral token"


@dataclass(frozen=True)
class _Example:
    """A sequence to change: where key and query stand, and where distractor, key or query are active."""

    kind: str
    seq_id: int
    key_pos: int
    query_pos: int
    distractor_positions: frozenset[int]
    other_positions: frozenset[int]


class Trials:
    """Forward passes to be made, and the rows of `interventions` that they become."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Any]] = defaultdict(list)
        self._marks: dict[str, list[list[int]]] = {"keys": [], "changed": []}
        self._rows: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        tokens: Array,
        query_pos: int,
        *,
        keys: list[int],
        changed: list[int],
        probe: int,
        row: dict[str, Any],
    ) -> None:
        """Add a pass on `tokens`, read at `query_pos`; `row` is what else `interventions` says of it."""
        self._columns["tokens"].append(tokens)
        self._columns["query_pos"].append(query_pos)
        self._columns["feature"].append(row["feature"])
        self._columns["probe"].append(probe)
        self._marks["keys"].append(keys)
        self._marks["changed"].append(changed)
        self._rows.append(row)

    def run(self, laboratory: Laboratory, layer: int, head: int) -> list[dict[str, Any]]:
        """Make the passes and return the rows, readings included."""
        if not self._rows:
            return []
        arrays: dict[str, Array] = {name: np.array(values) for name, values in self._columns.items()}
        for name, positions in self._marks.items():
            mask = np.zeros(arrays["tokens"].shape, dtype=bool)
            trial = np.repeat(np.arange(len(positions)), [len(p) for p in positions])
            mask[trial, [p for of_trial in positions for p in of_trial]] = True
            arrays[name] = mask
        readings = laboratory.measure(layer, head, arrays)
        names = {
            "activation": "activation",
            "attention_to_key": "attention_to_key",
            "attention_to_changed": "attention_to_changed",
            "probe_activation": "distractor_activation",
        }
        for name, column in names.items():
            for row, value in zip(self._rows, readings[name].tolist(), strict=True):
                row[column] = None if np.isnan(value) else value
        return self._rows


def insert(tokens: Array, inserted: list[int]) -> Array:
    """Put tokens right after BOS and drop as many from the end: [seq_len]."""
    return np.concatenate([tokens[:1], np.array(inserted, dtype=tokens.dtype), tokens[1:]])[: len(tokens)]


def intervene(
    warehouse: Warehouse,
    spec: InterveneSpec,
    laboratory: Laboratory,
    report: Callable[[str], None] = lambda _: None,
) -> InterveneResult:
    """Test absence rules on the model; each head is stored in a transaction of its own.

    Earlier outcomes of the same features and scaling are replaced. Raises `AttnRulesError` when no absence
    rules were mined, `UsageError` for a head or feature that is not in the warehouse.
    """
    _validate(spec)
    n_sequences = finished_sequences(warehouse)
    heads = choose_heads(warehouse, spec.layers, spec.heads, spec.features)
    if not warehouse.value(
        "SELECT count(*) FROM distractors WHERE scaling = $scaling", {"scaling": spec.scaling}
    ):
        raise AttnRulesError(
            f"{warehouse.path}: holds no distractors of {spec.scaling} scaling; run `attnrules mine absence`"
            " first"
        )
    bootstrap = SequenceBootstrap(n_sequences, spec.seed)
    result = InterveneResult()
    with warehouse.run("intervene", asdict(spec)) as run_id:
        for layer, head in heads:
            report(f"L{layer}H{head}")
            features = features_of(warehouse, layer, head, spec.n_features, spec.features, spec.seed)
            with warehouse.transaction():
                result.heads.append(
                    _test_head(warehouse, spec, laboratory, layer, head, features.tolist(), bootstrap, run_id)
                )
    return result


def _validate(spec: InterveneSpec) -> None:
    if spec.scaling not in SCALINGS:
        raise UsageError(f"--scaling {spec.scaling}: must be one of {', '.join(SCALINGS)}")
    for option in ("n_examples", "copies", "n_controls"):
        if getattr(spec, option) < 1:
            raise UsageError(f"--{option.removeprefix('n_')}: must be at least 1")


def _test_head(
    warehouse: Warehouse,
    spec: InterveneSpec,
    laboratory: Laboratory,
    layer: int,
    head: int,
    features: list[int],
    bootstrap: SequenceBootstrap,
    run_id: int,
) -> InterveneHead:
    chosen: dict[str, object] = {
        "layer": layer,
        "head": head,
        "scaling": spec.scaling,
        "features": features,
    }
    pairs = _pairs(warehouse, spec, laboratory, chosen)
    seq_len = warehouse.value("SELECT seq_len FROM corpus")
    warehouse.execute(
        statement("make_test_examples"),
        {**chosen, "seq_len": seq_len, "n_examples": spec.n_examples, "seed": spec.seed},
    )
    examples: dict[tuple[int, int], list[_Example]] = defaultdict(list)
    for feature, pair, *example in warehouse.rows(statement("test_examples"), {"layer": layer}):
        kind, seq_id, key_pos, query_pos, distractors, others = example
        examples[feature, pair].append(
            _Example(kind, seq_id, key_pos, query_pos, frozenset(distractors or ()), frozenset(others or ()))
        )
    sequences = sequence_tokens(warehouse, {e.seq_id for of_pair in examples.values() for e in of_pair})
    trials = Trials()
    for pair in pairs:
        if pair.status == "tested":
            for example in examples[pair.feature, pair.pair]:
                tokens = sequences[example.seq_id]
                if example.kind == "no_distractor":
                    _add_insertions(trials, pair, example, tokens, spec.copies)
                else:
                    _add_replacements(trials, pair, example, tokens)
    rows = trials.run(laboratory, layer, head)
    by_pair: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_pair[row["feature"], row["pair"]].append(row)
    tests = [
        {
            **_judge(pair, by_pair[pair.feature, pair.pair], bootstrap),
            "feature": pair.feature,
            "pair": pair.pair,
        }
        for pair in pairs
    ]
    same = {"layer": layer, "head": head, "scaling": spec.scaling, "run_id": run_id}
    for table, new in (("interventions", rows), ("absence_tests", tests)):
        warehouse.execute(statement(f"delete_{table}"), chosen)
        if new:
            warehouse.append(table, _table(new, same))
    return InterveneHead(
        layer,
        head,
        n_pairs=len(pairs),
        n_tested=sum(test["status"] == "tested" for test in tests),
        n_confirmed=sum(test["confirmed"] for test in tests),
        n_passes=len(rows),
    )


def _table(rows: list[dict[str, Any]], same: dict[str, object]) -> pa.Table:
    import pyarrow as pa

    names = dict.fromkeys(name for row in rows for name in row)
    return pa.Table.from_pylist([{**{name: row.get(name) for name in names}, **same} for row in rows])


def sequence_tokens(warehouse: Warehouse, sequences: Iterable[int]) -> dict[int, Array]:
    """Return the token ids [seq_len] of each sequence."""
    columns = warehouse.connection.execute(
        statement("sequence_tokens"), {"sequences": sorted(sequences)}
    ).fetchnumpy()
    tokens = columns["token_id"].astype(np.int64)
    ids, starts = np.unique(columns["seq_id"], return_index=True)
    return dict(zip(ids.tolist(), np.split(tokens, starts[1:]), strict=True))


# --- which tokens ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class TokenStatistics:
    """How often tokens occur, and on which of them input features fire.

    Arguments:
        tokens, counts: token ids that occur after BOS, ascending, and how often.
        activation: per input feature, the tokens it fires on with its summed activation.
    """

    tokens: Array
    counts: Array
    activation: dict[int, dict[int, float]]

    @classmethod
    def read(cls, warehouse: Warehouse, layer: int, features: Iterable[int]) -> TokenStatistics:
        """Read the statistics of these input features of a layer."""
        counts = warehouse.connection.execute(statement("token_counts")).fetchnumpy()
        activation: dict[int, dict[int, float]] = defaultdict(dict)
        for feature, token, amount in warehouse.rows(
            statement("feature_tokens"), {"layer": layer, "features": sorted(set(features))}
        ):
            activation[feature][token] = amount
        return cls(counts["token_id"].astype(np.int64), counts["n"].astype(np.int64), activation)

    def count(self, token: int) -> int:
        """Return how often a token occurs."""
        place = np.searchsorted(self.tokens, token)
        return int(self.counts[place]) if place < len(self.tokens) and self.tokens[place] == token else 0

    def strongest(self, feature: int) -> int | None:
        """Return the token on which a feature fires most: its mean activation over all occurrences.

        A few occurrences without activation are added, so that a token seen once does not win by luck.
        """
        of_feature = self.activation.get(feature)
        if not of_feature:
            return None
        return min(
            of_feature, key=lambda token: (-of_feature[token] / (self.count(token) + _SHRINKAGE), token)
        )

    def neutral(self, token: int, features: Iterable[int], n: int) -> tuple[int, ...]:
        """Return up to n tokens nearest in frequency to `token` on which none of `features` ever fires."""
        excluded = {token, *(t for feature in features for t in self.activation.get(feature, ()))}
        usable = ~np.isin(self.tokens, list(excluded)) & (self.counts >= _OCCURRENCES_OF_NEUTRAL)
        distance = np.abs(np.log(self.counts[usable]) - np.log(max(1, self.count(token))))
        nearest = np.lexsort((self.tokens[usable], distance))[:n]
        return tuple(self.tokens[usable][nearest].tolist())


def token_of_feature(
    laboratory: Laboratory, statistics: TokenStatistics, layer: int, features: list[int]
) -> dict[int, int | None]:
    """Return the token that stands for each input feature.

    In layer 0 the one whose embedding excites it most (METHOD.md section 6), None where a position does more.
    Above, embeddings say nothing of what enters the layer: there the one on which it fires most in the
    corpus.
    """
    if not features:
        return {}
    if layer == 0:
        return dict(zip(features, laboratory.exciting_tokens(0, np.array(features)), strict=True))
    return {feature: statistics.strongest(feature) for feature in features}


def _pairs(
    warehouse: Warehouse, spec: InterveneSpec, laboratory: Laboratory, chosen: dict[str, object]
) -> list[_Pair]:
    layer = int(str(chosen["layer"]))
    rows = warehouse.rows(statement("testable_pairs"), chosen)
    statistics = TokenStatistics.read(warehouse, layer, {i for row in rows for i in row[2:]})
    tokens = token_of_feature(laboratory, statistics, layer, sorted({row[4] for row in rows}))
    pairs = []
    for feature, pair, key, query, distractor in rows:
        token = tokens[distractor]
        controls = (
            () if token is None else statistics.neutral(token, (key, query, distractor), spec.n_controls)
        )
        pairs.append(_Pair(feature, pair, key, query, distractor, token, controls))
    return pairs


# --- changed sequences -----------------------------------------------------------------------------


def _row(
    pair: _Pair, example: _Example, experiment: str, arm: str, token: int | None, n: int
) -> dict[str, Any]:
    return {
        "feature": pair.feature,
        "pair": pair.pair,
        "experiment": experiment,
        "arm": arm,
        "seq_id": example.seq_id,
        "query_pos": example.query_pos,
        "key_pos": example.key_pos,
        "n_key": 0,
        "n_changed": n,
        "token_id": token,
    }


def _add_insertions(trials: Trials, pair: _Pair, example: _Example, tokens: Array, copies: int) -> None:
    arms = [("none", pair.token, 0)]
    for n in range(1, copies + 1):
        arms += [("distractor", pair.token, n), *(("control", token, n) for token in pair.controls)]
    for arm, token, n in arms:
        if example.query_pos + n < len(tokens) and token is not None:
            trials.add(
                insert(tokens, [token] * n),
                example.query_pos + n,
                # A key at BOS stays where it is.
                keys=[example.key_pos + n if example.key_pos else 0],
                changed=list(range(1, n + 1)),
                probe=pair.distractor,
                row=_row(pair, example, "insertion", arm, token if n else None, n),
            )


def _add_replacements(trials: Trials, pair: _Pair, example: _Example, tokens: Array) -> None:
    """Replace the distractors, and elsewhere as many other tokens, each as near to a distractor as can be."""
    replaced = sorted(example.distractor_positions - example.other_positions - {0})
    free = set(range(1, example.query_pos)) - example.distractor_positions - example.other_positions
    if not replaced or len(free) < len(replaced):
        return
    others = []
    for position in replaced:
        nearest = min(free, key=lambda p: (abs(p - position), p))
        others.append(nearest)
        free.remove(nearest)
    token = pair.controls[0]
    for arm, positions in (("none", []), ("distractor", replaced), ("control", sorted(others))):
        changed = tokens.copy()
        changed[positions] = token
        trials.add(
            changed,
            example.query_pos,
            keys=[example.key_pos],
            changed=positions,
            probe=pair.distractor,
            row=_row(pair, example, "replacement", arm, token if positions else None, len(positions)),
        )


# --- what the outcome says -------------------------------------------------------------------------


def _judge(pair: _Pair, rows: list[dict[str, Any]], bootstrap: SequenceBootstrap) -> dict[str, Any]:
    """Return the row of `absence_tests`, less what is the same for the whole head."""
    inserted = [row for row in rows if row["experiment"] == "insertion"]
    replaced = [row for row in rows if row["experiment"] == "replacement"]
    status = pair.status if inserted or pair.status != "tested" else "no active example"
    test: dict[str, Any] = {
        "status": status,
        "distractor_token_id": pair.token,
        "control_token_ids": list(pair.controls),
        "n_examples": 0,
        "n_replaced": 0,
        "confirmed": False,
    }
    if status == "tested":
        test |= _judge_insertions(inserted, bootstrap)
    if replaced:
        test |= _judge_replacements(replaced, bootstrap)
    return test


def _judge_insertions(rows: list[dict[str, Any]], bootstrap: SequenceBootstrap) -> dict[str, Any]:
    sequences = sorted({row["seq_id"] for row in rows})
    unchanged = {row["seq_id"]: row["activation"] for row in rows if row["arm"] == "none"}

    def of(arm: str, column: str, by: Callable[[dict[str, Any]], Any]) -> dict[Any, float]:
        groups = defaultdict(list)
        for row in rows:
            if row["arm"] == arm:
                groups[by(row)].append(row[column])
        return {group: float(np.mean(values)) for group, values in groups.items()}

    def fall(activation: dict[Any, float]) -> Array:
        return np.array([unchanged[seq] - activation[seq] for seq in sequences])

    def by_copies(arm: str) -> list[float]:
        means = of(arm, "activation", lambda row: row["n_changed"])
        return [float(np.mean(list(unchanged.values()))), *(means[n] for n in sorted(means))]

    everything = lambda _: None  # noqa: E731
    by_sequence = {arm: of(arm, "activation", lambda row: row["seq_id"]) for arm in ("distractor", "control")}
    falls, control_falls = fall(by_sequence["distractor"]), fall(by_sequence["control"])
    excess = falls - control_falls
    ids = np.array(sequences, dtype=np.int64)
    low, high = bootstrap.mean_interval(ids, falls) or (None, None)
    excess_low, excess_high = bootstrap.mean_interval(ids, excess) or (None, None)
    fires = [row["distractor_activation"] > 0 for row in rows if row["arm"] == "distractor"]
    lowest_control = min(of("control", "activation", lambda row: row["token_id"]).values())
    distractor = of("distractor", "activation", everything)[None]
    return {
        "n_examples": len(sequences),
        "distractor_activations": by_copies("distractor"),
        "control_activations": by_copies("control"),
        "distractor_fires": float(np.mean(fires)),
        "key_attention": of("none", "attention_to_key", everything)[None],
        "key_attention_distractor": of("distractor", "attention_to_key", everything)[None],
        "key_attention_control": of("control", "attention_to_key", everything)[None],
        "inserted_attention_distractor": of("distractor", "attention_to_changed", everything)[None],
        "inserted_attention_control": of("control", "attention_to_changed", everything)[None],
        "fall": float(falls.mean()),
        "fall_low": low,
        "fall_high": high,
        "control_fall": float(control_falls.mean()),
        "excess_fall": float(excess.mean()),
        "excess_low": excess_low,
        "excess_high": excess_high,
        "confirmed": bool(
            low is not None
            and excess_low is not None
            and low > 0
            and excess_low > 0
            and distractor < lowest_control
        ),
    }


def _judge_replacements(rows: list[dict[str, Any]], bootstrap: SequenceBootstrap) -> dict[str, Any]:
    activation = {(row["seq_id"], row["arm"]): row["activation"] for row in rows}
    sequences = np.array(sorted({row["seq_id"] for row in rows}), dtype=np.int64)
    none, distractor, control = (
        np.array([activation[seq, arm] for seq in sequences.tolist()])
        for arm in ("none", "distractor", "control")
    )
    excess = distractor - control
    low, high = bootstrap.mean_interval(sequences, excess) or (None, None)
    return {
        "n_replaced": len(sequences),
        "rise": float((distractor - none).mean()),
        "control_rise": float((control - none).mean()),
        "excess_rise": float(excess.mean()),
        "excess_rise_low": low,
        "excess_rise_high": high,
    }
