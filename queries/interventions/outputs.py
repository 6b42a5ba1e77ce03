"""What features make the model say, tested on it (method.md section 12.3): a contribution is taken away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from attnrules.errors import AttnRulesError
from attnrules.queries.arrays import Floats, Ints
from attnrules.queries.evaluation import SequenceBootstrap
from attnrules.queries.heads import HeadRun, Run, Spec
from attnrules.queries.heads.run import OUTPUT_EXAMPLES_SALT
from attnrules.queries.interventions.trials import Array, Laboratory, append_rows, sequence_tokens
from attnrules.sql import Statements, head_name

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "interventions")

# Tokens watched of each kind: by weights, in the corpus, at random.
N_TOKENS = 10
_UNTESTED = dict.fromkeys(
    ("n_examples", "n_controlled", "n_tokens", "n_confirmed", "n_random", "n_random_confirmed"), 0
)
# A raise below this many nats is rounding or idle, however certain.
_NEGLIGIBLE = 0.01


@dataclass(frozen=True)
class OutputSpec(Spec):
    """How to test what features make the model say.

    Arguments:
        n_examples: active positions, per feature, each in a sequence of its own.
    """

    n_examples: int = 20


@dataclass(frozen=True)
class OutputHead:
    """What was tested in one head.

    Arguments:
        n_features, n_tested: asked for, and of them tested. n_saying: of these, with a token confirmed.
        n_tokens, n_confirmed: tokens watched, and of them confirmed. n_random, n_random_confirmed: the same
            of tokens drawn at random. n_passes: sequences run.
    """

    layer: int
    head: int
    n_features: int
    n_tested: int
    n_saying: int
    n_tokens: int
    n_confirmed: int
    n_random: int
    n_random_confirmed: int
    n_passes: int


@dataclass(frozen=True)
class OutputResult:
    """What was tested, head by head."""

    heads: list[OutputHead] = field(default_factory=list)


def intervene_on_outputs(
    warehouse: Warehouse,
    spec: OutputSpec,
    laboratory: Laboratory,
    report: Callable[[str], None] = lambda _: None,
) -> OutputResult:
    """Test on the model what output features make it say; each head is stored in a transaction of its own.

    Earlier outcomes of the same features are replaced. Raises `AttnRulesError` when the effects on the logits
    are not stored or the model has none, `UsageError` for a head or feature that is not in the warehouse.
    """
    run = asked_of_outputs(warehouse, spec)
    bootstrap = SequenceBootstrap(spec.seed)
    common = np.array([token for token, _ in warehouse.rows(step("token_counts"))])

    def test(here: HeadRun[OutputSpec]) -> OutputHead:
        return _test_head(here, laboratory, bootstrap, common)

    return OutputResult(run.over_heads(test, report))


def asked_of_outputs(warehouse: Warehouse, spec: OutputSpec) -> Run[OutputSpec]:
    """Return the run that tests what features say; raises what `intervene_on_outputs` raises before it."""
    spec.refuse_out_of_bounds("n_examples")
    run = Run.as_asked(warehouse, "intervene --outputs", spec)
    _refuse_without_effects(warehouse, run)
    return run


def _refuse_without_effects(warehouse: Warehouse, run: Run[OutputSpec]) -> None:
    status = warehouse.value("SELECT status FROM unembedding")
    if status not in (None, "usable"):
        raise AttnRulesError(f"{warehouse.path}: what features say cannot be tested: {status}")
    known = set(warehouse.rows("SELECT DISTINCT layer, head FROM output_effects"))
    for layer, head, _ in run.heads:
        if (layer, head) not in known:
            raise AttnRulesError(
                f"{warehouse.path}: does not know what the features of {head_name(layer, head)} write; run"
                " the same `attnrules ingest` again, which adds it"
            )


def _test_head(
    here: HeadRun[OutputSpec], laboratory: Laboratory, bootstrap: SequenceBootstrap, common: Ints
) -> OutputHead:
    chosen = {**here.at, "features": here.features.tolist()}
    draw = {"n_examples": here.spec.n_examples, "seed": here.spec.seed + OUTPUT_EXAMPLES_SALT}
    examples = here.warehouse.rows(step("output_examples"), {**chosen, **draw})
    watched = _watched(here, chosen, common)
    norms = dict(here.warehouse.rows(step("write_norms"), chosen))
    readings = _run(here, laboratory, examples, watched) if examples else {}
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, (feature, *_) in enumerate(examples):
        rows_of[feature].append(row)
    tests, token_tests = [], []
    for feature in here.features.tolist():
        test: dict[str, Any] = {"feature": feature, **_UNTESTED}
        if rows := rows_of[feature]:
            of_feature = {name: column[rows] for name, column in readings.items()}
            outcome, of_tokens = _judge(of_feature, watched[feature], bootstrap)
            test |= outcome
            token_tests += [{"feature": feature, **of_token} for of_token in of_tokens]
        else:
            test["status"] = "no effect" if norms[feature] == 0 else "never active"
        tests.append(test)
    for table, new in (("output_tests", tests), ("output_token_tests", token_tests)):
        here.warehouse.execute(step(f"delete_{table}"), chosen)
        append_rows(here.warehouse, table, new, {**here.at, "run_id": here.run_id})
    here.warehouse.renew_right_sides(**here.at)
    return _summary(here, tests, 3 * len(examples))


def _watched(here: HeadRun[OutputSpec], chosen: dict[str, Any], common: Ints) -> dict[int, dict[int, str]]:
    """Return the tokens to watch of each feature, and why each is; some of `common` at random too."""
    watched: dict[int, dict[int, str]] = {feature: {} for feature in chosen["features"]}
    for feature, token, why in here.warehouse.rows(step("watched_tokens"), {**chosen, "n_tokens": N_TOKENS}):
        watched[feature][token] = why
    for feature, tokens in watched.items():
        rng = np.random.default_rng((here.spec.seed, here.layer, abs(here.head), feature))
        others = np.setdiff1d(common, list(tokens))
        drawn = rng.choice(others, min(N_TOKENS, len(others)), replace=False)
        tokens |= dict.fromkeys(drawn.tolist(), "random")
    return watched


def _run(
    here: HeadRun[OutputSpec],
    laboratory: Laboratory,
    examples: list[tuple[Any, ...]],
    watched: dict[int, dict[int, str]],
) -> dict[str, Array]:
    """Run the model on examples [n]: its readings, of the next token first, and facts of the examples."""
    feature, seq_id, pos, activation, next_token, control, control_activation = (
        np.array(column) for column in zip(*examples, strict=True)
    )
    has_control = np.array([value is not None for value in control])
    tokens = sequence_tokens(here.warehouse, set(seq_id.tolist()))
    ids = np.full((len(examples), 1 + max(map(len, watched.values()))), -1)
    ids[:, 0] = next_token
    for row, of_feature in enumerate(feature.tolist()):
        ids[row, 1 : 1 + len(watched[of_feature])] = list(watched[of_feature])
    trials = {
        "tokens": np.stack([tokens[sequence] for sequence in seq_id.tolist()]),
        "query_pos": pos,
        "feature": feature,
        "activation": activation,
        "control": np.where(has_control, control, -1).astype(np.int64),
        "control_activation": np.where(has_control, control_activation, 0).astype(np.float64),
        "watched": ids,
    }
    readings = laboratory.log_probabilities(here.layer, here.head, trials)
    return {**readings, "seq_id": seq_id, "activation": activation}


def _judge(
    readings: dict[str, Array], watched: dict[int, str], bootstrap: SequenceBootstrap
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the rows of `output_tests` and `output_token_tests`, less feature and run, of one feature."""
    raised = (readings["as_is"] - readings["removed"])[:, : 1 + len(watched)]
    excess = raised - (readings["as_is"] - readings["controlled"])[:, : 1 + len(watched)]
    controlled = ~np.isnan(excess[:, 0])
    sequences = readings["seq_id"]

    def of(columns: Ints) -> dict[str, Any]:
        means = raised[:, columns].mean(axis=1), excess[controlled][:, columns].mean(axis=1)
        return {
            **_mean("raise", sequences, means[0], bootstrap),
            **_mean("excess", sequences[controlled], means[1], bootstrap),
        }

    tokens = []
    for place, (token, why) in enumerate(watched.items(), 1):
        found = of(np.array([place]))
        confirmed = all((found[end] or 0) > _NEGLIGIBLE for end in ("raise_low", "excess_low"))
        tokens.append({"token_id": token, "watched": why, **found, "confirmed": confirmed})
    promoted = [place for place, why in enumerate(watched.values(), 1) if why in ("weights", "both")]
    figures = {"next": of(np.array([0])), **({"promoted": of(np.array(promoted))} if promoted else {})}
    test = {
        "status": "tested",
        "n_examples": len(sequences),
        "n_controlled": int(controlled.sum()),
        "mean_activation": float(readings["activation"].mean()),
        "final_scale": float(readings["final_scale"].mean()),
        **{f"{what}_{name}": value for what, row in figures.items() for name, value in row.items()},
        **_counts(tokens),
    }
    return test, tokens


def _counts(tokens: list[dict[str, Any]]) -> dict[str, int]:
    found = dict.fromkeys(("n_tokens", "n_confirmed", "n_random", "n_random_confirmed"), 0)
    for token in tokens:
        of_random = token["watched"] == "random"
        found["n_random" if of_random else "n_tokens"] += 1
        found["n_random_confirmed" if of_random else "n_confirmed"] += token["confirmed"]
    return found


def _mean(name: str, sequences: Ints, values: Floats, bootstrap: SequenceBootstrap) -> dict[str, Any]:
    """Return a mean over sequences with its interval, NULL where there are none, or too few."""
    low, high = bootstrap.mean_interval(sequences, values) or (None, None)
    mean = float(values.mean()) if len(values) else None
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def _summary(here: HeadRun[OutputSpec], tests: list[dict[str, Any]], n_passes: int) -> OutputHead:
    counts = ("n_tokens", "n_confirmed", "n_random", "n_random_confirmed")
    return OutputHead(
        **here.at,
        n_features=len(tests),
        n_tested=sum(test["status"] == "tested" for test in tests),
        n_saying=sum(test["n_confirmed"] > 0 for test in tests),
        **{name: sum(test[name] for test in tests) for name in counts},
        n_passes=n_passes,
    )
