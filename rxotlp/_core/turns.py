"""Whose turn it is among several with weights: smooth weighted round robin.

Everybody gains its weight, the richest is chosen and pays what all gained together. Over
the sum of the weights everybody is chosen as often as its weight says, and never twice in
a row where that can be avoided (nginx, "upstream: smooth weighted round-robin balancing").
"""

from collections.abc import Sequence

__all__ = ["Turns"]


class Turns:
    """Indices of what `weights` stand for, one after the other; the first wins a tie."""

    __slots__ = ("_gained", "_total", "_weights")

    def __init__(self, weights: Sequence[float]) -> None:
        self._weights = list(weights)
        self._total = sum(weights)
        self._gained: list[float] = [0] * len(self._weights)

    def next(self) -> int:
        """Whose turn it is now."""
        gained = self._gained
        chosen = -1
        for index, weight in enumerate(self._weights):
            gained[index] += weight
            if weight and (chosen < 0 or gained[index] > gained[chosen]):
                chosen = index
        gained[chosen] -= self._total
        return chosen
