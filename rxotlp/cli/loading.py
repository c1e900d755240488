"""Finding the pipeline that `MODULE:ATTR` names, and why it was not found.

The module is the user's: whatever importing it raises is a wrong command line with the line
of theirs that raised, never a call stack of ours.
"""

import importlib
import logging
import os
import sys
import traceback

from reactivex import Observable

from rxotlp.errors import UsageError
from rxotlp.pipeline import Pipeline
from rxotlp.sources.addresses import parse_address

__all__ = ["addresses_of", "find", "load"]

logger = logging.getLogger("rxotlp")


def load(target: str) -> Pipeline:
    """The pipeline that `MODULE:ATTR` names; the current directory is looked in first.

    Raises:
        UsageError: there is none.
    """
    found = find(target)
    if isinstance(found, Pipeline):
        return found
    if isinstance(found, Observable):
        return Pipeline(found)
    raise UsageError(
        f"{target}: expected a stream (an Observable) or a Pipeline, got {type(found).__name__}"
    )


def find(target: str) -> object:
    """Whatever `MODULE:ATTR` names; the current directory is looked in first.

    Raises:
        UsageError: there is nothing of that name.
    """
    name, _, attribute = target.partition(":")
    if not name or not attribute:
        raise UsageError(f"{target!r}: expected MODULE:ATTR, such as gateway:pipeline")
    if name.startswith("."):
        raise UsageError(f"{target!r}: expected a module's whole name, without a leading dot")
    if name.endswith(".py"):
        raise UsageError(
            f"{target!r}: expected a module's name; is it {name.removesuffix('.py')}:{attribute}?"
        )
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"{target}: no module {error.name!r}, neither here nor installed"
            ) from None
        raise UsageError(f"{target}: {name} needs the module {error.name!r}") from None
    except (Exception, SystemExit) as error:  # a script's `sys.exit()` is no good run
        logger.debug("importing %s", name, exc_info=True)
        raise UsageError(
            f"{target}: importing {name} raised {type(error).__name__}: {error}{_where(error)}"
        ) from None
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UsageError(f"{target}: {name} has no attribute {attribute!r}") from None
    return found


def _where(error: BaseException) -> str:
    """The last line of the user's own that an error came by."""
    places = [
        f" ({frame.f_code.co_filename}:{line})"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").partition(".")[0]
        not in ("rxotlp", "importlib", "_frozen_importlib", "_frozen_importlib_external")
    ]
    return places[-1] if places else ""


def addresses_of(listen: list[str]) -> dict[str, str]:
    """What `--listen` says, by transport."""
    found: dict[str, str] = {}
    for text in listen:
        transport, _, address = text.partition("=")
        if transport not in ("grpc", "http") or not address:
            raise UsageError(
                f"--listen {text!r}: expected grpc=HOST:PORT or http=HOST:PORT, "
                "such as http=127.0.0.1:0"
            )
        try:
            parse_address("--listen", transport, address)
        except ValueError as error:
            raise UsageError(str(error)) from None
        found[transport] = address
    return found
