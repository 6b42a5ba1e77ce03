"""The Hugging Face hub: what a revision stands for, and what to tell a user when the hub fails."""

from __future__ import annotations

from collections.abc import Iterator

_LOG_IN = "log in with `hf auth login`"
_AGAIN = "run the same command again"
_CACHED = "or set HF_HUB_OFFLINE=1 to use what is cached"
_UNKNOWN = f"the hub knows no such name; check it, or {_LOG_IN} if it is private"
_ANSWERS = {
    "GatedRepoError": f"access to it is restricted; ask for it on its page at the hub, then {_LOG_IN}",
    "RevisionNotFoundError": "the hub has it, but not in this revision; check the revision",
    "RepositoryNotFoundError": _UNKNOWN,
    "DatasetNotFoundError": _UNKNOWN,
}
_TIMEOUTS = {"ConnectTimeout", "ReadTimeout", "PoolTimeout", "WriteTimeout", "Timeout", "TimeoutException"}
_UNREACHABLE = {
    *("ConnectionError", "ConnectError", "ReadError", "RemoteProtocolError", "ProxyError", "gaierror"),
    *("LocalEntryNotFoundError", "IncompleteSnapshotError", "RevisionResolutionError"),
}


def resolve(repository: str, revision: str | None, *, repo_type: str = "model") -> str:
    """Return the commit that a hub revision stands for; the last known one when the hub does not answer.

    Asks once and waits `HF_HUB_ETAG_TIMEOUT` seconds, so that a failing hub is told before any download.
    Raises the hub's error when it answers with one, or when nothing is cached.
    """
    from huggingface_hub import HfApi, constants

    api = HfApi()
    try:
        if not is_offline():
            api.repo_info(
                repository, repo_type=repo_type, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT
            )
        return str(api.resolve_revision(repository, repo_type=repo_type, revision=revision).resolved)
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", 500)
        if status < 500 and status != 429:
            raise
        try:
            cached = api.resolve_revision(
                repository, repo_type=repo_type, revision=revision, local_files_only=True
            )
        except Exception:
            raise error from None
        return str(cached.resolved)


def is_offline() -> bool:
    """Tell whether the user has asked to stay off the hub (`HF_HUB_OFFLINE=1`)."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def hub_failure(error: BaseException) -> str | None:
    """Return what failed at the hub and what to do about it, None when `error` is not the hub's.

    Looks at the errors that caused `error` too: libraries wrap what the hub has said in words of their own.
    """
    causes = list(_causes(error))
    names = {type(cause).__name__ for cause in causes}
    if "OfflineModeIsEnabled" not in names:
        for cause in causes:
            if said := _answer(cause):
                return said
        if not names & _UNREACHABLE and not any(isinstance(cause, ConnectionError) for cause in causes):
            return None
    if is_offline():
        return "it is not in the local cache, and HF_HUB_OFFLINE=1 is set; unset it, or name a local one"
    return f"the hub cannot be reached; check the network and {_AGAIN}, {_CACHED}"


def _answer(cause: BaseException) -> str | None:
    """Return what the hub has answered, or that it has not in time; None for any other error."""
    name = type(cause).__name__
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if name in _ANSWERS:
        return _ANSWERS[name]
    if status == 429:
        return f"the hub is limiting requests (429); wait some minutes or {_LOG_IN}, then {_AGAIN}"
    if status in (401, 403):
        return f"the hub denies access ({status}); {_LOG_IN}, or check your token"
    if status is not None and status >= 500:
        return f"the hub is out of order ({status}); {_AGAIN} later, {_CACHED}"
    if name in _TIMEOUTS or isinstance(cause, TimeoutError):
        return f"the hub does not answer; {_AGAIN} (HF_HUB_DOWNLOAD_TIMEOUT=60 waits longer), {_CACHED}"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
