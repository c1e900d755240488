"""The imagined shop whose telemetry `sources.generate` sends: services, and who calls whom.

A trace is a template made once, from a seed: which services a request passes, and each of
its spans as bytes with gaps. Identifiers and times have a fixed width in OTLP, so sizes are
known beforehand, and filling in a template is joining bytes: about a microsecond a span,
where building a message takes ten times as long.

Operations of the front are entries of the graph; a service calls only services behind it, so
there is no cycle. Every service but the last ones waits for those it calls, and an error at
the bottom shows at each span above it, as it would.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

__all__ = ["Line", "Piece", "Service", "Trace", "add_attributes", "services", "tagged", "trace"]

NAMES = (
    "frontend",
    "checkout",
    "cart",
    "catalog",
    "payment",
    "shipping",
    "accounts",
    "search",
    "recommendation",
    "pricing",
    "stock",
    "email",
)
LANGUAGES = ("python", "java", "go", "nodejs", "dotnet")
ROUTES = (
    ("GET", "/"),
    ("GET", "/products/{id}"),
    ("POST", "/cart"),
    ("POST", "/checkout"),
    ("GET", "/search"),
    ("GET", "/users/{id}/orders"),
)
METHODS = ("Get", "List", "Create", "Update")
TABLES = ("orders", "users", "products", "payments", "sessions")

_MOST_SPANS = 40  # of a trace, about
_CONTEXT = 0x101  # flags: sampled, and it is known that the parent is not remote
_REMOTE = 0x301  # the parent is
_INFO, _ERROR = SeverityNumber.SEVERITY_NUMBER_INFO, SeverityNumber.SEVERITY_NUMBER_ERROR

AttributeValue = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Service:
    """One service of the graph.

    Attributes:
        name: `service.name`.
        resource: the encoded Resource.
        scope: the encoded InstrumentationScope.
        calls: the services it calls, as places in the list of all.
    """

    name: str
    resource: bytes
    scope: bytes
    calls: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A span with gaps: head, trace id, `12 08`, span id, parent, times, tail.

    Attributes:
        service: whose it is, as a place in the list of all.
        parent: the place of its parent among the trace's pieces; None: it is the root.
        head: tag and size in its ScopeSpans, and the tag of the trace id.
        tail: what does not change: name, kind, attributes, status.
        start, end: as parts of the trace's duration, 0 to 1.
    """

    service: int
    parent: int | None
    head: bytes
    tail: bytes
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Line:
    """A log record with gaps, written by a piece's code at a part of the trace's duration."""

    piece: int
    head: bytes
    tail: bytes
    at: float


@dataclass(slots=True)
class Trace:
    """What one request to the shop leaves behind. `seconds` is the median of its duration."""

    seconds: float
    pieces: list[Piece] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)


def add_attributes(target: Any, values: Mapping[str, AttributeValue]) -> None:
    """Append to a repeated field of KeyValues."""
    for key, value in values.items():
        made: KeyValue = target.add(key=key)
        if isinstance(value, bool):
            made.value.bool_value = value
        elif isinstance(value, int):
            made.value.int_value = value
        elif isinstance(value, float):
            made.value.double_value = value
        else:
            made.value.string_value = value


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def tagged(tag: int, size: int) -> bytes:
    """What stands before a length-delimited field with a tag of one byte."""
    return bytes((tag,)) + varint(size)


def services(random: Random, count: int) -> list[Service]:
    """The shop's services, the front first."""
    calls: list[set[int]] = [set() for _ in range(count)]
    for called in range(1, count):
        calls[random.randrange(max(0, called - 3), called)].add(called)  # nobody is unreachable
    for caller in range(count - 1):
        if random.random() < 0.3:
            calls[caller].add(random.randrange(caller + 1, count))
    return [_service(random, at, tuple(sorted(called))) for at, called in enumerate(calls)]


def _service(random: Random, at: int, calls: tuple[int, ...]) -> Service:
    name = NAMES[at] if at < len(NAMES) else f"service-{at}"
    language = random.choice(LANGUAGES)
    pod = f"{name}-{random.randbytes(5).hex()}-{random.randbytes(2).hex()}"
    resource = Resource()
    add_attributes(
        resource.attributes,
        {
            "service.name": name,
            "service.namespace": "shop",
            "service.version": f"1.{random.randrange(40)}.{random.randrange(10)}",
            "service.instance.id": pod,
            "deployment.environment.name": "production",
            "host.name": f"node-{random.randrange(12):02}",
            "k8s.pod.name": pod,
            "telemetry.sdk.name": "opentelemetry",
            "telemetry.sdk.language": language,
            "telemetry.sdk.version": "1.38.0",
        },
    )
    scope = InstrumentationScope(name=f"io.opentelemetry.{language}.rpc", version="2.1.0")
    return Service(name, resource.SerializeToString(), scope.SerializeToString(), calls)


def trace(random: Random, shop: list[Service], *, error: bool) -> Trace:
    """One request through the shop; with `error`, something at its bottom fails."""
    made = Trace(random.uniform(0.02, 0.6))
    method, route = random.choice(ROUTES)
    _Walk(random, shop, made).serve(0, None, 0.0, 1.0, method=method, route=route, failing=error)
    return made


class _Walk:
    """Follows one request down the graph and writes its spans and log records."""

    def __init__(self, random: Random, shop: list[Service], made: Trace) -> None:
        self._random = random
        self._shop = shop
        self._made = made

    def serve(
        self,
        at: int,
        parent: int | None,
        start: float,
        end: float,
        *,
        method: str = "",
        route: str = "",
        failing: bool,
    ) -> None:
        """A service handles a request: an HTTP one at the front, else a remote call."""
        random, service = self._random, self._shop[at]
        if route:
            name = f"{method} {route}"
            status = 500 if failing else random.choice((200, 200, 200, 200, 201, 304))
            attributes: dict[str, AttributeValue] = {
                "http.request.method": method,
                "http.route": route,
                "url.path": route.replace("{id}", str(random.randrange(10_000))),
                "url.scheme": "https",
                "http.response.status_code": status,
                "network.protocol.version": random.choice(("1.1", "2")),
                "server.address": "shop.example.com",
                "client.address": f"203.0.113.{random.randrange(256)}",
                "user_agent.original": "Mozilla/5.0 (X11; Linux x86_64)",
            }
            if failing:
                attributes["error.type"] = "500"
        else:
            name, attributes = self._call(at, failing=failing)
        me = self._span(at, parent, name, Span.SPAN_KIND_SERVER, start, end, attributes, failing)
        steps = [called for called in service.calls if random.random() < 0.8]
        if len(self._made.pieces) > _MOST_SPANS:
            steps = []
        queries = 1 if not steps else random.randrange(2)
        parts = len(steps) + queries
        guilty = random.randrange(parts) if failing and parts else -1
        for part, (begin, until) in enumerate(self._shares(start, end, parts)):
            fails = part == guilty
            if part < len(steps):
                called = steps[part]
                name, attributes = self._call(called, failing=fails)
                attributes["server.address"] = self._shop[called].name
                client = self._span(
                    at, me, name, Span.SPAN_KIND_CLIENT, begin, until, attributes, fails
                )
                margin = (until - begin) * 0.05
                self.serve(called, client, begin + margin, until - margin, failing=fails)
            else:
                self._query(at, me, begin, until, fails=fails)
        self._line(
            me,
            end,
            f"{name} {'failed' if failing else 'done'}",
            LogRecord(severity_number=_ERROR if failing else _INFO),
        )

    def _shares(self, start: float, end: float, parts: int) -> Iterator[tuple[float, float]]:
        """One after the other, with a little of the service's own work between."""
        step = (end - start) / max(1, parts)
        for part in range(parts):
            yield start + step * (part + 0.1), start + step * (part + 0.9)

    def _call(self, called: int, *, failing: bool) -> tuple[str, dict[str, AttributeValue]]:
        service = f"shop.{self._shop[called].name.title()}Service"
        method = METHODS[called % len(METHODS)]
        attributes: dict[str, AttributeValue] = {
            "rpc.system": "grpc",
            "rpc.service": service,
            "rpc.method": method,
            "rpc.grpc.status_code": 14 if failing else 0,
        }
        if failing:
            attributes["error.type"] = "UNAVAILABLE"
        return f"{service}/{method}", attributes

    def _query(self, at: int, parent: int, start: float, end: float, *, fails: bool) -> None:
        table = self._random.choice(TABLES)
        attributes: dict[str, AttributeValue] = {
            "db.system.name": "postgresql",
            "db.namespace": self._shop[at].name,
            "db.operation.name": "SELECT",
            "db.collection.name": table,
            "db.query.text": f"SELECT * FROM {table} WHERE id = $1",
            "server.address": "db.internal",
            "server.port": 5432,
        }
        if fails:
            attributes["error.type"] = "57014"
        me = self._span(
            at, parent, f"SELECT {table}", Span.SPAN_KIND_CLIENT, start, end, attributes, fails
        )
        if fails:
            record = LogRecord(severity_number=_ERROR)
            add_attributes(
                record.attributes,
                {
                    "exception.type": "QueryCanceled",
                    "exception.message": "canceling statement due to statement timeout",
                },
            )
            self._line(me, end, f"query of {table} failed", record)

    def _span(
        self,
        at: int,
        parent: int | None,
        name: str,
        kind: "Span.SpanKind.ValueType",
        start: float,
        end: float,
        attributes: dict[str, AttributeValue],
        failing: bool,
    ) -> int:
        """Append a piece; its place."""
        remote = kind == Span.SPAN_KIND_SERVER and parent is not None
        span = Span(name=name, kind=kind, flags=_REMOTE if remote else _CONTEXT)
        add_attributes(span.attributes, attributes)
        if failing:
            span.status.code = Status.STATUS_CODE_ERROR
            if kind == Span.SPAN_KIND_CLIENT and "db.system.name" in attributes:
                span.status.message = "canceling statement due to statement timeout"
        tail = span.SerializeToString()
        # trace id 18, span id 10, parent 10, start 9, end 9: tags and sizes among them
        size = 18 + 10 + (0 if parent is None else 10) + 18 + len(tail)
        head = tagged(0x12, size) + b"\x0a\x10"
        self._made.pieces.append(Piece(at, parent, head, tail, start, end))
        return len(self._made.pieces) - 1

    def _line(self, piece: int, at: float, body: str, record: LogRecord) -> None:
        record.severity_text = "ERROR" if record.severity_number == _ERROR else "INFO"
        record.body.string_value = body
        record.flags = 1
        tail = record.SerializeToString()
        size = 9 + 9 + 18 + 10 + len(tail)  # time, observed time, trace id, span id
        self._made.lines.append(Line(piece, tagged(0x12, size) + b"\x09", tail, at))
