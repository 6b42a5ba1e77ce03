"""Work that flows through threads: read, compute, pack, write, each while the others work.

    read ──> compute (one thread each) ──> pack ──> write (in the order of reading)

Items are numbered as they are read and written in that order, whichever worker computed them. At most
`in_flight` items are between reading and having been written, which bounds the memory: a fast stage waits
for a slow one. The calling thread only waits, so that Ctrl-C reaches it at once.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, Queue
from typing import Any, Generic, TypeVar

Read = TypeVar("Read")
Computed = TypeVar("Computed")
Packed = TypeVar("Packed")

# How long a thread waits before it looks again whether it should stop.
_PATIENCE = 0.02
# How long an abandoned stage that cannot be asked to stop (a download) is waited for.
_GRACE = 2.0
# The device must not wait for the interpreter while another stage runs Python.
_SWITCH_INTERVAL = 0.0005


class StoppedError(Exception):
    """Raised inside a stage by `Stop.check` once the stages were told to stop."""


class Stop:
    """Asked by long work whether it should go on."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Tell every stage to stop."""
        self._event.set()

    def is_set(self) -> bool:
        """Tell whether the stages were told to stop."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise `StoppedError` when the stages were told to stop."""
        if self._event.is_set():
            raise StoppedError


class _Job:
    """A thread that says itself when it has ended.

    `Thread.join` cannot be used where Ctrl-C may come: interrupted in it, CPython 3.11 takes a running
    thread for ended.
    """

    def __init__(self, name: str, target: Callable[[], None]) -> None:
        self._target = target
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"attnrules stage {name}", daemon=True)
        self._begun = False

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def is_running(self) -> bool:
        """Tell whether it has begun and not ended."""
        return self._begun and not self._ended.is_set()

    def has_ended(self) -> bool:
        """Tell whether it has ended."""
        return self._ended.is_set()

    def wait(self, seconds: float) -> None:
        """Wait for the end, at most so long."""
        self._ended.wait(seconds)

    def _run(self) -> None:
        self._begun = True
        try:
            self._target()
        finally:
            self._ended.set()


class Stages(Generic[Read, Computed, Packed]):
    """One run of the stages; `run` does everything.

    Arguments:
        read: yields the items, in a thread of its own.
        compute: one function a worker; each takes whichever item is next.
        pack: turns what was computed into what is written.
        write: called with each item in the order of reading; returns when the item is safe.
        in_flight: largest number of items between reading and written.
        abort: called once, from the calling thread, when the stages are abandoned while `write` may be
            at work; should make it end soon.
        stop: set when the stages are abandoned.
    """

    def __init__(
        self,
        read: Iterator[Read],
        compute: Sequence[Callable[[Read], Computed]],
        pack: Callable[[Computed], Packed],
        write: Callable[[Packed], None],
        *,
        in_flight: int,
        abort: Callable[[], None] = lambda: None,
        stop: Stop | None = None,
    ) -> None:
        self._read = read
        self._compute = compute
        self._pack = pack
        self._write = write
        self._abort = abort
        self.stop = stop or Stop()
        self._no_more = threading.Event()
        self._permits = threading.Semaphore(in_flight)
        # Not SimpleQueue: in CPython 3.11 its `get` with a timeout waits for ever when another worker takes
        # the item that woke it after the time is over.
        self._to_compute: Queue[tuple[int, Read]] = Queue()
        self._to_pack: Queue[tuple[int, Computed]] = Queue()
        self._to_write: Queue[tuple[int, Packed]] = Queue()
        self._errors: list[BaseException] = []

    def run(self, idle: Callable[[], None] = lambda: None) -> None:
        """Run until everything read is written; call `idle` many times a second meanwhile.

        An error of a stage ends the reading; what was read before it is still written, then the error is
        raised here. An exception of `idle`, or Ctrl-C, abandons everything not yet written and is raised
        when the threads have ended.
        """
        readers = [self._job("read", self._run_read)]
        workers = [
            self._job(f"compute {i}", self._run_compute, function, readers)
            for i, function in enumerate(self._compute)
        ]
        packers = [self._job("pack", self._run_pack, workers)]
        writers = [self._job("write", self._run_write, packers)]
        jobs = [*readers, *workers, *packers, *writers]
        with _switching_often():
            try:
                for job in jobs:
                    job.start()
                while not all(job.has_ended() for job in jobs):
                    idle()
                    writers[0].wait(_PATIENCE)
                idle()
            except BaseException:
                self._abandon(readers, [*workers, *packers, *writers])
                raise
        if self._errors:
            raise self._errors[0]

    def _abandon(self, readers: list[_Job], others: list[_Job]) -> None:
        self.stop.set()
        self._no_more.set()
        while any(job.is_running() for job in others):
            # More than once: a write that had not begun at the first call would not be ended by it.
            self._abort()
            time.sleep(_PATIENCE)
        for job in readers:
            if job.is_running():
                job.wait(_GRACE)

    def _job(self, name: str, target: Callable[..., None], *arguments: Any) -> _Job:
        def run() -> None:
            try:
                target(*arguments)
            except StoppedError:
                pass
            except BaseException as error:
                self._errors.append(error)
            if self._errors:
                # Nothing further is read; what is under way is finished, if it can be written.
                self._no_more.set()
                if name == "write":
                    self.stop.set()

        return _Job(name, run)

    def _run_read(self) -> None:
        index = 0
        while self._permit():
            item = next(self._read, None)
            if item is None:
                return
            self._to_compute.put((index, item))
            index += 1

    def _permit(self) -> bool:
        while not self._no_more.is_set():
            if self._permits.acquire(timeout=_PATIENCE):
                return True
        return False

    def _run_compute(self, function: Callable[[Read], Computed], before: list[_Job]) -> None:
        for index, item in self._items(self._to_compute, before):
            self._to_pack.put((index, function(item)))

    def _run_pack(self, before: list[_Job]) -> None:
        for index, item in self._items(self._to_pack, before):
            self._to_write.put((index, self._pack(item)))

    def _run_write(self, before: list[_Job]) -> None:
        waiting: dict[int, Packed] = {}
        next_index = 0
        for index, item in self._items(self._to_write, before):
            waiting[index] = item
            while next_index in waiting:
                self._write(waiting.pop(next_index))
                self._permits.release()
                next_index += 1

    def _items(self, queue: Queue[tuple[int, Any]], before: list[_Job]) -> Iterator[tuple[int, Any]]:
        """Yield what arrives until the stage before has ended and the queue is empty."""
        while True:
            self.stop.check()
            ended = all(job.has_ended() for job in before)
            try:
                item = queue.get(timeout=_PATIENCE)
            except Empty:
                if ended:
                    return
                continue
            yield item
            del item


@contextmanager
def _switching_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def in_thread(work: Callable[[], None], abort: Callable[[], None]) -> None:
    """Do `work` in a thread and wait for it, so that Ctrl-C can end it through `abort`.

    For work that a signal cannot interrupt, such as a query. Raises what `work` raises.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    job = _Job("work", run)
    try:
        job.start()
        while not job.has_ended():
            job.wait(_PATIENCE)
    except BaseException:
        while job.is_running():
            abort()
            job.wait(_PATIENCE)
        raise
    if errors:
        raise errors[0]
