"""Keep a share of all traces, the same ones as everybody else who samples."""

from functools import partial

from reactivex import abc

from rxotlp._core.sampling import ALL, decide_all, threshold_of
from rxotlp.data import Signal, TelemetryData
from rxotlp.operators._described import described
from rxotlp.operators._shell import Operator
from rxotlp.operators.chain import one_stage
from rxotlp.wire.traces import by_trace

__all__ = ["sample_ratio"]


@described
def sample_ratio(
    ratio: float, *, name: str | None = None, scheduler: abc.SchedulerBase | None = None
) -> Operator:
    """Keep spans of a share of all traces.

    ```
    sample_ratio(0.5)
        source  -a-b-c-|
        result  -a---c-|          b belongs to a trace that is not kept
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp.testing import Recorder, Rig, spans
        >>> backend = Recorder()
        >>> with Rig(ops.sample_ratio(0.5), ops.export(backend)) as rig:
        ...     heard = rig.send(spans(range(8)))
        >>> backend.delivered
        [2, 3, 5, 6]

    OpenTelemetry's consistent probability sampling: a trace's id (or `rv` in its
    tracestate) decides, so all spans of a trace share its fate wherever they pass, and who
    samples at a lower ratio keeps some of the same traces. What is kept says at what ratio,
    as `ot=th:…` in its tracestate, so backends can count what is not there.

    Args:
        ratio: of 1, above 0 and up to 1. Spans that were sampled at a lower ratio before keep
            what they say; the two are not multiplied.
        name: the stage's name in the books; "sample_ratio" by default.
        scheduler: not used to wait; for elements made by hand.

    Raises:
        ValueError, TypeError: `ratio` is out of its range.

    Reads trace ids and tracestates only. Spans without a trace id stay as they are, and so
    do elements of other signals. What is not kept is filtered. Holds nothing.
    """
    if isinstance(ratio, bool) or not isinstance(ratio, int | float):
        raise TypeError(f"sample_ratio({ratio!r}): expected a number, got {type(ratio).__name__}")
    if not 1 / ALL <= ratio <= 1:
        raise ValueError(
            f"sample_ratio({ratio}): expected more than 0 and up to 1; "
            "a filter is what keeps nothing"
        )
    chosen = partial(decide_all, threshold=threshold_of(ratio))

    def sample(data: TelemetryData) -> TelemetryData | None:
        if data.signal is not Signal.TRACES:
            return data
        whole = data.to_bytes()
        kept = by_trace(whole, chosen)
        if kept is None:
            return None
        return data if kept[0] is whole else data.derive(kept[0])

    return one_stage(
        (sample,), on_error="reject", name=name, kind="sample_ratio", scheduler=scheduler
    )
