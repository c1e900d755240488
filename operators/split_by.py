"""Cut elements into one per key, so that `route` and `batch` see pure ones."""

from collections.abc import Callable, Hashable
from typing import Any

from reactivex import abc, compose

from rxotlp.data import TelemetryData
from rxotlp.operators._described import described
from rxotlp.operators._selector import Divide, Selector, as_selector
from rxotlp.operators._shell import Operator
from rxotlp.operators.chain import one_stage

__all__ = ["as_key", "pure", "split_by"]


@described
def split_by(
    by: Selector | str | Callable[[Any], Hashable],
    *,
    name: str | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """One element for each key that an element's resources have.

    ```
    split_by("service.name")
        source  -a---b-|
        result  -(xy)b-|          a=x+y, two services' spans
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp import TelemetryData
        >>> from rxotlp.testing import Recorder, Rig, logs
        >>> backend = Recorder()
        >>> with Rig(ops.split_by("service.name"), ops.export(backend)) as rig:
        ...     both = [logs([1, 2], service="shop"), logs([3], service="pay")]
        ...     heard = rig.send(TelemetryData.merge(both))
        >>> backend.calls
        [[1, 2], [3]]

    Args:
        by: the name of a resource attribute, or a function of a resource view, for which
            resources are decoded and no record; or a selector, as `by_scope()` and
            `by_attribute("user.id")`, which decodes what it looks at.
        name: the stage's name in the books; "split_by" by default.
        scheduler: not used to wait; for elements made by hand.

    Parts leave in the order in which their keys first appear; an element with one key
    leaves as it came, and one without any resource is filtered. A function that raises
    rejects the element. Holds nothing.
    """
    if isinstance(by, Selector) or hasattr(by, "is_selector"):
        divide = as_key("split_by(", by).begin()
        return one_stage(
            (_parts(divide),), on_error="reject", name=name, kind="split_by", scheduler=scheduler
        )
    if not isinstance(by, str) and not callable(by):
        raise TypeError(
            f"split_by({by!r}): expected the name of a resource attribute "
            f"or a function of a resource, got {type(by).__name__}"
        )

    def parts(data: TelemetryData) -> list[TelemetryData]:
        return [part for _, part in data.split_by(by)]

    return one_stage((parts,), on_error="reject", name=name, kind="split_by", scheduler=scheduler)


def _parts(divide: Divide) -> Callable[[TelemetryData], list[TelemetryData]]:
    return lambda data: [part for _, part in divide(data, _same)]


def _same(key: Hashable) -> Hashable:
    return key


def as_key(call: str, by: Any) -> Selector:
    """A selector that says which key an element has.

    Raises:
        TypeError, ValueError: it is none, takes turns, or must be told branches; the message
            begins with `call`.
    """
    selector = as_selector(call, by)
    if selector.takes_turns:
        raise ValueError(f"{call}{selector!r}): expected a selector of keys; this one takes turns")
    if selector.wants_names:
        raise ValueError(f"{call}{selector!r}): expected branches=[...] in it; only route has any")
    return selector


def pure(selector: Selector | None, apply: Operator) -> Operator:
    """An operator, behind a `split_by` when elements may have several keys of its selector."""
    if selector is None or not selector.cuts:
        return apply
    return compose(split_by(selector), apply)
