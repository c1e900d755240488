"""Was every record delivered, by id? Knows files and rules, no pipeline.

The program wrote down what it sent. Each record has one place where it belongs, or is to
be filtered. It is a fault when an id is missing, stands where it does not belong, stands
there twice though nobody had to send again, or was never sent; when the secret is in any
output; and when a resource lacks the attribute that the gateway adds.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Accounting", "Found", "Sent", "account", "read_outputs", "read_sent"]

EXAMPLES = 3  # ids named in a fault; the files have the rest


@dataclass(frozen=True, slots=True)
class Sent:
    """One record that the program made.

    Attributes:
        id: its own.
        place: the output it belongs in; None when it is to be filtered.
    """

    id: str
    place: str | None


@dataclass(slots=True)
class Found:
    """What one output holds: ids as often as they stand there, and what is wrong with it."""

    ids: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Accounting:
    """What became of everything.

    Attributes:
        sent, delivered, filtered: records.
        resent: copies beyond the first, of which a sender had been told.
        faults: what is wrong, one line each; empty when all is well.
    """

    sent: int
    delivered: int
    filtered: int
    resent: int
    faults: list[str]


def account(
    sent: Iterable[Sent], found: Mapping[str, Found], *, resends_reported: bool
) -> Accounting:
    """Compare what was sent with what stands where.

    Args:
        sent: everything the program made.
        found: what each place holds.
        resends_reported: whether any sender was told to send again; only then may an id
            stand in its place twice.
    """
    faults = [f"{place}: {fault}" for place, held in found.items() for fault in held.faults]
    by_id: dict[str, Sent] = {}
    for record in sent:
        if record.id in by_id:
            faults.append(f"the program sent {record.id} twice; ids prove nothing then")
        by_id[record.id] = record
    counts = {place: Counter(held.ids) for place, held in found.items()}
    kinds: dict[str, list[str]] = {"lost": [], "not filtered": [], "misplaced": [], "doubled": []}
    kinds["never sent"] = [
        f"{identity} in {place}"
        for place, ids in counts.items()
        for identity in ids
        if identity not in by_id
    ]
    delivered = filtered = resent = 0
    for identity, record in by_id.items():
        where = {place: ids[identity] for place, ids in counts.items() if identity in ids}
        elsewhere = [place for place in where if place != record.place]
        if record.place is None:
            if elsewhere:
                kinds["not filtered"].append(f"{identity} in {elsewhere[0]}")
            else:
                filtered += 1
            continue
        if elsewhere:
            kinds["misplaced"].append(f"{identity} in {elsewhere[0]}")
        times = where.get(record.place, 0)
        if times:
            delivered += 1
            resent += times - 1
            if times > 1 and not resends_reported:
                kinds["doubled"].append(f"{identity} in {record.place}")
        elif not elsewhere:
            kinds["lost"].append(identity)
    for kind, examples in kinds.items():
        if examples:
            more = ", ..." if len(examples) > EXAMPLES else ""
            faults.append(f"{len(examples)} {kind}: {', '.join(examples[:EXAMPLES])}{more}")
    return Accounting(len(by_id), delivered, filtered, resent, faults)


# -- reading ------------------------------------------------------------------------------


def read_sent(manifest: Path, places: Mapping[str, str]) -> list[Sent]:
    """What the program wrote down; `places` says where each signal belongs."""
    sent = []
    for line in manifest.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        filtered = entry["health"] and entry["signal"] == "traces"
        sent.append(Sent(entry["id"], None if filtered else places[entry["signal"]]))
    return sent


def read_outputs(
    files: Mapping[str, Path], *, secret: str, resource: tuple[str, str]
) -> dict[str, Found]:
    """What the files of OTLP/JSON lines hold. A file that is missing holds nothing."""
    found = {}
    for place, path in files.items():
        held = found[place] = Found()
        if not path.exists():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if secret in line:
                held.faults.append(f"line {number} has the secret")
            for node in _nodes(json.loads(line)):
                attributes = _attributes(node)
                if "demo.id" in attributes:
                    held.ids.append(attributes["demo.id"])
                if "resource" in node:
                    got = _attributes(node["resource"]).get(resource[0])
                    if got != resource[1]:
                        held.faults.append(
                            f"line {number} has a resource with {resource[0]}={got!r}, "
                            f"expected {resource[1]!r}"
                        )
    return found


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in a value, itself included."""
    if isinstance(value, dict):
        yield value
        for child in value.values():
            yield from _nodes(child)
    elif isinstance(value, list):
        for child in value:
            yield from _nodes(child)


def _attributes(node: dict[str, Any]) -> dict[str, str]:
    return {
        entry["key"]: entry.get("value", {}).get("stringValue", "")
        for entry in node.get("attributes", ())
    }
