"""Pictures: every stage, branch, source and exporter is in them, and nothing runs for it."""

import re
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import Pipeline, Signal, TelemetryData, VirtualScheduler, exporters, sources
from rxotlp import operators as ops

NODE = re.compile(r'    (\w+)(\(\["|\["|\[\("|)(.*?)("\]\)|"\)\]|"\]|)')
ARROW = re.compile(r'    (\w+) (-->|-\.->)(?:\|"(.*)"\|)? (\w+)')
KINDS = {'(["': "source", '["': "stage", '[("': "exporter"}


class Chart:
    """A flowchart that was read back: boxes by label, arrows between labels."""

    def __init__(self, text: str) -> None:
        first, *lines = text.splitlines()
        assert first == "flowchart LR"
        self.boxes: dict[str, str] = {}
        self.kinds: dict[str, str] = {}
        self.arrows: set[tuple[str, str, str, str]] = set()
        names: dict[str, str] = {}
        for line in lines:
            if (arrow := ARROW.fullmatch(line)) is not None:
                start, kind, label, end = arrow.groups()
                self.arrows.add((names[start], kind, _read(label or ""), names[end]))
            elif line.strip().startswith("u"):
                place, _, end = line.split(" ", 5)[4].partition(" -.-> ")
                self.arrows.add(("native", "-.->", "", names[place or end]))
            else:
                box = NODE.fullmatch(line)
                assert box is not None, line
                names[box[1]] = _read(box[3])
                self.kinds[_read(box[3])] = KINDS[box[2]]


def _read(text: str) -> str:
    return re.sub(r"#(\d+);", lambda code: chr(int(code[1])), text)


def memory() -> Any:
    """An export."""
    return ops.export(exporters.Memory())


def test_a_gateway_shows_its_sources_stages_branches_and_exporters() -> None:
    """Who reads a pipeline for the first time looks at this."""
    backend = rx.compose(ops.batch(), ops.export(exporters.OtlpHttp("http://backend:4318")))
    archive = ops.export(exporters.File("logs.jsonl"), name="archive")
    stream = sources.otlp().pipe(ops.route("signal", {Signal.LOGS: archive}, default=backend))
    chart = Chart(Pipeline(stream).to_mermaid())
    assert chart.kinds == {
        "otlp": "source",
        "route": "stage",
        "batch": "stage",
        "export": "stage",
        "archive": "stage",
        "OtlpHttp to backend:4318": "exporter",
        "File to logs.jsonl": "exporter",
    }
    assert chart.arrows == {
        ("otlp", "-->", "", "route"),
        ("route", "-->", "Signal.LOGS", "archive"),
        ("archive", "-->", "", "File to logs.jsonl"),
        ("route", "-->", "default", "batch"),
        ("batch", "-->", "", "export"),
        ("export", "-->", "", "OtlpHttp to backend:4318"),
    }


def test_stages_that_watch_their_branches_show_them() -> None:
    """And what a mirror copies leads away from the stream, which goes on."""
    levels: list[Any] = [
        ops.circuit_breaker(exporters.OtlpHttp("http://near:4318")),
        ops.time_limit(exporters.OtlpHttp("http://far:4318"), 5),
    ]
    stream = sources.otlp().pipe(ops.mirror(exporters.Memory(), 0.1), ops.failover(levels))
    assert Chart(Pipeline(stream).to_mermaid()).arrows == {
        ("otlp", "-->", "", "mirror"),
        ("mirror", "-->", "copies", "export"),
        ("export", "-->", "", "Memory to memory"),
        ("mirror", "-->", "", "failover"),
        ("failover", "-->", "0", "circuit_breaker"),
        ("circuit_breaker", "-->", "protected", "export#2"),
        ("export#2", "-->", "", "OtlpHttp to near:4318"),
        ("failover", "-->", "1", "time_limit"),
        ("time_limit", "-->", "limited", "export#3"),
        ("export#3", "-->", "", "OtlpHttp to far:4318"),
    }


def test_what_branches_give_goes_on_behind_their_stage() -> None:
    """Branches may end in the middle of a pipeline."""
    stream = sources.otlp().pipe(ops.broadcast(ops.batch(name="a"), ops.batch(name="b")), memory())
    arrows = Chart(Pipeline(stream).to_mermaid()).arrows
    assert {(start, end) for start, _, _, end in arrows} == {
        ("otlp", "broadcast"),
        ("broadcast", "a"),
        ("broadcast", "b"),
        ("a", "export"),
        ("b", "export"),
        ("export", "Memory to memory"),
    }


def test_native_operators_are_dotted_and_what_they_share_is_found() -> None:
    """Between two stages of ours there may be anything of reactivex."""
    both = rx.merge(sources.otlp(name="a"), sources.otlp(name="b")).pipe(rx_ops.share())
    stream = rx.merge(
        both.pipe(rx_ops.delay(1), ops.batch(), memory()), both.pipe(ops.batch(), memory())
    )
    arrows = Chart(Pipeline(stream).to_mermaid()).arrows
    assert {arrow for arrow in arrows if arrow[0] in "ab"} == {
        (start, "-.->", "native", end) for start in "ab" for end in ("batch", "batch#2")
    }


def test_a_stage_whose_source_is_not_ours_says_so() -> None:
    """The picture has no stage that hangs in the air."""
    text = Pipeline(rx.never().pipe(ops.batch())).to_mermaid()
    assert '(["native"]) -.-> n0' in text


def test_drawing_runs_nothing() -> None:
    """Looking at a pipeline must not bind a port, deliver anything or use a source up."""
    sink = exporters.Memory()
    source = sources.generate(items=10)
    source2 = sources.otlp(grpc=None, http="127.0.0.1:1")  # a port nobody may bind
    stream = rx.merge(source, source2).pipe(ops.export(sink))
    pipeline = Pipeline(stream, scheduler=VirtualScheduler())
    first = pipeline.to_mermaid()
    assert pipeline.to_mermaid() == first
    assert not list(pipeline.books)
    assert not pipeline.running
    with Pipeline(source.pipe(ops.export(sink)), scheduler=VirtualScheduler()) as other:
        other.wait()
    assert sink.items == 10


def test_cold_telemetry_is_not_delivered_by_drawing() -> None:
    """`rx.of` gives all it has to whoever subscribes."""
    sink, data = exporters.Memory(), TelemetryData.from_json(Signal.LOGS, "{}")
    stream = rx.of(data).pipe(ops.batch(), ops.export(sink))
    assert "batch" in Pipeline(stream).to_mermaid()
    assert not sink.attempts


def test_branches_that_are_subscribed_while_it_runs_are_not_in_it() -> None:
    """A picture shows what was there at the start; their places are nobody's in it."""
    clock = VirtualScheduler()
    later = rx.interval(1.0, scheduler=clock).pipe(
        rx_ops.take(2),
        rx_ops.flat_map(
            lambda _: rx.empty().pipe(ops.route("signal", {Signal.LOGS: ops.wire_tap(print)}))
        ),
    )
    source = sources.from_iterable([], name="source")
    stream = rx.merge(source, later).pipe(ops.export(exporters.Memory()))
    pipeline = Pipeline(stream, scheduler=clock)
    pipeline.start()
    before = pipeline.to_mermaid()
    clock.advance_by(5)
    assert pipeline.to_mermaid() == before


def test_counts_are_those_of_the_books() -> None:
    """Where did it stay? The picture of a running pipeline answers."""
    stream = sources.generate(items=100).pipe(ops.batch(), memory())
    pipeline = Pipeline(stream, scheduler=VirtualScheduler())
    before = pipeline.to_mermaid()
    with pipeline:
        pipeline.wait()
        assert "export<br/>received=100 delivered=100" in pipeline.to_mermaid(counts=True)
    assert pipeline.to_mermaid() == before
    assert "<br/>" in pipeline.to_mermaid(counts=True)


# Names that Mermaid would take for its own.
AWKWARD = ('a"b', "<b>x</b>", "x]", "x)", "#35;", "a|b", "`md`", "end", "a\nb", "%%", "ü→", "")


@pytest.mark.parametrize("name", AWKWARD)
def test_a_name_is_shown_as_it_is(name: str) -> None:
    """Names are the user's, and no name may break the picture."""
    stream = sources.otlp().pipe(ops.batch(name=name), ops.route(lambda _: 0, {name: memory()}))
    chart = Chart(Pipeline(stream).to_mermaid())
    shown = name.replace("\n", " ") or " "
    assert (shown, "-->", "", "route") in chart.arrows
    assert ("route", "-->", name and shown, "export") in chart.arrows


def test_a_notebook_gets_text_it_can_show() -> None:
    """Jupyter takes the richest of what it knows."""
    bundle = Pipeline(sources.otlp().pipe(memory()))._repr_mimebundle_()
    assert bundle["text/plain"] == "<Pipeline not started, 0 sources>"
    assert bundle["text/markdown"] == f"```mermaid\n{bundle['text/vnd.mermaid']}```\n"
