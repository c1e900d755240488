"""Readers of hostile bytes under atheris, which follows the branches that bytes take.

    python fuzz/readers.py TARGET [libFuzzer's options]

What each reader promises is in `tests/support/fuzz.py`. The first byte chooses a signal or an
encoding, the rest is what comes. A finding is written to a file by libFuzzer, and belongs into
`tests/test_fuzz.py` as a test of its own.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent))

with atheris.instrument_imports(include=["rxotlp.wire", "rxotlp._core", "rxotlp.data"]):
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

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(TARGETS)} [-max_total_time=SECONDS ...]")
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
