"""A lake published to S3 and fetched from it: nothing is lost, whoever is killed and whoever publishes too."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import attnrules as package
from attnrules.errors import AttnRulesError, UsageError, WarehouseUnavailableError
from attnrules.warehouse import Warehouse, remote
from attnrules.warehouse.convert import convert
from attnrules.warehouse.objects import Address, Objects
from attnrules.warehouse.part import Part
from attnrules.warehouse.remote import fetch, publish
from benchmarks.compare_warehouses import compare

boto3 = pytest.importorskip("boto3")
server = pytest.importorskip("moto.server")

# Nothing of the machine that runs the tests: no files, no role.
ALONE = {
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_DEFAULT_REGION": "us-east-1",
}
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server that answers as S3 does."""
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def address(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Address:
    """A place in an empty bucket."""
    for name, value in {**ALONE, **KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    bucket = f"bucket-{abs(hash(request.node.name))}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return Address(bucket, "lakes/tiny")


@pytest.fixture(scope="module")
def lake_once(small_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of the small warehouse. Not to be written to."""
    lake = tmp_path_factory.mktemp("lake") / "lake"
    convert(small_once, lake)
    return lake


@pytest.fixture(scope="module")
def part_once(small_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of a head, and a file of it beside it. Not to be written to."""
    lake = tmp_path_factory.mktemp("part") / "lake"
    convert(small_once, lake, part=Part((0,), (1,)))
    convert(lake, lake.with_name("w.duckdb"))
    return lake


@pytest.fixture
def lake(part_once: Path, tmp_path: Path) -> Path:
    """A private lake of a head, which has few files."""
    return Path(shutil.copytree(part_once, tmp_path / "lake"))


def note(lake: Path, word: str) -> None:
    """Change something in a lake."""
    with Warehouse.open(lake, writable=True) as warehouse, warehouse.run("note", {"word": word}):
        pass


def notes(lake: Path) -> list[str]:
    with Warehouse.open(lake) as warehouse:
        rows = warehouse.rows("SELECT arguments FROM runs WHERE command = 'note' ORDER BY run_id")
    return [json.loads(arguments)["word"] for (arguments,) in rows]


def files_of(lake: Path) -> dict[str, int]:
    found = (path for path in lake.rglob("*.parquet"))
    return {str(path.relative_to(lake)): path.stat().st_size for path in found}


def test_a_lake_is_published_and_fetched(
    lake_once: Path, small_once: Path, address: Address, tmp_path: Path, attnrules: Callable[..., Any]
) -> None:
    lake = Path(shutil.copytree(lake_once, tmp_path / "lake"))
    told = attnrules("lake", lake, address)
    assert told.code == 0, told.err
    names = Objects(address).sizes()
    assert {name: n for name, n in names.items() if name.endswith(".parquet")} == files_of(lake)
    assert any(name.startswith("results/rule_scores/layer=0/") for name in names)
    assert attnrules("lake", address, f"{tmp_path}/again/").code == 0
    assert files_of(tmp_path / "again") == files_of(lake)
    assert attnrules("lake", address, tmp_path / "again.duckdb").code == 0
    convert(tmp_path / "again", tmp_path / "back.duckdb")
    for found in ("again.duckdb", "back.duckdb"):
        assert compare(small_once, tmp_path / found) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "again",
        "again.duckdb",
        "back.duckdb",
        "lake",
    ]


@pytest.mark.parametrize("to_lake", [False, True])
def test_a_part_is_fetched_by_its_files_alone(
    lake_once: Path, part_once: Path, address: Address, tmp_path: Path, to_lake: bool
) -> None:
    lake = Path(shutil.copytree(lake_once, tmp_path / "lake"))
    publish(lake, address)
    needed = {name.rpartition("/")[0] for name in files_of(part_once)}
    client = boto3.client("s3")
    for name in files_of(lake):
        if name.rpartition("/")[0] not in needed:
            client.delete_object(Bucket=address.bucket, Key=address.key(name))
    target = tmp_path / ("part" if to_lake else "part.duckdb")
    done = fetch(address, target, part=Part((0,), (1,)), to_lake=to_lake)
    assert done.n_files == len(needed) + 1
    if to_lake:
        convert(target, tmp_path / "part.duckdb")
    assert compare(part_once.with_name("w.duckdb"), tmp_path / "part.duckdb") == []
    with pytest.raises(AttnRulesError, match="is missing"):
        fetch(address, tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


def test_a_part_that_is_not_there_is_named(lake: Path, address: Address, tmp_path: Path) -> None:
    publish(lake, address)
    with pytest.raises(UsageError, match=f"--layers 7: {address.bucket}|--layers 7: s3://{address.bucket}"):
        fetch(address, tmp_path / "part.duckdb", part=Part((7,)), to_lake=False)
    assert [path.name for path in tmp_path.iterdir()] == ["lake"]


def test_only_what_is_new_is_published_again(lake: Path, address: Address, tmp_path: Path) -> None:
    first = publish(lake, address)
    assert first.n_there == 0
    note(lake, "more")
    again = publish(lake, address)
    assert (again.n_files, again.n_there) == (1, first.n_files - 1)
    fetch(address, tmp_path / "again")
    assert notes(tmp_path / "again") == ["more"]
    note(tmp_path / "again", "from afar")
    publish(tmp_path / "again", address)
    fetch(address, tmp_path / "third")
    assert notes(tmp_path / "third") == ["more", "from afar"]


def test_of_two_that_went_on_from_one_lake_the_second_is_refused(
    lake: Path, address: Address, tmp_path: Path
) -> None:
    publish(lake, address)
    fetch(address, tmp_path / "other")
    for folder, word in ((lake, "mine"), (tmp_path / "other", "theirs")):
        note(folder, word)
    publish(tmp_path / "other", address)
    with pytest.raises(AttnRulesError, match="does not go on from"):
        publish(lake, address)
    fetch(address, tmp_path / "there")
    assert notes(tmp_path / "there") == ["theirs"]
    assert notes(lake) == ["mine"]


@pytest.mark.parametrize("is_new", [True, False])
def test_of_two_that_publish_at_a_time_one_is_refused(
    lake: Path, address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    other = Path(shutil.copytree(lake, tmp_path / "other"))
    if not is_new:
        publish(lake, address)
        shutil.rmtree(other)
        fetch(address, other)
    note(lake, "mine")
    note(other, "theirs")
    upload = Objects.upload

    def while_the_other_publishes(objects: Objects, folder: Path, *rest: Any) -> None:
        upload(objects, folder, *rest)
        monkeypatch.setattr(Objects, "upload", upload)
        if notes(tmp_path / "other") and not (other / "published").exists():
            (other / "published").touch()
            publish(other, address)

    monkeypatch.setattr(Objects, "upload", while_the_other_publishes)
    with pytest.raises(AttnRulesError, match="somebody else published to it meanwhile"):
        publish(lake, address)
    fetch(address, tmp_path / "there")
    assert notes(tmp_path / "there") == ["theirs"]
    assert notes(lake) == ["mine"]


class KilledError(Exception):
    """What ends a command in the tests."""


@pytest.mark.parametrize("when", ["before", "after", "answer lost"])
def test_a_publisher_that_is_killed_publishes_again(
    lake: Path, address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    publish(lake, address)
    note(lake, "more")
    put = Objects.put_in_place_of

    def killed(objects: Objects, *arguments: Any) -> bool:
        if when != "before":
            assert put(objects, *arguments)
        if when != "answer lost":
            raise KilledError
        return put(objects, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Objects, "put_in_place_of", killed)
        if when == "answer lost":
            publish(lake, address)
        else:
            with pytest.raises(KilledError):
                publish(lake, address)
    fetch(address, tmp_path / "there")
    assert notes(tmp_path / "there") == ([] if when == "before" else ["more"])
    again = publish(lake, address)
    assert again.n_files == 1
    fetch(address, tmp_path / "at last")
    assert notes(tmp_path / "at last") == ["more"]
    assert files_of(tmp_path / "at last") == files_of(lake)


def test_a_lake_that_is_written_to_meanwhile_is_not_published(
    lake: Path, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = Objects.upload

    def while_it_is_written_to(objects: Objects, folder: Path, *rest: Any) -> None:
        upload(objects, folder, *rest)
        note(lake, "now")

    monkeypatch.setattr(Objects, "upload", while_it_is_written_to)
    with pytest.raises(AttnRulesError, match="was written to meanwhile"):
        publish(lake, address)
    assert Objects(address).get("lake.json") is None


def test_what_a_killed_command_left_in_the_log_is_published_too(
    lake: Path, address: Address, tmp_path: Path
) -> None:
    note(lake, "stored")
    with Warehouse.open(lake, writable=True) as warehouse:
        with warehouse.run("note", {"word": "in the log"}):
            pass
        killed = Path(shutil.copytree(lake, tmp_path / "killed"))
    assert (killed / "catalogue.duckdb.wal").exists()
    publish(killed, address)
    fetch(address, tmp_path / "there")
    assert notes(tmp_path / "there") == ["stored", "in the log"]


def test_what_takes_long_is_told_meanwhile(
    lake: Path, address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_WORTH_TELLING", 0)
    published: list[str] = []
    publish(lake, address, published.append)
    fetched: list[str] = []
    fetch(address, tmp_path / "there", say=fetched.append)
    for said, first in ((published, "publishing 6 files"), (fetched, "fetching 6 files")):
        assert said[0].startswith(first)
        assert 1 < len(said) <= 11
    size = sum(files_of(lake).values()) / 1e9
    assert fetched[-1] == f"fetched {size:,.1f} of {size:,.1f} GB"


def test_another_file_of_the_same_name_is_not_taken_for_ours(lake: Path, address: Address) -> None:
    name = next(iter(files_of(lake)))
    boto3.client("s3").put_object(Bucket=address.bucket, Key=address.key(name), Body=b"other")
    with pytest.raises(AttnRulesError, match="is another file than that of"):
        publish(lake, address)


@pytest.mark.parametrize("head", [b"{}", b"no json", b'{"catalogue": "../../etc/passwd"}'])
def test_what_is_no_lake_is_not_fetched(address: Address, tmp_path: Path, head: bytes) -> None:
    Objects(address).put_in_place_of(None, "lake.json", head)
    with pytest.raises(WarehouseUnavailableError, match="is not that of a lake"):
        fetch(address, tmp_path / "there")
    assert list(tmp_path.iterdir()) == []


def test_every_fault_is_one_line(
    lake: Path, small_once: Path, address: Address, tmp_path: Path, attnrules: Callable[..., Any]
) -> None:
    for words, said in (
        (("lake", address, f"{tmp_path}/there/"), "holds no lake"),
        (("lake", lake, "s3://no-such-bucket/lake"), "there is no bucket 'no-such-bucket'"),
        (("lake", small_once, address), "is no lake; make one of it first"),
        (("lake", lake, address, "--layers", 0), "make a lake of the part first"),
        (("lake", address, address), "fetch it first"),
        (("lake", lake, "gs://bucket/lake"), "gs:// are not supported"),
        (("info", address), f"{address}: holds no lake; publish one"),
        (("mine", "skipgrams", address), f"fetch it with `attnrules lake {address} DIR/`, run this on DIR/"),
        (("upgrade", address), "is read, and not written to where it is"),
    ):
        told = attnrules(*words)
        assert told.code != 0
        assert told.err.count("\n") == 1, told.err
        assert said in told.err
    with pytest.raises(WarehouseUnavailableError, match="holds no lake"):
        package.open(str(address))
    with pytest.raises(WarehouseUnavailableError, match="is read, and not written to"):
        package.open(str(address), writable=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake"]


# --- read without being fetched first --------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where lakes that are read lie."""
    monkeypatch.setenv("ATTNRULES_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def mirrors(cache: Path) -> list[Path]:
    return [path for path in (cache / "s3").glob("*/*") if not path.name.startswith(".")]


def test_a_lake_is_read_by_its_address(
    lake: Path, address: Address, cache: Path, attnrules: Callable[..., Any]
) -> None:
    publish(lake, address)
    query = "SELECT method, count(*) AS n FROM rules GROUP BY ALL ORDER BY ALL"
    for words in (("query", query, "--format", "csv"), ("check",), ("show", "L0H1"), ("describe",)):
        here, there = (attnrules(words[0], of, *words[1:]) for of in (lake, address))
        assert (there.code, there.err) == (0, here.err)
        assert there.out.replace(str(mirrors(cache)[0]), str(lake)) == here.out
    with package.open(str(address)) as warehouse:
        assert warehouse.value("SELECT count(*) FROM attention_sources") > 0


def test_of_a_lake_that_is_read_again_only_what_is_new_is_fetched(
    lake: Path, address: Address, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(lake, address)
    n_files = len(files_of(lake))
    Warehouse.open(Path(str(address))).close()
    Warehouse.open(Path(str(address))).close()
    [before] = mirrors(cache)
    inodes = {name: (before / name).stat().st_ino for name in files_of(before)}
    note(lake, "later")
    publish(lake, address)
    assert notes(Path(str(address))) == ["later"]
    [after] = {*mirrors(cache)} - {before}
    assert {name: (after / name).stat().st_ino for name in files_of(after)} == inodes
    records = (record for record in caplog.records if record.name == "attnrules.mirror")
    told = [record.getMessage().removeprefix(f"{address}: fetching ") for record in records]
    assert [words.split(",")[0] for words in told] == [f"{n_files} files", "0 files"]


def test_who_reads_a_lake_goes_on_when_a_later_one_is_fetched(
    lake: Path, address: Address, cache: Path
) -> None:
    publish(lake, address)
    with Warehouse.open(Path(str(address))) as warehouse:
        note(lake, "later")
        publish(lake, address)
        assert notes(Path(str(address))) == ["later"]
        assert warehouse.value("SELECT count(*) FROM attention_sources") > 0
        assert warehouse.value("SELECT count(*) FROM runs WHERE command = 'note'") == 0
    assert len(mirrors(cache)) == 2


def test_a_lake_that_could_not_be_fetched_is_fetched_the_next_time(
    lake: Path, address: Address, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(lake, address)
    whole = Objects.download

    def broken(self: Objects, names: list[str], folder: Path, *done: Any) -> None:
        whole(self, names[:1], folder, *done)
        if len(names) > 1:
            raise WarehouseUnavailableError(f"{self.address}: cannot be reached")

    with monkeypatch.context() as context:
        context.setattr(Objects, "download", broken)
        with pytest.raises(WarehouseUnavailableError, match="cannot be reached"):
            Warehouse.open(Path(str(address)))
    assert list(cache.glob("s3/*/*")) == []
    with Warehouse.open(Path(str(address))) as warehouse:
        assert warehouse.value("SELECT count(*) FROM attention_sources") > 0


def test_a_cache_that_cannot_be_made_is_named(
    lake: Path, address: Address, cache: Path, attnrules: Callable[..., Any]
) -> None:
    publish(lake, address)
    cache.touch()
    told = attnrules("info", address)
    assert (told.code, told.err.count("\n")) == (1, 1)
    assert "name a folder for what is fetched as ATTNRULES_CACHE" in told.err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "no credentials"),
        ({"AWS_PROFILE": "nobody"}, "no credentials"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}, "cannot be reached"),
        ({"AWS_ENDPOINT_URL": "nonsense"}, "nonsense"),
    ],
)
def test_what_keeps_from_the_bucket_is_one_line(
    lake: Path,
    address: Address,
    attnrules: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str | None],
    said: str,
) -> None:
    for name, value in given.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    # The session of the process keeps the credentials that it found first.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    told = attnrules("lake", lake, address)
    assert (told.code, told.err.count("\n")) == (3, 1), told.err
    assert said in told.err


def test_without_the_extra_it_is_named(
    lake: Path, address: Address, attnrules: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    told = attnrules("lake", lake, address)
    assert (told.code, told.err.count("\n")) == (3, 1)
    assert "run pip install 'attnrules[s3]'" in told.err


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("s3://bucket/a/b/", Address("bucket", "a/b")),
        (Path("s3://bucket/a/b/"), Address("bucket", "a/b")),
        ("s3://bucket", Address("bucket", "")),
        ("s3:///", None),
        ("gs://bucket/a", None),
        ("s3bucket/a", None),
    ],
)
def test_addresses_are_read(text: str | Path, read: Address | None) -> None:
    assert Address.read(text) == read
