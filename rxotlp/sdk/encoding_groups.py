"""Encoded records beneath their resources and scopes, as a request.

Equal resources are one, and so are equal scopes beneath them, as in the SDK's encoder. To ask
whether two are equal costs more than to encode a record, so it is asked once for each object.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from rxotlp.sdk import encoding_reference as reference
from rxotlp.wire.pairs import Pairs
from rxotlp.wire.writing import Texts, length, tag

__all__ = ["Groups", "framed", "plain"]

_resource_attributes = Pairs(Resource)
_scope_attributes = Pairs(InstrumentationScope)
_scope_names = Texts(InstrumentationScope, "name")
_scope_versions = Texts(InstrumentationScope, "version")


def framed(tag: bytes, body: bytes) -> bytes:
    """A message in a field."""
    return b"".join((tag, length(len(body)), body))


def plain(attributes: Any) -> Mapping[str, Any]:
    """Attributes as a dict, quickly: the SDK's own classes are slow to iterate."""
    if type(attributes) is BoundedAttributes:
        return attributes.copy()
    if type(attributes) is dict:
        return attributes
    copy = getattr(attributes, "copy", None)
    if copy is not None:
        copied = copy()
        if type(copied) is dict:
            return copied
    return dict(attributes or ())


class Groups:
    """How one signal's requests are put together.

    Args:
        request: the class of the message.
        names: of the lists of groups, scopes and records.
    """

    def __init__(self, request: Any, names: tuple[str, str, str]) -> None:
        groups, scopes, records = names
        group = getattr(request(), groups).add()
        scope = getattr(group, scopes).add()
        self._group = tag(request, groups)
        self._resource = tag(group, "resource")
        self._scopes = tag(group, scopes)
        self._scope = tag(scope, "scope")
        self._group_urls = Texts(group, "schema_url")
        self._scope_urls = Texts(scope, "schema_url")
        self.record = tag(scope, records)

    def encode(
        self,
        records: Iterable[Any],
        encode: Callable[[Any], bytes],
        instead: Callable[[Any], bytes],
    ) -> bytes:
        """A request of records that know their resource and scope.

        Args:
            encode: a record to its message.
            instead: the same by the SDK's encoder, for what `encode` raises at.
        """
        tag = self.record
        tree: dict[Any, dict[Any, list[bytes]]] = {}
        # Keyed by identity; the tree keeps one of the equals, `seen` all of them alive.
        seen: dict[tuple[int, int], tuple[Any, Any, list[bytes]]] = {}
        resource = scope = made = None
        for record in records:
            now, here = record.resource, record.instrumentation_scope
            if made is None or now is not resource or here is not scope:
                resource, scope = now, here
                known = seen.get((id(resource), id(scope)))
                if known is None:
                    made = tree.setdefault(resource, {}).setdefault(scope or None, [])
                    seen[id(resource), id(scope)] = resource, scope, made
                else:
                    made = known[2]
            try:
                body = encode(record)
            except Exception:  # whatever it is, the SDK's encoder decides
                body = instead(record)
            made += (tag, length(len(body)), body)
        return b"".join(
            self.group(resource, [self.scope(scope, found) for scope, found in scopes.items()])
            for resource, scopes in tree.items()
        )

    def group(self, resource: Any, scopes: Sequence[bytes]) -> bytes:
        """A resource with what is beneath it."""
        url = resource.schema_url
        above = framed(self._resource, _resource(resource))
        body = b"".join((above, *scopes, self._group_urls[url] if url else b""))
        return framed(self._group, body)

    def scope(self, scope: Any, records: Sequence[bytes]) -> bytes:
        """A scope with what is beneath it, in pieces of any size."""
        url = scope.schema_url if scope else None
        above = framed(self._scope, _scope(scope) if scope else b"")
        body = b"".join((above, *records, self._scope_urls[url] if url else b""))
        return framed(self._scopes, body)


def _resource(resource: Any) -> bytes:
    try:
        parts: list[bytes] = []
        _resource_attributes.add(plain(resource.attributes), parts)
        return b"".join(parts)
    except Exception:  # whatever it is, the SDK's encoder decides
        return reference.resource(resource)


def _scope(scope: Any) -> bytes:
    try:
        name, version = scope.name, scope.version
        parts = [
            _scope_names[name] if name else b"",
            _scope_versions[version] if version else b"",
        ]
        _scope_attributes.add(plain(scope.attributes), parts)
        return b"".join(parts)
    except Exception:  # whatever it is, the SDK's encoder decides
        return reference.scope(scope)
