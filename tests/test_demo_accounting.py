"""The demo's judge: each way in which a record can go wrong must make the demo fail."""

import json
from pathlib import Path

from rxotlp.demo.accounting import Found, Sent, account, read_outputs, read_sent

SENT = [Sent("a", "files"), Sent("b", "backend"), Sent("h", None)]
RESOURCE = ("deployment.environment.name", "demo")


def judge(*, files: str = "a", backend: str = "b", resends: bool = False) -> list[str]:
    """The faults, when these one-letter ids stand in these places."""
    found = {"files": Found(list(files)), "backend": Found(list(backend))}
    return account(SENT, found, resends_reported=resends).faults


def test_everything_in_its_place_is_no_fault() -> None:
    """Else nobody would believe the faults."""
    assert judge() == []
    found = {"files": Found(["a"]), "backend": Found(["b"])}
    result = account(SENT, found, resends_reported=False)
    assert (result.sent, result.delivered, result.filtered, result.resent) == (3, 2, 1, 0)


def test_a_lost_id_is_a_fault() -> None:
    """The worst that can happen: somebody heard success and the record is nowhere."""
    assert judge(backend="") == ["1 lost: b"]


def test_a_doubled_id_is_a_fault_unless_a_sender_had_to_send_again() -> None:
    """A resend is at-least-once delivery at work; anything else counts twice in a dashboard."""
    assert judge(files="aa") == ["1 doubled: a in files"]
    assert judge(files="aa", resends=True) == []


def test_an_id_in_the_wrong_place_is_a_fault() -> None:
    """A log that goes where traces go reaches people it was not meant for."""
    assert judge(files="", backend="ab") == ["1 misplaced: a in backend"]
    assert judge(backend="ab") == ["1 misplaced: a in backend"]


def test_a_record_that_should_be_filtered_is_a_fault() -> None:
    """A rule that does not hold is worse than none."""
    assert judge(backend="bh") == ["1 not filtered: h in backend"]


def test_an_id_that_nobody_sent_is_a_fault() -> None:
    """It would be made up, or garbled."""
    assert judge(backend="bx") == ["1 never sent: x in backend"]


def test_an_id_sent_twice_proves_nothing() -> None:
    """A program that repeats ids would hide losses."""
    result = account([Sent("a", "files")] * 2, {"files": Found(["a"])}, resends_reported=False)
    assert result.faults == ["the program sent a twice; ids prove nothing then"]


def test_many_faults_stay_readable() -> None:
    """A thousand lost ids are one line."""
    sent = [Sent(str(number), "files") for number in range(1000)]
    result = account(sent, {"files": Found()}, resends_reported=False)
    assert result.faults == ["1000 lost: 0, 1, 2, ..."]


def line(*, password: str = "[redacted]", environment: str = "demo") -> str:
    """A line of an output file."""

    def attribute(key: str, value: str) -> dict[str, object]:
        return {"key": key, "value": {"stringValue": value}}

    record = {"attributes": [attribute("demo.id", "a"), attribute("user.password", password)]}
    resource = {"attributes": [attribute("deployment.environment.name", environment)]}
    group = {"resource": resource, "scopeLogs": [{"logRecords": [record, record]}]}
    return json.dumps({"resourceLogs": [group]}) + "\n"


def faults_in(folder: Path, text: str) -> list[str]:
    """What is wrong with a file of this text."""
    path = folder / "logs.jsonl"
    path.write_text(text)
    found = read_outputs({"files": path}, secret="battery-staple", resource=RESOURCE)
    return found["files"].faults


def test_outputs_are_read_by_record(tmp_path: Path) -> None:
    """An id counts as often as it stands there."""
    path = tmp_path / "logs.jsonl"
    path.write_text(line() + line())
    files = {"files": path, "nothing": tmp_path / "missing"}
    found = read_outputs(files, secret="x9", resource=RESOURCE)
    assert found["files"].ids == ["a"] * 4
    assert found["files"].faults == []
    assert found["nothing"].ids == []


def test_a_leaked_secret_is_a_fault(tmp_path: Path) -> None:
    """Wherever it stands: in an attribute that nobody thought of, too."""
    assert faults_in(tmp_path, line() + line(password="my battery-staple")) == [
        "line 2 has the secret"
    ]
    found = {"files": Found(["a"], ["line 2 has the secret"])}
    result = account([Sent("a", "files")], found, resends_reported=False)
    assert result.faults == ["files: line 2 has the secret"]


def test_a_resource_without_its_label_is_a_fault(tmp_path: Path) -> None:
    """The gateway was to add it to every one."""
    (fault,) = faults_in(tmp_path, line(environment="prod"))
    assert "deployment.environment.name='prod', expected 'demo'" in fault


def test_only_spans_of_health_checks_are_to_be_filtered(tmp_path: Path) -> None:
    """The rule names spans; their logs and data points arrive."""
    manifest = tmp_path / "sent.jsonl"
    entries = [
        {"id": signal, "signal": signal, "health": True} for signal in ("traces", "logs", "metrics")
    ]
    manifest.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    places = {"traces": "t", "logs": "l", "metrics": "m"}
    assert read_sent(manifest, places) == [
        Sent("traces", None),
        Sent("logs", "l"),
        Sent("metrics", "m"),
    ]
