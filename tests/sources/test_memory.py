"""The allocator's thresholds: raised for receivers, and left alone where they were set."""

import pytest

from rxotlp.sources.memory import keep_freed_memory


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_an_allocator_that_was_tuned_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whoever tuned the process knows it better than a library in it."""
    monkeypatch.setenv(name, "1")
    assert keep_freed_memory() is False


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thresholds' numbers are glibc's own."""
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    assert keep_freed_memory() is False
