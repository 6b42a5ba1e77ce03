"""A dataset of the hub as local files: resolved to a commit, downloaded file by file as they are read.

Files go through huggingface_hub's cache, so that a second ingest downloads nothing and an offline one
works with what is there. Files of unknown formats and very large ones are streamed, not stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnrules.errors import AttnRulesError
from attnrules.ingest.sources.hub import hub_failure, is_offline, resolve
from attnrules.ingest.sources.local_corpus import CorpusFile, format_of, json_column, read_column

# The hub's own conversion of a dataset, for those whose main branch holds no data files that can be read.
PARQUET_REVISION = "refs/convert/parquet"
_LARGEST_DOWNLOAD = 4_000_000_000


@dataclass(frozen=True)
class HubDataset:
    """A dataset of the hub: `name[:config][@revision]`.

    Arguments:
        name: repository. config: its configuration, None for the default. revision: None for main.
    """

    name: str
    config: str | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, source: str) -> HubDataset:
        """Read `name[:config][@revision]`."""
        name, _, revision = source.partition("@")
        name, _, config = name.partition(":")
        return cls(name, config or None, revision or None)

    def resolve(self) -> str:
        """Return the commit to read: the revision's, or the parquet conversion's where main has no data.

        Raises the hub's error when it cannot be reached and the commit is not cached.
        """
        commit = resolve(self.name, self.revision, repo_type="dataset")
        if self.revision is not None:
            return commit
        try:
            self._builder(commit)
        except Exception as error:
            if hub_failure(error):
                raise
            try:
                return resolve(self.name, PARQUET_REVISION, repo_type="dataset")
            except Exception:
                raise error from None
        return commit

    def texts(
        self, commit: str, split: str, column: str, *, by_line: bool, opened: Callable[[CorpusFile], None]
    ) -> Iterator[tuple[str, Iterator[object]]]:
        """Yield each file's name with what its records hold as text, of a split at `commit`.

        `opened` is called as by `read_column`, with files that lie on this machine. A dataset of files of
        another format is streamed as a whole.
        """
        from datasets import load_dataset

        data_files = self._builder(commit).config.data_files or {}
        if split not in data_files:
            raise AttnRulesError(f"has no split {split!r}, only {', '.join(map(str, data_files))}")
        files = [str(file) for file in data_files[split]]
        if any(format_of(file) is None for file in files):
            stream = load_dataset(self.name, self.config, revision=commit, split=split, streaming=True)
            yield self.name, json_column(stream, column)
            return
        for file in files:
            form = format_of(file) or ""
            name = re.sub(rf"^.*[@/]{commit}/", "", file)
            if local := self._local(file, commit):
                yield name, read_column(CorpusFile(name, local, form), column, by_line=by_line, opened=opened)
            else:
                yield name, _streamed(file, form, column, by_line=by_line)

    def _builder(self, commit: str) -> Any:
        from datasets import load_dataset_builder

        if is_offline():
            return load_dataset_builder(str(self._snapshot(commit)), self.config)
        return load_dataset_builder(self.name, self.config, revision=commit)

    def _snapshot(self, commit: str) -> Path:
        from huggingface_hub import constants
        from huggingface_hub.errors import OfflineModeIsEnabled
        from huggingface_hub.file_download import repo_folder_name

        folder = repo_folder_name(repo_id=self.name, repo_type="dataset")
        snapshot: Path = Path(constants.HF_HUB_CACHE) / folder / "snapshots" / commit
        if not snapshot.is_dir():
            raise OfflineModeIsEnabled(f"{self.name} at {commit} is not cached")
        return snapshot

    def _local(self, file: str, commit: str) -> Path | None:
        """Return where a data file lies on this machine, downloading it; None when it is to be streamed."""
        from huggingface_hub import HfApi

        prefix = f"hf://datasets/{self.name}@{commit}/"
        if not file.startswith(prefix):
            return Path(file) if Path(file).exists() else None
        api, name = HfApi(), file.removeprefix(prefix)
        infos = api.get_paths_info(self.name, [name], revision=commit, repo_type="dataset")
        if any(getattr(info, "size", 0) > _LARGEST_DOWNLOAD for info in infos):
            return None
        local: str = api.hf_hub_download(self.name, name, revision=commit, repo_type="dataset")
        return Path(local)


def _streamed(file: str, form: str, column: str, *, by_line: bool) -> Iterator[object]:
    """Yield what a column of a file on the hub holds, without storing the file."""
    from datasets import load_dataset

    how = {"sample_by": "line" if by_line else "document"} if form == "text" else {}
    records = load_dataset(form, data_files=[file], split="train", streaming=True, **how)
    return json_column(records, "text" if form == "text" else column)
