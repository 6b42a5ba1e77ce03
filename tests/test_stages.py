"""The stages: order, bounds, errors, and ending soon."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnrules.ingest.capture.batching import BatchSize
from attnrules.ingest.capture.stages import Stages, StoppedError, in_thread


def alive() -> list[str]:
    """Names of the threads of stages; a thread that has said that it ended needs a moment to go."""
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("attnrules stage ")]
    for thread in threads:
        thread.join(5)
    return [thread.name for thread in threads if thread.is_alive()]


def unchanged(item: Any) -> Any:
    return item


@given(
    delays=st.lists(st.floats(0, 0.003), max_size=12),
    n_workers=st.integers(1, 3),
    in_flight=st.integers(1, 4),
)
@settings(max_examples=20, deadline=None)
def test_everything_is_written_in_the_order_of_reading(
    delays: list[float], n_workers: int, in_flight: int
) -> None:
    written: list[int] = []
    under_way = 0
    most = 0

    def read() -> Iterator[tuple[int, float]]:
        nonlocal under_way, most
        for item in enumerate(delays):
            under_way += 1
            most = max(most, under_way)
            yield item

    def compute(item: tuple[int, float]) -> int:
        time.sleep(item[1])
        return item[0]

    def write(item: int) -> None:
        nonlocal under_way
        written.append(item)
        under_way -= 1

    Stages(read(), [compute] * n_workers, unchanged, write, in_flight=in_flight).run()
    assert written == list(range(len(delays)))
    assert most <= in_flight
    assert alive() == []


def failing_at(index: int) -> Callable[[int], int]:
    def stage(item: int) -> int:
        if item == index:
            raise ValueError(f"item {item}")
        return item

    return stage


@pytest.mark.parametrize("stage", ["read", "compute", "pack", "write"])
def test_an_error_ends_it_and_what_came_before_is_written(stage: str) -> None:
    fail = failing_at(5)
    written: list[int] = []

    def write(item: int) -> None:
        written.append(fail(item) if stage == "write" else item)

    stages = Stages(
        map(fail if stage == "read" else unchanged, range(100)),
        [fail if stage == "compute" else unchanged] * 2,
        fail if stage == "pack" else unchanged,
        write,
        in_flight=3,
    )
    with pytest.raises(ValueError, match="item 5"):
        stages.run()
    assert written == list(range(5))
    assert alive() == []


@pytest.mark.parametrize("stage", ["read", "compute", "pack", "write"])
def test_an_interrupt_ends_a_busy_stage(stage: str) -> None:
    busy = threading.Event()
    aborted = threading.Event()

    def work(_: int) -> int:
        busy.set()
        while not (stages.stop.is_set() and (stage != "write" or aborted.is_set())):
            time.sleep(0.001)
        raise StoppedError

    def idle() -> None:
        if busy.is_set():
            raise KeyboardInterrupt

    stages = Stages(
        map(work if stage == "read" else unchanged, range(100)),
        [work if stage == "compute" else unchanged],
        work if stage == "pack" else unchanged,
        work if stage == "write" else unchanged,
        in_flight=3,
        abort=aborted.set,
    )
    with pytest.raises(KeyboardInterrupt):
        stages.run(idle)
    assert alive() == []


def test_workers_that_miss_an_item_look_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several that wait for one item all but one wake for nothing, some after their time is over."""
    monkeypatch.setattr("attnrules.ingest.capture.stages._PATIENCE", 1e-5)
    written: list[int] = []
    ended = threading.Event()

    def run() -> None:
        for _ in range(10):
            Stages(iter(range(400)), [lambda x: x] * 8, lambda x: x, written.append, in_flight=18).run()
        ended.set()

    threading.Thread(target=run, daemon=True).start()
    # What hangs never ends; the bound only lets the test say so.
    assert ended.wait(120)
    assert written == list(range(400)) * 10


def test_work_in_a_thread_raises_here() -> None:
    with pytest.raises(ValueError, match="item 3"):
        in_thread(lambda: failing_at(3)(3) and None, abort=lambda: None)
    assert alive() == []


# --- batch sizes -----------------------------------------------------------------------------------


def settled(batch: BatchSize, rate: Callable[[int], float], memory: int) -> int:
    """Let a batch size find itself on a device of so much memory, and return it."""
    for _ in range(100):
        if batch.size > memory:
            batch.failed(batch.size)
        else:
            batch.succeeded(batch.size, batch.size / rate(batch.size))
        if batch.is_settled:
            break
    return batch.size


def test_a_batch_grows_while_it_pays() -> None:
    assert settled(BatchSize(None, start=4, limit=1024), lambda n: min(n, 64), 10_000) == 64


def test_a_batch_stays_within_its_limit() -> None:
    assert settled(BatchSize(None, start=4, limit=100), lambda n: n, 10_000) == 64


def test_a_batch_is_halved_when_memory_runs_out() -> None:
    assert settled(BatchSize(None, start=4, limit=1024), lambda n: n, 40) == 32


def test_a_batch_asked_for_is_not_changed_by_speed() -> None:
    assert settled(BatchSize(7, start=4, limit=1024), lambda n: n, 10_000) == 7
