"""Who calls: asks the receiver's authenticator, and survives what it does.

    identity            goes on, and is in the element's metadata
    None                refused for good: `UnknownCallerError`
    raises, or no text  refused for now; its own fault is not the sender's
    takes too long      the same

Nothing is told of the credential, neither to the sender nor to the log; of an exception the
log has its type and where it was raised, as its text may repeat what it looked at.
"""

import asyncio
import inspect
import logging
from collections.abc import Mapping
from types import TracebackType

from rxotlp.errors import OtlpError, RefusedError
from rxotlp.security import Authenticator

__all__ = ["IDENTITY", "PEER", "Callers", "UnknownCallerError"]

logger = logging.getLogger("rxotlp")

IDENTITY = "identity"  # in an element's metadata
PEER = "peer"

_BROKEN = "the receiver cannot tell at the moment who may send"
_ANY = "Bearer"  # a refusal has to name a scheme (RFC 9110, "401 Unauthorized")


class UnknownCallerError(OtlpError):
    """Nobody who may send."""


class Callers:
    """Asks an authenticator.

    Args:
        authenticator: see `rxotlp.security`; its attribute `challenge`, if there is one, is what
            the WWW-Authenticate header of a refusal says.

    Raises:
        ValueError: a challenge that no header could hold.
    """

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self.challenge: str = getattr(authenticator, "challenge", _ANY)
        if not (isinstance(self.challenge, str) and self.challenge and _fits(self.challenge)):
            raise ValueError(
                f"otlp(authenticator=…): its challenge is {self.challenge!r}: expected a text for "
                "the WWW-Authenticate header, as 'Bearer realm=\"otlp\"'"
            )

    async def identify(self, headers: Mapping[str, str], peer: str, seconds: float) -> str:
        """The identity of who sent `headers`, if it is found within `seconds`.

        Raises:
            UnknownCallerError: it has none.
            RefusedError: the authenticator failed.
        """
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                found = self._authenticator(headers, peer)
                identity: object = await found if inspect.isawaitable(found) else found
        except Exception as error:
            if limit.expired():
                logger.error("the authenticator took longer than %.1f s for %s", seconds, peer)
                raise RefusedError(_BROKEN) from None
            where = _place(error.__traceback__)
            logger.error("the authenticator raised %s (%s)", type(error).__name__, where)
            raise RefusedError(_BROKEN) from None
        if identity is None:
            raise UnknownCallerError("no credential that is known here")
        if not isinstance(identity, str):
            kind = type(identity).__name__
            logger.error("the authenticator gave %s: expected a text or None", kind)
            raise RefusedError(_BROKEN)
        return identity


def _fits(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _place(trace: TracebackType | None) -> str:
    """File and line of where an exception was raised."""
    if trace is None:
        return "nowhere"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
