"""The books: accounts, names and what they say of native operators."""

from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp.books import Account, Book, Books
from rxotlp.data import TelemetryData
from rxotlp.errors import PipelineError
from rxotlp.pipeline import Pipeline
from rxotlp.schedulers import VirtualScheduler
from rxotlp.stage import Stage
from rxotlp.testing import Recorder, Rig, ids_of


def test_an_account_that_lost_an_item_does_not_balance() -> None:
    """A check that cannot fail would be worth nothing."""
    assert Account("a", received=3, sent=2, filtered=1).balanced
    lost = Account("a", received=3, sent=2)
    assert not lost.balanced
    assert lost.difference == 1


def test_a_stage_that_loses_an_element_shows_in_the_books() -> None:
    """`held` is what the holder says, not the remainder."""

    class Forgetful(Stage):
        __slots__ = ()

    rig = Rig()
    with rig.assembly:
        stage = Forgetful("forgetful", rig.feed._observers)
    rig.run(ops.export(Recorder()))
    rig.send([1])
    stage.book.received += 2
    assert [account.name for account in rig.books.unbalanced] == ["forgetful"]


def test_stages_are_named_in_the_order_of_the_stream() -> None:
    """Rx subscribes from the end; readers do not read that way."""
    rig = Rig().run(
        ops.batch(max_items=1),
        ops.route(
            lambda data: data.items,
            {1: rx.compose(ops.batch(max_items=1), ops.export(Recorder()))},
            default=ops.export(Recorder(), name="rest"),
        ),
    )
    assert [account.name for account in rig.books] == [
        "feed",
        "batch",
        "route",
        "batch#2",
        "export",
        "rest",
    ]


def test_two_stages_of_one_given_name_are_a_mistake() -> None:
    """A name that the user chose must mean one thing."""
    stream = Rig().feed.pipe(ops.batch(name="x"), ops.export(Recorder(), name="x"))
    with VirtualScheduler() as clock, pytest.raises(PipelineError, match="two stages are named"):
        Pipeline(stream, scheduler=clock).start()


def test_stages_that_native_operators_subscribe_later_share_one_book() -> None:
    """`group_by` may make any number of them; the books stay short and balance."""
    rig = Rig().run(
        rx_ops.group_by(lambda data: ids_of(data)[0]),
        rx_ops.flat_map(lambda group: group.pipe(ops.batch(max_items=2), ops.export(Recorder()))),
    )
    for number in (1, 2, 1, 2, 3):
        rig.send([number])
    assert [account.name for account in rig.books if "->" not in account.name] == [
        "feed",
        "export*",
        "batch*",
    ]
    assert rig.books["batch*"].received == 5
    assert rig.books["batch*"].held == 1
    rig.end()
    rig.check_books()


def several(data: TelemetryData) -> bool:
    return data.items > 1


def emptied(data: TelemetryData) -> TelemetryData:
    return data.derive(b"")


def test_what_native_operators_remove_copy_and_make_is_on_the_edge() -> None:
    """Between two stages of ours nobody counts, so the edge does."""
    rig = Rig()

    def stream(source: Any) -> Any:
        shared = source.pipe(
            rx_ops.filter(several),
            rx_ops.map(emptied),
            rx_ops.share(),
        )
        return rx.merge(shared.pipe(ops.export(Recorder())), shared.pipe(ops.export(Recorder())))

    rig.run(stream=stream)
    rig.send([1])
    rig.send([1, 2])
    edge = rig.books["feed ->"]
    assert (edge.received, edge.filtered, edge.created, edge.sent) == (3, 3, 0, 0)
    rig.check_books()


def test_books_are_a_snapshot_a_mapping_and_a_stream() -> None:
    """People read them, tests look stages up, pages watch them."""
    books = Books()
    book = books.open("batch", held=lambda: 2)
    seen: list[list[Account]] = []
    books.changes.subscribe(seen.append)
    book.received += 2
    books.publish()
    assert seen == [[Account("batch", received=2, held=2)]]
    assert books["batch"].held == books.held == 2
    assert str(books) == "batch: received=2 held=2"
    with pytest.raises(KeyError, match="no account named 'x'; there are: batch"):
        _ = books["x"]
    assert repr(Book("b")) == "<Book b: nothing>"
