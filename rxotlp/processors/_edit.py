"""What `attributes` does to one list of attributes, decided once for all lists.

The steps come in a fixed order, so that what a call does can be read from it alone:

    delete   rename   insert   update   upsert   hash

An edit that finds everything as it wants it says that it changed nothing: then the bytes
stay as they are, and a sender's second attempt looks like its first.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from rxotlp.wire import values

__all__ = ["Edit"]


class Edit:
    """Changes to a list of attributes.

    Attributes:
        keys: every key that has a part in them. A list that has none of these only gets
            what is inserted.
    """

    __slots__ = ("_delete", "_hash", "_insert", "_moving", "_rename", "_update", "_upsert", "keys")

    def __init__(
        self,
        *,
        delete: tuple[str, ...],
        rename: Mapping[str, str],
        insert: Mapping[str, AnyValue],
        update: Mapping[str, AnyValue],
        upsert: Mapping[str, AnyValue],
        hash: tuple[str, ...],
    ) -> None:
        self._delete = frozenset(delete)
        self._rename = dict(rename)
        self._moving = self._delete | self._rename.keys()
        self._insert = dict(insert)
        self._update = dict(update)
        self._upsert = dict(upsert)
        self._hash = frozenset(hash)
        self.keys = frozenset(
            [*delete, *rename, *rename.values(), *insert, *update, *upsert, *hash]
        )

    def apply(self, pairs: Any, strings: Any = ()) -> bool:
        """Change a list of `KeyValue`s in place; returns whether anything changed.

        Args:
            strings: the string table that a profiles request's attributes refer to.
        """
        names = _keys(pairs, strings)
        changed = False
        if not self._moving.isdisjoint(names):
            changed = self._remove(pairs, names) | self._renamed(pairs, strings)
            names = _keys(pairs, strings)
        keys = self.keys
        found = {key: pairs[at] for at, key in enumerate(names) if key in keys}
        for key, value in self._insert.items():
            if key not in found:
                changed |= _add(pairs, found, key, value)
        for key, value in self._update.items():
            if key in found:
                changed |= _put(found[key], value)
        for key, value in self._upsert.items():
            if key in found:
                changed |= _put(found[key], value)
            else:
                changed |= _add(pairs, found, key, value)
        for key in self._hash:
            if key in found:
                digest = _digest(values.value(found[key].value, strings))
                changed |= _put(found[key], AnyValue(string_value=digest))
        return changed

    def _remove(self, pairs: Any, names: list[str]) -> bool:
        gone = [at for at, key in enumerate(names) if key in self._delete]
        for at in reversed(gone):
            del pairs[at]
        return bool(gone)

    def _renamed(self, pairs: Any, strings: Any) -> bool:
        """All renames at once, so that two keys can change places."""
        old = _keys(pairs, strings)
        moves = {at: self._rename[key] for at, key in enumerate(old) if key in self._rename}
        for at, new in moves.items():
            pairs[at].key = new
            pairs[at].key_strindex = 0
        taken = set(moves.values())
        for at in reversed(range(len(old))):
            if at not in moves and old[at] in taken:
                del pairs[at]
        return bool(moves)


def _keys(pairs: Any, strings: Any) -> list[str]:
    if strings:
        return [values.key(pair, strings) for pair in pairs]
    return [pair.key for pair in pairs]


def _add(pairs: Any, found: dict[str, Any], key: str, value: AnyValue) -> bool:
    found[key] = pairs.add(key=key, value=value)
    return True


def _put(pair: Any, value: AnyValue) -> bool:
    if pair.value == value:
        return False
    pair.value.CopyFrom(value)
    return True


def _digest(plain: Any) -> str:
    """SHA-256 in hex of a text's or bytes' own bytes, or of how Python writes anything else."""
    data = plain if isinstance(plain, bytes) else str(plain).encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()
