"""A lake on S3: published from a folder, and fetched into one, whole or a part of it.

    s3://BUCKET/PREFIX/lake.json                  which catalogue is the lake's: whoever puts it commits
    s3://BUCKET/PREFIX/catalogue-<random>.duckdb
    s3://BUCKET/PREFIX/facts/...                  as in the folder, and results/...

An object is made once and stays as it is, but for `lake.json`, which is put in the place of the one that was
read and of no other. So whoever reads has a whole lake, of before or after, and of two that publish at a
time one is refused. Nothing is opened where it is: DuckDB reads files of this machine.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from attnrules.errors import AttnRulesError, UsageError, WarehouseUnavailableError
from attnrules.warehouse import files
from attnrules.warehouse.connection import connect
from attnrules.warehouse.convert import convert
from attnrules.warehouse.export import folder_made_whole, refuse_no_folder
from attnrules.warehouse.faults import explained
from attnrules.warehouse.files import CATALOGUE
from attnrules.warehouse.handle import Connection
from attnrules.warehouse.lake import Lake, listed, place_of
from attnrules.warehouse.objects import Address, Objects
from attnrules.warehouse.part import WHOLE, Part
from attnrules.warehouse.rewrite import Report, silent
from attnrules.warehouse.store import Warehouse

_HEAD = "lake.json"
# In the folder: which catalogues of which address it has the rows of, and more.
_ORIGIN = ".origin.json"
# Less than this takes no time that anybody would wonder about, bytes.
_WORTH_TELLING = 1 << 30
_CATALOGUE = re.compile(r"catalogue-[0-9a-f]{16}\.duckdb")


# Told in words what is moved.
Say = Callable[[str], None]


def _nothing(words: str) -> None:
    del words


@dataclass(frozen=True)
class Transfer:
    """What was moved.

    Arguments:
        n_files: moved, the catalogue included. n_bytes: of them. n_there: files of facts that were there.
    """

    n_files: int
    n_bytes: int
    n_there: int = 0


def publish(lake: Path, address: Address, say: Say = _nothing) -> Transfer:
    """Make the lake at `address` what the one in a folder is; files that are there already stay.

    Raises `UsageError` where `lake` is none, `WarehouseUnavailableError` where it or the address cannot be
    used, and `AttnRulesError` where another lake is there, or one that somebody published to after it was
    fetched here, or the folder is written to meanwhile. What is there then stays.
    """
    if not files.is_lake(lake):
        raise UsageError(f"{lake}: is no lake; make one of it first, with `attnrules lake {lake} DIR/`")
    # Takes in what a killed command left in the log.
    Warehouse.open(lake, writable=True).close()
    files.refuse_log(lake / CATALOGUE, lake)
    before = _state(lake)
    with Warehouse.open(lake) as warehouse, warehouse.session() as connection:
        names = [name for of_table in listed(connection).values() for name in of_table]
    objects = Objects(address)
    e_tag, ours = _head(objects, lake)
    new = _missing(objects, lake, names)
    sizes = {name: (lake / name).stat().st_size for name in new}
    n_bytes = sum(sizes.values()) + (lake / CATALOGUE).stat().st_size
    say(f"publishing {len(new)} files, {n_bytes / 1e6:,.1f} MB; {len(names) - len(new)} are there already")
    objects.upload(lake, new, _progress(say, "published", sizes))
    catalogue = f"catalogue-{secrets.token_hex(8)}.duckdb"
    with _named(lake / CATALOGUE, catalogue) as folder:
        objects.upload(folder, [catalogue])
    if _state(lake) != before:
        raise AttnRulesError(f"{lake}: was written to meanwhile; run this again when nobody writes to it")
    _commit(objects, lake, e_tag, [*ours, catalogue])
    return Transfer(len(new) + 1, n_bytes, len(names) - len(new))


def _progress(say: Say, word: str, sizes: Mapping[str, int]) -> Callable[[str], None]:
    """Return what is told of each file that was moved, and says so at every tenth of much."""
    total, moved = sum(sizes.values()), 0

    def tell(name: str) -> None:
        nonlocal moved
        before, moved = moved, moved + sizes[name]
        if total >= _WORTH_TELLING and moved * 10 // total > before * 10 // total:
            say(f"{word} {moved / 1e9:,.1f} of {total / 1e9:,.1f} GB")

    return tell


def _state(lake: Path) -> tuple[int, int, int]:
    found = (lake / CATALOGUE).stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _head(objects: Objects, lake: Path) -> tuple[str | None, list[str]]:
    """Return the tag of what is there, and the catalogues that it may be: those that `lake` was made of."""
    there, ours = objects.get(_HEAD), _origin(lake, objects.address)
    if there is None:
        return None, ours
    content, e_tag = there
    if _catalogue(objects.address, content) not in ours:
        raise AttnRulesError(
            f"{objects.address}: holds a lake that {lake} does not go on from: another one, or somebody"
            f" published to it meanwhile; fetch that one (`attnrules lake {objects.address} DIR/`) and add to"
            " it, or publish under another prefix"
        )
    return e_tag, ours


def _missing(objects: Objects, lake: Path, names: Sequence[str]) -> list[str]:
    """Return which files are not there yet. Their names are random, so that one that is there is the same."""
    there = objects.sizes()
    for name in names:
        if name in there and there[name] != (lake / name).stat().st_size:
            raise AttnRulesError(f"{objects.address}{name}: is another file than that of {lake}; remove it")
    return [name for name in names if name not in there]


@contextmanager
def _named(path: Path, name: str) -> Iterator[Path]:
    """Yield a folder in which a file has another name."""
    folder = files.unused_name_beside(path)
    folder.mkdir()
    try:
        (folder / name).symlink_to(path.resolve())
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _commit(objects: Objects, lake: Path, e_tag: str | None, catalogues: list[str]) -> None:
    """Let the last of these catalogues be the lake's, in place of what was there."""
    ours = catalogues[-1]
    # First: when this is killed, either is known for the lake's own.
    _set_origin(lake, objects.address, catalogues)
    content = json.dumps({"catalogue": ours}).encode()
    if not objects.put_in_place_of(e_tag, _HEAD, content):
        there = objects.get(_HEAD)
        # A request whose answer was lost is sent again, and then finds its own.
        if there is None or _catalogue(objects.address, there[0]) != ours:
            raise AttnRulesError(
                f"{objects.address}: somebody else published to it meanwhile, whose lake is there now;"
                f" {lake} is as it was. Fetch that one and add to it, or publish under another prefix"
            )
    _set_origin(lake, objects.address, [ours])


def _origin(lake: Path, address: Address) -> list[str]:
    """Return the catalogues of an address that the lake in a folder was fetched from or published as."""
    try:
        found = json.loads((lake / _ORIGIN).read_text("utf-8"))
        return list(found["catalogues"]) if found["address"] == str(address) else []
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AttnRulesError(f"{lake / _ORIGIN}: cannot be read: {error}; remove it") from error


def _set_origin(lake: Path, address: Address, catalogues: list[str]) -> None:
    new = files.unused_name_beside(lake / _ORIGIN)
    try:
        new.write_text(json.dumps({"address": str(address), "catalogues": catalogues}), "utf-8")
        new.replace(lake / _ORIGIN)
    except OSError as error:
        raise AttnRulesError(f"{lake}: cannot be written: {error.strerror or error}") from error


def _catalogue(address: Address, head: bytes) -> str:
    """Return the catalogue that `lake.json` names."""
    try:
        name = str(json.loads(head)["catalogue"])
    except (ValueError, KeyError, TypeError):
        name = ""
    if not _CATALOGUE.fullmatch(name):
        raise WarehouseUnavailableError(f"{address}{_HEAD}: is not that of a lake")
    return name


def fetch(
    address: Address,
    target: Path,
    report: Report = silent,
    *,
    part: Part = WHOLE,
    to_lake: bool = True,
    say: Say = _nothing,
) -> Transfer:
    """Make a lake at `target`, or a file, of the one at `address`, or of a part of it.

    Only files that the catalogue lists and the part needs are read. A lake that was fetched whole can be
    published again. `report` is told what is copied, `say` what is fetched. Raises
    `WarehouseUnavailableError` where there is no lake or it cannot be used, and what `convert` raises for a
    part; nothing is left then.
    """
    catalogue = published(address)
    if to_lake and part.is_whole:
        return fetch_whole(address, catalogue, target, say)
    objects = Objects(address)
    if to_lake:
        refuse_no_folder(target)
    else:
        files.refuse_no_place(target)
    folder = files.unused_name_beside(target)
    folder.mkdir()
    try:
        with _told_as(address, folder):
            done = _fill(objects, catalogue, folder, part, say)
            convert(folder, target, report, part=part, to_lake=to_lake, called=str(address))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return done


def published(address: Address) -> str:
    """Return the name of the catalogue of the lake at an address; it has another after each publishing.

    Raises `WarehouseUnavailableError` where there is no lake, or it cannot be reached.
    """
    there = Objects(address).get(_HEAD)
    if there is None:
        raise WarehouseUnavailableError(
            f"{address}: holds no lake; publish one with `attnrules lake DIR/ {address}`"
        )
    return _catalogue(address, there[0])


def fetch_whole(
    address: Address, catalogue: str, target: Path, say: Say = _nothing, beside: Sequence[Path] = ()
) -> Transfer:
    """Make a lake at `target` of the one that was published with a catalogue; it can be published again.

    Files that one of the lakes `beside` has are linked. Raises what `fetch` raises; nothing is left then.
    """
    with folder_made_whole(target) as folder, _told_as(address, folder):
        done = _fill(Objects(address), catalogue, folder, WHOLE, say, beside)
        _set_origin(folder, address, [catalogue])
    # Names what a lake of another version needs.
    Warehouse.open(target, writable=True).close()
    return done


@contextmanager
def _told_as(address: Address, folder: Path) -> Iterator[None]:
    """Let errors name the address: nobody knows the folder."""
    try:
        yield
    except AttnRulesError as error:
        raise type(error)(str(error).replace(str(folder), str(address).rstrip("/"))) from error


def _fill(
    objects: Objects, catalogue: str, folder: Path, part: Part, say: Say, beside: Sequence[Path] = ()
) -> Transfer:
    """Fetch a catalogue and the files of a part, and let its views list these alone."""
    objects.download([catalogue], folder)
    (folder / catalogue).rename(folder / CATALOGUE)
    lake = Lake.at(folder)
    with _connected(lake) as connection:
        names = listed(connection)
        lake.list_files(connection, {})
    if not part.is_whole:
        with Warehouse.open(folder) as warehouse:
            part.refuse_missing(warehouse)
    wanted = {
        table: [name for name in of_table if part.holds(place_of(table, name))]
        for table, of_table in names.items()
    }
    needed = [name for of_table in wanted.values() for name in of_table]
    there = objects.sizes()
    if missing := [name for name in needed if name not in there]:
        raise AttnRulesError(f"{objects.address}{missing[0]}: is missing; publish the lake again")
    fetched = [name for name in needed if not _linked(name, there[name], folder, beside)]
    n_bytes = sum(there[name] for name in (*fetched, catalogue))
    progress = _progress(say, "fetched", {name: there[name] for name in fetched})
    say(f"fetching {len(fetched)} files, {n_bytes / 1e6:,.1f} MB")
    objects.download(fetched, folder, progress)
    with _connected(lake) as connection:
        lake.list_files(connection, wanted)
    return Transfer(len(fetched) + 1, n_bytes, len(needed) - len(fetched))


def _linked(name: str, n_bytes: int, folder: Path, beside: Sequence[Path]) -> bool:
    """Link a file from a lake that has it; tell whether one has. Names are random: it is the same file."""
    for one in beside:
        try:
            if (one / name).stat().st_size == n_bytes:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).hardlink_to(one / name)
                return True
        except OSError:
            # Gone, or on a disk that has no links: it is fetched.
            continue
    return False


@contextmanager
def _connected(lake: Lake) -> Iterator[Connection]:
    """Yield a connection to the catalogue of a lake whose views are what they should be."""
    database = connect(lake.root / CATALOGUE, writable=True, folders=lake.allowed)
    with closing(database) as connection, explained(lake.root, writing=True):
        for fault in lake.faults(connection):
            raise WarehouseUnavailableError(f"{lake.root}: {fault}")
        yield connection
