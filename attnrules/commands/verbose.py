"""`--verbose`, an option of every command, and `ATTNRULES_LOG`: a line on stderr for each statement."""

from __future__ import annotations

import logging
import os

import click

from attnrules.errors import UsageError

_LEVELS = {"info": logging.INFO, "debug": logging.DEBUG}


def with_verbose(command: click.Command) -> click.Command:
    """Return `command`, it and its subcommands with the option `--verbose`."""
    if isinstance(command, click.Group):
        for subcommand in command.commands.values():
            with_verbose(subcommand)
    elif all(parameter.name != "verbose" for parameter in command.params):
        command.params.append(
            click.Option(
                ["--verbose"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_log_steps,
                help="Log each step's name, rows and seconds to stderr.",
            )
        )
    return command


def _log_steps(_context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked:
        log_to_stderr(logging.INFO)


def log_as_asked() -> None:
    """Log what `ATTNRULES_LOG` asks for: `info` the steps, `debug` every statement; nothing by default."""
    level = os.environ.get("ATTNRULES_LOG", "").lower()
    if level and level not in _LEVELS:
        raise UsageError(f"ATTNRULES_LOG={level}: must be {' or '.join(_LEVELS)}")
    if level:
        log_to_stderr(_LEVELS[level])


def log_to_stderr(level: int) -> None:
    """Write messages of attnrules from `level` on to stderr, one line each."""
    logger = logging.getLogger("attnrules")
    logger.setLevel(min(level, logger.level or level))
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("attnrules: %(message)s"))
        logger.addHandler(handler)
