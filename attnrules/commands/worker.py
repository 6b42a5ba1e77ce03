"""`attnrules worker`: tasks of a command that many processes share."""

from __future__ import annotations

from pathlib import Path

import click

from attnrules.commands.options import Count, device_option, memory_limit_option
from attnrules.commands.progress import quiet_libraries
from attnrules.commands.terminal import say
from attnrules.errors import AttnRulesError, UsageError


@click.command("worker")
@click.argument("lake", type=click.Path(path_type=Path), metavar="LAKE")
@click.option("--task", type=Count(0), required=True, help="Number of the task, from 0.")
@click.option("--of", "n_workers", type=Count(1), help="Do every Nth task from there on.  [that task alone]")
@click.option("--threads", type=Count(1), help="Threads of DuckDB, and of torch.  [one for each processor]")
@memory_limit_option
@device_option("Of the model, where sequences are captured: cpu, cuda, mps or auto.")
def command(
    lake: Path, task: int, n_workers: int | None, threads: int | None, memory_limit: str | None, device: str
) -> None:
    """Mine one head of a lake, capture some of its sequences or refresh one of its layers.

    As an element of a job array does.

    The lake itself is only read. A command with --workers, --slurm or --ray makes the tasks; the same
    command with --workers stores what they found.

    \b
    attnrules worker gpt2-lake --task 17
    attnrules worker gpt2-lake --task 3 --of 8
    """
    quiet_libraries()
    from attnrules.spread import Means
    from attnrules.tasks import begun

    tasks = begun(lake)
    if tasks is None:
        raise AttnRulesError(f"{lake}: holds no tasks; make them with `attnrules mine ... --slurm FILE`")
    if task >= len(tasks.names):
        raise UsageError(f"--task {task}: there are tasks 0 to {len(tasks.names) - 1}")
    pending = {*tasks.pending()}
    share = range(task, len(tasks.names), n_workers or len(tasks.names))
    for number in share:
        if number not in pending:
            say(f"{tasks.names[number]}: was {tasks.done_word} already")
    if not pending.isdisjoint(share):
        with tasks.worker(Means(threads, memory_limit, device)) as do:
            for number in share:
                if number in pending and do(number):
                    say(f"{tasks.names[number]}: {tasks.done_word}")
