"""Objects of S3 below one prefix of a bucket, through boto3, which the extra `attnrules[s3]` installs.

Credentials, region and endpoint are taken from where every AWS tool takes them: AWS_ACCESS_KEY_ID,
AWS_PROFILE, AWS_ENDPOINT_URL, the files of ~/.aws, the role of the machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from attnrules.errors import AttnRulesError, WarehouseUnavailableError, one_line

# Told the name of a file.
Done = Callable[[str], None]

# A path has one slash where an address has two.
_ADDRESS = re.compile(r"s3:/+([^/]+)/*(.*?)/*", re.DOTALL)
# Files moved at a time; boto3 moves the parts of a large one at a time too.
_AT_ONCE = 8
_NO_CREDENTIALS = {
    *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"),
    *("TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError"),
}
_REFUSED = {
    *("AccessDenied", "ExpiredToken", "Forbidden", "InvalidAccessKeyId", "InvalidToken"),
    *("SignatureDoesNotMatch", "403"),
}
_OTHER_THERE = {"PreconditionFailed", "ConditionalRequestConflict"}


@dataclass(frozen=True)
class Address:
    """A prefix of a bucket."""

    bucket: str
    prefix: str

    @classmethod
    def read(cls, text: str | Path) -> Self | None:
        """Return the address that `text` is, None for what is no address of S3."""
        match = _ADDRESS.fullmatch(str(text))
        return match and cls(match[1], match[2])

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}/" if self.prefix else f"s3://{self.bucket}/"

    def key(self, name: str) -> str:
        """Return the key of an object in the bucket."""
        return f"{self.prefix}/{name}" if self.prefix else name


class Objects:
    """The objects below an address.

    Every method raises `WarehouseUnavailableError` where the bucket cannot be reached, or lacks something.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise WarehouseUnavailableError(
                f"{address}: boto3 is not installed; run pip install 'attnrules[s3]'"
            ) from error
        with self._explained():
            config = Config(connect_timeout=10, retries={"mode": "standard"})
            self._client: Any = boto3.client("s3", config=config)

    def sizes(self) -> dict[str, int]:
        """Return the names of all objects, and their bytes."""
        start = self.address.key("")
        with self._explained():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.address.bucket, Prefix=start
            )
            return {
                found["Key"].removeprefix(start): found["Size"]
                for page in pages
                for found in page.get("Contents", ())
            }

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Return the content of a small object and its tag, None where there is none of this name."""
        with self._explained():
            try:
                found = self._client.get_object(Bucket=self.address.bucket, Key=self.address.key(name))
            except self._client.exceptions.NoSuchKey:
                return None
            return found["Body"].read(), found["ETag"]

    def put_in_place_of(self, e_tag: str | None, name: str, content: bytes) -> bool:
        """Make an object where the one of the tag is, None for no one, and tell whether it was that one."""
        condition = {"IfNoneMatch": "*"} if e_tag is None else {"IfMatch": e_tag}
        with self._explained():
            try:
                self._client.put_object(
                    Bucket=self.address.bucket, Key=self.address.key(name), Body=content, **condition
                )
            except self._client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] not in _OTHER_THERE:
                    raise
                return False
        return True

    def upload(self, folder: Path, names: Sequence[str], done: Done = lambda _: None) -> None:
        """Make objects of files of a folder, each under its name in it."""

        def one(name: str) -> None:
            self._client.upload_file(str(folder / name), self.address.bucket, self.address.key(name))

        with self._explained():
            _each(one, names, done)

    def download(self, names: Sequence[str], folder: Path, done: Done = lambda _: None) -> None:
        """Write objects to files of a folder, each under its name in it."""

        def one(name: str) -> None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._client.download_file(self.address.bucket, self.address.key(name), str(path))

        with self._explained():
            _each(one, names, done)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError) as error:
            # What moves files wraps the failure of the request in one of its own.
            cause = error.__context__ if isinstance(error, Boto3Error) and error.__context__ else error
            raise WarehouseUnavailableError(f"{self.address}: {self._reason(cause)}") from error
        except ValueError as error:
            # How boto3 refuses an endpoint that is no address.
            raise WarehouseUnavailableError(f"{self.address}: {one_line(error)}") from error
        except OSError as error:
            raise AttnRulesError(f"{self.address}: {error.filename}: {error.strerror or error}") from error

    def _reason(self, error: BaseException) -> str:
        from botocore import exceptions

        kind = type(error).__name__
        if isinstance(error, exceptions.ClientError):
            kind = error.response["Error"]["Code"]
        if kind == "NoSuchBucket":
            return f"there is no bucket {self.address.bucket!r}; make it first"
        if kind in _NO_CREDENTIALS:
            return (
                f"no credentials ({one_line(error)}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or"
                " AWS_PROFILE"
            )
        if kind in _REFUSED:
            return f"access is refused ({kind}); look at the credentials, and at what they may do"
        if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError):
            return f"cannot be reached ({one_line(error)}); look at AWS_ENDPOINT_URL and the network"
        return one_line(error)


def _each(work: Done, names: Sequence[str], done: Done) -> None:
    """Do the same with all files, several at a time; raise the first failure, with what began ended."""
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        for name, _ in zip(names, pool.map(work, names), strict=True):
            done(name)
    finally:
        pool.shutdown(cancel_futures=True)
