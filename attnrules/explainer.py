"""A text of the user's own, explained: the model or its tokenizer read it, rules are evaluated on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attnrules.errors import UsageError
from attnrules.queries.explain import Attended, Explained, attended, explain, main_head

if TYPE_CHECKING:
    from attnrules.ingest.intervene import LaboratorySpec
    from attnrules.queries.heads import FeatureId
    from attnrules.warehouse import Warehouse


class Explainer:
    """Explains texts to the rules of a warehouse; the model, or its tokenizer alone, is loaded once.

    Arguments:
        spec: where the model and SAEs are. with_model: whether the model runs the texts; without it rules
            that tokens decide are evaluated.

    Raises `AttnRulesError` when the model cannot be loaded or is not the one that was ingested.
    """

    def __init__(self, warehouse: Warehouse, spec: LaboratorySpec, *, with_model: bool) -> None:
        from attnrules.ingest.intervene import Laboratory, open_tokenizer

        self._warehouse = warehouse
        self._laboratory = Laboratory.open(warehouse, spec) if with_model else None
        self._tokenizer = (
            open_tokenizer(warehouse, spec) if self._laboratory is None else self._laboratory.tokenizer
        )

    def explain(self, text: str, features: Sequence[FeatureId], *, n_rules: int | None = None) -> Explained:
        """Return a text explained; `features` are those of `queries.explain.explained_features`.

        Raises `UsageError` for an empty text, or one longer than the context of the model.
        """
        import numpy as np

        from attnrules.ingest.intervene import ids_of_text

        ids = ids_of_text(self._warehouse, self._tokenizer, text)
        facts = None
        if self._laboratory is not None:
            outputs = sorted({(feature.layer, feature.head) for feature in features})
            tokens = np.array([self._laboratory.bos_token_id, *ids])
            facts = self._laboratory.facts(tokens, outputs)
        return explain(self._warehouse, ids, features=features, facts=facts, n_rules=n_rules)

    def attended(self, text: str, feature: FeatureId, pos: int) -> Attended:
        """Return what a token of a text attends to, through the head that a feature reads most, and why.

        Arguments:
            pos: position of the token, BOS being 0.

        Raises `UsageError` for an empty or too long text, a position or a feature that is not there, or where
        the model does not run.
        """
        import numpy as np

        from attnrules.ingest.intervene import ids_of_text

        if self._laboratory is None:
            raise UsageError("what a token attends to is known where the model runs")
        head = main_head(self._warehouse, feature)
        ids = ids_of_text(self._warehouse, self._tokenizer, text)
        tokens = np.array([self._laboratory.bos_token_id, *ids])
        outputs, attention = [(feature.layer, feature.head)], [(feature.layer, head)]
        facts = self._laboratory.facts(tokens, outputs, attention)
        return attended(self._warehouse, ids, facts, feature.layer, head, pos)
