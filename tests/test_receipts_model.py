"""Receipts held against a plain model of who is responsible for what.

The machine plays every hand that telemetry can fall into: native operators that keep, drop,
copy and make elements, stages that take and emit, exporters that claim and report, sources
whose patience ends. The model is a few dicts that know nothing of reference counts.
"""

import gc
import logging
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    rule,
)
from reactivex import abc

from rxotlp._core.inbox import Inbox
from rxotlp._core.outcomes import DELIVERED, FILTERED, Kind, Outcome, dropped, failed, rejected
from rxotlp.claims import Claim
from rxotlp.data import TelemetryData
from rxotlp.receipt import Receipt
from rxotlp.stage import Stage
from rxotlp.testing import logs


@dataclass(eq=False)
class Node:
    """The model's idea of one element's responsibility."""

    items: int
    parents: list["Node"]
    senders: set[int]
    alive: bool = True
    verdicts: list[Outcome] = field(default_factory=list)
    open_claims: int = 0
    children: list["Node"] = field(default_factory=list)
    death: Kind = Kind.FAILED
    frozen: tuple[Kind, int] | None = None  # resolved although something still held it

    @property
    def touched(self) -> bool:
        return bool(self.verdicts or self.open_claims or self.children)

    def worst(self) -> tuple[Kind, int]:
        """Its outcome and the items rejected below it, as if nothing were alive."""
        if self.frozen is not None:
            return self.frozen
        if not self.touched:
            return self.death, 0
        kinds = [outcome.kind for outcome in self.verdicts]
        refused = max(
            (
                min(self.items, self.items if outcome.items is None else outcome.items)
                for outcome in self.verdicts
                if outcome.kind is Kind.REJECTED
            ),
            default=0,
        )
        for child in self.children:
            kind, below = child.worst()
            if kind is not Kind.REJECTED:
                kinds.append(kind)
                continue
            part = self._part_of(child, below)
            if part:
                kinds.append(kind)
                refused += part
            else:
                kinds.append(Kind.DELIVERED)
        kind = max(kinds)
        return kind, min(refused, self.items) if kind is Kind.REJECTED else 0

    def _part_of(self, child: "Node", refused: int) -> int:
        """How many of a child's rejected items are told to this parent."""
        if refused >= child.items:
            return self.items if len(child.parents) > 1 else refused
        if len(child.senders) > 1:
            return 0  # nobody can tell whose they were
        left = refused
        for parent in child.parents:
            part = min(left, parent.items)
            if parent is self:
                return part
            left -= part
        return 0

    def accounted(self) -> bool:
        """Everything below is claimed and reported, judged, or gone."""
        if self.frozen is not None:
            return True
        if self.open_claims or (self.alive and not self.touched):
            return False
        return all(child.accounted() for child in self.children)

    def freeze(self) -> None:
        """A deadline found everything accounted for: this is what stays, whoever holds on."""
        for child in self.children:
            child.freeze()
        self.frozen = self.worst()


class Observer(abc.ObserverBase[TelemetryData]):
    """What a native operator does with an element it is given."""

    def __init__(self) -> None:
        self.is_stopped = False
        self.then: Any = None

    def on_next(self, data: TelemetryData) -> None:
        then = self.then
        self.then = None
        then(data)

    def on_error(self, error: Exception) -> None:
        raise AssertionError("no stage errs here")

    def on_completed(self) -> None:
        raise AssertionError("no stage completes here")


class Element:
    """One element in somebody's hands, with its model."""

    def __init__(self, data: TelemetryData, node: Node) -> None:
        self.cell = [data]
        self.node = node

    @property
    def data(self) -> TelemetryData:
        return self.cell[0]

    def let_go(self) -> None:
        self.cell.clear()
        self.node.alive = False


class Promise:
    """A claim, with its model."""

    def __init__(self, claim: Claim, node: Node) -> None:
        self.claim: list[Claim] = [claim]
        self.node = node

    def settle(self, outcome: Outcome) -> None:
        self.node.open_claims -= 1
        self.node.verdicts.append(outcome)


OUTCOMES = st.sampled_from(
    [
        DELIVERED,
        FILTERED,
        dropped("policy"),
        rejected("bad"),
        rejected("bad", items=1),
        failed("down"),
        failed("down", retry_after=3),
    ]
)


class Receipts(RuleBasedStateMachine):
    elements = Bundle("elements")
    claims = Bundle("claims")

    @initialize()
    def begin(self) -> None:
        self.inbox = Inbox(lambda: None)
        self.roots: dict[int, Node] = {}
        self.receipts: dict[int, Receipt] = {}
        self.heard: dict[int, list[tuple[Kind, int]]] = {}
        self.withdrawn: set[int] = set()
        logging.getLogger("rxotlp").setLevel(logging.ERROR)  # lingering is looked up only to log
        self.hands: list[Element] = []
        self.promises: list[Promise] = []
        self.out = Observer()
        self.stage = Stage("stage", self.out, inbox=self.inbox)
        self.taker = Stage("taker", self.out, inbox=self.inbox)

    def hand(self, data: TelemetryData, node: Node) -> Element:
        self.hands.append(Element(data, node))
        return self.hands[-1]

    def emit(self, data: TelemetryData) -> None:
        cell = [self.stage.take(data)]
        del data
        self.stage.emit(cell)

    def drain(self) -> None:
        while (action := self.inbox.pop()) is not None:
            action()

    def admit(self, number: int, node: Node) -> Receipt:
        def settled(receipt: Receipt) -> None:
            assert receipt.outcome is not None
            self.heard.setdefault(number, []).append((receipt.outcome.kind, receipt.rejected))

        receipt = Receipt(inbox=self.inbox, on_settle=settled, position=number)
        self.receipts[number] = receipt
        self.roots[number] = node
        return receipt

    @rule(target=elements, items=st.integers(0, 4))
    def a_source_admits(self, items: int) -> Element:
        number = len(self.receipts)
        node = Node(items, [], {number})
        data = self.admit(number, node).attach(logs(range(items)))
        return self.hand(data, node)

    # -- native operators -----------------------------------------------------------------

    @rule(element=consumes(elements))
    def somebody_loses_it_later(self, element: Element) -> None:
        element.let_go()
        self.drain()

    @rule(element=consumes(elements), how=st.sampled_from(["drop", "close", "raise"]))
    def it_is_emitted_and_not_passed_on(self, element: Element, how: str) -> None:
        def then(_data: TelemetryData) -> None:
            if how == "close":
                self.out.is_stopped = True
            if how == "raise":
                raise ValueError("a sink raised")

        self.out.then = then
        try:
            self.emit(element.cell.pop())
        except ValueError:
            gc.collect()
        self.out.is_stopped = False
        element.node.alive = False
        element.node.death = Kind.FILTERED if how == "drop" else Kind.FAILED
        self.drain()

    @rule(target=elements, element=consumes(elements))
    def it_is_emitted_and_kept(self, element: Element) -> Element:
        kept: list[TelemetryData] = []
        self.out.then = kept.append
        self.emit(element.cell.pop())
        return self.hand(kept.pop(), element.node)

    @rule(target=elements, element=consumes(elements), items=st.integers(0, 4))
    def it_is_emitted_and_another_is_made_of_it(self, element: Element, items: int) -> Element:
        kept: list[TelemetryData] = []
        self.out.then = lambda data: kept.append(data.derive(logs(range(items)).to_bytes()))
        self.emit(element.cell.pop())
        element.node.alive = False
        return self.hand(kept.pop(), self.child(element.node, items))

    @rule(element=consumes(elements), items=st.integers(0, 4))
    def it_is_emitted_and_what_is_made_of_it_is_filtered(
        self, element: Element, items: int
    ) -> None:
        def then(data: TelemetryData) -> None:
            data.derive(logs(range(items)).to_bytes())

        self.out.then = then
        self.emit(element.cell.pop())
        element.node.alive = False
        made = self.child(element.node, items)
        made.alive = False
        made.death = Kind.FILTERED
        self.drain()

    @rule(target=elements, element=elements, items=st.integers(0, 4))
    def a_copy_is_made_of_it_outside_any_emission(self, element: Element, items: int) -> Any:
        if not element.cell:
            return multiple()
        made = element.data.derive(logs(range(items)).to_bytes())
        return self.hand(made, self.child(element.node, items))

    @rule(target=elements, element=consumes(elements))
    def it_is_split(self, element: Element) -> Any:
        if element.node.items < 2:
            return element
        parts = element.data.split(max_items=1)
        assert len(parts) == element.node.items
        nodes = [self.child(element.node, part.items) for part in parts]
        element.let_go()
        return multiple(*map(self.hand, parts, nodes))

    @rule(target=elements, first=consumes(elements), second=consumes(elements))
    def two_are_merged(self, first: Element, second: Element) -> Any:
        made = TelemetryData.merge([first.data, second.data])
        node = Node(
            first.node.items + second.node.items,
            [first.node, second.node],
            first.node.senders | second.node.senders,
        )
        for element in (first, second):
            element.node.children.append(node)
            element.let_go()
        return self.hand(made, node)

    def child(self, parent: Node, items: int) -> Node:
        node = Node(items, [parent], parent.senders)
        parent.children.append(node)
        return node

    # -- exporters and stages -----------------------------------------------------------------

    @rule(target=claims, element=elements)
    def an_exporter_claims(self, element: Element) -> Any:
        if not element.cell:
            return multiple()
        share = element.data._share
        assert share is not None
        element.node.open_claims += 1
        self.promises.append(Promise(share.claim(), element.node))
        return self.promises[-1]

    @rule(promise=consumes(claims), outcome=OUTCOMES)
    def it_reports(self, promise: Promise, outcome: Outcome) -> None:
        promise.settle(outcome)
        promise.claim.pop().report(outcome)
        self.drain()

    @rule(promise=consumes(claims))
    def it_forgets_to_report(self, promise: Promise) -> None:
        promise.settle(failed("abandoned"))
        promise.claim.clear()
        self.drain()

    @rule(element=elements, outcome=OUTCOMES)
    def a_stage_judges(self, element: Element, outcome: Outcome) -> None:
        if element.cell:
            share = element.data._share
            assert share is not None
            share.verdict(outcome)
            element.node.verdicts.append(outcome)

    @rule(target=elements, element=consumes(elements))
    def the_next_stage_passes_it_on(self, element: Element) -> Element:
        kept: list[TelemetryData] = []
        self.out.then = kept.append
        cell = [self.taker.take(element.cell.pop())]
        self.taker.emit(cell)
        return self.hand(kept.pop(), element.node)

    @rule(target=elements, element=consumes(elements), branches=st.integers(1, 3))
    def it_is_emitted_to_several_branches(self, element: Element, branches: int) -> Element:
        kept: list[TelemetryData] = []

        def then(data: TelemetryData) -> None:
            for _ in range(branches):
                self.out.then = kept.append
                self.taker.emit([self.taker.take(data)])

        self.out.then = then
        self.emit(element.cell.pop())
        made = kept.pop()
        assert all(copy is made for copy in kept)
        kept.clear()
        return self.hand(made, element.node)

    @rule(element=consumes(elements), outcome=OUTCOMES)
    def the_next_stage_judges_it(self, element: Element, outcome: Outcome) -> None:
        cell = [self.taker.take(element.cell.pop())]
        share = cell[0]._share
        assert share is not None
        share.verdict(outcome)
        self.taker.book.count(outcome, share.items)
        cell.clear()
        element.node.verdicts.append(outcome)
        element.node.alive = False
        self.drain()

    @rule(target=elements, element=consumes(elements))
    def an_acknowledgement_point_takes_over(self, element: Element) -> Element:
        number = len(self.receipts)
        node = Node(element.node.items, [], {number})
        receipt = self.admit(number, node)
        element.node.verdicts.append(DELIVERED)
        share = element.cell[0]._share
        assert share is not None
        claim = share.claim()
        data = receipt.attach(element.cell.pop())
        claim.report(DELIVERED)
        element.node.alive = False
        self.drain()
        return self.hand(data, node)

    # -- sources whose patience ends ----------------------------------------------------------

    @rule(choice=st.integers(0, 50))
    def a_deadline_passes(self, choice: int) -> None:
        if not self.receipts:
            return
        number = choice % len(self.receipts)
        receipt, root = self.receipts[number], self.roots[number]
        if not receipt.settled:
            accounted = root.accounted()
            if accounted:
                root.freeze()
            else:
                self.withdrawn.add(number)
            receipt.expire("out of patience")
            assert receipt.withdrawn == (not accounted)

    # -- the laws -------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Everybody lets go; then every sender has heard exactly once, and the right thing."""
        logging.getLogger("rxotlp").setLevel(logging.NOTSET)
        if not hasattr(self, "hands"):
            return  # the machine never began
        for element in self.hands:
            if element.cell:
                element.let_go()
        for promise in self.promises:
            if promise.claim:
                promise.settle(failed("abandoned"))
                promise.claim.clear()
        self.drain()
        for number, root in self.roots.items():
            want = (Kind.FAILED, 0) if number in self.withdrawn else root.worst()
            assert self.heard.get(number) == [want], number
        books = self.stage.book, self.taker.book
        for account in [account for book in books for account in (book.account, book.edge)]:
            assert account.balanced, str(account)
            assert account.held == 0, str(account)


TestReceipts = Receipts.TestCase
TestReceipts.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
