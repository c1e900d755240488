"""The cases of `benchmarks.tasks` still run; what they find is judged by running the module."""

from benchmarks.tasks import lateness, no_ops, queue_cost


def test_the_cases_run() -> None:
    """Each once, tiny."""
    assert {row["peer"] for row in no_ops(rounds=1, count=200)} == {
        "EventLoopScheduler",
        "ThreadPoolScheduler",
    }
    assert set(queue_cost(sizes=(100,))) == {100}
    assert set(lateness(count=5)) == {0.5, 0.9, 0.99}
