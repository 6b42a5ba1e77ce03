"""Ctrl-C that nothing swallows.

`KeyboardInterrupt` may fall into code that swallows it, makes another error of it or aborts, as the imports
of compiled modules do. So Ctrl-C is remembered: the next piece of work ends instead of beginning.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType


class State:
    """What Ctrl-C has asked for, and whether any work has begun that it would have to end."""

    unanswered = False
    work_has_begun = False


def answer_ctrl_c(leave: Callable[[], object]) -> None:
    """Raise `KeyboardInterrupt` on Ctrl-C from now on, and keep in mind that it was asked for.

    While modules are imported and no work has begun, `leave` is called instead, which ends the process.
    """

    def answer(_: int, frame: FrameType | None) -> None:
        State.unanswered = True
        if not State.work_has_begun and _is_importing(frame):
            leave()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, answer)


def was_interrupted() -> bool:
    """Tell whether Ctrl-C was asked for, and nothing has ended by it yet."""
    return State.unanswered


def begin_work() -> None:
    """Say that work begins; raises the `KeyboardInterrupt` that was lost on its way.

    One that is being handled is not lost: what cleans up after it goes on.
    """
    State.work_has_begun = True
    if not State.unanswered:
        return
    State.unanswered = False
    error = sys.exc_info()[1]
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return
        error = error.__context__
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
