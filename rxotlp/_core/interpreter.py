"""Which interpreters rxotlp can keep its promises on.

A sender is answered when CPython's reference count says that nobody can reach its data any
more, and counters are incremented where the GIL switches no threads. Without the one,
every request would wait for its deadline; without the other, books would not balance. Both
would look like a slow or a wrong pipeline, so the import says it instead.
"""

import sys

__all__ = ["complaint", "require_reference_counts"]


def complaint(implementation: str, gil: bool) -> str | None:
    """What is wrong with an interpreter, or None."""
    if implementation != "cpython":
        return (
            f"rxotlp runs on CPython, not on {implementation}: it answers senders when the "
            "reference count of their data drops to nothing"
        )
    if not gil:
        return (
            "rxotlp needs CPython's GIL, which is off in this process: its books count on it; "
            "start Python with PYTHON_GIL=1 (or -X gil=1)"
        )
    return None


def require_reference_counts() -> None:
    """Check the interpreter that runs this.

    Raises:
        ImportError: it is not CPython, or its GIL is off.
    """
    asked = getattr(sys, "_is_gil_enabled", None)  # 3.13 and newer
    text = complaint(sys.implementation.name, asked is None or asked())
    if text is not None:
        raise ImportError(text)
