"""The hub commits that a warehouse was filled from.

A branch or tag of a hub source is resolved once, at the first ingest; the commit is stored, and later
ingests into the same warehouse, and interventions on it, load that commit again, whatever the branch has
come to name since.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnrules.warehouse import Warehouse


@dataclass(frozen=True)
class StoredCommits:
    """The hub commits that a warehouse was filled from; empty for a new one.

    Arguments:
        model: revision as asked for -> commit. corpus: source -> commit.
        saes: (role, source as written) -> commit.
    """

    model: dict[str | None, str] = field(default_factory=dict)
    corpus: dict[str, str] = field(default_factory=dict)
    saes: dict[tuple[str, str], str] = field(default_factory=dict)


def stored_commits(path: Path) -> StoredCommits:
    """Return the commits that the warehouse at `path` is held to; nothing where there is no file.

    Raises `AttnRulesError` when the file cannot be opened or is no warehouse.
    """
    if not Warehouse.is_there(path):
        return StoredCommits()
    with Warehouse.open(path) as warehouse:
        return commits_of(warehouse)


def commits_of(warehouse: Warehouse) -> StoredCommits:
    """Return the commits that `warehouse` was filled from."""
    return StoredCommits(
        model=_commits(warehouse, "SELECT revision, resolved_commit FROM model"),
        corpus=_commits(warehouse, "SELECT source, resolved_commit FROM corpus"),
        saes={
            (role, source): commit
            for role, source, commit in warehouse.rows("SELECT role, source, resolved_commit FROM saes")
            if commit
        },
    )


def _commits(warehouse: Warehouse, query: str) -> dict[Any, str]:
    return {key: commit for key, commit in warehouse.rows(query) if commit}
