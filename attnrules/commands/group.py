"""A group of commands whose help says of each, in a whole sentence, what it does."""

from __future__ import annotations

import click

# Longer than any first sentence: click cuts where a line ends.
_WHOLE = 1000


class SentenceGroup(click.Group):
    """A group that lists each command with the first sentence of its help."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        rows = [
            (name, command.get_short_help_str(_WHOLE))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
