"""The picture of a pipeline: what its stages learn of each other while they are subscribed.

Rx subscribes from the end of a stream to its source. So whoever is subscribed while a stage
subscribes to its source sends to that stage, whatever native operators are in between: a
context variable says who is below, and an observable that is not the very one the stage was
given says that there is something in between, whose edge is dotted. Natives that share (one
subscription, two observers) subscribe upstream only once; the next one's arrow is then
found by looking for observables in what the native operators hold.

A sketch costs a few entries a subscription and nothing afterwards. A *dry* one is made
without running anything: no stage hears anything, no port is bound.
"""

from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FunctionType
from typing import TYPE_CHECKING

from reactivex import Observable

from rxotlp.arguments import one_line

if TYPE_CHECKING:
    from rxotlp.books import Account, Book

__all__ = ["Edge", "Node", "Sketch", "to_mermaid"]

_MOST_LOOKED_AT = 1000  # things in closures, for one arrow
_SHAPES = {"source": ('(["', '"])'), "stage": ('["', '"]'), "exporter": ('[("', '")]')}
_ESCAPES = {ord(sign): f"#{ord(sign)};" for sign in '"#<>&`\\'}


@dataclass(slots=True)
class Node:
    """One box.

    Attributes:
        kind: "source", "stage" or "exporter".
        label: what it is called, unless `book` knows better.
        book: the stage's.
    """

    kind: str
    label: str
    book: "Book | None" = None


@dataclass(frozen=True, slots=True)
class Edge:
    """One arrow, from and to the places of two nodes.

    Attributes:
        label: the branch's name, or nothing.
        direct: False when native operators are, or may be, in between.
    """

    start: int
    end: int
    label: str = ""
    direct: bool = True


@dataclass(slots=True)
class Sketch:
    """Nodes and edges, in the order of subscription: from the end to the sources.

    Args:
        dry: it is made for the picture alone; nothing is going to run.
    """

    dry: bool = False
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    # Where an observable is, by its id; it is kept so that the id stays its own.
    _places: dict[int, tuple[object, int]] = field(default_factory=dict)
    _branches: list[Edge] = field(default_factory=list)
    _given: dict[int, object] = field(default_factory=dict)  # the sources of stages

    def add(self, kind: str, observable: object, label: str = "") -> int:
        """A source or a stage whose `observable` is being subscribed; its place."""
        self.nodes.append(Node(kind, label))
        place = len(self.nodes) - 1
        self._places[id(observable)] = (observable, place)
        self.link(place, observable)
        return place

    def add_source(self, source: object, label: str) -> None:
        """A source that is being subscribed; every subscription is an edge."""
        known = self._places.get(id(source))
        if known is None:
            self.add("source", source, label)
        else:
            self.link(known[1], source)

    def branch(self, start: int, entrance: object, name: str, *, merged: bool = True) -> None:
        """A branch of the stage at `start`; what the stage gives comes from its merged ones."""
        if merged:
            self.edges = [
                edge for edge in self.edges if edge.start != start or edge in self._branches
            ]
        before = len(self.edges)
        self.link(start, entrance, label=name)
        self._branches += self.edges[before:]

    def link(self, start: int, observable: object, *, label: str = "") -> None:
        """An edge from `start` to whoever is subscribing to `observable`."""
        below = _below.get()
        if below is not None:
            end, given = below
            edge = Edge(start, end, label, given is observable)
            if edge not in self.edges:
                self.edges.append(edge)

    def leads_to(self, start: int, exporter: object) -> None:
        """An edge to an exporter; one that several stages use is one box."""
        label = one_line(exporter).strip("<>")
        for place, node in enumerate(self.nodes):
            if node.kind == "exporter" and node.label == label:
                self.edges.append(Edge(start, place))
                return
        self.nodes.append(Node("exporter", label))
        self.edges.append(Edge(start, len(self.nodes) - 1))

    @contextmanager
    def subscribing(self, place: int, source: object) -> Iterator[None]:
        """While the stage at `place` subscribes to its source."""
        self._given[place] = source
        token = _below.set((place, source))
        try:
            yield
        finally:
            _below.reset(token)

    @contextmanager
    def attaching(self, observable: object) -> Iterator[None]:
        """While a branch is subscribed, whose results go where its stage's own would.

        Without an `observable` they go nowhere.
        """
        below = _below.get()
        token = _below.set(None if below is None or observable is None else (below[0], observable))
        try:
            yield
        finally:
            _below.reset(token)

    @contextmanager
    def building(self, place: int) -> Iterator[None]:
        """While the stage at `place` is made and attaches its branches."""
        token = _built.set(place)
        try:
            yield
        finally:
            _built.reset(token)

    def arrows(self) -> list[Edge]:
        """All edges: those of subscriptions, and for stages without any, what is found."""
        fed = {edge.end for edge in self.edges}
        return self.edges + [
            Edge(self._places[key][1], place, direct=False)
            for place, source in self._given.items()
            if place not in fed
            for key in _upstream(source, self._places)
        ]

    @property
    def built(self) -> int | None:
        """The stage that is being made."""
        return _built.get()


def _upstream(observable: object, known: Container[int]) -> list[int]:
    """The ids of the nearest known observables behind native operators.

    reactivex keeps what an operator was applied to in closures and attributes.
    """
    found: list[int] = []
    seen: set[int] = set()
    waiting = [observable]
    while waiting and len(seen) < _MOST_LOOKED_AT:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if id(thing) in known:
            found.append(id(thing))
        elif isinstance(thing, Observable):
            waiting += vars(thing).values()
        elif isinstance(thing, list | tuple):
            waiting += thing
        elif isinstance(thing, FunctionType):
            for cell in thing.__closure__ or ():
                try:
                    waiting.append(cell.cell_contents)
                except ValueError:  # not filled
                    continue
    return found


# Context variables, as the assembly itself: `rx.merge` subscribes in actions of its own.
_below: ContextVar[tuple[int, object] | None] = ContextVar("rxotlp.below", default=None)
_built: ContextVar[int | None] = ContextVar("rxotlp.built", default=None)


def to_mermaid(sketch: Sketch, counts: "Iterable[Account]" = ()) -> str:
    """A sketch as a Mermaid flowchart, sources first.

    Args:
        sketch: of a pipeline.
        counts: accounts; each stage shows what is not 0 in its own.
    """
    accounts = {account.name: account for account in counts}
    lines = ["flowchart LR"]
    order = list(reversed(range(len(sketch.nodes))))
    for place in order:
        node = sketch.nodes[place]
        label = _escaped(node.label if node.book is None else node.book.name)
        account = None if node.book is None else accounts.get(node.book.name)
        if account is not None:
            _, _, numbers = str(account).partition(": ")
            label += f"<br/>{_escaped(numbers)}"
        before, after = _SHAPES[node.kind]
        lines.append(f"    n{place}{before}{label}{after}")
    arrows = sketch.arrows()
    fed = {edge.end for edge in arrows}
    lines += [
        f'    u{place}(["native"]) -.-> n{place}'
        for place in order
        if sketch.nodes[place].kind == "stage" and place not in fed
    ]
    for edge in reversed(arrows):
        arrow = "-->" if edge.direct else "-.->"
        label = edge.label if edge.direct else f"{edge.label} native".strip()
        text = f'|"{_escaped(label)}"|' if label else ""
        lines.append(f"    n{edge.start} {arrow}{text} n{edge.end}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Text that Mermaid shows as it is, on one line, and never takes for its own syntax."""
    kept = "".join(sign if sign.isprintable() else " " for sign in text)
    return kept.translate(_ESCAPES) or " "
