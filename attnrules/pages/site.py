"""The static site: one folder per head, one page per feature, assets beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from attnrules.commands.describe import methods
from attnrules.errors import UsageError
from attnrules.pages import figures, wording
from attnrules.pages.examples import arcs, shaded, waterfall
from attnrules.queries.heads import FeatureId, refuse_unknown_feature
from attnrules.queries.pages import HeadPages, Site, head_pages, methods_compared, site
from attnrules.queries.pages.gathering import RECURRING, shown_query
from attnrules.sql import head_name
from attnrules.sql.methods import METHODS
from attnrules.warehouse import describe

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

Row = dict[str, Any]
# Features of a head in a notebook.
_BEST = 20
_TABLE_COLUMNS = (
    *("feature", "n_tokens", "description", "says", "n_rules_used", "precision", "recall"),
    *("average_precision", "ceiling_average_precision", "statement"),
)


@dataclass(frozen=True)
class Written:
    """What was written: pages of heads and of features, and their bytes."""

    n_heads: int
    n_features: int
    n_bytes: int


def write_site(
    warehouse: Warehouse,
    folder: Path,
    *,
    features: Iterable[FeatureId] = (),
    report: Callable[[str], None] = lambda _: None,
) -> Written:
    """Write the pages of a warehouse to `folder`, which must be empty or not exist.

    Arguments:
        features: those that get a page; every feature with rules where empty. report: is told each head.

    The folder appears when all of it is written. Raises `UsageError` for a folder that holds something or a
    feature that never fires or does not exist.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: is not an empty folder; name a new one")
    chosen = list(features)
    for feature in chosen:
        refuse_unknown_feature(warehouse, feature)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        written = _write(warehouse, unfinished, chosen, report)
        unfinished.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return written


def _write(
    warehouse: Warehouse, folder: Path, features: list[FeatureId], report: Callable[[str], None]
) -> Written:
    pages = environment()
    first = site(warehouse)
    for asset in resources.files("attnrules.pages").joinpath("assets").iterdir():
        _put(folder / "assets" / asset.name, asset.read_text("utf-8"))
    _put(folder / "index.html", first_page(pages, warehouse, first))
    n_features = 0
    chosen = {(head_name(f.layer, f.head), f.feature) for f in features}
    has_page = lambda head, feature: not chosen or (head, feature) in chosen  # noqa: E731
    for row in first.heads:
        at = row["layer"], row["head"]
        report(row["name"])
        asked = [f.feature for f in features if (f.layer, f.head) == at] if features else None
        found = head_pages(warehouse, *at, asked)
        if unknown := set(asked or ()) - set(found.shown):
            raise UsageError(f"{row['name']}.{min(unknown)}: never fires, so that there is nothing to show")
        n_features += _write_head(pages, folder / row["name"], found, row, has_page)
    n_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Written(len(first.heads), n_features, n_bytes)


def environment(layout: str = "base.html") -> Environment:
    """Return the templates; every value that they show is escaped.

    Arguments:
        layout: what stands around a page; links and queries to copy are part of `base.html` alone.
    """
    found = Environment(
        loader=PackageLoader("attnrules.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"token": wording.token, "in_text": wording.in_text}
    found.filters |= {"condition": wording.condition, "first_tokens": wording.first_tokens}
    found.globals |= {
        "ROLES": wording.ROLES,
        "ATTENDED": wording.ATTENDED,
        "BANDS": wording.BANDS,
        "served": False,
    }
    found.globals |= {"layout": layout, "linked": layout == "base.html"}
    found.globals |= {"number": wording.number, "percent": wording.percent}
    # Of the others it is not stored where a list of them is right.
    found.globals["FAILING"] = {m.name for m in METHODS.values() if m.match_score in ("carried", "holds")}
    return found


def first_page(pages: Environment, warehouse: Warehouse, found: Site) -> str:
    """Return the page of the model, given what `site` returns."""
    compared = methods_compared(warehouse)
    layers: dict[int, list[Row]] = {}
    for row in found.heads:
        layers.setdefault(row["layer"], []).append(row)
    return pages.get_template("index.html").render(
        model=found.provenance,
        headline=found.headline,
        layers=layers,
        compared=figures.metrics(compared, "average precision by number of rules") if compared else None,
        query=lambda question: shown_query(question, {}),
        methods=methods(describe(warehouse)) if found.provenance else [],
        root="",
    )


def head_page(pages: Environment, found: HeadPages, row: Row) -> str:
    """Return the page of a head."""
    distances = {at["distance"]: at["share"] for at in found.distances}
    figure = figures.bars(
        [distances.get(d, 0.0) for d in range(17)],
        [str(d) for d in range(17)],
        what="share of the attention after BOS, by distance",
    )
    return pages.get_template("head.html").render(
        name=row["name"],
        summary=row,
        found=found,
        distances=figure if distances else None,
        entropy=found.distances[0]["entropy"] if found.distances else None,
        best=_best(found.features),
        recurring=RECURRING,
        query=lambda question, **more: shown_query(
            question, {"layer": found.layer, "head": found.head, **more}
        ),
        root="../",
    )


def _best(features: list[Row]) -> list[Row]:
    """Return the features that rules predict best, for a table that cannot be sorted or filtered."""
    return sorted(features, key=lambda of: (-(of["average_precision"] or 0.0), of["feature"]))[:_BEST]


def feature_page(
    pages: Environment,
    found: HeadPages,
    row: Row,
    has_page: Callable[[str, int], bool] = lambda _head, _feature: True,
) -> str:
    """Return the page of a feature; `has_page` says whether a feature of a head by name has one too."""
    feature = row["feature"]
    at = {"layer": found.layer, "head": found.head, "feature": feature}
    place = found.shown.index(feature)
    name = f"{head_name(found.layer, found.head)}.{feature}"
    return pages.get_template("feature.html").render(
        name=name,
        head=head_name(found.layer, found.head),
        facts=row,
        sentence=wording.lead(found, row),
        stated=_with_examples(found, feature),
        examples=_examples(found, feature),
        figures=_figures(found, row),
        part=lambda part: found.of(part, feature),
        methods=_methods(found.of("rules", feature)),
        keyed_method=found.keyed_method,
        has_page=has_page,
        absences=_absences(found, feature),
        counting=_counting(found, feature),
        outcomes=_outcomes(found, feature),
        query=lambda question, **more: shown_query(question, {**_asked(question, at), **more}),
        before=found.shown[place - 1] if place else None,
        after=found.shown[place + 1] if place + 1 < len(found.shown) else None,
        root="../",
    )


def _asked(question: str, at: dict[str, int]) -> dict[str, int | str]:
    kept = {"stated_rules": ("layer", "head"), "absence_by_head": (), "counting_rules": ()}
    return {name: at[name] for name in kept.get(question, tuple(at))}


def _write_head(
    pages: Environment, folder: Path, found: HeadPages, row: Row, has_page: Callable[[str, int], bool]
) -> int:
    _put(folder / "index.html", head_page(pages, found, row))
    _put(folder / "features.js", feature_table(found))
    shown = set(found.shown)
    for of in found.features:
        if of["feature"] in shown:
            _put(folder / f"{of['feature']}.html", feature_page(pages, found, of, has_page))
    return len(shown)


def feature_table(found: HeadPages) -> str:
    """Return the features of a head as a script, which the page of the head makes a table of."""
    shown = set(found.shown)
    rows = [
        {
            **{name: of[name] for name in _TABLE_COLUMNS},
            "page": of["feature"] in shown,
            "spark": found.sparks.get(of["feature"]),
        }
        for of in found.features
    ]
    return f"window.FEATURES = {json.dumps(rows, ensure_ascii=True)};\n"


def _with_examples(found: HeadPages, feature: int) -> list[Row]:
    examples = {row["rank"]: row for row in found.of("stated_examples", feature)}
    inputs = found.of("stated_inputs", feature)
    return [
        {
            **row,
            "example": examples.get(row["rank"]),
            "inputs": [of for of in inputs if of["rank"] == row["rank"]],
        }
        for row in found.of("stated", feature)
    ]


def _examples(found: HeadPages, feature: int) -> list[Row]:
    """Return the examples with the text around them, contributions as shares of the largest, -1 to 1."""
    tokens: dict[tuple[int, int], list[Row]] = {}
    for row in found.of("example_tokens", feature):
        tokens.setdefault((row["seq_id"], row["example_pos"]), []).append(row)
    return [
        {**row, "tokens": shaded(tokens[row["seq_id"], row["pos"]], row["pos"])}
        for row in found.of("examples", feature)
    ]


def _figures(found: HeadPages, row: Row) -> dict[str, Any]:
    feature = row["feature"]
    bins = {at["bin"]: at["n"] for at in found.of("histogram", feature)}
    width = (row["max_activation"] or 0.0) / 20
    back = {at["distance"]: at["attention"] for at in found.of("distances", feature)}
    anywhere = {at["distance"]: at["attention"] for at in found.anywhere}
    judged = found.of("metrics", feature)
    return {
        "histogram": figures.bars(
            [bins.get(at, 0) for at in range(20)],
            [f"{at * width:.2g}" for at in range(20)],
            what="number of activations by size",
        ),
        "distances": figures.bars(
            [back.get(at, 0.0) for at in range(17)],
            [str(at) for at in range(17)],
            beside=[anywhere.get(at, 0.0) for at in range(17)],
            what="attention by distance where the feature is active, lines: anywhere",
        ),
        "metrics": figures.metrics(judged, "average precision by number of rules") if judged else None,
        "parts": waterfall(found.of("parts", feature)),
        "arcs": _arcs(found, feature),
    }


def _arcs(found: HeadPages, feature: int) -> Markup | None:
    """Return the strongest example with arcs to what it attends to."""
    examples = found.of("examples", feature)
    if not examples:
        return None
    at = examples[0]["seq_id"], examples[0]["pos"]
    tokens = [row for row in found.of("example_tokens", feature) if (row["seq_id"], row["example_pos"]) == at]
    return arcs(tokens, at[1])


def _outcomes(found: HeadPages, feature: int) -> dict[str, list[Row]]:
    """Return the positions shown of each outcome of the best list that has any."""
    rows = found.of("outcomes", feature)
    kinds = {name: [row for row in rows if row["outcome"] == name] for name in ("hit", "false alarm", "miss")}
    return {name: of_kind for name, of_kind in kinds.items() if of_kind}


def _counting(found: HeadPages, feature: int) -> list[Row]:
    """Return the counting rules with their grids, by place: a row a number of keys."""
    grids: dict[tuple[str, int], dict[str, dict[tuple[int, int], Row]]] = {}
    for cell in found.of("counting_cells", feature):
        of_rule = grids.setdefault((cell["scaling"], cell["pair"]), {})
        of_rule.setdefault(cell["place"], {})[cell["n_key"], cell["n_opponent"]] = cell
    return [
        {
            **rule,
            "narrowing": _narrowing(found, feature, "counting", rule),
            "grids": {
                place: [
                    [cells.get((n, m)) for m in range(1 + max(m for _, m in cells))]
                    for n in range(1 + max(n for n, _ in cells))
                ]
                for place, cells in grids.get((rule["scaling"], rule["pair"]), {}).items()
            },
        }
        for rule in found.of("counting", feature)
    ]


def _narrowing(found: HeadPages, feature: int, kind: str, rule: Row) -> Row | None:
    """Return what a confirmed rule adds to a stated one as a condition."""
    place = (kind, rule["scaling"], rule["pair"])
    of_feature = found.of("narrowings", feature)
    return next((one for one in of_feature if (one["kind"], one["scaling"], one["pair"]) == place), None)


def _absences(found: HeadPages, feature: int) -> list[Row]:
    """Return the absence rules with their curves."""
    rows = []
    for row in found.of("absences", feature):
        curves = [
            (row["distractor_token"] or "distractor", row["distractor_activations"]),
            ("neutral tokens", row["control_activations"]),
        ]
        figure = None
        if row["distractor_activations"] and row["control_activations"]:
            named = [
                (wording.token(name) if at == 0 else name, values) for at, (name, values) in enumerate(curves)
            ]
            figure = figures.decay(named, "activation by number of tokens inserted")
        rows.append({**row, "figure": figure, "narrowing": _narrowing(found, feature, "absence", row)})
    return rows


def _methods(rows: list[Row]) -> dict[str, dict[int, list[Row]]]:
    """Return rules by method and rank."""
    found: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        name = f"{row['method'].replace('_', ' ')}, {row['scaling']} scaling"
        found.setdefault(name, {}).setdefault(row["rank"], []).append(row)
    return found


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
