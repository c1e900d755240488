"""Cut elements into one per key, so that `route` and `batch` see pure ones."""

from collections.abc import Callable, Hashable
from typing import Any

from reactivex import abc

from rxotlp.data import TelemetryData
from rxotlp.operators._shell import Operator
from rxotlp.operators.chain import one_stage

__all__ = ["split_by"]


def split_by(
    by: str | Callable[[Any], Hashable],
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
        by: the name of a resource attribute, or a function of a resource view. Decodes
            resources only, no record.
        name: the stage's name in the books; "split_by" by default.
        scheduler: not used to wait; for elements made by hand.

    Parts leave in the order in which their keys first appear; an element with one key
    leaves as it came. A function that raises rejects the element. Holds nothing.
    """
    if not isinstance(by, str) and not callable(by):
        raise TypeError(
            f"split_by({by!r}): expected the name of a resource attribute "
            f"or a function of a resource, got {type(by).__name__}"
        )

    def parts(data: TelemetryData) -> list[TelemetryData]:
        return [part for _, part in data.split_by(by)]

    return one_stage((parts,), on_error="reject", name=name, kind="split_by", scheduler=scheduler)
