"""Work that Ctrl-C can end although it runs outside Python, such as a query.

Python runs signal handlers in the main thread between two of its own instructions, so a main thread that
is inside a query answers late, or loses the interrupt on the way out. Here the work runs in a second thread
while the main thread waits for a lock, a moment at a time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from attnrules.interrupts import begin_work

Result = TypeVar("Result")

# How long until work that has not ended is asked again to end.
_PATIENCE = 0.02
# How long the main thread waits at a time. Polars handles SIGINT with SA_RESTART from its first query on:
# a wait without an end is then begun again instead of ended.
_GLANCE = 0.1


def interruptible(work: Callable[[], Result], abort: Callable[[], None]) -> Result:
    """Return what `work` returns, or raise what it raises; Ctrl-C ends it through `abort`.

    `abort` is called until `work` has ended, since it may come too early to have an effect. Only the main
    thread is ever interrupted: in every other one `work` is simply called.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    begin_work()
    results: list[Result] = []
    task = _Task(lambda: results.append(work()))
    try:
        _worker().put(task)
        while not task.ended.acquire(timeout=_GLANCE):
            pass
    except BaseException:
        _end(task, abort)
        raise
    if task.error is not None:
        raise task.error
    return results[0]


class _Task:
    """One piece of work. Its flags are set and read in an order that leaves no gap for an interrupt."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        # A bare lock: waiting for anything built in Python can be interrupted half-way.
        self.ended = threading.Lock()
        self.ended.acquire()
        self.begun = self.has_ended = self.abandoned = False
        self.error: BaseException | None = None

    def run(self) -> None:
        self.begun = True
        try:
            if not self.abandoned:
                self._work()
        except BaseException as error:
            self.error = error
        finally:
            self.has_ended = True
            self.ended.release()


def _end(task: _Task, abort: Callable[[], None]) -> None:
    task.abandoned = True
    while task.begun and not task.has_ended:
        try:
            abort()
            time.sleep(_PATIENCE)
        except KeyboardInterrupt:
            # Ending is under way; leaving now would leave the work behind.
            continue


class _Worker:
    """The thread that works for the main thread, and the process it belongs to."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._tasks: SimpleQueue[_Task] = SimpleQueue()
        threading.Thread(target=self._run, name="attnrules statements", daemon=True).start()

    def put(self, task: _Task) -> None:
        self._tasks.put(task)

    def _run(self) -> None:
        while True:
            self._tasks.get().run()


_workers: list[_Worker] = []


def _worker() -> _Worker:
    # A fork copies the list, not the thread.
    if not _workers or _workers[-1].pid != os.getpid():
        _workers.append(_Worker())
    return _workers[-1]
