"""A hot stream's observers: who is there now is told, who comes later begins with what is next."""

from typing import Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

__all__ = ["Hot"]

T = TypeVar("T")


class Hot(Observable[T], Generic[T]):
    """What `flow.events` and `flow.output` have in common."""

    def __init__(self) -> None:
        super().__init__()
        self._observers: tuple[abc.ObserverBase[T], ...] = ()

    @property
    def observed(self) -> bool:
        """Whether anybody is subscribed; without, nothing need be made for them."""
        return bool(self._observers)

    def _subscribe_core(
        self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        self._observers = (*self._observers, observer)

        def detach() -> None:
            self._observers = tuple(known for known in self._observers if known is not observer)

        return Disposable(detach)
