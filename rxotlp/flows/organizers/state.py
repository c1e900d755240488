"""What the parts of an organized flow tell each other."""

import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from rxotlp.flows.results import ExecutionResult

__all__ = ["DataFlowState", "ExecutionState"]


class _Variables(MutableMapping[str, Any]):
    """Named values; safe from many threads, one change at a time."""

    def __init__(self, variables: Mapping[str, Any] | None = None) -> None:
        if variables is not None and not isinstance(variables, Mapping):
            raise TypeError(
                f"{type(self).__name__}({variables!r}): expected a mapping of names to values"
            )
        self._lock = threading.Lock()
        self._variables: dict[str, Any] = dict(variables or {})

    def __getitem__(self, name: str) -> Any:
        return self._variables[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._variables[name] = value

    def __delitem__(self, name: str) -> None:
        del self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._variables))

    def __len__(self) -> int:
        return len(self._variables)

    def change(self, name: str, function: Callable[[Any], Any], default: Any = None) -> Any:
        """Replace a value by `function(value)`, undisturbed by others; the new value."""
        with self._lock:
            value = self._variables[name] = function(self._variables.get(name, default))
        return value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self))})"


class ExecutionState(_Variables):
    """The variables of one run through a control flow: operations change them, conditions ask.

    Args:
        variables: to begin with.

    Attributes:
        results: of the nodes visited so far, by their ids; the last visit's.
        path: the ids of the nodes visited so far, in order.
    """

    def __init__(self, variables: Mapping[str, Any] | None = None) -> None:
        super().__init__(variables)
        self.results: dict[str, ExecutionResult] = {}
        self.path: list[str] = []


class DataFlowState(_Variables):
    """What processors remember from element to element; `change` counts without a race.

    Args:
        variables: to begin with.
    """
