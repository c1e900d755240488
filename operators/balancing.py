"""Selectors that choose among branches: by turn, by weight, and by hash.

Nothing here uses `hash()` of a text, which differs from process to process.
"""

from collections.abc import Hashable, Mapping, Sequence
from hashlib import blake2b
from math import isfinite
from typing import Any

from rxotlp._core.turns import Turns
from rxotlp.data import TelemetryData
from rxotlp.operators._selector import (
    Divide,
    Into,
    Parts,
    Selector,
    as_selector,
    check_name,
    selector,
)
from rxotlp.operators.selectors import by_resource, by_trace

__all__ = ["consistent_hash", "round_robin", "weighted"]


@selector()
def weighted(weights: Mapping[Any, float]) -> Selector:
    """Takes turns by weight: of every 10 elements, 9 and 1 with `{"stable": 9, "canary": 1}`.

    Args:
        weights: a finite number of 0 or more for each branch, not all 0; only what they are
            to each other counts.

    Smooth: the branches alternate as evenly as the weights allow, in the same way in every
    subscription. Elements are counted, not their items. Never cuts (tier 0).

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp.testing import Recorder, Rig
        >>> stable, canary = Recorder(), Recorder()
        >>> weights = ops.weighted({"stable": 3, "canary": 1})
        >>> with Rig(
        ...     ops.route(weights, {"stable": ops.export(stable), "canary": ops.export(canary)})
        ... ) as rig:
        ...     heard = [rig.send([number]) for number in range(8)]
        >>> stable.ids, canary.ids
        ([0, 1, 3, 4, 5, 7], [2, 6])
    """
    if not isinstance(weights, Mapping):
        raise TypeError(f"weighted({weights!r}): expected {{branch: weight}}")
    for key, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise TypeError(f"weighted({key!r}: {weight!r}): expected a number")
        if weight < 0 or not isfinite(weight):
            raise ValueError(f"weighted({key!r}: {weight}): expected a finite number, 0 or more")
    if not any(weights.values()):
        raise ValueError("weighted(): expected a weight above 0; nothing could be chosen")
    names = list(weights)
    return _in_turns(f"weighted({dict(weights)!r})", list(weights.values()), names)


@selector(bare=True)
def round_robin(branches: Sequence[Any] | None = None) -> Selector:
    """Takes turns: each element to the next branch.

    Args:
        branches: their names, in order; all of the route's by default.

    Elements are counted, not their items. Never cuts (tier 0).
    """
    names = _check_branches("round_robin", branches)
    text = "round_robin()" if branches is None else f"round_robin({names!r})"
    return _in_turns(text, None, names)


@selector()
def consistent_hash(key: Any, branches: Sequence[Any] | None = None) -> Selector:
    """The same branch for the same key, in every process and on every machine.

    ```python
    consistent_hash("trace_id")        whole traces together, for a tier of tail samplers
    consistent_hash("service.name")    a resource attribute
    consistent_hash(by_attribute("user.id"), ["a", "b", "c"])
    ```

    Rendezvous hashing: a key belongs to the branch whose name, hashed with it, is largest.
    A branch that is added takes its fair share of the keys, and no other key moves.

    Args:
        key: "trace_id", the name of a resource attribute, a selector, or a function of an
            element. Keys are texts, bytes, numbers, booleans or None, or tuples of these.
        branches: their names; all of the route's by default. Their order does not matter.

    What has no key (None; a data point has no trace) is a key like others: it stays
    together. A key of any other type rejects its element. Cuts as `key` does.
    """
    names = _check_branches("consistent_hash", branches)
    for name in names:
        _stable(name)
    if isinstance(key, str) and key != "signal":
        check_name("consistent_hash", key)
        inner = by_trace() if key == "trace_id" else by_resource(key)
    else:
        inner = as_selector("consistent_hash(", key)
    if inner.takes_turns:
        raise ValueError(f"consistent_hash({inner!r}): expected a selector that gives keys")

    def begin(given: Sequence[Hashable]) -> Divide:
        divide = inner.begin()
        seeds = [(name, blake2b(_stable(name), digest_size=8)) for name in names or given]

        def pick(key: Hashable) -> Hashable:
            text = _stable(key)
            best, chosen = b"", None
            for name, seed in seeds:
                mixed = seed.copy()
                mixed.update(text)
                score = mixed.digest()
                if score > best:
                    best, chosen = score, name
            return chosen

        def cut(data: TelemetryData, into: Into) -> Parts:
            known: dict[Hashable, Hashable] = {}  # a trace has many spans

            def through(key: Hashable) -> Hashable:
                if type(key) is not bytes and type(key) is not str:
                    return into(pick(key))  # 1 and True are equal, and not the same key
                if key not in known:
                    known[key] = into(pick(key))
                return known[key]

            return divide(data, through)

        return cut

    text = f"consistent_hash({key!r}{'' if branches is None else f', {names!r}'})"
    return Selector(text, begin, cuts=inner.cuts, names=names, wants_names=not names)


def _in_turns(text: str, weights: Sequence[float] | None, names: Sequence[Hashable]) -> Selector:
    def begin(given: Sequence[Hashable]) -> Divide:
        branches = names or given
        turns = Turns(weights or [1] * len(branches))

        def divide(data: TelemetryData, into: Into) -> Parts:
            return [(into(branches[turns.next()]), data)]

        return divide

    return Selector(text, begin, names=names, takes_turns=True, wants_names=not names)


def _stable(key: Any) -> bytes:
    """A key as bytes that are the same everywhere; different keys have different ones."""
    if isinstance(key, str):
        kind, text = b"s", key.encode("utf-8", "surrogatepass")
    elif isinstance(key, bytes):
        kind, text = b"b", key
    elif key is None or isinstance(key, int | float):
        kind, text = b"n", repr(key).encode()
    elif isinstance(key, tuple):
        kind, text = b"t", b"".join(map(_stable, key))
    else:
        raise TypeError(
            f"consistent_hash: a key or branch of type {type(key).__name__}, expected a text, "
            "bytes, a number or None; others are not the same in every process"
        )
    return kind + len(text).to_bytes(8, "big") + text


def _check_branches(call: str, branches: Any) -> list[Any]:
    if branches is None:
        return []
    if isinstance(branches, str | bytes) or not hasattr(branches, "__iter__"):
        raise TypeError(f"{call}(branches={branches!r}): expected a sequence of names")
    names = list(branches)
    if not names:
        raise ValueError(f"{call}(branches=[]): expected one name or more")
    if len(set(names)) != len(names):
        raise ValueError(f"{call}(branches={names!r}): expected each name once")
    return names
