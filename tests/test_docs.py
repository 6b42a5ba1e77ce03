"""The documentation: what it cites and links exists, its commands parse, its SQL runs."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from attnrules.cli import cli
from attnrules.queries.questions import questions
from attnrules.warehouse import Warehouse
from tests.conftest import Outcome

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = ("attnrules", "benchmarks", "ingest", "queries", "sql", "tests", "warehouse")
SOURCES = [
    path for room in ROOMS for suffix in ("py", "sql") for path in sorted((ROOT / room).rglob(f"*.{suffix}"))
]


def sections() -> set[str]:
    """The numbers of the sections of docs/method.md."""
    return set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?) ", (ROOT / "docs/method.md").read_text("utf-8"), re.M))


def citations(text: str) -> Iterator[str]:
    """The sections of the method that a source cites, over line breaks and comment marks."""
    flat = re.sub(r"\n\s*(?:--|#)?\s*", " ", text)
    for cited in re.findall(r"method\.md sections? ([\d.]*\d(?:(?:, | and | to )[\d.]*\d)*)", flat):
        yield from re.findall(r"\d+(?:\.\d+)?", cited)


def test_the_method_is_cited_by_sections_that_exist() -> None:
    cited = [(path, section) for path in SOURCES for section in citations(path.read_text("utf-8"))]
    assert len(cited) > 30
    assert [(path.name, section) for path, section in cited if section not in sections()] == []


def test_nothing_cites_a_page_that_is_not_here() -> None:
    here = {page.name for page in (*PAGES, ROOT / "CHANGELOG.md")}
    cited = [
        (path, page) for path in SOURCES for page in re.findall(r"[\w-]+\.md\b", path.read_text("utf-8"))
    ]
    assert [(path.name, page) for path, page in cited if page not in here] == []


def test_sections_of_the_method_are_numbered_in_order_with_anchors() -> None:
    text = (ROOT / "docs/method.md").read_text("utf-8")
    headings = re.findall(r'^<a id="([\d.]+)"></a>\n\n#{2,3} ([\d.]+) ', text, re.M)
    assert [anchor for anchor, _ in headings] == [number for _, number in headings]
    numbers = [tuple(map(int, number.split("."))) for _, number in headings]
    assert numbers == sorted(set(numbers))
    assert {number for _, number in headings} == sections()


# --- links -----------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """What a link into a page may point at: explicit anchors, and headings as GitHub names them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)", text, re.M)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(link)
    assert dead == []


def test_every_page_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\(docs/([\w-]+\.md)", PAGES[0].read_text("utf-8")))
    assert linked == {page.name for page in PAGES[1:]}


# --- pages that are read off the code ---------------------------------------------------------------------------

GENERATED = runpy.run_path(str(ROOT / "docs/generate.py"))["GENERATED"]
PLAY = runpy.run_path(str(ROOT / "docs/play.py"))


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    assert (ROOT / "docs" / name).read_text("utf-8") == GENERATED[name](), "run python docs/generate.py"


# --- commands and SQL ------------------------------------------------------------------------------------------


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in these languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    return [block for language, block in found if language in languages]


def split(lines: str) -> Iterator[list[str]]:
    """The words of each command in lines of shell, over line breaks in quotes and after backslashes."""
    pending = ""
    for line in lines.splitlines():
        pending += line
        if pending.endswith("\\"):
            pending = pending[:-1]
            continue
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:
            pending += "\n"
            continue
        pending = ""
        command: list[str] = []
        for word in [*words, ";"]:
            if word in {";", "&&", "|", ">"}:
                yield command
                command = []
            else:
                command.append(word)


def commands(page: Path) -> list[list[str]]:
    """The arguments of every `attnrules` command of a page: in blocks of shell, and in running text."""
    text = "\n".join(blocks(page, "sh"))
    found = [words[1:] for words in split(text) if words[:1] == ["attnrules"]]
    inline = re.findall(
        r"`attnrules ([^`]+)`", re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    )
    # Placeholders of running text: [OPTIONAL], THIS\|THAT and three dots.
    plain = (re.sub(r"[\[\]]|\.\.\.|\\\|\S+", "", line.replace("\n", " ")) for line in inline)
    return found + [shlex.split(line) for line in plain]


def parse(arguments: list[str]) -> list[str]:
    """Return the path of the command that the arguments name; raises `click.ClickException` for a wrong option."""
    command: click.Command = cli
    context = click.Context(cli)
    path: list[str] = []
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"no command {name}")
        command, context, path = found, click.Context(found, context, name), [*path, name]
    values, _, _ = command.make_parser(context).parse_args(arguments)
    for parameter in command.params:
        given = values.get(parameter.name)
        if (
            isinstance(parameter, click.Option)
            and isinstance(given, str)
            and not isinstance(parameter.type, click.Path)
        ):
            parameter.type.convert(given, parameter, context)
    return path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_parse(page: Path) -> None:
    run = [words[1:] for words in PLAY["commands"](page.read_text("utf-8"))]
    for arguments in commands(page) + run:
        try:
            parse(arguments)
        except click.ClickException as error:
            pytest.fail(f"attnrules {shlex.join(arguments)}: {error.message}")


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))
        else:
            yield (*path, name)


def test_every_command_is_in_the_reference() -> None:
    text = (ROOT / "docs/cli.md").read_text("utf-8")
    documented = [tuple(words.split()[1:]) for words in re.findall("^## (attnrules .+)", text, re.M)]
    assert documented == list(every_command(cli))


def test_every_option_of_mining_and_every_question_is_in_the_reference() -> None:
    text = (ROOT / "docs/queries.md").read_text("utf-8")
    mine = cli.get_command(click.Context(cli), "mine")
    assert isinstance(mine, click.Group)
    skipgrams = mine.get_command(click.Context(mine), "skipgrams")
    assert skipgrams is not None
    options = [
        option for parameter in skipgrams.params for option in parameter.opts if option.startswith("--")
    ]
    assert [name for name in [*options, *questions()] if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sql_runs(page: Path, mined_once: Path, attnrules: Callable[..., Outcome]) -> None:
    asked = [[sql] for sql in blocks(page, "sql")]
    # What stands between WAREHOUSE and the options of a `query` command.
    asked += [words[2:] for words in commands(page) if words[:1] == ["query"] and len(words) > 2]
    for arguments in asked:
        if arguments[0] in {"NAME", "--list"}:
            continue
        outcome = attnrules("query", mined_once, *arguments)
        assert outcome.code == 0, f"{arguments[0]}: {outcome.err}"


@pytest.mark.parametrize(
    "line",
    [
        "nope",
        "mine nope",
        "mine skipgrams W --nope",
        "query W NAME --format xml",
        "mine skipgrams W --max-rules 2",
    ],
)
def test_a_command_that_does_not_parse_is_noticed(line: str) -> None:
    with pytest.raises(click.ClickException):
        parse(line.split())


# --- the schema ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schema(mined_once: Path) -> dict[str, set[str]]:
    """The columns of every table and view."""
    columns: dict[str, set[str]] = {}
    with Warehouse.open(mined_once) as warehouse:
        for table, column in warehouse.rows(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal"
        ):
            columns.setdefault(table, set()).add(column)
    return columns


def test_every_table_and_view_is_in_the_reference(schema: dict[str, set[str]]) -> None:
    text = (ROOT / "docs/schema.md").read_text("utf-8")
    assert [name for name in sorted(schema) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_columns_named_in_running_text_exist(page: Path, schema: dict[str, set[str]]) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    named = re.findall(r"`(\w+)\.(\w+)`", text)
    assert [f"{t}.{c}" for t, c in named if t in schema and c not in schema[t]] == []
