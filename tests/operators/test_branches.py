"""What `route` and `broadcast` share: attaching branches."""

from typing import Any

import reactivex as rx
from reactivex.disposable import Disposable

from rxotlp import operators as ops


def test_a_branch_that_cannot_be_attached_takes_those_before_it_along() -> None:
    """Nobody else knows of them, so nobody else could ever dispose them."""
    disposed: list[str] = []

    def held(_source: Any) -> Any:
        return rx.create(lambda _observer, _scheduler: Disposable(lambda: disposed.append("first")))

    def broken(_source: Any) -> Any:
        raise ValueError("not an operator after all")

    errors: list[Exception] = []
    rx.never().pipe(ops.broadcast(held, broken)).subscribe(on_error=errors.append)
    assert [str(error) for error in errors] == ["not an operator after all"]
    assert disposed == ["first"]
