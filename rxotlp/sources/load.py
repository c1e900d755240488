"""Requests of an imagined shop, one after the other: seeded, and with exact numbers of items.

Traces are filled in one by one; their spans wait until there are enough for a request, which
takes them by service as a collector's batches do, so a trace may be spread over two. The log
records belong to traces of the same load, and are kept as the spans are: whichever signal is
asked for next finds what the others have made. What one signal makes and nobody asks for is
bounded: the oldest goes.
"""

from collections import deque
from collections.abc import Iterator
from random import Random
from struct import Struct

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from rxotlp.sources import shop
from rxotlp.sources.shop import Trace, tagged
from rxotlp.sources.shop_metrics import Point, Rounds
from rxotlp.wire.signals import Signal

__all__ = ["Load"]

_TEMPLATES = 48  # of traces, of each outcome
_KEPT = 20_000  # records made on the way that nobody has asked for yet
_TICK = 1000  # nanoseconds between two rounds at least
_TIMES = Struct("<BQBQ").pack  # of a span: tags 0x39 and 0x41
_TIME = Struct("<QBQ").pack  # of a log record, whose first tag is in its head


class Load:
    """What the shop sends.

    Args:
        seed: the same one gives the same bytes, for the same times.
        services: how many, 1 or more.
        error_ratio: the part of all traces that fail.
        delta: temporality of metrics.
        start: nanoseconds since the epoch.
        keep: the signals that are going to be asked for.
    """

    def __init__(
        self,
        *,
        seed: int,
        services: int,
        error_ratio: float,
        delta: bool,
        start: int,
        keep: frozenset[Signal],
    ) -> None:
        self._random = Random(seed)
        self._error_ratio = error_ratio
        self._shop = shop.services(self._random, services)
        self._good, self._bad = (
            [shop.trace(self._random, self._shop, error=error) for _ in range(_TEMPLATES)]
            for error in (False, True)
        )
        self._spans: deque[tuple[int, bytes]] = deque(maxlen=_KEPT)
        self._lines: deque[tuple[int, bytes]] = deque(maxlen=_KEPT)
        self._keep = keep
        self._rounds = Rounds(self._random, self._shop, delta=delta, start=start)
        self._points: Iterator[Point] = iter(())
        self._collected = start  # when the last round was
        self._parts = [
            tagged(0x0A, len(service.resource)) + service.resource for service in self._shop
        ]
        self._scopes = [tagged(0x0A, len(service.scope)) + service.scope for service in self._shop]

    def request(self, signal: Signal, items: int, now: int, *, window: int) -> bytes:
        """A request of exactly that many items.

        Args:
            signal: one of those to `keep`.
            items: spans, log records or data points, 1 or more.
            now: nanoseconds since the epoch; nothing ends later.
            window: nanoseconds before `now` in which what is made for it ends.
        """
        if signal is Signal.METRICS:
            return self._metrics(items, now, window)
        waiting = self._spans if signal is Signal.TRACES else self._lines
        taken: list[tuple[int, bytes]] = []
        while len(taken) < items:
            if not waiting:
                self._fill(now - int(self._random.random() * window))
            taken.append(waiting.popleft())
        return self._grouped(taken)

    def _fill(self, now: int) -> None:
        """One more trace, which ends at `now`."""
        random = self._random
        templates = self._bad if random.random() < self._error_ratio else self._good
        self._add(templates[int(random.random() * _TEMPLATES)], now)

    def _add(self, template: Trace, now: int) -> None:
        random = self._random
        took = int(template.seconds * random.lognormvariate(0, 0.5) * 1e9)
        begin = max(0, now - took)  # virtual time may begin in 1970
        took = now - begin
        ids = random.randbytes(16 + 8 * len(template.pieces))
        trace_id = ids[:16]
        if Signal.TRACES in self._keep:
            add = self._spans.append
            at = 16
            for piece in template.pieces:
                up = piece.parent
                parent = b"" if up is None else b"\x22\x08" + ids[16 + 8 * up : 24 + 8 * up]
                start = begin + int(piece.start * took)
                times = _TIMES(0x39, start, 0x41, begin + int(piece.end * took))
                own = ids[at : at + 8]
                add(
                    (
                        piece.service,
                        b"".join(
                            (piece.head, trace_id, b"\x12\x08", own, parent, times, piece.tail)
                        ),
                    )
                )
                at += 8
        if Signal.LOGS in self._keep:
            for line in template.lines:
                own = ids[16 + 8 * line.piece : 24 + 8 * line.piece]
                when = begin + int(line.at * took)
                times = _TIME(when, 0x59, when + 1000)
                self._lines.append(
                    (
                        template.pieces[line.piece].service,
                        b"".join(
                            (line.head, times, b"\x4a\x10", trace_id, b"\x52\x08", own, line.tail)
                        ),
                    )
                )

    def _grouped(self, taken: list[tuple[int, bytes]]) -> bytes:
        """ResourceSpans or ResourceLogs, which have the same field numbers."""
        groups: dict[int, list[bytes]] = {}
        for service, record in taken:
            if service in groups:
                groups[service].append(record)
            else:
                groups[service] = [record]
        made: list[bytes] = []
        for service, records in groups.items():
            records.insert(0, self._scopes[service])
            scope = b"".join(records)
            head = self._parts[service] + tagged(0x12, len(scope))
            made += (tagged(0x0A, len(head) + len(scope)), head, scope)
        return b"".join(made)

    def _metrics(self, items: int, now: int, window: int) -> bytes:
        # No two rounds have one time, or a series would have two values at it.
        step = max(_TICK, window * self._rounds.size // max(items, self._rounds.size))
        at = max(now - window, self._collected)
        request = Signal.METRICS.names.request()
        service, known, data = -1, None, None
        for _ in range(items):
            point = next(self._points, None)
            if point is None:
                at = self._collected = max(min(at + step, now), self._collected + _TICK)
                self._points = self._rounds.collect(at)
                point = next(self._points)
            if point.service != service:
                service, known = point.service, None
                group = request.resource_metrics.add()  # type: ignore[attr-defined]
                group.resource.CopyFrom(Resource.FromString(self._shop[service].resource))
                scope = group.scope_metrics.add()
                scope.scope.CopyFrom(InstrumentationScope.FromString(self._shop[service].scope))
            if point.metric is not known:
                known = point.metric
                metric = scope.metrics.add()
                metric.CopyFrom(known)
                data = getattr(metric, point.kind)
            data.data_points.append(point.message)  # type: ignore[union-attr]
        return request.SerializeToString()
