"""Request bodies with numbered ids: made once, and numbered by one replacement each.

Every trace id is a mark, the number of its request and the number of its span in it:

    0..5   MARK, six bytes that occur nowhere else
    6..11  the request's number
    12..15 the span's number in the request

so a body with another number is `template.replace(MARK + number 0, MARK + number n)`, and the
ids of any body, however it was cut and joined on the way, are what a regular expression finds.
Both run in C: whoever generates and counts must not be what a benchmark measures.
"""

import re
import zlib
from collections.abc import Callable
from typing import Any

from benchmarks.workloads import payload
from rxotlp.wire.json import encode
from rxotlp.wire.signals import Signal

__all__ = ["IDS", "MARK", "Bodies", "expected_ids", "gunzip"]

MARK = b"\xf5rxid\xf6"
_NUMBER = 6  # bytes
_ZERO = MARK + bytes(_NUMBER)
IDS: Callable[[bytes], list[bytes]] = re.compile(re.escape(MARK) + b"(.{10})", re.DOTALL).findall


class Bodies:
    """Bodies of one workload of spans.

    Args:
        name: the workload; it must be of spans.
        items: spans in a body; None is what the workload has.
        gzip: compress each body, as a client would.
        json: as OTLP/JSON.

    Attributes:
        items: spans in a body.
        size: bytes of a body, before compression.
    """

    def __init__(
        self, name: str, *, items: int | None = None, gzip: bool = False, json: bool = False
    ) -> None:
        signal, data = payload(name, items=items)
        if signal is not Signal.TRACES:
            raise ValueError(f"Bodies({name!r}): expected spans; ids are trace ids")
        message: Any = signal.names.request.FromString(data)
        number = 0
        for group in message.resource_spans:
            for scope in group.scope_spans:
                for span in scope.spans:
                    span.trace_id = _ZERO + number.to_bytes(4, "big")
                    number += 1
        self.items = number
        self._json = json
        self._template: bytes = encode(message).encode() if json else message.SerializeToString()
        self.size = len(self._template)
        self._gzip = gzip
        if self._template.count(self._written(MARK)) != number:
            raise AssertionError(f"Bodies({name!r}): the mark stands where no id is")

    def numbered(self, number: int) -> bytes:
        """The body of request `number`."""
        identity = MARK + number.to_bytes(_NUMBER, "big")
        body = self._template.replace(self._written(_ZERO), self._written(identity))
        if not self._gzip:
            return body
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)
        return packer.compress(body) + packer.flush()

    def _written(self, identity: bytes) -> bytes:
        """An id as it stands in the body."""
        return identity.hex().encode() if self._json else identity


def gunzip(body: bytes) -> bytes:
    """What a gzip body holds."""
    return zlib.decompress(body, 31)


def expected_ids(requests: range, items: int) -> set[bytes]:
    """The ids that `requests` had, as `IDS` finds them."""
    spans = [number.to_bytes(4, "big") for number in range(items)]
    return {
        request + span
        for request in (n.to_bytes(_NUMBER, "big") for n in requests)
        for span in spans
    }
