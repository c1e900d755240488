"""Selectors: which key an element has, and what to do with one that has several.

A request may carry several services, scopes and traces at once. So a selector does not
merely name a key: it *divides* an element into one part for each key. Those that look at
the whole request (signal, metadata, turns) never cut, those that look at resources cut
groups, and those that look at scopes or records cut between records.

`route` knows only its branches, so it gives `divide` a function from a key to a branch:
keys that lead to one branch stay in one part, however many there are.

Nothing here uses `hash()` of a text, which differs from process to process.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from hashlib import blake2b
from math import isfinite
from typing import Any, TypeVar

from rxotlp._core.turns import Turns
from rxotlp.data import ResourceView, TelemetryData
from rxotlp.wire.partition import hashable, partition
from rxotlp.wire.rows import Rows

__all__ = [
    "Divide",
    "Selector",
    "as_selector",
    "by_attribute",
    "by_metadata",
    "by_resource",
    "by_scope",
    "consistent_hash",
    "first_match",
    "round_robin",
    "weighted",
]

Into = Callable[[Hashable], Hashable]
Parts = list[tuple[Hashable, TelemetryData]]
Divide = Callable[[TelemetryData, Into], Parts]
Begin = Callable[[Sequence[Hashable]], Divide]
Choose = Callable[[Rows], Sequence[Hashable]]
F = TypeVar("F", bound=Callable[..., Any])


class Selector:
    """What `route`, `split_by`, `batch(key=)` and `parallel(key=)` go by.

    Called with an element, it gives its key; of an element with several, the first.

    Attributes:
        cuts: whether an element may have several keys.
        names: branches that it chooses from, when it was told them.
        takes_turns: what it chooses depends on what it chose before, so it only makes
            sense in `route`.
        wants_names: it must be told branches, by `route` if by nobody else.
    """

    __slots__ = ("_begin", "_divide", "_text", "cuts", "names", "takes_turns", "wants_names")

    def __init__(
        self,
        text: str,
        begin: Begin,
        *,
        cuts: bool = False,
        names: Sequence[Hashable] = (),
        takes_turns: bool = False,
        wants_names: bool = False,
    ) -> None:
        self._text = text
        self._begin = begin
        self._divide: Divide | None = None
        self.cuts = cuts
        self.names = names
        self.takes_turns = takes_turns
        self.wants_names = wants_names

    def begin(self, branches: Sequence[Hashable] = ()) -> Divide:
        """What divides the elements of one subscription."""
        return self._begin(branches)

    def __call__(self, data: TelemetryData) -> Hashable:
        if self._divide is None:
            self._divide = self._begin(())
        return self._divide(data, _as_it_is)[0][0]

    def __repr__(self) -> str:
        return self._text


def as_selector(call: str, by: Any) -> Selector:
    """A selector for whatever a user may give.

    Raises:
        TypeError, ValueError: it is no selector, "signal" or function; the message begins
            with `call`.
    """
    if isinstance(by, Selector):
        return by
    if by in (by_scope, round_robin):  # with their brackets or without
        made: Selector = by()
        return made
    if hasattr(by, "is_selector"):
        raise TypeError(f"{call}{by.__name__}): expected {by.__name__}(...), with its arguments")
    if callable(by):
        return _of_elements(getattr(by, "__name__", repr(by)), by)
    if by == "signal":
        return _SIGNAL
    wrong = ValueError if isinstance(by, str) else TypeError
    raise wrong(
        f"{call}{by!r}): expected 'signal', a selector such as by_resource(\"service.name\"), "
        "or a function of an element"
    )


def _selector(function: F) -> F:
    vars(function)["is_selector"] = True  # operators and selectors are exported side by side
    return function


@_selector
def by_resource(key: str) -> Selector:
    """The value of a resource attribute, such as "service.name".

    A resource without it has the key None; a list or a mapping is the text of its repr. Cuts
    between resources, and decodes nothing below them (tier 1).
    """
    _check_name("by_resource", key)

    def divide(data: TelemetryData, into: Into) -> Parts:
        def which(resource: ResourceView) -> Hashable:
            return into(hashable(resource.attributes.get(key)))

        return data.split_by(which) or [(into(None), data)]

    return Selector(f"by_resource({key!r})", lambda _: divide, cuts=True)


@_selector
def by_scope() -> Selector:
    """The name of the instrumentation scope; "" when it has none.

    Cuts between scopes, and decodes no record (tier 1).
    """
    return _of_records("by_scope()", lambda rows: [rows.scope.name] * len(rows.raw))


@_selector
def by_attribute(key: str) -> Selector:
    """The value of a record's own attribute, such as "http.route" or "user.id".

    A record without it has the key None; a list or a mapping is the text of its repr. Types
    matter: the number 200 is not the text "200". Cuts between records, each of which is
    decoded (tier 2).
    """
    _check_name("by_attribute", key)

    def choose(rows: Rows) -> list[Hashable]:
        return [hashable(view.attributes.get(key)) for view in rows.views()]

    return _of_records(f"by_attribute({key!r})", choose)


@_selector
def by_metadata(header: str) -> Selector:
    """An entry of the request's metadata, such as a header that its source keeps.

    Upper and lower case are the same. A request without it has the key None, and so goes to
    the default. Never cuts (tier 0).
    """
    _check_name("by_metadata", header)
    wanted = header.lower()

    def select(data: TelemetryData) -> str | None:
        metadata = data.metadata
        found = metadata.get(wanted)
        if found is None:
            for name, text in metadata.items():
                if name.lower() == wanted:
                    return text
        return found

    return _of_elements(f"by_metadata({header!r})", select)


@_selector
def first_match(
    conditions: Mapping[Any, Callable[[Any], object]]
    | Sequence[tuple[Callable[[Any], object], Any]],
) -> Selector:
    """The first of some conditions that holds for a record.

    ```python
    first_match({"errors": status.is_error, "slow": duration > 0.5})
    first_match([(status.is_error, "errors"), (lambda span: span.kind == 2, "servers")])
    ```

    Args:
        conditions: a condition for each key, or pairs of a condition and its key, in the
            order in which they are asked. A condition is one of `rxotlp.processors`, which
            is decided for many records at once, or a function of a record view.

    A record for which none holds has the key None, and so goes to the default. A condition
    that raises rejects the whole element. Cuts between records (tier 2).
    """
    pairs: list[tuple[Any, Any]] = (
        [(condition, key) for key, condition in conditions.items()]
        if isinstance(conditions, Mapping)
        else list(conditions)
    )
    if not pairs:
        raise ValueError("first_match(): expected one condition or more; nothing could match")
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2 or not callable(pair[0]):
            raise TypeError(
                f"first_match({pair!r}): expected {{key: condition}} or pairs (condition, key), "
                "where a condition is a function of a record"
            )

    def choose(rows: Rows) -> list[Hashable]:
        found: list[Hashable] = [None] * len(rows.raw)
        still = list(range(len(found)))
        for condition, key in pairs:
            if not still:
                break
            of_all = getattr(condition, "choose", None)
            if of_all is not None:
                answers = of_all(rows)
                matching = {index for index in still if answers[index]}
            else:
                views = list(rows.views())
                matching = {index for index in still if condition(views[index])}
            for index in matching:
                found[index] = key
            still = [index for index in still if index not in matching]
        return found

    return _of_records(
        f"first_match({[key for _, key in pairs]!r})", choose, names=[key for _, key in pairs]
    )


@_selector
def weighted(weights: Mapping[Any, float]) -> Selector:
    """Takes turns by weight: of every 10 elements, 9 and 1 with `{"stable": 9, "canary": 1}`.

    Args:
        weights: a finite number of 0 or more for each branch, not all 0; only what they are
            to each other counts.

    Smooth: the branches alternate as evenly as the weights allow, in the same way in every
    subscription. Elements are counted, not their items. Never cuts (tier 0).
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


@_selector
def round_robin(branches: Sequence[Any] | None = None) -> Selector:
    """Takes turns: each element to the next branch.

    Args:
        branches: their names, in order; all of the route's by default.

    Elements are counted, not their items. Never cuts (tier 0).
    """
    names = _check_branches("round_robin", branches)
    text = "round_robin()" if branches is None else f"round_robin({names!r})"
    return _in_turns(text, None, names)


@_selector
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
        inner = _TRACE if key == "trace_id" else by_resource(key)
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


def _of_elements(text: str, key: Callable[[TelemetryData], Hashable]) -> Selector:
    def divide(data: TelemetryData, into: Into) -> Parts:
        return [(into(key(data)), data)]

    return Selector(text, lambda _: divide)


def _of_records(text: str, choose: Choose, *, names: Sequence[Hashable] = ()) -> Selector:
    def divide(data: TelemetryData, into: Into) -> Parts:
        def chosen(rows: Rows) -> list[Hashable]:
            return list(map(into, choose(rows)))

        parts = partition(data.signal, data.to_bytes(), chosen)
        if len(parts) < 2:
            return [(parts[0][0] if parts else into(None), data)]
        made = data._in_place_of_this([(payload, items) for _, payload, items in parts])
        return [(key, part) for (key, _, _), part in zip(parts, made, strict=True)]

    return Selector(text, lambda _: divide, cuts=True, names=names)


def _in_turns(text: str, weights: Sequence[float] | None, names: Sequence[Hashable]) -> Selector:
    def begin(given: Sequence[Hashable]) -> Divide:
        branches = names or given
        turns = Turns(weights or [1] * len(branches))

        def divide(data: TelemetryData, into: Into) -> Parts:
            return [(into(branches[turns.next()]), data)]

        return divide

    return Selector(text, begin, names=names, takes_turns=True, wants_names=not names)


def _trace_ids(rows: Rows) -> Sequence[Hashable]:
    if "trace_id" in rows.columns:
        return [trace_id or None for trace_id in rows.column("trace_id")]
    return [None] * len(rows.raw)


def _as_it_is(key: Hashable) -> Hashable:
    return key


_SIGNAL = _of_elements("'signal'", lambda data: data.signal)
_TRACE = _of_records("'trace_id'", _trace_ids)


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


def _check_name(call: str, name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{call}({name!r}): expected a name, got {type(name).__name__}")
    if not name:
        raise ValueError(f"{call}(''): expected a name; nothing is called by no name")


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
