"""One output feature as polars frames, which a notebook shows as tables."""

from __future__ import annotations

from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

from attnrules.errors import UsageError
from attnrules.queries.card import FeatureCard, feature_card
from attnrules.queries.questions import ask

if TYPE_CHECKING:
    import polars as pl

    from attnrules.queries.heads import FeatureId
    from attnrules.warehouse import Warehouse

# More rows than any feature has.
_EVERY_ROW = 1_000_000_000


class FeatureFrames:
    """What is known of an output feature; every frame is asked for once and kept."""

    def __init__(self, warehouse: Warehouse, feature: FeatureId) -> None:
        """Raises `UsageError` when the warehouse does not hold the feature."""
        self._warehouse = warehouse
        self.id = feature
        self._card = feature_card(warehouse, feature)

    @property
    def card(self) -> FeatureCard:
        """What `attnrules show` shows."""
        return self._card

    @cached_property
    def stated(self) -> pl.DataFrame:
        """Stated rules, a row each, with how they do on test positions as they are read."""
        return self._frame("rules_as_read")

    @cached_property
    def rules(self) -> pl.DataFrame:
        """Every rule of every other method, a row each, with the descriptions of key and query."""
        return self._frame("rules_of_feature")

    @cached_property
    def examples(self) -> pl.DataFrame:
        """Where the feature is active, strongest first: seq_id, pos, activation, text before and after."""
        return self._frame("activations_in_context", limit=_EVERY_ROW)

    @cached_property
    def profile(self) -> pl.DataFrame:
        """How far back its heads look where it is active, and anywhere: a row per distance and head."""
        return self._frame("feature_profile", limit=_EVERY_ROW)

    def sources(self, example: int = 0) -> pl.DataFrame:
        """Return the positions attended to at the example of this number, with what each contributes.

        The example is a row of `examples`, from 0. Raises `UsageError` for one that there is not.
        """
        if not 0 <= example < self.examples.height:
            raise UsageError(f"{self.id}: has no example {example}; it has {self.examples.height}")
        seq_id, pos = self.examples.row(example)[:2]
        return self._frame("example_sources", seq_id=seq_id, pos=pos)

    def _frame(self, question: str, **parameters: object) -> pl.DataFrame:
        at = {"layer": self.id.layer, "head": self.id.head, "feature": self.id.feature}
        rows: pl.DataFrame = ask(self._warehouse, question, {**at, **parameters}).pl()
        return rows

    def __repr__(self) -> str:
        fires = ", ".join(repr(row["token"]) for row in self._card.fires_on)
        return f"{self.id}: fires on {fires or 'nothing'}; .rules, .stated, .examples, .sources(i), .profile"

    def _repr_html_(self) -> str:
        """Return the feature as a notebook shows it; polars escapes what tokens hold."""
        parts = (("stated rules", self.stated), ("strongest examples", self.examples))
        tables = [f"<h5>{title}</h5>{rows.head(5)._repr_html_()}" for title, rows in parts]
        return f"<h4>{escape(repr(self))}</h4>{''.join(tables)}"
