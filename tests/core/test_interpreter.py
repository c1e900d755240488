"""The interpreters rxotlp runs on."""

from rxotlp._core.interpreter import complaint, require_reference_counts


def test_this_interpreter_is_fine() -> None:
    """Else nothing here could be tested."""
    require_reference_counts()


def test_another_implementation_is_told_why() -> None:
    """On PyPy every sender would wait for its deadline, which looks like a slow pipeline."""
    text = complaint("pypy", gil=True)
    assert text is not None
    assert "not on pypy" in text


def test_a_missing_gil_is_told_with_the_way_out() -> None:
    """Wrong books would be found much later than this."""
    text = complaint("cpython", gil=False)
    assert text is not None
    assert "PYTHON_GIL=1" in text
