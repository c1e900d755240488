"""From the SDK's objects to OTLP bytes, on the bridge's worker.

The messages equal those of opentelemetry's own encoder, so what is sent is what the SDK's
exporters would have sent; but no message object is made for them (`encoding_spans`,
`encoding_logs`, `encoding_metrics`). A record that cannot be encoded must not take its batch
along: after a failure each is encoded by itself, and the bad ones are logged and counted.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rxotlp.data import Signal
from rxotlp.sdk.encoding_logs import encode_logs
from rxotlp.sdk.encoding_metrics import encode_metrics
from rxotlp.sdk.encoding_spans import encode_spans

__all__ = ["LOGS", "METRICS", "TRACES", "Encoded", "Encoding"]

logger = logging.getLogger("rxotlp")


class Encoded(NamedTuple):
    """A request, and how many items are and are not in it."""

    payload: bytes
    items: int
    refused: int


@dataclass(frozen=True, slots=True)
class Encoding:
    """How one signal is encoded.

    Attributes:
        signal: which.
        encoder: from several records to a request.
        items: the items in one record.
    """

    signal: Signal
    encoder: Callable[[Sequence[Any]], bytes]
    items: Callable[[Any], int]

    def encode(self, records: Sequence[Any]) -> Encoded:
        """Encode `records`, without those that cannot be."""
        items = sum(map(self.items, records))
        try:
            return Encoded(self.encoder(records), items, 0)
        except Exception as error:  # the encoder raises what its author did not think of
            if len(records) == 1:
                text = f"{type(error).__name__}: {error}"
                logger.error("sdk: %s that cannot be encoded: %s", self.signal.names.item, text)
                return Encoded(b"", 0, items)
        each = [self.encode([record]) for record in records]
        return Encoded(
            b"".join(one.payload for one in each),  # repeated fields: joining is merging
            sum(one.items for one in each),
            sum(one.refused for one in each),
        )


def _one(record: object) -> int:
    return 1


def _points(metrics: Any) -> int:
    return sum(
        len(metric.data.data_points)
        for resource in metrics.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )


TRACES = Encoding(Signal.TRACES, encode_spans, _one)
METRICS = Encoding(Signal.METRICS, encode_metrics, _points)
LOGS = Encoding(Signal.LOGS, encode_logs, _one)
