"""docs/conformance.md, made from the tests: every rule of OTLP, and the tests that hold it.

    python -m tests.support.conformance          print the page
    python -m tests.support.conformance --write  write it

A test of `tests/conformance` belongs to the rules that its name begins with: `test_s2_...`,
`test_c3_c5_...`, `test_environment_...`. Other folders may name rules too; `pytest -k c6` runs
those as well, and the page does not depend on them. The names are read, nothing is imported.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGE", "RULES", "Test", "collect", "render"]

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "conformance.md"
HOME = ROOT / "tests" / "conformance"  # where every rule has at least one test

# OTLP specification 1.11.0 and the OTLP exporter specification, in our own words.
RULES = {
    "S1": "accepts no compression, gzip and deflate (zstd where the library is)",
    "S2": "limits a request's size, after decompression too: RESOURCE_EXHAUSTED without "
    "RetryInfo, 413; a decompression bomb is stopped at the limit",
    "S3": "limits its own response: a text that is too long is shortened",
    "S4": "an empty request succeeds",
    "S5": "full success leaves `partial_success` unset",
    "S6": "partial success: OK or 200 with the count of what was refused and a text",
    "S7": "a warning: 0 refused, with a text",
    "S8": "retryable: UNAVAILABLE, with RetryInfo when a time is known; bad data: "
    "INVALID_ARGUMENT with BadRequest, or 400",
    "S9": "HTTP: the answer has the request's Content-Type",
    "S10": "HTTP: every 4xx and 5xx body is a `google.rpc.Status` in that type",
    "S11": "overload: 503 (or 429) with Retry-After, UNAVAILABLE with RetryInfo",
    "S12": "protobuf and JSON on one port; the paths and services of four signals; ports 4317 "
    "and 4318; 127.0.0.1 unless told otherwise",
    "C1": "concurrent requests, a configurable number",
    "C2": "gRPC: CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE and "
    "DATA_LOSS are retried, RESOURCE_EXHAUSTED only with RetryInfo, nothing else",
    "C3": "HTTP: 429, 502, 503 and 504 are retried, nothing else",
    "C4": "partial success is never retried; its count is booked as rejected, a warning reported",
    "C5": "what is not retryable is given up at once and counted with the reason",
    "C6": "exponential back-off with jitter; at least what RetryInfo or Retry-After asks, and "
    "growing from there",
    "C7": "a dropped connection and a failed connect are retried",
    "C8": "a request over the limit is split; what cannot be split is rejected and counted",
    "C9": "a response over 4 MiB is refused and not retried",
    "C10": "shutdown waits a switchable time; what is left is counted and reported",
    "C11": "connections are kept alive",
    "C12": "`User-Agent: OTel-OTLP-Exporter-Python-rxotlp/<version>`",
    "C13": "several destinations: queue, answer and retry are per destination",
    "C14": "empty requests are not sent",
    "C15": "encodes once: a retry sends the same bytes",
    "J1": "trace and span ids are hex in either case; other bytes are base64",
    "J2": "enums are integers; names are refused",
    "J3": "keys are lowerCamelCase",
    "J4": "unknown fields are ignored",
    "J5": "64-bit integers are written as strings, and read as strings or numbers",
    "J6": "malformed JSON: 400, with a Status in JSON that says where",
    "environment": "`OTEL_EXPORTER_OTLP_[TRACES_|METRICS_|LOGS_]{ENDPOINT,INSECURE,CERTIFICATE,"
    "CLIENT_KEY,CLIENT_CERTIFICATE,HEADERS,COMPRESSION,TIMEOUT,PROTOCOL}`; the signal's own wins",
}
_PARTS = {
    "S": "Server, both transports",
    "C": "Client, both transports",
    "J": "JSON",
    "e": "Environment",
}
_IDS = re.compile(r"test_((?:(?:[scj]\d+|environment)_)+)")
_FUNCTIONS = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)
_BY_NAME = {rule.lower(): rule for rule in RULES}


@dataclass(frozen=True, order=True)
class Test:
    """One test function.

    Attributes:
        path: of its file, from the repository's root.
        name: of the function.
    """

    __test__ = False  # pytest: this is no test

    path: str
    name: str

    @property
    def rules(self) -> list[str]:
        """The rules its name begins with.

        Raises:
            KeyError: there is no such rule.
        """
        found = _IDS.match(self.name)
        return [_BY_NAME[one] for one in found[1].split("_") if one] if found else []


def collect() -> dict[str, list[Test]]:
    """The tests of every rule."""
    found: dict[str, list[Test]] = {rule: [] for rule in RULES}
    for path in sorted(HOME.glob("test_*.py")):
        for name in _FUNCTIONS.findall(path.read_text(encoding="utf-8")):
            test = Test(path.relative_to(ROOT).as_posix(), name)
            for rule in test.rules:
                found[rule].append(test)
    return found


def render(found: dict[str, list[Test]]) -> str:
    """The page."""
    lines = [
        "# Conformance",
        "",
        "<!-- Made by `python -m tests.support.conformance --write`; do not edit. -->",
        "",
        "What the OTLP specification (1.11.0) and the exporter specification ask, in our own",
        "words, and the tests that hold it: over real sockets, gRPC and HTTP, with",
        "opentelemetry-sdk's own exporters as senders and a scripted backend that misbehaves.",
        "Run one row with `python -m pytest tests -k c6`.",
    ]
    part = ""
    for rule, tests in found.items():
        if rule[0] != part:
            part = rule[0]
            lines += ["", f"## {_PARTS[part]}", "", "| id | rule | tests |", "| --- | --- | --- |"]
        links = "<br>".join(f"[{test.name}](../{test.path})" for test in tests)
        text = RULES[rule].replace("|", "\\|")
        lines.append(f"| {rule} | {text} | {links or '**none**'} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the page, or write it."""
    page = render(collect())
    if sys.argv[1:] == ["--write"]:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page, encoding="utf-8")
    else:
        print(page, end="")


if __name__ == "__main__":
    main()
