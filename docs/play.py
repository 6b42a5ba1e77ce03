"""Runs the commands of tutorial and quickstart and writes down what they print: `python docs/play.py`.

A fenced block of `console` holds commands after `$ `, each followed by its output. A command may end in
`| head` or `| grep` with their options. Lines of progress are left out, and so is how long something took:
they differ from run to run, nothing else does.

The quickstart asks the warehouse of `attnrules demo`. It is made first, which takes minutes, unless the
variable ATTNRULES_DEMO names it. Its corpus is the standard library, so the page says of which Python.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
# Each with whether it asks the warehouse of the demo.
PAGES = {"tutorial.md": False, "quickstart.md": True}
DEMO = "attnrules-demo.duckdb"
_FILTERS = {"head", "grep"}
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.M | re.S)
# A command goes on in the next line after a backslash, and in a quoted text.
_COMMAND = re.compile(r"^\$ ((?:[^\n\"\\]|\\\n|\"[^\"]*\")*)\n", re.M)
_PROGRESS = re.compile(r"^(?:  \d+ of \d+ sequences|.* \.\.\.)\n", re.M)
_SECONDS = re.compile(r"(?<= in )\d+ s\b")
_PYTHON = re.compile(r"(?<=Python )\d+\.\d+\.\d+")


def python_of(page: str) -> str | None:
    """Return the version of Python that a page says its output is of, None where it names none."""
    found = _PYTHON.search(page)
    return found[0] if found else None


def commands(page: str) -> list[list[str]]:
    """Return the words of each `attnrules` command that is run, without what filters its output."""
    found = (command for block in _BLOCK.findall(page) for command in _COMMAND.findall(block))
    return [_pipeline(command)[0] for command in found]


def played(page: str, folder: Path, demo: Path | None = None) -> str:
    """Return the page with what its commands print when they run in `folder`, which must be empty.

    `demo` is the warehouse that they know as attnrules-demo.duckdb.
    """
    for name in ("attnrules", "docs"):
        (folder / name).symlink_to(ROOT / name)
    if demo is not None:
        (folder / DEMO).symlink_to(demo.resolve())
    page = _PYTHON.sub(platform.python_version(), page)
    return _BLOCK.sub(lambda block: _block(block[1], folder), page)


def _block(block: str, folder: Path) -> str:
    shown = (f"$ {command}\n{_output(command, folder)}" for command in _COMMAND.findall(block))
    return f"```console\n{''.join(shown)}```"


def _pipeline(command: str) -> list[list[str]]:
    words = shlex.split(command.replace("\\\n", " "))
    bars = [-1, *(place for place, word in enumerate(words) if word == "|"), len(words)]
    return [words[start + 1 : end] for start, end in pairwise(bars)]


def _output(command: str, folder: Path) -> str:
    (name, *arguments), *filters = _pipeline(command)
    others = {words[0] for words in filters} - _FILTERS
    if name != "attnrules" or others:
        raise ValueError(f"{', '.join(others) or name}: only attnrules, head and grep are run")
    shown = _PROGRESS.sub("", _run([sys.executable, "-m", "attnrules", *arguments], folder))
    for words in filters:
        shown = _run(words, folder, shown)
    return _SECONDS.sub("10 s", shown)


def _run(words: list[str], folder: Path, given: str = "") -> str:
    done = subprocess.run(
        words,
        cwd=folder,
        # `attnrules` is a link in the folder: Python must not import from there.
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"},
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{shlex.join(words)}\n{done.stdout}")
    return done.stdout


def _demo(folder: Path) -> Path:
    made = os.environ.get("ATTNRULES_DEMO")
    if made is None:
        _run([sys.executable, "-m", "attnrules", "demo", DEMO], folder)
    return Path(made or folder / DEMO)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as of_demo:
        for page, asks_demo in PAGES.items():
            with tempfile.TemporaryDirectory() as fresh:
                text = (DOCS / page).read_text("utf-8")
                demo = _demo(Path(of_demo)) if asks_demo else None
                (DOCS / page).write_text(played(text, Path(fresh), demo), "utf-8")
