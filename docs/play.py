"""Runs the commands of pages and writes down what they print: `python docs/play.py [PAGE ...]`.

A fenced block of `console` holds commands after `$ `, each followed by its output. A command may end in
`| head` or `| grep` with their options. Lines of progress are left out, and so is how long something took:
they differ from run to run, nothing else does.

Some pages ask the warehouse of `attnrules demo`, of the embedded model or of SmolLM2. It is made first, which
takes minutes, unless ATTNRULES_DEMO or ATTNRULES_SMOLLM2_DEMO names it. The corpus of the embedded demo is
the standard library, so the quickstart says of which Python.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Demo:
    """A warehouse that pages ask, by the name that they give it.

    Arguments:
        variable: environment variable that names one that is made already.
        model: what `attnrules demo --model` takes.
    """

    file: str
    variable: str
    model: str


EMBEDDED = Demo("attnrules-demo.duckdb", "ATTNRULES_DEMO", "embedded")
SMOLLM2 = Demo("smollm2.duckdb", "ATTNRULES_SMOLLM2_DEMO", os.environ.get("ATTNRULES_SMOLLM2", "smollm2"))
# Each with the warehouse that it asks.
PAGES = {
    "docs/tutorial.md": None,
    "docs/quickstart.md": EMBEDDED,
    "docs/tutorial-smollm2.md": SMOLLM2,
    "README.md": SMOLLM2,
}
_FILTERS = {"head", "grep"}
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.M | re.S)
# A command goes on in the next line after a backslash, and in a quoted text.
_COMMAND = re.compile(r"^\$ ((?:[^\n\"\\]|\\\n|\"[^\"]*\")*)\n", re.M)
_PROGRESS = re.compile(r"^(?:  \d+ of \d+ sequences|.* \.\.\.)\n", re.M)
_SECONDS = re.compile(r"(?<= in )\d+ s\b")
_PYTHON = re.compile(r"(?<=Python )\d+\.\d+\.\d+")
_DECIMAL = re.compile(r"(\d+\.\d+)")
# Columns are as wide as their widest figure.
_PADDING = re.compile(r"[ ─═]+|-{3,}")


def python_of(page: str) -> str | None:
    """Return the version of Python that a page says its output is of, None where it names none."""
    found = _PYTHON.search(page)
    return found[0] if found else None


def commands(page: str) -> list[list[str]]:
    """Return the words of each `attnrules` command that is run, without what filters its output."""
    found = (command for block in _BLOCK.findall(page) for command in _COMMAND.findall(block))
    return [_pipeline(command)[0] for command in found]


def played(page: str, folder: Path, demo: Demo | None = None, made: Path | None = None) -> str:
    """Return the page with what its commands print when they run in `folder`, which must be empty.

    `made` is the warehouse that they know as that of `demo`. They get a copy, which they may write to.
    """
    for name in ("attnrules", "docs"):
        (folder / name).symlink_to(ROOT / name)
    if demo is not None and made is not None:
        shutil.copy(made, folder / demo.file)
    page = _PYTHON.sub(platform.python_version(), page)
    return _BLOCK.sub(lambda block: _block(block[1], folder), page)


def alike(one: str, other: str) -> bool:
    """Return whether two texts say the same but for what differs between processors.

    What torch computes there differs in the last bits. A mean is then rounded the other way, so that decimals
    may differ by a unit in their last digit; and of two candidates for a rule that are as good the other is
    taken, so that of twenty lines one may differ.
    """
    lines = [[_DECIMAL.split(_PADDING.sub(" ", line)) for line in text.splitlines()] for text in (one, other)]
    words = [[tuple(parts[::2]) for parts in of_text] for of_text in lines]
    same = sum(
        all(map(_near, first[1::2], second[1::2]))
        for start, there, n in SequenceMatcher(None, *words, autojunk=False).get_matching_blocks()
        for first, second in zip(lines[0][start : start + n], lines[1][there : there + n], strict=True)
    )
    return max(map(len, lines)) - same <= max(map(len, lines)) // 20


def _near(one: str, other: str) -> bool:
    """Return whether two decimals differ by a unit in the last digit of the finer one."""
    digits = max(len(figure.partition(".")[2]) for figure in (one, other))
    return abs(float(one) - float(other)) < 1.5 * 10.0**-digits


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


def _made(demo: Demo, folder: Path) -> Path:
    if demo.variable in os.environ:
        return Path(os.environ[demo.variable])
    if not (folder / demo.file).exists():
        _run([sys.executable, "-m", "attnrules", "demo", demo.file, "--model", demo.model], folder)
    return folder / demo.file


def main(names: Sequence[str]) -> None:
    """Play the pages of these names, or all."""
    with tempfile.TemporaryDirectory() as of_demos:
        for page in names or PAGES:
            with tempfile.TemporaryDirectory() as fresh:
                demo = PAGES[page]
                made = None if demo is None else _made(demo, Path(of_demos))
                text = (ROOT / page).read_text("utf-8")
                (ROOT / page).write_text(played(text, Path(fresh), demo, made), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
