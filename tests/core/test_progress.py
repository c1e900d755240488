"""Progress: how far a source may forget."""

from hypothesis import given
from hypothesis import strategies as st

from rxotlp._core.progress import Progress


@given(
    st.lists(st.booleans(), max_size=12).flatmap(
        lambda ends: st.tuples(st.just(ends), st.permutations(range(len(ends))))
    )
)
def test_the_mark_is_that_of_the_last_one_before_which_all_is_settled(
    case: tuple[list[bool], list[int]],
) -> None:
    """Moving past anything that is open or failed would lose it with the next crash."""
    ends, order = case
    progress: Progress[str] = Progress()
    for position in range(len(ends)):
        assert progress.begin(f"end of {position}") == position
    settled: set[int] = set()
    for position in order:
        before = progress.mark
        moved = progress.end(position, settled=ends[position])
        assert moved == (progress.mark != before)
        if ends[position]:
            settled.add(position)
        passed = 0
        while passed in settled:
            passed += 1
        assert progress.mark == (f"end of {passed - 1}" if passed else None)


def test_nothing_is_kept_behind_one_that_failed_for_good() -> None:
    """A source that follows a file for a year must not remember a year of positions."""
    progress: Progress[int] = Progress()
    progress.begin(0)
    progress.begin(1)
    assert not progress.end(0, settled=False)
    for position in range(2, 1000):
        assert progress.begin(position) == position
        assert not progress.end(position, settled=True)
    assert len(progress._marks) + len(progress._ended) <= 2
    assert progress.mark is None
