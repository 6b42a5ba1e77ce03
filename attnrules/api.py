"""The Python API: a warehouse that can also be mined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attnrules.queries.absence import AbsenceResult, AbsenceSpec, mine_absence
from attnrules.queries.card import FeatureCard, feature_card, parse_feature
from attnrules.queries.counting import CountingResult, CountingSpec, mine_counting
from attnrules.queries.questions import ask
from attnrules.queries.skipgrams import SkipgramResult, SkipgramSpec, mine_skipgrams
from attnrules.warehouse import Warehouse


class RuleWarehouse(Warehouse):
    """A warehouse opened by `attnrules.open`: SQL, polars frames, mining, feature cards."""

    @classmethod
    def open(cls, path: Path, *, writable: bool = False) -> RuleWarehouse:
        """Open the warehouse at `path`; see `attnrules.open`."""
        plain = Warehouse.open(path, writable=writable)
        return cls(plain.connection, plain.path)

    def mine_skipgrams(self, **options: Any) -> SkipgramResult:
        """Mine skip-gram rules; the options are the fields of `SkipgramSpec`. Needs `writable=True`.

        Lists may stand for tuples, and features may be written `"L0H3.17"`.
        """
        return mine_skipgrams(self, SkipgramSpec(**_fields(options)))

    def mine_absence(self, **options: Any) -> AbsenceResult:
        """Find absence rules; the options are the fields of `AbsenceSpec`. Needs `writable=True`."""
        return mine_absence(self, AbsenceSpec(**_fields(options)))

    def mine_counting(self, **options: Any) -> CountingResult:
        """Find counting rules; the options are the fields of `CountingSpec`. Needs `writable=True`."""
        return mine_counting(self, CountingSpec(**_fields(options)))

    def show(self, feature: str, *, n_rules: int = 10) -> FeatureCard:
        """Return the card of a feature written `"L0H3.17"`."""
        return feature_card(self, parse_feature(feature), n_rules=n_rules)

    def ask(self, question: str, **parameters: object) -> Any:
        """Run a named question (see `attnrules query --list`) and return a DuckDB relation."""
        return ask(self, question, parameters)


def _fields(options: dict[str, Any]) -> dict[str, Any]:
    """Return options as fields of a spec: lists as tuples, features read."""
    if "features" in options:
        options["features"] = tuple(
            parse_feature(f) if isinstance(f, str) else f for f in options["features"]
        )
    for name in ("layers", "heads"):
        if options.get(name) is not None:
            options[name] = tuple(options[name])
    return options
