"""What a notebook works with: heads, features, examples and results, as frames and as pages of the site."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from attnrules.errors import UsageError
from attnrules.plots import draw
from attnrules.queries.card import FeatureCard, feature_card, feature_facts
from attnrules.queries.pages import features_of_head, site
from attnrules.queries.questions import ask
from attnrules.warehouse.relation import Relation, TableHandle

if TYPE_CHECKING:
    import polars as pl

    from attnrules.queries.heads import FeatureId
    from attnrules.warehouse import Warehouse

# More rows than any feature has.
_EVERY_ROW = 1_000_000_000
# Of a result in a notebook.
_SHOWN_ROWS = 10


class ShownRelation(Relation):
    """A relation that a notebook shows as a table of its first rows."""

    def _repr_html_(self) -> str:
        from attnrules.commands.output import as_text, distinct_names
        from attnrules.pages.notebook import rows_html
        from attnrules.pages.tables import Table

        rows = as_text(self).limit(_SHOWN_ROWS + 1).fetchall()
        shown = [list(row) for row in rows[:_SHOWN_ROWS]]
        return rows_html(Table(distinct_names(self.columns), shown, more=len(rows) > _SHOWN_ROWS))


class ShownTable(TableHandle):
    """A table or view that a notebook shows by its first rows."""

    def _repr_html_(self) -> str:
        shown: str = self._relation._repr_html_()
        return shown


class HeadFrames:
    """What is known of a head, or of a layer whose SAE reads all heads; every frame is asked for once."""

    def __init__(self, warehouse: Warehouse, name: str) -> None:
        """Raises `UsageError` when the warehouse does not hold a head of this name, such as `L2H1`."""
        heads = {row["name"]: row for row in site(warehouse).heads}
        wanted = name.strip().upper()
        if wanted not in heads:
            raise UsageError(f"{name}: not in this warehouse, which holds {', '.join(heads)}")
        self._warehouse = warehouse
        self.name = wanted
        self._summary = heads[wanted]

    @cached_property
    def features(self) -> pl.DataFrame:
        """The features that fire: what they fire on and say, their first stated rule, and their best list."""
        rows: pl.DataFrame = features_of_head(self._warehouse, **self._at).pl()
        return rows

    @cached_property
    def profile(self) -> pl.DataFrame:
        """How far back it looks: the share of its attention by distance.

        Raises `UsageError` for an SAE over a whole layer, whose heads look back each in their own way.
        """
        return self._frame("head_profile")

    @cached_property
    def keys(self) -> pl.DataFrame:
        """Input features that recur in the rules of its features, by the method `weighted`."""
        return self._frame("recurring_keys")

    @cached_property
    def conditions(self) -> pl.DataFrame:
        """What the stated rules of several of its features ask for: a token or input feature at a place."""
        return self._frame("recurring_conditions")

    @property
    def _at(self) -> dict[str, int]:
        return {"layer": self._summary["layer"], "head": self._summary["head"]}

    def _frame(self, question: str) -> pl.DataFrame:
        rows: pl.DataFrame = ask(self._warehouse, question, {**self._at, "limit": _EVERY_ROW}).pl()
        return rows

    def __repr__(self) -> str:
        return (
            f"{self.name}: {self._summary['n_firing']} features fire; .features, .profile, .keys, .conditions"
        )

    def _repr_html_(self) -> str:
        from attnrules.pages.notebook import head_html

        return head_html(self._warehouse, self._summary)


class Example:
    """One activation of a feature: a notebook shows its text, its sources and what it is the sum of."""

    def __init__(self, warehouse: Warehouse, feature: FeatureId, seq_id: int, pos: int) -> None:
        self._warehouse = warehouse
        self._feature = feature
        self.seq_id = seq_id
        self.pos = pos

    @cached_property
    def sources(self) -> pl.DataFrame:
        """The positions attended to, with what each contributes."""
        return self._frame("example_sources")

    @cached_property
    def rules(self) -> pl.DataFrame:
        """The rules that match here, with what each adds to the prediction of its list."""
        return self._frame("rules_here", limit=_EVERY_ROW)

    def plot_sources(self) -> Any:
        """Return the altair chart of what each source contributes."""
        return draw(self._warehouse, "example_sources", self._place)

    @property
    def _place(self) -> dict[str, int]:
        return {**asdict(self._feature), "seq_id": self.seq_id, "pos": self.pos}

    def _frame(self, question: str, **parameters: object) -> pl.DataFrame:
        rows: pl.DataFrame = ask(self._warehouse, question, {**self._place, **parameters}).pl()
        return rows

    def __repr__(self) -> str:
        frames = ".sources, .rules, .plot_sources()"
        return f"{self._feature} at position {self.pos} of sequence {self.seq_id}; {frames}"

    def _repr_html_(self) -> str:
        from attnrules.pages.notebook import example_html

        return example_html(self._warehouse, self._feature, self.seq_id, self.pos)


class FeatureFrames:
    """What is known of an output feature; every frame is asked for once and kept."""

    def __init__(self, warehouse: Warehouse, feature: FeatureId) -> None:
        """Raises `UsageError` when the warehouse does not hold the feature."""
        self._warehouse = warehouse
        self.id = feature
        self._facts = feature_facts(warehouse, feature)

    @cached_property
    def card(self) -> FeatureCard:
        """What `attnrules show` shows."""
        return feature_card(self._warehouse, self.id)

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

    def example(self, number: int = 0) -> Example:
        """Return the example of this number, a row of `examples`, from 0.

        Raises `UsageError` for one that there is not.
        """
        if not 0 <= number < self.examples.height:
            raise UsageError(f"{self.id}: has no example {number}; it has {self.examples.height}")
        seq_id, pos = self.examples.row(number)[:2]
        return Example(self._warehouse, self.id, seq_id, pos)

    def sources(self, example: int = 0) -> pl.DataFrame:
        """Return the positions attended to at the example of this number, with what each contributes.

        Raises `UsageError` for an example that there is not.
        """
        return self.example(example).sources

    def plot_metrics(self) -> Any:
        """Return the altair chart of average precision by number of rules, with baselines and ceilings.

        Raises `AttnRulesError` where no list of the feature is judged on all positions, or altair is missing.
        """
        return draw(self._warehouse, "feature_metrics", asdict(self.id))

    def plot_profile(self) -> Any:
        """Return the altair chart of how far back its heads look where it is active, and anywhere."""
        return draw(self._warehouse, "feature_profile", asdict(self.id))

    def _frame(self, question: str, **parameters: object) -> pl.DataFrame:
        rows: pl.DataFrame = ask(self._warehouse, question, {**asdict(self.id), **parameters}).pl()
        return rows

    def __repr__(self) -> str:
        frames = ".rules, .stated, .examples, .example(i), .sources(i), .profile"
        plots = ".plot_metrics(), .plot_profile()"
        return f"{self.id}: fires on {self._facts['description'] or 'nothing'}; {frames}, {plots}"

    def _repr_html_(self) -> str:
        from attnrules.pages.notebook import feature_html

        return feature_html(self._warehouse, self.id)
