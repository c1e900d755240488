"""What is left over is found, and said."""

import threading

import pytest
from reactivex import operators as rx_ops

from rxotlp import Pipeline, SyncScheduler, sources
from rxotlp import operators as ops
from rxotlp.testing import Recorder, Rig, logs, no_leaks


def test_a_pipeline_that_has_stopped_leaves_nothing() -> None:
    """Elements and threads are gone."""
    recorder = Recorder()
    stream = sources.from_iterable([logs([1]), logs([2])]).pipe(ops.export(recorder))
    with no_leaks(), SyncScheduler() as scheduler, Pipeline(stream, scheduler=scheduler) as running:
        assert running.wait(30)
    assert recorder.ids == [1, 2]


def test_a_kept_element_is_found() -> None:
    """With the kind of thing that keeps it."""
    kept: list[object] = []
    with pytest.raises(AssertionError, match=r"1 elements are still referred to, by list"):  # noqa: SIM117
        with no_leaks(), Rig(rx_ops.do_action(kept.append)) as rig:
            rig.send([1])


def test_a_thread_that_runs_on_is_found() -> None:
    """By its name."""
    go = threading.Event()
    with pytest.raises(AssertionError, match="1 threads still run: left-over"):  # noqa: SIM117
        with no_leaks(seconds=0.05):
            threading.Thread(target=go.wait, name="left-over").start()
    go.set()
