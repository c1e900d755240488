"""What does OTLP/JSON cost against `google.protobuf.json_format` with ids put right?

Unit: a ratio, the peer's CPU time by ours in the same round; both sides alternate, the median
of the rounds' ratios counts and the smallest and largest are printed.
Baseline: what people write who need OTLP/JSON today: `MessageToDict` and `ParseDict`, a walk
over the dictionary that turns base64 ids into hex and back, and the standard library's `json`.
Results are compared before anything is measured. The goal is at least five times both ways.
Blind spot: generated attributes repeat as a shop's would; where no two are equal, writing
gains less. `tiny` has one span: nothing repeats in it, and fixed costs show.

    python -m benchmarks.json
"""

import base64
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from benchmarks.wire import _compare
from benchmarks.workloads import NAMES, payload
from rxotlp.wire.json import decode, encode
from rxotlp.wire.signals import Signal

__all__ = ["json_ratios"]

_IDS = {"traceId", "spanId", "parentSpanId"}


def json_ratios(*, rounds: int = 7, items: int | None = None) -> list[dict[str, Any]]:
    """Both directions on every workload.

    Args:
        rounds: rounds a job, 5 or more for a claim.
        items: items a request; by default the workload's own number.
    """
    results = []
    for name in NAMES:
        signal, data = payload(name, items=1 if name == "tiny" else items)
        message = signal.names.request.FromString(data)
        text = encode(message)
        if json.loads(text) != json.loads(_encode_peer(message)):
            raise AssertionError(f"{name}: the two sides write differently")
        if not decode(signal, text) == message == _decode_peer(signal, text):
            raise AssertionError(f"{name}: the two sides read differently")
        jobs: dict[str, tuple[Any, Any]] = {
            "encode JSON": (partial(encode, message), partial(_encode_peer, message)),
            "decode JSON": (partial(decode, signal, text), partial(_decode_peer, signal, text)),
        }
        for job, (ours, peer) in jobs.items():
            results.append(_compare(job, name, ours, peer, rounds))
    return results


def _encode_peer(message: Message) -> str:
    tree = json_format.MessageToDict(message, use_integers_for_enums=True)
    _convert_ids(tree, lambda text: base64.b64decode(text).hex())
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":"))


def _decode_peer(signal: Signal, text: str) -> Message:
    tree = json.loads(text)
    _convert_ids(tree, lambda text: base64.b64encode(bytes.fromhex(text)).decode())
    return json_format.ParseDict(tree, signal.names.request(), ignore_unknown_fields=True)


def _convert_ids(tree: Any, convert: Callable[[str], str]) -> None:
    if isinstance(tree, list):
        for item in tree:
            _convert_ids(item, convert)
    elif isinstance(tree, dict):
        for key, item in tree.items():
            if key in _IDS:
                tree[key] = convert(item)
            elif isinstance(item, dict | list):
                _convert_ids(item, convert)


def main() -> None:
    """Measure and print."""
    print("| work | workload | ours, us | peer, us | ratio | spread |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in json_ratios():
        low, high = row["spread"]
        print(
            f"| {row['job']} | {row['workload']} | {row['ours_us']:.0f} | {row['peer_us']:.0f} "
            f"| {row['ratio']:.2f} | {low:.2f} to {high:.2f} |"
        )


if __name__ == "__main__":
    main()
