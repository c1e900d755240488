"""What a backend's reply means for what was sent, over either transport.

The decisions (what is retryable, how long to wait, what a partial success says) are
`_core`'s; here they become outcomes with texts that name the destination.
"""

from collections.abc import Iterable

from rxotlp._core import answers, statuses
from rxotlp._core.outcomes import DELIVERED, Cause, Kind, Outcome, failed, rejected
from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError
from rxotlp.exporters.text import clean

__all__ = ["refused", "refused_message", "taken", "taken_unreadably"]


def taken(
    destination: str,
    data: TelemetryData,
    body: bytes,
    content_type: str,
    secrets: Iterable[str],
) -> Outcome:
    """The outcome of a success, which may be a partial one (C4)."""
    signal = data.signal
    if not body:
        return DELIVERED
    try:
        count, message = answers.read_response(signal, body, content_type)
    except DecodeError as error:
        return taken_unreadably(destination, clean(str(error)))
    text = clean(message, secrets=secrets)
    if count > 0:
        count = min(count, data.items)  # more than was sent would unbalance the books
        names = signal.names
        noun = names.item if count == 1 else names.items
        return rejected(f"{destination} rejected {count} {noun}: {text}", items=count)
    return Outcome(Kind.DELIVERED, warning=f"{destination}: {text}") if text else DELIVERED


def taken_unreadably(destination: str, why: str) -> Outcome:
    """The outcome of a success that says nothing else: sent again, it would be there twice."""
    return Outcome(Kind.DELIVERED, warning=f"{destination} answered success unreadably: {why}")


def refused(
    destination: str,
    answer: str,
    message: str,
    *,
    retryable: bool,
    retry_after: float | None,
    cause: Cause,
    secrets: Iterable[str],
) -> Outcome:
    """The outcome of an error: `answer` is its code, `message` the backend's own words.

    What is refused for its size is not retryable as it is, whatever the code says.
    """
    text = clean(message, secrets=secrets)
    reason = f"{destination} answered {answer}" + (f": {text}" if text else "")
    if retryable and cause is Cause.OTHER:
        return failed(reason, retry_after=retry_after)
    return rejected(reason, cause=cause)


def refused_message(body: bytes, content_type: str) -> tuple[str, float | None]:
    """What an HTTP error's body says, and the wait it asks for.

    A body that is no Status (a proxy's, the Collector's plain text) is taken as text, and
    one that is neither says nothing.
    """
    try:
        status = statuses.decode_status(body, content_type)
    except DecodeError:
        try:
            return body[:4096].decode(), None
        except UnicodeDecodeError:
            return "", None
    wrong = next((f"{path}: {what}" for path, what in statuses.violations(status)), "")
    return status.message or wrong, statuses.retry_delay(status)
