"""The Hugging Face hub: which commit a revision stands for."""

from __future__ import annotations

import re
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}")


def cached_commit(repository: str, revision: str | None, *, repo_type: str = "model") -> str | None:
    """Return the commit that a hub revision stood for when it was last downloaded, None if never."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    revision = revision or constants.DEFAULT_REVISION
    if _COMMIT.fullmatch(revision):
        return revision
    folder = repo_folder_name(repo_id=repository, repo_type=repo_type)
    reference = Path(constants.HF_HUB_CACHE) / folder / "refs" / revision
    return reference.read_text("utf-8").strip() if reference.is_file() else None
