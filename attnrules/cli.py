"""The `attnrules` command: finds the subcommand, turns errors into one line and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from attnrules import __version__
from attnrules.commands.group import SentenceGroup
from attnrules.commands.terminal import (
    ReaderGoneError,
    discard_stdout,
    prepare_streams,
    reserve_descriptors,
    say,
)
from attnrules.commands.verbose import log_as_asked, with_verbose
from attnrules.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    AttnRulesError,
    UsageError,
    closest,
)
from attnrules.interrupts import answer_ctrl_c, was_interrupted

_COMMANDS = {
    "demo": "attnrules.commands.demo",
    "ingest": "attnrules.commands.ingest",
    "mine": "attnrules.commands.mine",
    "intervene": "attnrules.commands.intervene",
    "show": "attnrules.commands.show",
    "test": "attnrules.commands.test",
    "explain": "attnrules.commands.explain",
    "query": "attnrules.commands.query",
    "plot": "attnrules.commands.plot",
    "report": "attnrules.commands.report",
    "browse": "attnrules.commands.browse",
    "info": "attnrules.commands.info",
    "check": "attnrules.commands.check",
    "describe": "attnrules.commands.describe",
    "upgrade": "attnrules.commands.upgrade",
    "export": "attnrules.commands.export",
    "lake": "attnrules.commands.lake",
    "compact": "attnrules.commands.compact",
    "worker": "attnrules.commands.worker",
    "import-descriptions": "attnrules.commands.import_descriptions",
}


class LazyGroup(SentenceGroup):
    """A group whose subcommands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of the subcommands, in the order of a first use."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a subcommand."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name]).command
        return with_verbose(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the subcommand that is meant; for a slip, say which may have been."""
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}{closest(args[0], _COMMANDS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand; click would exit with 1 where a reader has gone."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGoneError from error


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="attnrules")
def cli() -> None:
    """Rules for what a transformer's attention heads compute, in a DuckDB warehouse.

    \b
    attnrules demo                          the whole path on an embedded model
    attnrules ingest gpt2.duckdb --preset gpt2-small
    attnrules mine skipgrams gpt2.duckdb
    attnrules show gpt2.duckdb L0H3.17
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 ok, 1 failed, 2 usage, 3 cannot open, 130 interrupted."""
    reserve_descriptors()
    answer_ctrl_c(lambda: _leave(_interrupted()))
    code = run(arguments)
    if code == EXIT_INTERRUPTED:
        # Files are closed by now. Threads of libraries may be at work still: an orderly exit would wait for
        # them or, worse, break off inside them.
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError):
            stream.flush()
    os._exit(code)


def _interrupted() -> int:
    say("attnrules: interrupted; what was committed is kept, run the same command to go on")
    return EXIT_INTERRUPTED


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    prepare_streams()
    words = sys.argv[1:] if arguments is None else arguments
    try:
        _check_words(words)
        log_as_asked()
        result: Any = cli.main(words, prog_name="attnrules", standalone_mode=False)
    except ReaderGoneError:
        discard_stdout()
        return 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_USAGE
    except (KeyboardInterrupt, click.Abort):
        return _interrupted()
    except Exception as error:
        if was_interrupted():
            return _interrupted()
        if os.environ.get("ATTNRULES_TRACEBACK"):
            traceback.print_exc()
        say(f"attnrules: {_told(error, words)}")
        return _exit_code(error)
    return result if isinstance(result, int) else 0


def _check_words(words: list[str]) -> None:
    """Refuse what no command can use: arguments that are not UTF-8, and NUL, which ends a path half-way."""
    for word in words:
        if "\0" in word or (not word.isprintable() and any("\ud800" <= c <= "\udfff" for c in word)):
            raise UsageError(f"{word[:100]}: is not UTF-8 without NUL; write it so, or rename the file")


def _told(error: Exception, words: list[str]) -> str:
    """Return what to say of an error of the command that the words ask for, on one line."""
    if isinstance(error, AttnRulesError):
        return str(error)
    if isinstance(error, click.NoSuchOption) and (text := _text_like_an_option(words)):
        return f"{text[:60]!r} is read as an option, as it begins with -; put it last, after --"
    if isinstance(error, click.ClickException):
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "attnrules"
        return f"{' '.join(error.format_message().split())}; see {path} --help"
    if isinstance(error, MemoryError):
        return "out of memory; a smaller request, or --memory-limit where the command has it, may fit"
    if type(error).__module__.startswith(("duckdb", "_duckdb")):
        from attnrules.warehouse.faults import gist

        return gist(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    reason = " ".join(str(error).split())[:300]
    return _damage(words) or (
        f"unexpected {type(error).__name__}: {reason}; set ATTNRULES_TRACEBACK=1 for the whole story"
    )


def _text_like_an_option(words: list[str]) -> str | None:
    """Return the first word that is a rule, SQL or text, which no option is, and begins like an option."""
    names = ((word, word.partition("=")[0]) for word in words if word.startswith("-"))
    return next((word for word, name in names if len(name.split()) > 1), None)


def _damage(words: list[str]) -> str | None:
    """Say what is damaged in the warehouses that the words name: nobody expects what a damaged one holds."""
    from attnrules.warehouse import Warehouse, damage

    for word in words:
        # What cannot be opened or read is no warehouse, or was told of when it was opened.
        with suppress(Exception), Warehouse.open(Path(word)) as warehouse:
            found = damage(warehouse)
            if found:
                return f"{word}: is damaged: {found}; `attnrules check` lists everything"
    return None


def _exit_code(error: Exception) -> int:
    if isinstance(error, AttnRulesError):
        return error.exit_code
    return EXIT_USAGE if isinstance(error, click.ClickException) else EXIT_FAILED
