"""Readers of hostile bytes under atheris, which follows the branches that bytes take.

    python fuzz/readers.py TARGET [libFuzzer's options]

What each reader promises is in `tests/support/fuzz.py`. The first byte chooses a signal or an
encoding, the rest is what comes. It begins with the specification's own examples, and what it
finds interesting stays in the temporary folder for the next time. A finding is written to a
file by libFuzzer, and belongs into `tests/test_fuzz.py` as a test of its own.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent))

with atheris.instrument_imports(include=["rxotlp.wire", "rxotlp._core", "rxotlp.data"]):
    from rxotlp.wire import compression, json
    from rxotlp.wire.signals import Signal
    from tests.support import fuzz

SIGNALS = tuple(Signal)


def _of(choices: tuple[object, ...], read: Callable[..., None]) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        if data:
            read(choices[data[0] % len(choices)], data[1:])

    return target


TARGETS: dict[str, Callable[[bytes], None]] = {
    "wire": _of(SIGNALS, fuzz.wire),
    "json": _of(SIGNALS, fuzz.json_text),
    "responses": _of(SIGNALS, fuzz.responses),
    "compressed": _of(fuzz.ENCODINGS, fuzz.compressed),
    "framed": fuzz.framed,
}

EXAMPLES = {
    Signal.TRACES: "trace.json",
    Signal.METRICS: "metrics.json",
    Signal.LOGS: "logs.json",
}


def seeds(target: str) -> Path:
    """A folder with what to begin with."""
    folder = Path(tempfile.gettempdir()) / f"rxotlp-fuzz-{target}"
    folder.mkdir(exist_ok=True)
    for signal, name in EXAMPLES.items():
        text = (Path(__file__).parent.parent / "tests" / "corpus" / name).read_bytes()
        payload = json.decode(signal, text).SerializeToString()
        start = bytes([SIGNALS.index(signal)])
        if target == "compressed":
            for number, encoding in enumerate(fuzz.ENCODINGS):
                packed = bytes([number]) + compression.compress(encoding, payload)
                (folder / f"{name}.{encoding}").write_bytes(packed)
        else:
            (folder / name).write_bytes(start + (text if target == "json" else payload))
    return folder


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(TARGETS)} [-max_total_time=SECONDS ...]")
    options = [*sys.argv[2:], str(seeds(sys.argv[1]))]
    atheris.Setup([sys.argv[0], *options], TARGETS[sys.argv[1]])
    atheris.Fuzz()
