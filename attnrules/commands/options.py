"""Options and parameter types that commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from math import isnan
from pathlib import Path
from typing import Any

import click

from attnrules.errors import UsageError
from attnrules.spread import Spread

Decorator = Callable[[Any], Any]

warehouse_argument = click.argument(
    "warehouse", type=click.Path(path_type=Path, dir_okay=True), metavar="WAREHOUSE"
)


# Whole numbers end here: what is larger counts nothing, and columns hold no more.
MOST = 2**31 - 1
_PARAMETER = re.compile(r"(?P<name>\w+)(:(?P<type>[^=]+))?=(?P<value>.*)", re.DOTALL)
_WHOLE = re.compile(r"[0-9]{1,9}")
# More layers or heads than any model has.
_LONGEST_RANGE = 10_000


class Count(click.IntRange):
    """A whole number from a least one on."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        number = super().convert(value, param, ctx)
        if number > MOST:
            self.fail(f"{number} is larger than {MOST:,}", param, ctx)
        return number


class Amount(click.FloatRange):
    """A number between two others, which click says of NaN too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        number = super().convert(value, param, ctx)
        if isnan(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number


class Numbers(click.ParamType[tuple[int, ...]]):
    """Numbers and ranges, such as 0,3-5."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return the distinct numbers in ascending order."""
        if isinstance(value, tuple):
            return value
        found: set[int] = set()
        for part in str(value).split(","):
            first, dash, last = part.strip().partition("-")
            if not _WHOLE.fullmatch(first) or (dash and not _WHOLE.fullmatch(last)):
                self.fail(f"{value!r} is not a list of numbers such as 0,3-5", param, ctx)
            end = int(last) if dash else int(first)
            if end < int(first):
                self.fail(f"{part!r} runs backwards", param, ctx)
            if end - int(first) >= _LONGEST_RANGE:
                self.fail(f"{part!r} holds more than {_LONGEST_RANGE:,} numbers", param, ctx)
            found |= set(range(int(first), end + 1))
        return tuple(sorted(found))


layers_option = click.option("--layers", type=Numbers(), help="Layers, such as 0,3-5.  [all]")
heads_option = click.option("--heads", type=Numbers(), help="Heads, such as 0,1.  [all]")
through_option = click.option(
    "--heads",
    type=Numbers(),
    help="Heads, such as 0,1; of an SAE over a whole layer, those whose rules are meant.  [all]",
)
seed_option = click.option("--seed", type=Count(0), default=0, show_default=True)
revision_option = click.option("--revision", help="Revision of the model on the hub.")
output_sae_id_option = click.option("--output-sae-id", help="SAE id in the release, over {layer} and {head}.")
bos_keys_option = click.option("--bos-keys", is_flag=True, help="Let a key match at the BOS position.")
bos_features_option = click.option(
    "--bos-keys", is_flag=True, help="Let BOS, and features that fire there only, take part."
)


def ingested_sources_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where the ingested model and SAEs are, of commands that load them again."""
    options = (
        click.option("--model", help="The model that was ingested.  [where the ingest took it from]"),
        revision_option,
        click.option(
            "--input-sae", help="The input SAEs that were ingested.  [where the ingest took them from]"
        ),
        click.option("--input-sae-id", help="SAE id in the release."),
        click.option("--output-sae", help="The same for the per-head SAEs."),
        output_sae_id_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def features_option(default: str) -> Decorator:
    """Return `--features`, which `feature_options` reads."""
    return click.option(
        "--features",
        default=default,
        show_default=True,
        help="How many per head, all, or L0H3.17,L5.1234,...",
    )


def scaling_option(
    meaning: str = "Attention scores as in the paper, or as the model scales them.",
) -> Decorator:
    """Return `--scaling`."""
    return click.option(
        "--scaling",
        type=click.Choice(["paper", "model"]),
        default="paper",
        show_default=True,
        help=meaning,
    )


def pairs_option(meaning: str) -> Decorator:
    """Return `--pairs`: of how many (key, query) pairs of a feature distractors are sought."""
    return click.option("--pairs", type=Count(1), default=1, show_default=True, help=meaning)


def parameter_option(meaning: str) -> Decorator:
    """Return `-p KEY=VALUE`, as the argument `parameters`, which `named_values` reads."""
    return click.option("-p", "--parameter", "parameters", multiple=True, metavar="KEY=VALUE", help=meaning)


def named_values(texts: tuple[str, ...]) -> dict[str, tuple[str | None, str]]:
    """Read `key=value` and `key:type=value`: key to type, None where none is named, and value."""
    found: dict[str, tuple[str | None, str]] = {}
    for text in texts:
        match = _PARAMETER.fullmatch(text)
        if match is None:
            raise UsageError(f"-p {text}: write it as key=value")
        if match["name"] in found:
            raise UsageError(f"-p {text}: {match['name']} is given twice")
        found[match["name"]] = match["type"], match["value"]
    return found


def json_option(meaning: str) -> Decorator:
    """Return `--json`, as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=meaning)


def device_option(meaning: str) -> Decorator:
    """Return `--device`."""
    return click.option("--device", default="auto", show_default=True, help=meaning)


class BatchSize(click.ParamType[int | None]):
    """A number of sequences, or auto."""

    name = "number or auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Return the number, None for auto."""
        if value in ("auto", None):
            return None
        if not _WHOLE.fullmatch(str(value)) or not int(value):
            self.fail(f"{value!r} is neither a number nor auto", param, ctx)
        return int(value)


def batch_size_option(meaning: str) -> Decorator:
    """Return `--batch-size`."""
    return click.option("--batch-size", type=BatchSize(), default="auto", show_default=True, help=meaning)


class Size(click.ParamType[str]):
    """An amount of memory, such as 8GB or 25%."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it as DuckDB reads it."""
        size, share = r"[1-9]\d*(\.\d+)?\s*[MGT]i?B", r"(?!0+(\.0+)?%)\d{1,2}(\.\d+)?%"
        if not re.fullmatch(f"{size}|{share}", str(value), re.IGNORECASE):
            self.fail(f"{value!r} is not a size such as 8GB or 25%", param, ctx)
        return str(value)


memory_limit_option = click.option(
    "--memory-limit",
    type=Size(),
    metavar="SIZE",
    help="What DuckDB may hold before it spills to disk, such as 8GB.  [half of what the process may have]",
)


def spread_options(verb: str, what: str, workers: str) -> Decorator:
    """Return --workers, --slurm and --ray, as the argument `spread`: where `what` of a lake is worked on."""
    options = (
        click.option("--workers", type=Count(1), metavar="N", help=workers),
        click.option(
            "--slurm",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help=f"Write a script for sbatch that {verb}s {what} of a lake, and {verb} nothing here.",
        ),
        click.option(
            "--ray",
            metavar="ADDRESS",
            help=f"{verb.capitalize()} {what} of a lake on a Ray cluster: its address, or auto for the one"
            " that runs here.",
        ),
    )

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def spread(
            *arguments: Any, workers: int | None, slurm: Path | None, ray: str | None, **given: Any
        ) -> Any:
            return command(*arguments, spread=Spread(workers, slurm, ray), **given)

        decorated: Callable[..., Any] = spread
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def feature_options(features: str) -> dict[str, Any]:
    """Read `--features`: a number per head, `all`, or features; return it as fields of a spec."""
    from attnrules.queries.heads import parse_feature

    if features == "all":
        return {"n_features": None}
    if _WHOLE.fullmatch(features):
        if not int(features):
            raise click.BadParameter("must be at least 1", param_hint="--features")
        return {"n_features": int(features)}
    return {"features": tuple(parse_feature(part) for part in features.split(","))}
