"""Who an exporter says it is: headers, as given or given anew for each attempt.

    OtlpHttp(url, bearer_token=token)
    OtlpHttp(url, basic_auth=("user", "password"))
    OtlpHttp(url, headers=lambda: {"authorization": f"Bearer {path.read_text().strip()}"})

A function of headers is asked at each attempt, so a token may rotate while requests wait for
their next one. Whatever a header says is a secret: `secrets_of` lists what no text of ours may
show, and no error here repeats a value.
"""

import base64
import binascii
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping

__all__ = ["GivenHeaders", "HeaderFunction", "basic", "check_headers", "fresh", "secrets_of"]

HeaderFunction = Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]]
GivenHeaders = Mapping[str, str] | HeaderFunction

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, "Tokens"


def check_headers(call: str, headers: object) -> None:
    """Raise for what cannot be sent.

    Raises:
        ValueError: a name that is none, or a value that would end the header.
        TypeError: no mapping, or something in it that is no text.
    """
    if not isinstance(headers, Mapping):
        kind = type(headers).__name__
        raise TypeError(f"{call}(headers): expected names and values, got {kind}")
    for number, (name, value) in enumerate(headers.items(), 1):
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            # Not shown: what stands in the wrong place may be the secret.
            raise ValueError(f"{call}(headers): the name of header {number} is no header name")
        if not isinstance(value, str):
            raise TypeError(f"{call}(headers[{name!r}]): expected a text")
        if any(letter in value for letter in "\r\n\0"):
            raise ValueError(f"{call}(headers[{name!r}]): a value may hold no line break")


def basic(user: str, password: str) -> str:
    """The value of an Authorization header (RFC 7617, in UTF-8)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def secrets_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """What no text may show: values, the credential behind a scheme, a password in one."""
    found: list[str] = []
    for value in headers.values():
        value = value.strip()
        found.append(value)
        scheme, space, credential = value.partition(" ")
        if space:
            found.append(credential.strip())
        if scheme.lower() == "basic":
            found += _password(credential.strip())
    return tuple(found)


def _password(encoded: str) -> list[str]:
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return []
    return [text, text.partition(":")[2]]


async def fresh(call: str, function: HeaderFunction) -> Mapping[str, str]:
    """Headers for one attempt.

    Raises:
        ValueError: what the function gives cannot be sent, or it raised; the text has the type
            of the exception only, which may repeat a credential.
    """
    try:
        given = function()
        headers = await given if inspect.isawaitable(given) else given
    except Exception as error:
        raise ValueError(f"{call}: the function of headers raised {type(error).__name__}") from None
    try:
        check_headers(call, headers)
    except TypeError as error:
        raise ValueError(str(error)) from None
    return headers
