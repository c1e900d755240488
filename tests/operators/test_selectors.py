"""Selectors: which branch, which batch, which queue; and what is cut for it."""

import doctest
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Hashable
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind, failed, rejected
from rxotlp._core.turns import Turns
from rxotlp.data import Signal, TelemetryData
from rxotlp.processors import attr, resource, severity
from rxotlp.testing import Recorder, Rig, ids_of, kind, logs

Record = tuple[str, str, int]  # service, scope, number


def request(*records: Record) -> TelemetryData:
    """Logs as several services and scopes would have sent them in one request."""
    made = ExportLogsServiceRequest()
    last: tuple[str, str] | None = None
    for service, scope, number in records:
        if last is None or last[0] != service:
            group = made.resource_logs.add()
            group.resource.attributes.add(key="service.name").value.string_value = service
        if last != (service, scope):
            within = group.scope_logs.add()
            within.scope.name = scope
        record = within.log_records.add(severity_number=9 + 8 * (number % 2))
        record.body.int_value = number
        record.trace_id = bytes([1 + number // 2]) * 16
        record.attributes.add(key="user.id").value.int_value = number % 3
        last = (service, scope)
    return TelemetryData.from_message(made)


MIXED = [("a", "x", 0), ("a", "y", 1), ("b", "x", 2), ("b", "x", 3), ("c", "z", 4)]


def routed(by: Any, *names: Hashable, data: TelemetryData | None = None) -> dict[Hashable, Any]:
    """What each of some branches, and the default, gets of a mixed request."""
    sinks = {name: Recorder() for name in names}
    rest = Recorder()
    rig = Rig().run(
        ops.route(
            by, {name: ops.export(sink) for name, sink in sinks.items()}, default=ops.export(rest)
        )
    )
    assert kind(rig.send(data or request(*MIXED))) is Kind.DELIVERED
    rig.check_books()
    found = {name: sink.ids for name, sink in {**sinks, "default": rest}.items()}
    return {name: ids for name, ids in found.items() if ids}


CUTS: dict[str, tuple[Any, tuple[Hashable, ...], dict[Hashable, list[int]]]] = {
    "resource": (
        ops.by_resource("service.name"),
        ("a", "b"),
        {"a": [0, 1], "b": [2, 3], "default": [4]},
    ),
    "resource without it": (ops.by_resource("region"), ("a",), {"default": [0, 1, 2, 3, 4]}),
    "resource without it, wanted": (ops.by_resource("region"), (None,), {None: [0, 1, 2, 3, 4]}),
    "scope": (ops.by_scope(), ("x", "y"), {"x": [0, 2, 3], "y": [1], "default": [4]}),
    "scope, no brackets": (ops.by_scope, ("x",), {"x": [0, 2, 3], "default": [1, 4]}),
    "attribute": (
        ops.by_attribute("user.id"),
        (0, 1),
        {0: [0, 3], 1: [1, 4], "default": [2]},
    ),
    "attribute of other type": (
        ops.by_attribute("user.id"),
        ("0",),
        {"default": [0, 1, 2, 3, 4]},
    ),
    "first match": (
        ops.first_match({"errors": severity >= "ERROR", "b": resource("service.name") == "b"}),
        ("errors", "b"),
        {"errors": [1, 3], "b": [2], "default": [0, 4]},
    ),
    "first match of functions": (
        ops.first_match([(lambda log: log.body > 2, "late"), (attr("user.id") == 1, "one")]),
        ("late", "one"),
        {"late": [3, 4], "one": [1], "default": [0, 2]},
    ),
}


@pytest.mark.parametrize("case", CUTS)
def test_each_part_of_a_mixed_request_goes_to_its_branch(case: str) -> None:
    """A collector's batches mix services; nobody wants to cut them by hand first."""
    by, names, expected = CUTS[case]
    assert routed(by, *names) == expected


def test_what_belongs_to_one_branch_keeps_its_bytes() -> None:
    """Most requests are pure; they must not pay for those that are not."""
    data = request(("a", "x", 1), ("b", "x", 2))
    for by in (ops.by_scope(), ops.consistent_hash("trace_id", ["one"])):
        ((_, part),) = by.begin()(data, lambda key: key)
        assert part is data


def test_keys_of_one_branch_stay_in_one_part() -> None:
    """A hundred services and two branches are two exports, not a hundred."""
    rest = Recorder()
    rig = Rig().run(
        ops.route(
            ops.by_resource("service.name"), {"a": ops.export(Recorder())}, default=ops.export(rest)
        )
    )
    rig.send(request(*[(f"s{number}", "x", number) for number in range(100)]))
    assert len(rig.results) == 1
    assert rest.ids == list(range(100))


def test_the_sender_hears_the_worst_of_its_parts() -> None:
    """One answer for one request, however many branches had a part in it."""
    for bad, expected in ((failed("down"), Kind.FAILED), (rejected("no"), Kind.REJECTED)):
        rig = Rig().run(
            ops.route(
                ops.by_resource("service.name"),
                {
                    "a": ops.export(Recorder(bad), retry=None),
                    "b": ops.export(Recorder(), retry=None),
                },
            )
        )
        receipt = rig.send(request(("a", "x", 1), ("b", "x", 2)))
        assert kind(receipt) is expected
        rig.check_books()


def test_a_part_that_no_branch_wants_is_dropped_alone() -> None:
    """The books say how many items, the others are delivered."""
    sink = Recorder()
    rig = Rig().run(ops.route(ops.by_resource("service.name"), {"a": ops.export(sink)}))
    rig.send(request(*MIXED))
    assert sink.ids == [0, 1]
    assert rig.books["route"].dropped == 3
    rig.check_books()


def test_metadata_chooses_whatever_the_case_of_its_name() -> None:
    """HTTP writes headers as it likes; a request without one goes to the default."""
    by = ops.by_metadata("X-Tenant")
    plain = logs([1])
    assert routed(by, "red", data=plain.replace(metadata={"x-tenant": "red"})) == {"red": [1]}
    assert routed(by, "red", data=plain.replace(metadata={"X-TENANT": "red"})) == {"red": [1]}
    assert routed(by, "red", data=plain) == {"default": [1]}


def test_a_key_that_is_not_hashable_rejects_its_element() -> None:
    """The author's function is at fault; the stream goes on."""
    by: Any = lambda data: [1]  # noqa: E731
    rig = Rig().run(ops.route(by, {"a": ops.export(Recorder())}))
    assert kind(rig.send([1])) is Kind.REJECTED
    rig.check_books()


def test_a_condition_that_raises_rejects_its_element() -> None:
    """As any callback's raise."""
    by = ops.first_match([(lambda log: log.no_such_field, "a")])
    rig = Rig().run(ops.route(by, {"a": ops.export(Recorder())}))
    assert kind(rig.send([1])) is Kind.REJECTED
    rig.check_books()


def test_an_element_that_cannot_be_read_is_rejected() -> None:
    """Broken bytes are one sender's, not the stream's."""
    resource_cut_off = bytes.fromhex("0a040a020aff")
    record_cut_off = b"\x0a\x0d\x12\x0b\x12\x09\x32\x7fuser.id"
    for by, broken in (
        (ops.by_resource("service.name"), resource_cut_off),
        (ops.by_attribute("user.id"), record_cut_off),
    ):
        rig = Rig().run(ops.route(by, {"a": ops.export(Recorder())}))
        assert kind(rig.send(TelemetryData.from_bytes(Signal.LOGS, broken))) is Kind.REJECTED
        rig.check()


# -- turns -------------------------------------------------------------------------------


def test_weights_are_kept_and_spread() -> None:
    """A canary gets its tenth, one at a time and not ten in a row."""
    turns = Turns([9, 1])
    chosen = [turns.next() for _ in range(100)]
    assert Counter(chosen) == {0: 90, 1: 10}
    assert all(chosen[at : at + 10].count(1) == 1 for at in range(0, 100, 10))


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6).filter(any))
def test_over_one_round_everybody_is_chosen_as_often_as_it_weighs(weights: list[int]) -> None:
    """Exactly, for all whole weights; one of weight 0 never."""
    turns = Turns(weights)
    chosen = Counter(turns.next() for _ in range(sum(weights)))
    assert chosen == Counter({index: weight for index, weight in enumerate(weights) if weight})


@pytest.mark.parametrize("by", [ops.round_robin, ops.round_robin(), ops.round_robin(["b", "a"])])
def test_round_robin_takes_turns_among_the_branches(by: Any) -> None:
    """In the order that they are named in, and afresh in every subscription."""
    first, second = Recorder(), Recorder()
    operator = ops.route(by, {"a": ops.export(first), "b": ops.export(second)})
    for _ in range(2):
        rig = Rig().run(operator)
        for number in range(3):
            rig.send([number])
        rig.check_books()
    expected = [[0, 2, 0, 2], [1, 1]]
    if isinstance(by, ops.Selector) and by.names:
        expected.reverse()
    assert [first.ids, second.ids] == expected


def test_weighted_routes_elements_whole() -> None:
    """What takes turns looks at nothing and cuts nothing; None is the default."""
    stable, rest = Recorder(), Recorder()
    rig = Rig().run(
        ops.route(
            ops.weighted({"stable": 3, None: 1}),
            {"stable": ops.export(stable)},
            default=ops.export(rest),
        )
    )
    for number in range(8):
        rig.send([number])
    assert (len(stable.ids), len(rest.ids)) == (6, 2)
    rig.check_books()


# -- hashing -----------------------------------------------------------------------------


def chooser(by: ops.Selector, branches: list[str]) -> Callable[[str], Hashable]:
    divide = by.begin(branches)
    data = logs([1])
    return lambda key: divide(data.replace(metadata={"k": key}), lambda branch: branch)[0][0]


BY_K = ops.consistent_hash(ops.by_metadata("k"))


def test_only_the_keys_of_a_new_branch_move() -> None:
    """A tier that grows must not lose the traces that are half collected."""
    names = [f"sampler-{number}" for number in range(8)]
    before, after = chooser(BY_K, names), chooser(BY_K, [*reversed(names), "sampler-8"])
    keys = [f"trace {number}" for number in range(3000)]
    moved = [key for key in keys if before(key) != after(key)]
    assert all(after(key) == "sampler-8" for key in moved)
    assert len(keys) / 9 * 0.8 < len(moved) < len(keys) / 9 * 1.2
    shares = Counter(map(before, keys))
    assert set(shares) == set(names)
    assert max(shares.values()) < len(keys) / 8 * 1.25


@given(
    st.lists(st.text(max_size=5), min_size=1, max_size=6, unique=True),
    st.text(max_size=5),
    st.text(max_size=8),
)
def test_a_branch_more_or_less_moves_no_other_key(names: list[str], new: str, key: str) -> None:
    """Whatever the names are."""
    with_new = chooser(BY_K, [*dict.fromkeys([*names, new])])(key)
    without = [name for name in names if name != new]
    if without and with_new != new:
        assert with_new == chooser(BY_K, without)(key)


def test_every_process_chooses_the_same_branch() -> None:
    """`hash()` of a text is another one in every process; two gateways must agree."""
    program = (
        "from rxotlp import operators as ops; from rxotlp.testing import logs\n"
        "divide = ops.consistent_hash(ops.by_metadata('k')).begin(['a', 'b', 'c'])\n"
        "data = logs([1])\n"
        "print(*[divide(data.replace(metadata={'k': str(n)}), lambda b: b)[0][0]"
        " for n in range(50)])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    choose = chooser(BY_K, ["a", "b", "c"])
    assert run.stdout.split() == [choose(str(number)) for number in range(50)]


def test_the_branch_of_a_key_never_changes_between_versions() -> None:
    """Gateways are updated one by one, and agree while they are."""
    choose = chooser(BY_K, ["a", "b", "c"])
    assert "".join(str(choose(f"key {number}")) for number in range(12)) == GOLDEN


GOLDEN = "aabcbabacbca"


def test_a_trace_stays_together_and_its_request_is_cut() -> None:
    """The tier for tail sampling: each sampler sees whole traces."""
    names = ["a", "b", "c"]
    sinks = {name: Recorder() for name in names}
    rig = Rig().run(
        ops.route(
            ops.consistent_hash("trace_id"), {name: ops.export(sinks[name]) for name in names}
        )
    )
    records = [("s", "x", number) for number in range(40)]
    for at in range(0, 40, 5):  # pairs of one trace are in different requests too
        rig.send(request(*records[at : at + 5]))
    rig.check_books()
    where = {number: name for name in names for number in sinks[name].ids}
    assert sorted(where) == list(range(40))
    assert all(where[number] == where[number + 1] for number in range(0, 40, 2))
    assert len(set(where.values())) == 3


def test_what_has_no_trace_stays_together() -> None:
    """Metrics have none; a balancer loses nothing because of it."""
    made = ExportMetricsServiceRequest()
    for service in "ab":
        group = made.resource_metrics.add()
        group.resource.attributes.add(key="service.name").value.string_value = service
        metric = group.scope_metrics.add().metrics.add(name="m")
        metric.gauge.data_points.add(as_int=1)
    data = TelemetryData.from_message(made)
    parts = ops.consistent_hash("trace_id").begin(["a", "b", "c"])(data, lambda key: key)
    assert [part for _, part in parts] == [data]


def test_a_hash_needs_keys_that_are_the_same_everywhere() -> None:
    """An object's repr has its address: it would move with every restart."""
    rig = Rig().run(
        ops.route(ops.consistent_hash(lambda data: object()), {"a": ops.export(Recorder())})
    )
    assert kind(rig.send([1])) is Kind.REJECTED
    rig.check_books()


# -- elsewhere ---------------------------------------------------------------------------


def through(operator: Any, *requests: TelemetryData) -> list[list[int]]:
    """The elements that leave an operator."""
    sink = Recorder()
    rig = Rig().run(operator, ops.export(sink))
    for data in requests:
        assert kind(rig.send(data)) in (None, Kind.DELIVERED)
    rig.wait(2)
    rig.check_books()
    return sink.calls


def test_split_by_cuts_by_any_selector_of_keys() -> None:
    """The same objects everywhere, so that they are learned once."""
    cut: dict[Any, list[list[int]]] = {
        ops.by_scope(): [[0, 2, 3], [1], [4]],
        ops.by_scope: [[0, 2, 3], [1], [4]],
        ops.by_attribute("user.id"): [[0, 3], [1, 4], [2]],
        ops.by_resource("service.name"): [[0, 1], [2, 3], [4]],
        ops.by_metadata("tenant"): [[0, 1, 2, 3, 4]],
    }
    for by, expected in cut.items():
        assert through(ops.split_by(by), request(*MIXED)) == expected
    shards = ops.split_by(ops.consistent_hash("trace_id", branches=["a", "b"]))
    assert sorted(chain.from_iterable(through(shards, request(*MIXED)))) == [0, 1, 2, 3, 4]


def test_batch_keeps_keys_apart_in_mixed_requests_too() -> None:
    """A batch for each tenant, whatever mixture its senders collect."""
    batch = ops.batch(max_delay=1, key=ops.by_resource("service.name"))
    batches = through(batch, request(*MIXED), request(("b", "x", 6), ("a", "x", 5)))
    assert batches == [[0, 1, 5], [2, 3, 6], [4]]


def test_parallel_runs_each_key_in_order_in_mixed_requests_too() -> None:
    """Parts of one service never overtake each other."""
    parallel = ops.parallel(_as_it_is, key=ops.by_resource("service.name"))
    seen = through(parallel, request(*MIXED), request(("b", "x", 6), ("a", "x", 5)))
    assert sorted(chain.from_iterable(seen)) == [0, 1, 2, 3, 4, 5, 6]
    assert seen.index([0, 1]) < seen.index([5])
    assert seen.index([2, 3]) < seen.index([6])


async def _as_it_is(data: TelemetryData) -> TelemetryData:
    return data


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(0, 99))))
def test_cutting_loses_and_doubles_nothing(records: list[Record]) -> None:
    """For any request and every selector that cuts."""
    for by in (ops.by_resource("service.name"), ops.by_scope(), ops.by_attribute("user.id")):
        parts = by.begin()(request(*records), lambda key: key)
        assert len({key for key, _ in parts}) == len(parts)
        assert sorted(i for _, part in parts for i in ids_of(part)) == sorted(
            number for _, _, number in records
        )
        for key, part in parts:
            assert by(part) == key


def test_what_holds_no_record_is_in_one_part_only() -> None:
    """Else a resource without spans would be multiplied by every cut."""
    made = ExportTraceServiceRequest()
    made.resource_spans.add().schema_url = "empty"
    scope = made.resource_spans.add().scope_spans.add()
    made.resource_spans[1].scope_spans.add().schema_url = "empty too"
    for number in range(5):
        scope.spans.add(name=str(number)).attributes.add(key="k").value.int_value = number
    parts = ops.by_attribute("k").begin()(TelemetryData.from_message(made), lambda key: key)
    assert [key for key, _ in parts] == [0, 1, 2, 3, 4]
    assert [len(part.message.resource_spans) for _, part in parts] == [2, 1, 1, 1, 1]
    assert b"".join(part.to_bytes() for _, part in parts).count(b"empty") == 2


BARE: Any = ops.round_robin
UNCALLED: Any = ops.by_resource
WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: ops.by_resource(""), "expected a name"),
    (lambda: ops.by_attribute(3), "expected a name, got int"),  # type: ignore[arg-type]
    (lambda: ops.by_metadata(None), "expected a name, got NoneType"),  # type: ignore[arg-type]
    (lambda: ops.first_match(3), r"first_match\(3\): expected"),  # type: ignore[arg-type]
    (lambda: ops.first_match({}), "one condition or more"),
    (lambda: ops.first_match([lambda log: True]), "pairs"),  # type: ignore[list-item]
    (lambda: ops.first_match({"a": 3}), "function of a record"),  # type: ignore[dict-item]
    (lambda: ops.weighted({}), "above 0"),
    (lambda: ops.weighted({"a": 0}), "above 0"),
    (lambda: ops.weighted({"a": -1}), "0 or more"),
    (lambda: ops.weighted({"a": float("nan")}), "finite"),
    (lambda: ops.weighted({"a": "1"}), "expected a number"),  # type: ignore[dict-item]
    (lambda: ops.weighted(["a"]), "branch: weight"),  # type: ignore[arg-type]
    (lambda: ops.round_robin([]), "one name or more"),
    (lambda: ops.round_robin(["a", "a"]), "each name once"),
    (lambda: ops.round_robin("ab"), "sequence of names"),
    (lambda: ops.consistent_hash(""), r"consistent_hash\(''\): expected a name"),
    (lambda: ops.consistent_hash(3), "expected 'signal', a selector"),
    (lambda: ops.consistent_hash(ops.round_robin()), "gives keys"),
    (lambda: ops.consistent_hash("k", [object()]), "same in every process"),
    (lambda: ops.route(ops.weighted({"b": 1}), {"a": ops.batch()}), "names of branches, not 'b'"),
    (lambda: ops.route(BARE, {}, default=ops.batch()), "one branch or more"),
    (lambda: ops.route(UNCALLED, {"a": ops.batch()}), r"expected by_resource\(\.\.\.\)"),
    (lambda: ops.split_by(ops.weighted({"b": 1})), r"split_by\(weighted.*takes turns"),
    (lambda: ops.batch(key=ops.consistent_hash("k")), r"batch\(key=consistent.*only route"),
    (lambda: ops.parallel(_as_it_is, key=BARE), "takes turns"),
    (lambda: ops.batch(key=3), r"batch\(key=3\): expected 'signal'"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_a_wrong_argument_fails_where_it_is_written(make: Callable[[], Any], message: str) -> None:
    """Not at the first element, when nobody looks any more."""
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize("make", [ops.by_resource, ops.weighted])
def test_the_examples_run(make: Callable[..., Any]) -> None:
    """They are what a reader copies."""
    for test in doctest.DocTestFinder(recurse=False).find(make, make.__name__, globs={}):
        assert test.examples
        assert doctest.DocTestRunner().run(test).failed == 0


def test_selectors_say_what_they_are() -> None:
    """In a debugger, in an error, in a picture of the pipeline."""
    assert repr(ops.by_resource("service.name")) == "by_resource('service.name')"
    assert repr(ops.consistent_hash("trace_id", ["a"])) == "consistent_hash('trace_id', ['a'])"
    assert repr(ops.round_robin()) == "round_robin()"
