"""`attnrules worker`: one task of a mining command that many processes share."""

from __future__ import annotations

from pathlib import Path

import click

from attnrules.commands.options import Count, memory_limit_option
from attnrules.commands.terminal import say
from attnrules.errors import AttnRulesError, UsageError


@click.command("worker")
@click.argument("lake", type=click.Path(path_type=Path), metavar="LAKE")
@click.option("--task", type=Count(0), required=True, help="Number of the task, from 0.")
@click.option("--threads", type=Count(1), help="Threads of DuckDB.  [one for each processor]")
@memory_limit_option
def command(lake: Path, task: int, threads: int | None, memory_limit: str | None) -> None:
    """Mine one head of a lake, as an element of a job array does; the lake itself is only read.

    A mining command with --workers or --slurm makes the tasks; the same command with --workers stores what
    they found.

    \b
    attnrules worker gpt2-lake --task 17
    """
    from attnrules.workers import Tasks

    tasks = Tasks.begun(lake)
    if tasks is None:
        raise AttnRulesError(f"{lake}: holds no tasks; make them with `attnrules mine ... --slurm FILE`")
    if task >= len(tasks.heads):
        raise UsageError(f"--task {task}: there are tasks 0 to {len(tasks.heads) - 1}")
    needed = tasks.perform(task, threads=threads, memory_limit=memory_limit)
    say(f"{tasks.name(task)}: {'mined' if needed else 'was mined already'}")
