"""Other people's words, made fit for a line of ours.

Span names, header values, a backend's messages and file names come from somebody else: they
may be long, hold line breaks that forge a line of the log, escape sequences that a terminal
obeys, or repeat a secret they were sent. `printable` makes a text one line that shows what
is in it; `clean` also shortens it and blanks out secrets.

What is logged need not be cleaned by who logs it: `rxotlp.lines` does that in one place.
"""

from collections.abc import Iterable

__all__ = ["clean", "masked", "printable"]

_LONGEST = 300  # characters; a log line, not a page
_LEAST_SECRET = 4  # shorter values ("1", "yes") say nothing and are part of many words


def printable(text: str) -> str:
    """`text` with everything that does not print as itself escaped; one line."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def masked(url: str) -> str:
    """A URL that cannot be used, without what may be a credential in it.

    As it cannot be taken apart, one with an "@" shows its scheme alone.
    """
    scheme, found, _ = url.partition("://")
    if "@" in url:
        return f"{scheme}://***" if found and "@" not in scheme else "***"
    for mark in ("?", "#"):
        url, cut, _ = url.partition(mark)
        if cut:
            return f"{url}{mark}***"
    return url


def clean(text: str, *, secrets: Iterable[str] = (), longest: int = _LONGEST) -> str:
    """`text` as one printable line of at most `longest` characters without any of `secrets`."""
    # Cut first, so that a huge text costs little; generously, so that no secret is cut in two.
    text = text[: 16 * longest]
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _LEAST_SECRET:
            text = text.replace(secret, "***")
    text = " ".join(text.split())
    text = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
    return text if len(text) <= longest else text[: longest - 1] + "…"
