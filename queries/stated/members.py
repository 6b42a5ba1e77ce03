"""A statement as rows: what the SQL of this room reads, and the tables of stated rules hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from attnrules.errors import UsageError
from attnrules.queries.stated.language import (
    Atom,
    InputFeature,
    Member,
    Position,
    Same,
    Statement,
    Token,
    TokenId,
)
from attnrules.sql import Statements

if TYPE_CHECKING:
    import pyarrow as pa

    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "stated")

_COLUMNS = {
    "atom": pl.Int32,
    "absent": pl.Boolean,
    "at_least": pl.Int32,
    "place": pl.String,
    "nearest": pl.Int32,
    "farthest": pl.Int32,
    "above": pl.Float64,
    "kind": pl.String,
    "member_layer": pl.Int32,
    "member": pl.Int32,
}


def member_rows(statement: Statement, token_ids: dict[str, int]) -> list[dict[str, Any]]:
    """Return one row per member of every atom, and one per atom about positions.

    Arguments:
        token_ids: number of each token that the statement names by its text.
    """
    rows = []
    for number, atom in enumerate(statement.atoms, 1):
        if isinstance(atom, Position):
            rows.append(_position_row(number, atom))
        else:
            rows += [{**_atom_row(number, atom), **_member(m, token_ids)} for m in atom.members]
    return rows


def table_of(rows: Sequence[dict[str, Any]], **numbers: Iterable[int]) -> pa.Table:
    """Return rows of members as Arrow, with further columns of whole numbers in front."""
    frame = pl.DataFrame(list(rows), _COLUMNS)
    further = [
        pl.Series(name, [int(value) for value in values], pl.Int32) for name, values in numbers.items()
    ]
    return frame.with_columns(further).to_arrow()


def resolved(warehouse: Warehouse, statement: Statement) -> list[dict[str, Any]]:
    """Return the rows of a statement about this warehouse.

    Raises `UsageError` for a token, layer or feature that it does not have, or a text of several tokens.
    """
    members = [m for atom in statement.atoms if isinstance(atom, Atom) for m in atom.members]
    _refuse_unknown_features(warehouse, members)
    texts = sorted({m.text for m in members if isinstance(m, Token)})
    found: dict[str, list[int]] = {text: [] for text in texts}
    for text, token_id in warehouse.rows(step("tokens_of_text"), {"texts": texts}):
        found[text].append(token_id)
    for text, ids in found.items():
        if not ids:
            raise UsageError(
                f"{Token(text)}: the vocabulary has no such token; spaces belong to it, as in ' a'"
            )
        if len(ids) > 1:
            some = ", ".join(f"t{token_id}" for token_id in ids[:4])
            raise UsageError(f"{Token(text)}: {len(ids)} tokens have this text; name one, such as {some}")
    return member_rows(statement, {text: ids[0] for text, ids in found.items()})


def _refuse_unknown_features(warehouse: Warehouse, members: Sequence[Member]) -> None:
    widths = dict(warehouse.rows(step("known_layers")))
    n_tokens = int(warehouse.value("SELECT coalesce(max(token_id), -1) + 1 FROM vocabulary"))
    for member in members:
        if isinstance(member, InputFeature) and member.layer not in widths:
            layers = ", ".join(map(str, widths)) or "none"
            raise UsageError(f"{member}: input features are stored for layer {layers}")
        if isinstance(member, InputFeature) and member.feature >= widths[member.layer]:
            raise UsageError(f"{member}: layer {member.layer} has features 0 to {widths[member.layer] - 1}")
        if isinstance(member, TokenId) and member.token_id >= n_tokens:
            raise UsageError(f"{member}: the vocabulary has tokens 0 to {n_tokens - 1}")


def _position_row(number: int, atom: Position) -> dict[str, Any]:
    return {
        "atom": number,
        "absent": False,
        "at_least": 1,
        "place": "position",
        "nearest": atom.first,
        "farthest": atom.last,
        "above": 0.0,
        "kind": "position",
    }


def _atom_row(number: int, atom: Atom) -> dict[str, Any]:
    return {
        "atom": number,
        "absent": atom.absent,
        "at_least": atom.at_least,
        "place": atom.place.kind,
        "nearest": atom.place.nearest,
        "farthest": atom.place.farthest,
        "above": 0.0,
    }


def _member(member: Member, token_ids: dict[str, int]) -> dict[str, Any]:
    if isinstance(member, InputFeature):
        feature = {"kind": "feature", "member_layer": member.layer, "member": member.feature}
        return {**feature, "above": member.above}
    if isinstance(member, Same):
        return {"kind": "same"}
    return {
        "kind": "token",
        "member": member.token_id if isinstance(member, TokenId) else token_ids[member.text],
    }
