"""The `attnrules` command: finds the subcommand, turns errors into one line and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Any

import click

from attnrules import __version__
from attnrules.commands.verbose import log_as_asked, with_verbose
from attnrules.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    AttnRulesError,
)

_COMMANDS = {
    "demo": "attnrules.commands.demo",
    "ingest": "attnrules.commands.ingest",
    "mine": "attnrules.commands.mine",
    "intervene": "attnrules.commands.intervene",
    "show": "attnrules.commands.show",
    "query": "attnrules.commands.query",
    "info": "attnrules.commands.info",
    "check": "attnrules.commands.check",
    "describe": "attnrules.commands.describe",
    "upgrade": "attnrules.commands.upgrade",
    "export": "attnrules.commands.export",
    "import-descriptions": "attnrules.commands.import_descriptions",
}


class LazyGroup(click.Group):
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
    code = run(arguments)
    if code == EXIT_INTERRUPTED:
        # Files are closed by now. Threads of libraries may be at work still: an orderly exit would wait for
        # them or, worse, break off inside them.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    try:
        log_as_asked()
        result: Any = cli.main(arguments, prog_name="attnrules", standalone_mode=False)
    except AttnRulesError as error:
        _tell_story()
        click.echo(f"attnrules: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except (KeyboardInterrupt, click.Abort):
        click.echo(
            "attnrules: interrupted; what was committed is kept, run the same command to go on",
            err=True,
        )
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout has gone, as with `| head`: nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        _tell_story()
        reason = " ".join(str(error).split())[:300]
        click.echo(
            f"attnrules: unexpected {type(error).__name__}: {reason}; set ATTNRULES_TRACEBACK=1 for"
            " the whole story",
            err=True,
        )
        return EXIT_FAILED
    return result if isinstance(result, int) else 0


def _tell_story() -> None:
    if os.environ.get("ATTNRULES_TRACEBACK"):
        traceback.print_exc()
