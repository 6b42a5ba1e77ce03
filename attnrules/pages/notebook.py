"""What a notebook shows: the pages of the site as outputs of cells, without scripts, links or a network."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from jinja2 import Environment
from markupsafe import Markup

from attnrules.pages.examples import arcs, shaded, waterfall
from attnrules.pages.site import environment, feature_page, first_page, head_page
from attnrules.queries.pages import example_of, head_pages, site
from attnrules.sql import head_name

if TYPE_CHECKING:
    from attnrules.pages.tables import Table
    from attnrules.queries.heads import FeatureId
    from attnrules.warehouse import Warehouse


def model_html(warehouse: Warehouse) -> str:
    """Return the page of the model."""
    return first_page(_pages(), warehouse, site(warehouse))


def head_html(warehouse: Warehouse, summary: dict[str, Any]) -> str:
    """Return the page of a head, given its row of the heads of `site`."""
    return head_page(_pages(), head_pages(warehouse, summary["layer"], summary["head"], ()), summary)


def feature_html(warehouse: Warehouse, feature: FeatureId) -> str:
    """Return the page of a feature, one sentence for one that never fires."""
    found = head_pages(warehouse, feature.layer, feature.head, (feature.feature,))
    rows = [row for row in found.features if row["feature"] == feature.feature]
    if not rows:
        return str(Markup("<p>{}: never fires.</p>").format(feature))
    return feature_page(_pages(), found, rows[0])


def example_html(warehouse: Warehouse, feature: FeatureId, seq_id: int, pos: int) -> str:
    """Return one activation of a feature: its text, what it attends to, and what it is the sum of."""
    found = example_of(warehouse, feature, seq_id, pos)
    return (
        _pages()
        .get_template("example.html")
        .render(
            name=str(feature),
            head=head_name(feature.layer, feature.head),
            seq_id=seq_id,
            pos=pos,
            activation=found.activation,
            tokens=shaded(found.tokens, pos),
            arcs=arcs(found.tokens, pos),
            parts=found.parts,
            waterfall=waterfall(found.parts),
        )
    )


def rows_html(result: Table) -> str:
    """Return rows of any kind as a table."""
    return _pages().get_template("rows.html").render(result=result)


@lru_cache(maxsize=1)
def _pages() -> Environment:
    pages = environment("notebook.html")
    style = resources.files("attnrules.pages").joinpath("assets", "style.css").read_text("utf-8")
    pages.globals["style"] = Markup(style)
    return pages
