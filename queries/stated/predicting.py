"""What stated rules say of text that is not in the warehouse, without the model (method.md section 13.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attnrules.errors import AttnRulesError, UsageError, refuse_below
from attnrules.queries.heads import FeatureId
from attnrules.queries.stated.language import Token
from attnrules.queries.stated.reading import match_tokens
from attnrules.sql import Statements
from attnrules.warehouse.arrow import arrow_table

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "stated")

# As long as any list.
_MOST_RULES = 2**31 - 1


def predict(
    warehouse: Warehouse,
    texts: Sequence[str | Sequence[int] | Sequence[str]],
    *,
    features: Sequence[FeatureId] = (),
    n_rules: int | None = None,
    tokenize: Callable[[str], Sequence[int]] | None = None,
) -> pl.DataFrame:
    """Return where stated rules that tokens alone decide say that a feature is active.

    Arguments:
        texts: each a sequence of token ids or of the vocabulary's tokens, without BOS, which is put before;
            or a text, with `tokenize`, which makes ids of it without BOS.
        features: the output features; all that have stated rules where empty.
        n_rules: the first rules of each list, None for all.

    A row is a feature and a position at which one of its rules holds: text (place in `texts`), pos (BOS is
    0), token, feature, probability (the weights of the rules that hold, as judged), rules (their ranks) and
    n_left_out, rules of the feature that name input features and so cannot be decided. Raises `UsageError`
    for a token that the vocabulary lacks, a feature without stated rules, or what is no list of texts, and
    `AttnRulesError` for a text without `tokenize`.
    """
    if isinstance(texts, str):
        raise UsageError(f"{texts!r}: is one text; give a list of texts, such as [text]")
    if not isinstance(texts, Iterable):
        raise UsageError(f"{texts!r}: is no list of texts")
    most = _MOST_RULES if n_rules is None else n_rules
    refuse_below(1, "n_rules=", most)
    tables = [_token_ids(warehouse, text, tokenize) for text in texts]
    known = warehouse.rows(step("stated_features"), {"n_rules": most})
    stored = {FeatureId(*row[:3]): row[3] for row in known}
    for feature in features:
        if feature not in stored:
            raise UsageError(f"{feature}: has no stated rules; `attnrules mine skipgrams --method stated`")
    wanted = list(features) or list(stored)
    with warehouse.session():
        places = {f"{name}s": [getattr(f, name) for f in wanted] for name in ("layer", "head", "feature")}
        warehouse.execute(step("make_token_rules"), {**places, "n_rules": most})
        warehouse.execute(step("make_read_members"))
        for name in ("tokens", "sequences"):
            warehouse.execute(step(f"make_given_{name}"))
        warehouse.append("read_tokens", _given(warehouse, tables))
        warehouse.execute(step("make_given_positions"))
        match_tokens(warehouse)
        decided = dict.fromkeys(wanted, 0)
        for layer, head, feature in warehouse.rows("SELECT layer, head, feature FROM read_rules"):
            decided[FeatureId(layer, head, feature)] += 1
        found = warehouse.sql(step("token_predictions")).pl()
    return _named(found, {feature: stored[feature] - n for feature, n in decided.items()})


def _named(found: pl.DataFrame, left_out: dict[FeatureId, int]) -> pl.DataFrame:
    import polars as pl

    ids = [FeatureId(*row) for row in found.select("layer", "head", "feature").iter_rows()]
    return found.select(
        "text",
        "pos",
        "token",
        pl.Series("feature", [str(feature) for feature in ids], pl.String),
        "probability",
        "rules",
        pl.Series("n_left_out", [left_out[feature] for feature in ids], pl.Int64),
    )


def _token_ids(
    warehouse: Warehouse,
    text: str | Sequence[int] | Sequence[str],
    tokenize: Callable[[str], Sequence[int]] | None,
) -> list[int]:
    if isinstance(text, str):
        if tokenize is None:
            raise AttnRulesError(
                "a warehouse holds no tokenizer: give tokens, their ids, or tokenize=, which makes ids"
            )
        text = tokenize(text)
    if not isinstance(text, Iterable):
        raise UsageError(f"{text!r}: is no text, nor a list of tokens")
    for token in text:
        if not isinstance(token, str | int | np.integer) or isinstance(token, bool):
            raise UsageError(f"{token!r}: is neither a token nor the id of one")
    words = sorted({token for token in text if isinstance(token, str)})
    ids: dict[str, list[int]] = {}
    for token, token_id in warehouse.rows(step("tokens_of_text"), {"texts": words}):
        ids.setdefault(token, []).append(token_id)
    for word in words:
        if len(ids.get(word, [])) != 1:
            n = len(ids.get(word, []))
            raise UsageError(f"{Token(word)}: {n} tokens of the vocabulary have this text; give an id")
    return [ids[token][0] if isinstance(token, str) else int(token) for token in text]


def _given(warehouse: Warehouse, texts: Sequence[Sequence[int]]) -> pa.Table:
    """Return the texts as rows, BOS first; raises `UsageError` for an id that no token has."""
    n_tokens = int(warehouse.value("SELECT coalesce(max(token_id), -1) + 1 FROM vocabulary"))
    for token_id in {token_id for text in texts for token_id in text}:
        if not 0 <= token_id < n_tokens:
            raise UsageError(f"t{token_id}: the vocabulary has tokens 0 to {n_tokens - 1}")
    lengths = np.array([len(text) + 1 for text in texts], np.int64)
    # What stands at BOS is never looked at.
    tokens = [token for text in texts for token in (0, *text)]
    pos = np.concatenate([np.arange(n) for n in lengths] or [lengths])
    seq_id = np.repeat(np.arange(len(texts)), lengths)
    columns = {"scope": np.zeros(len(tokens)), "seq_id": seq_id, "pos": pos, "token_id": tokens}
    return arrow_table({name: np.asarray(column, np.int32) for name, column in columns.items()})
