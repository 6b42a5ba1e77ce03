"""Plots of a run, a feature or an example: charts of what named questions answer, for papers and notebooks.

altair draws them and vl-convert writes them, both of `pip install 'attnrules[plots]'`. A chart holds its few
rows itself, so that an HTML page of it needs no network.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnrules.errors import AttnRulesError, UsageError, closest
from attnrules.queries.questions import ask

if TYPE_CHECKING:
    import polars as pl

    from attnrules.warehouse import Warehouse

FORMATS = (".svg", ".png", ".html")
# A PNG has 2 dots for each of the chart's, 192 to the inch.
_OPTIONS: dict[str, dict[str, Any]] = {".png": {"scale_factor": 2.0}, ".html": {"inline": True}}
# Rows of a question that would answer with the first ones alone.
_EVERY_ROW = 1_000_000

# Draws with the module altair, from rows.
Draw = Callable[[Any, "pl.DataFrame"], Any]


@dataclass(frozen=True)
class Plot:
    """A chart of one question.

    Arguments:
        name: what it is called. title: what it shows. question: whose rows it draws. draw: how.
        lacking: what to run where there are no rows. parameters: of the question, where not its defaults.
    """

    name: str
    title: str
    question: str
    draw: Draw
    lacking: str
    parameters: Mapping[str, object] = field(default_factory=dict)


def draw(warehouse: Warehouse, name: str, parameters: Mapping[str, object] | None = None) -> Any:
    """Return the altair chart of a plot; `parameters` are those of its question.

    Raises `UsageError` for an unknown plot or parameter, `AttnRulesError` where altair is missing or the
    warehouse holds nothing to draw.
    """
    if name not in PLOTS:
        raise UsageError(f"no plot named {name!r}{closest(name, PLOTS)}; there are {', '.join(PLOTS)}")
    plot = PLOTS[name]
    altair = _library("altair")
    rows = ask(warehouse, plot.question, {**plot.parameters, **(parameters or {})}).pl()
    if rows.is_empty():
        raise AttnRulesError(f"{warehouse.path}: holds nothing to plot; run `attnrules {plot.lacking}` first")
    return plot.draw(altair, rows).properties(title=plot.title).configure_legend(symbolOpacity=1)


def write(chart: Any, path: Path) -> None:
    """Write a chart as `.svg`, `.png` or `.html`, by the name of the file; the page needs no network.

    Raises `UsageError` for another name, `AttnRulesError` where vl-convert is missing or the file cannot be
    written.
    """
    kind = check_format(path)
    _library("vl_convert")
    try:
        chart.save(str(path), format=kind[1:], **_OPTIONS.get(kind, {}))
    except OSError as error:
        raise AttnRulesError(f"{path}: cannot be written: {error.strerror or error}") from error


def check_format(path: Path) -> str:
    """Return the ending of a file that a chart can be written to; raises `UsageError` for another one."""
    if path.suffix not in FORMATS:
        raise UsageError(f"{path}: a plot is written to a file that ends in {', '.join(FORMATS)}")
    return path.suffix


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise AttnRulesError(
            "plots need altair and vl-convert; run `pip install 'attnrules[plots]'`"
        ) from error


def _by_number_of_rules(measure: str) -> Draw:
    """Return what draws a measure by number of rules and layer; what has no rules is a level."""

    def chart(altair: Any, rows: pl.DataFrame) -> Any:
        import polars as pl

        chosen = rows.filter(pl.col("measure") == measure)
        base = altair.Chart(chosen).encode(
            y=altair.Y("mean:Q", title=f"{measure}, mean over features"),
            color=altair.Color("method:N", sort=chosen["method"].unique(maintain_order=True).to_list()),
        )
        lists = base.transform_filter("datum.kind === 'rules'").encode(
            x=altair.X("n_rules:Q", title="rules", scale=altair.Scale(type="log", base=2))
        )
        band = lists.mark_area(opacity=0.15).encode(y="low:Q", y2="high:Q")
        levels = base.transform_filter("datum.kind !== 'rules'").mark_rule(strokeDash=[4, 3])
        return altair.layer(levels, band, lists.mark_line(point=True)).facet(
            column=altair.Column("layer:O", title="layer")
        )

    return chart


def _shares_by_head(shares: dict[str, str]) -> Draw:
    """Return what draws shares of the features of each head; `shares` maps columns to words."""

    words = list(shares.values())

    def chart(altair: Any, rows: pl.DataFrame) -> Any:
        long = rows.rename(shares).unpivot(words, index=["layer", "head"], variable_name="share of")
        return (
            altair.Chart(long)
            .mark_bar()
            .encode(
                x=altair.X("head:O"),
                xOffset=altair.XOffset("share of:N", sort=words),
                y=altair.Y("value:Q", title="share of features", axis=altair.Axis(format="%")),
                color=altair.Color("share of:N", sort=words),
                column=altair.Column("layer:O"),
            )
        )

    return chart


def _roles(altair: Any, rows: pl.DataFrame) -> Any:
    """Draw what each head attends to beyond its control, a cell per head and role."""
    import polars as pl

    beyond = rows.with_columns(
        layer=pl.col("head").str.extract(r"^L(\d+)H").cast(pl.Int32),
        number=pl.col("head").str.extract(r"H(\d+)$").cast(pl.Int32),
        beyond=pl.col("attention") - pl.col("control"),
    )
    return (
        altair.Chart(beyond)
        .mark_rect()
        .encode(
            x=altair.X("number:O", title="head"),
            y=altair.Y("layer:O", title="layer", sort="descending"),
            color=altair.Color("beyond:Q", title="beyond control", scale=altair.Scale(scheme="blues")),
            column=altair.Column("role:N"),
            tooltip=["head", "role", "attention", "control"],
        )
    )


def _of_lists(altair: Any, rows: pl.DataFrame) -> Any:
    """Draw how well each list of a feature predicts it, with intervals; what has no rules is a level."""
    base = altair.Chart(rows).encode(
        y=altair.Y("average_precision:Q", title="average precision on test"),
        color=altair.Color("method:N", sort=rows["method"].unique(maintain_order=True).to_list()),
        strokeDash=altair.StrokeDash(
            "kind:N",
            scale=altair.Scale(domain=["rules", "baseline", "ceiling"]),
            legend=altair.Legend(symbolType="stroke"),
        ),
        tooltip=["kind", "method", "scaling", "n_rules", "average_precision"],
    )
    lists = base.transform_filter("datum.kind === 'rules'").encode(
        x=altair.X("n_rules:Q", title="rules", scale=altair.Scale(type="log", base=2)), detail="scaling:N"
    )
    band = lists.mark_area(opacity=0.15).encode(y="average_precision_low:Q", y2="average_precision_high:Q")
    levels = base.transform_filter("datum.kind !== 'rules'").mark_rule()
    return altair.layer(levels, band, lists.mark_line(point=True))


def _by_distance(altair: Any, rows: pl.DataFrame) -> Any:
    """Draw how far back heads look where a feature is active, beside anywhere, a panel per head."""
    where = {"attention": "where it is active", "attention_everywhere": "anywhere"}
    long = rows.rename(where).unpivot(
        list(where.values()), index=["through_head", "distance"], variable_name="positions"
    )
    return (
        altair.Chart(long)
        .mark_line(point=True)
        .encode(
            x=altair.X("distance:Q", title="tokens back"),
            y=altair.Y("value:Q", title="attention"),
            color=altair.Color("positions:N", sort=list(where.values())),
            column=altair.Column("through_head:O", title="head"),
        )
    )


def _sources(altair: Any, rows: pl.DataFrame) -> Any:
    """Draw what each source contributes to the pre-activation at a position, in order of the text."""
    import polars as pl

    in_order = rows.sort("key_pos").with_columns(source=pl.format("{} {}", "key_pos", "token"))
    order = in_order["source"].unique(maintain_order=True).to_list()
    return (
        altair.Chart(in_order)
        .mark_bar()
        .encode(
            x=altair.X("source:N", title="position and token", sort=order),
            y=altair.Y("sum(contribution):Q", title="contribution"),
            color=altair.Color("through_head:O", title="head"),
            tooltip=["key_pos", "token", "through_head", "attention", "contribution"],
        )
    )


PLOTS: dict[str, Plot] = {
    plot.name: plot
    for plot in (
        Plot(
            "average_precision",
            "Average precision by number of rules",
            "methods_by_layer",
            _by_number_of_rules("average precision"),
            "mine skipgrams",
        ),
        Plot("f1", "F1 by number of rules", "methods_by_layer", _by_number_of_rules("F1"), "mine skipgrams"),
        Plot(
            "absence",
            "Features with absence rules, by head",
            "absence_by_head",
            _shares_by_head(
                {
                    "share_distractor_key": "a distractor by weights",
                    "share_confirmed": "confirmed, of those tested",
                    "share_confirmed_by_chance": "confirmed by chance",
                }
            ),
            "mine absence",
        ),
        Plot(
            "counting",
            "Features with counting rules, by head",
            "counting_by_head",
            _shares_by_head(
                {"share_with_rule": "a counting rule", "share_confirmed": "confirmed, of those tested"}
            ),
            "mine counting",
        ),
        Plot(
            "roles",
            "What heads attend to, beyond their control",
            "head_roles",
            _roles,
            "ingest",
            {"limit": _EVERY_ROW},
        ),
        Plot(
            "feature_metrics",
            "How well the rules of a feature predict it",
            "feature_metrics",
            _of_lists,
            "mine skipgrams",
        ),
        Plot(
            "feature_profile",
            "How far back the heads of a feature look",
            "feature_profile",
            _by_distance,
            "ingest",
            {"limit": _EVERY_ROW},
        ),
        Plot(
            "example_sources",
            "What each source contributes at a position",
            "example_sources",
            _sources,
            "ingest",
        ),
    )
}
"""Every plot by its name."""
