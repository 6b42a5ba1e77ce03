"""What fires at a text, and what stated rules say of it: with the model's own activations, or rules alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attnrules.errors import UsageError
from attnrules.queries.heads import FeatureId
from attnrules.queries.stated.reading import match_tokens
from attnrules.sql import Statements, head_name
from attnrules.warehouse.arrow import arrow_table

if TYPE_CHECKING:
    import polars as pl

    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "explain")
_stated = Statements("attnrules.queries", "stated")

# As long as any list.
_MOST_RULES = 2**31 - 1
_MINE = "`attnrules mine skipgrams W --method stated`"

STATUSES = (
    "fires, a rule says so",
    "fires, no rule says so",
    "silent, though a rule says so",
    "rules alone",
)
Facts = Mapping[str, Mapping[str, npt.NDArray[Any]]]


@dataclass(frozen=True)
class Explained:
    """A text explained.

    Arguments:
        tokens: the text of each token, BOS left out. rows: a row is a position, BOS being 0, and an output
            feature that fires there or of which a rule holds: pos, token, feature, status (of `STATUSES`),
            activation (None where silent or not known), rules (ranks of those that hold), statements (the
            same, as text), probability (what their weights say together).
        left_out: by feature, how many of its rules name input features, which only the model knows.
    """

    tokens: tuple[str, ...]
    rows: pl.DataFrame
    left_out: dict[str, int]


def explained_features(
    warehouse: Warehouse,
    *,
    features: Sequence[FeatureId] = (),
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
) -> list[FeatureId]:
    """Return the features to explain: those named, else all that have stated rules in these heads.

    Raises `UsageError` for a feature without stated rules, or where no feature is left.
    """
    rows = warehouse.rows(_stated("stated_features"), {"n_rules": _MOST_RULES})
    stated = [FeatureId(*row[:3]) for row in rows]
    if not stated:
        raise UsageError(f"no feature has stated rules; {_MINE} finds them")
    for feature in features:
        if feature not in stated:
            raise UsageError(f"{feature}: has no stated rules; {_MINE} --features {feature} finds them")
    found = [
        feature
        for feature in features or stated
        if (layers is None or feature.layer in layers) and (heads is None or feature.head in heads)
    ]
    if not found:
        names = ", ".join(dict.fromkeys(head_name(feature.layer, feature.head) for feature in stated))
        raise UsageError(f"no feature of these layers and heads has stated rules, those of {names} do")
    return found


def explain(
    warehouse: Warehouse,
    tokens: Sequence[int],
    *,
    features: Sequence[FeatureId],
    facts: Facts | None = None,
    n_rules: int | None = None,
) -> Explained:
    """Explain a text token by token.

    Arguments:
        tokens: its ids, without BOS. features: of `explained_features`. n_rules: the first rules of each
            list, None for all.
        facts: columns of `input_activations` and `output_activations` of the text, as `Laboratory.facts`
            returns them; without them the rules that tokens alone decide are evaluated.
    """
    wanted = {f"{name}s": [getattr(f, name) for f in features] for name in ("layer", "head", "feature")}
    most = _MOST_RULES if n_rules is None else n_rules
    stored = {
        FeatureId(*row[:3]): row[3] for row in warehouse.rows(_stated("stated_features"), {"n_rules": most})
    }
    asked = {**wanted, "n_rules": most, "with_inputs": facts is not None}
    with warehouse.session():
        warehouse.execute(step("make_explained_rules"), asked)
        warehouse.execute(_stated("make_read_members"))
        give_text(warehouse, tokens, facts)
        warehouse.execute(step("hide_stored_inputs"))
        try:
            match_tokens(warehouse)
        finally:
            warehouse.execute(step("show_stored_inputs"))
        found = warehouse.sql(step("explained"), {**wanted, "with_model": facts is not None}).pl()
        texts = tuple(token for _, token in warehouse.rows(step("text_tokens")))
        decided = dict.fromkeys(features, 0)
        for row in warehouse.rows("SELECT layer, head, feature FROM read_rules"):
            decided[FeatureId(*row)] += 1
    left_out = {str(feature): stored[feature] - n for feature, n in decided.items() if stored[feature] > n}
    return Explained(texts, _named(found), left_out)


def give_text(warehouse: Warehouse, tokens: Sequence[int], facts: Facts | None) -> None:
    """Fill the temporary tables of the text: its tokens, BOS first, and what is active there."""
    for name in ("tokens", "sequences"):
        warehouse.execute(_stated(f"make_given_{name}"))
    n = len(tokens) + 1
    zeros = np.zeros(n, np.int32)
    # What stands at BOS is never looked at.
    columns = {
        "scope": zeros, "seq_id": zeros, "pos": np.arange(n), "token_id": np.array([0, *tokens])
    }  # fmt: skip
    warehouse.append("read_tokens", arrow_table(columns))
    warehouse.append("read_sequences", arrow_table({"scope": zeros[:1], "seq_id": zeros[:1]}))
    warehouse.execute(_stated("make_given_positions"))
    for table, name in (("input_activations", "text_inputs"), ("output_activations", "text_outputs")):
        warehouse.execute(step(f"make_{name}"))
        if facts is not None:
            warehouse.append(name, arrow_table(dict(facts[table])))


def _named(found: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with each feature by its name."""
    import polars as pl

    ids = [str(FeatureId(*row)) for row in found.select("layer", "head", "feature").iter_rows()]
    return found.select(
        *("pos", "token"),
        pl.Series("feature", ids, pl.String),
        *("status", "activation", "rules", "statements", "probability"),
    )
