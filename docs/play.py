"""Runs the commands of docs/tutorial.md and writes down what they print: `python docs/play.py`.

A fenced block of `console` holds commands after `$ `, each followed by its output. Lines of progress are left
out, and so is how long something took: they differ from run to run, nothing else does.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/tutorial.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.M | re.S)
# A command goes on in the next line after a backslash, and in a quoted text.
_COMMAND = re.compile(r"^\$ ((?:[^\n\"\\]|\\\n|\"[^\"]*\")*)\n", re.M)
_PROGRESS = re.compile(r"^(?:  \d+ of \d+ sequences|.* \.\.\.)\n", re.M)
_SECONDS = re.compile(r"(?<= in )\d+ s\b")


def played(page: str, folder: Path) -> str:
    """Return the page with what its commands print when they run in `folder`, which must be empty."""
    for name in ("attnrules", "docs"):
        (folder / name).symlink_to(ROOT / name)
    return _BLOCK.sub(lambda block: _block(block[1], folder), page)


def _block(block: str, folder: Path) -> str:
    commands = _COMMAND.findall(block)
    shown = "".join(f"$ {command}\n{_output(command, folder)}" for command in commands)
    return f"```console\n{shown}```"


def _output(command: str, folder: Path) -> str:
    name, *arguments = shlex.split(command.replace("\\\n", " "))
    if name != "attnrules":
        raise ValueError(f"{name}: only attnrules is run")
    done = subprocess.run(
        [sys.executable, "-m", "attnrules", *arguments],
        cwd=folder,
        # `attnrules` is a link in the folder: Python must not import from there.
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command}\n{done.stdout}")
    return _SECONDS.sub("10 s", _PROGRESS.sub("", done.stdout))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as fresh:
        PAGE.write_text(played(PAGE.read_text("utf-8"), Path(fresh)), "utf-8")
