"""Selectors that find a key in what an element carries."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from rxotlp.data import RecordView, ResourceView, TelemetryData
from rxotlp.operators._selector import (
    Into,
    Parts,
    Selector,
    check_name,
    of_elements,
    of_records,
    selector,
)
from rxotlp.wire.partition import hashable
from rxotlp.wire.rows import Rows
from rxotlp.wire.values import value

__all__ = ["by_attribute", "by_metadata", "by_resource", "by_scope", "by_trace", "first_match"]


@selector()
def by_resource(key: str) -> Selector:
    """The value of a resource attribute, such as "service.name".

    A resource without it has the key None; a list or a mapping is the text of its repr. Cuts
    between resources, and decodes nothing below them (tier 1).

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp.testing import Recorder, Rig, logs
        >>> shop, rest = Recorder(), Recorder()
        >>> by_service = ops.by_resource("service.name")
        >>> with Rig(
        ...     ops.route(by_service, {"shop": ops.export(shop)}, default=ops.export(rest))
        ... ) as rig:
        ...     heard = rig.send([1], service="shop"), rig.send([2], service="mail")
        >>> shop.ids, rest.ids
        ([1], [2])
    """
    check_name("by_resource", key)

    def divide(data: TelemetryData, into: Into) -> Parts:
        def which(resource: ResourceView) -> Hashable:
            return into(hashable(resource.attributes.get(key)))

        return data.split_by(which) or [(into(None), data)]

    return Selector(f"by_resource({key!r})", lambda _: divide, cuts=True)


@selector(bare=True)
def by_scope() -> Selector:
    """The name of the instrumentation scope; "" when it has none.

    Cuts between scopes, and decodes no record (tier 1).
    """
    return of_records("by_scope()", lambda rows: [rows.scope.name] * len(rows.raw))


@selector()
def by_attribute(key: str) -> Selector:
    """The value of a record's own attribute, such as "http.route" or "user.id".

    A record without it has the key None; a list or a mapping is the text of its repr. Types
    matter: the number 200 is not the text "200". Cuts between records, and decodes those
    whose bytes have the key in them (tier 3).
    """
    check_name("by_attribute", key)

    needle = key.encode("utf-8", "surrogatepass")  # on the wire it stands as it is

    def find(view: RecordView) -> Hashable:
        if "attributes" not in view.DESCRIPTOR.fields_by_name:  # a profile's are elsewhere
            return hashable(view.attributes.get(key))
        found = None
        if needle in view.to_bytes():
            for pair in view.message.attributes:  # one of them is not worth a mapping of all
                if pair.key == key:
                    found = pair
        return None if found is None else hashable(value(found.value))

    def choose(rows: Rows) -> list[Hashable]:
        return list(map(find, rows.views()))

    return of_records(f"by_attribute({key!r})", choose)


@selector()
def by_metadata(header: str) -> Selector:
    """An entry of the request's metadata, such as a header that its source keeps.

    Upper and lower case are the same. A request without it has the key None, and so goes to
    the default. Never cuts (tier 0).
    """
    check_name("by_metadata", header)
    wanted = header.lower()

    def select(data: TelemetryData) -> str | None:
        metadata = data.metadata
        found = metadata.get(wanted)
        if found is None:
            for name, text in metadata.items():
                if name.lower() == wanted:
                    return text
        return found

    return of_elements(f"by_metadata({header!r})", select)


@selector()
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
    if not isinstance(conditions, Mapping | Sequence):
        raise TypeError(
            f"first_match({conditions!r}): expected {{key: condition}} or pairs (condition, key)"
        )
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

    return of_records(
        f"first_match({[key for _, key in pairs]!r})", choose, names=[key for _, key in pairs]
    )


def _trace_ids(rows: Rows) -> Sequence[Hashable]:
    if "trace_id" in rows.columns:
        return [trace_id or None for trace_id in rows.column("trace_id")]
    return [None] * len(rows.raw)


def by_trace() -> Selector:
    """The trace id of spans and log records; None where there is none."""
    return of_records("'trace_id'", _trace_ids)
