"""What a request's groups are about, and cutting a request into one for each key.

Looks at resources and nothing below them; groups move as the bytes they came in.
"""

from collections.abc import Callable, Hashable, Sequence
from itertools import compress
from typing import Any

from google.protobuf.message import DecodeError as ProtobufDecodeError

from rxotlp.errors import DecodeError
from rxotlp.wire.dictionary import read_dictionary
from rxotlp.wire.shapes import LAYOUTS, read
from rxotlp.wire.signals import Signal
from rxotlp.wire.values import ResourceView

__all__ = ["group_by", "resources", "select_groups"]


def resources(signal: Signal, payload: bytes) -> list[ResourceView]:
    """The resource of each group, in order; two groups may have equal ones.

    Raises:
        DecodeError: the request, or a resource, cannot be read.
    """
    keys = read(LAYOUTS[signal].keys, signal, payload)
    strings = read_dictionary(keys).string_table if signal is Signal.PROFILES else ()
    return [_resource(signal, index, group, strings) for index, group in enumerate(keys.groups)]


def group_by(
    signal: Signal, payload: bytes, key: Callable[[ResourceView], Hashable]
) -> list[tuple[Hashable, bytes]]:
    """One request for each key that `key` gives, in the order in which keys first appear.

    Groups keep their bytes and their order within a key. What stands beside them in the
    request, such as a profiles dictionary, is in each part.

    Returns:
        Keys and requests; `payload` itself, the same object, when there is one key only, and
        nothing when there is no group.

    Raises:
        DecodeError: the request, or a resource, cannot be read.
    """
    found = [key(resource) for resource in resources(signal, payload)]
    if not found:
        return []
    if found.count(found[0]) == len(found):
        return [(found[0], payload)]
    layout = LAYOUTS[signal]
    frame = read(layout.frame, signal, payload)
    members: dict[Hashable, list[bytes]] = {}
    for which, group in zip(found, frame.groups, strict=True):
        members.setdefault(which, []).append(group)
    del frame.groups[:]
    parts: list[tuple[Hashable, bytes]] = []
    for which, groups in members.items():
        part = layout.frame(groups=groups)
        part.MergeFrom(frame)
        parts.append((which, part.SerializeToString()))
    return parts


def select_groups(
    signal: Signal, payload: bytes, keep: Callable[[ResourceView], object]
) -> bytes | None:
    """The request with the groups for whose resource `keep` is true; they keep their bytes.

    Returns:
        `payload` itself, the same object, when all of them stay; None when none does.

    Raises:
        DecodeError: the request, or a resource, cannot be read.
    """
    stay = [bool(keep(resource)) for resource in resources(signal, payload)]
    if all(stay):
        return payload
    if not any(stay):
        return None
    frame = read(LAYOUTS[signal].frame, signal, payload)
    groups = list(compress(frame.groups, stay))
    del frame.groups[:]
    frame.groups.extend(groups)
    made: bytes = frame.SerializeToString()
    return made


def _resource(signal: Signal, index: int, group: Any, strings: Sequence[str]) -> ResourceView:
    try:
        return ResourceView.read(group, strings)
    except (ProtobufDecodeError, UnicodeDecodeError) as error:
        path = f"{LAYOUTS[signal].path[0]}[{index}].resource"
        raise DecodeError(f"{signal.value}: {path}: {error}", path=path) from None
