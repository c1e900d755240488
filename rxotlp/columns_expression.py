"""Which records a `pyarrow.compute` expression holds for.

An expression does not tell which columns it is about; binding it to a table without any names
the first that is missing, so it is bound until none is. The same tells which types it takes: a
column of attributes has those of its values, but where no record has the attribute, or has it
as something that the expression cannot take, the column is null and must have a type that it
can. Records whose attributes are of other types than their neighbours' are asked by
themselves, for what a sender has joined must not decide what is kept.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

from rxotlp.columns import Reading, check, check_any, types
from rxotlp.columns_extra import acero, pa, pc
from rxotlp.columns_values import joined
from rxotlp.wire.records import select_lists
from rxotlp.wire.rows import Rows
from rxotlp.wire.signals import Signal

__all__ = ["Expression"]

_MISSING = re.compile(r"No match for FieldRef\.Name\((.*?)\) in ", re.DOTALL)
_TYPES = (pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.binary())
_MOST = 4  # columns without a type of their own, of which all combinations are tried


class Expression:
    """An expression over columns of records, as `rxotlp.columns` names them.

    Args:
        call: what the caller wrote, for messages.
        expression: gives a truth value; null counts as false.
        signal: what records it is for; None when any may come.

    Raises:
        ValueError: it names a column that no record can have, or cannot be evaluated.
    """

    def __init__(self, call: str, expression: Any, signal: Signal | None) -> None:
        self._call = call
        self._expression = expression
        self._fixed: dict[str, Any] = {}
        for one in Signal if signal is None else [signal]:
            for name, type_ in types(one).items():
                self._fixed.setdefault(name, type_)
        self._signal = signal
        self._taken = self._bind()
        if not self._taken:
            raise ValueError(f"{call}({expression}): expected an expression about some column")
        self.columns = list(self._taken)
        # As bytes at once: what a plan does costs less than another call.
        self._bytes = pc.coalesce(expression, pc.scalar(False)).cast(pa.uint8())

    def select(self, signal: Signal, payload: bytes) -> tuple[bytes, int] | None:
        """As `wire.records.filter_records`.

        Raises:
            DecodeError: the request, or what the expression is about, cannot be read.
            ValueError: this signal's records have no such columns.
        """
        check(self._call, signal, self.columns)
        return select_lists(signal, payload, lambda lists: self._choose(signal, list(lists)))

    def mask(self, signal: Signal, lists: list[Rows]) -> bytes:
        """A byte for each record of these lists, 1 where the expression holds."""
        reading = Reading(lists, signal, self.columns)
        columns = [reading.apart(name) for name in self.columns]
        if all(len(each) < 2 for each in columns):
            return self._found([joined(each, reading.rows) for each in columns])
        return self._found_apart(columns, reading.rows)

    def _found_apart(self, columns: list[list[Any]], rows: int) -> bytes:
        """The same for mixed types, those of one type together: neighbours change no answer."""
        which = pa.repeat(0, rows)
        for each in columns:
            which = pc.multiply(which, max(len(each), 1))
            for number, one in enumerate(each[1:], 1):
                which = pc.add(which, pc.if_else(one.is_valid(), number, 0))
        found = bytearray(rows)
        for number in pc.unique(which).to_pylist():
            places = pc.indices_nonzero(pc.equal(which, number))
            chosen = []
            for each in reversed(columns):
                number, mine = divmod(number, max(len(each), 1))
                column = joined(each[mine : mine + 1], rows)
                chosen.append(column.take(places))
            for place, answer in zip(places.to_pylist(), self._found(chosen[::-1]), strict=True):
                found[place] = answer
        return bytes(found)

    def _found(self, columns: list[Any]) -> bytes:
        batch = pa.record_batch(columns, names=self.columns)
        try:
            found = _evaluate(self._bytes, batch)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
            found = _evaluate(self._bytes, self._as_taken(batch))
        buffer = found.buffers()[1]
        if buffer is None:
            return b""
        whole: bytes = buffer.to_pybytes()
        return whole[found.offset : found.offset + len(found)]

    def _choose(self, signal: Signal, lists: list[Rows]) -> Iterator[tuple[Rows, Iterable[object]]]:
        mask = self.mask(signal, lists)
        at = 0
        for rows in lists:
            end = at + len(rows.raw)
            yield rows, mask[at:end]
            at = end

    def _as_taken(self, batch: Any) -> Any:
        """The batch with nothing in columns of other types than the expression takes."""
        arrays = [
            column if column.type == type_ else pa.nulls(len(column), type_)
            for column, type_ in zip(batch.columns, self._taken.values(), strict=True)
        ]
        return pa.record_batch(arrays, names=self.columns)

    def _bind(self) -> dict[str, Any]:
        """The columns, each with a type that the expression takes."""
        names: list[str] = []
        while True:
            missing = self._try(names)
            if isinstance(missing, dict):
                return missing
            if missing in names:
                raise ValueError(f"{self._call}({self._expression}): cannot find {missing!r}")
            names.append(missing)
            check_any(self._call, self._signal, [missing])

    def _try(self, names: list[str]) -> dict[str, Any] | str:
        """Types with which it can be evaluated, or a column that is missing."""
        free = [name for name in names if name not in self._fixed]
        problem: Exception | None = None
        choices = product(_TYPES, repeat=len(free)) if len(free) <= _MOST else _alike(len(free))
        for chosen in choices:
            taken = dict(zip(free, chosen, strict=True))
            typed = {name: self._fixed.get(name, taken.get(name)) for name in names}
            empty = pa.record_batch(
                [pa.array([], type_) for type_ in typed.values()], names=list(typed)
            )
            try:
                found = _evaluate(self._expression, empty)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
                missing = _MISSING.match(str(error))
                if missing is not None:
                    return missing[1]
                if "FieldRef.Nested" in str(error) or "FieldPath" in str(error):
                    raise ValueError(
                        f"{self._call}({self._expression}): expected columns by one name each, "
                        "such as pc.field('status.code')"
                    ) from None
                problem = problem or error
                continue
            if found.type == pa.bool_():
                return typed
            problem = problem or TypeError(f"gives {found.type}, expected a truth value")
        raise ValueError(f"{self._call}({self._expression}): {problem}") from None


def _alike(count: int) -> Iterator[tuple[Any, ...]]:
    return ((type_,) * count for type_ in _TYPES)


def _evaluate(expression: Any, batch: Any) -> Any:
    """What the expression gives for each row, in order."""
    table = pa.Table.from_batches([batch])
    plan = acero.Declaration.from_sequence(
        [
            acero.Declaration("table_source", acero.TableSourceNodeOptions(table)),
            acero.Declaration("project", acero.ProjectNodeOptions([expression], ["found"])),
        ]
    )
    return plan.to_table(use_threads=False).column("found").combine_chunks()
