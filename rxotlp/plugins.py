"""Operators and processors that other distributions bring, found by their entry points.

A distribution says in its pyproject.toml what it has:

    [project.entry-points."rxotlp.operators"]
    debounce = "their_package.debounce:debounce"

One that cannot be imported is named with its error, and takes nothing else with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

__all__ = ["GROUPS", "Plugin", "plugins"]

GROUPS = ("operators", "processors")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point.

    Attributes:
        name: what its distribution calls it.
        group: "operators" or "processors".
        distribution: who brings it, name and version.
        value: what it names; None when that cannot be had.
        error: why it cannot be had; None when it can.
    """

    name: str
    group: str
    distribution: str
    value: Callable[..., Any] | None
    error: str | None


def plugins(group: str) -> list[Plugin]:
    """What installed distributions bring, sorted by name; each is imported.

    Args:
        group: "operators" or "processors".

    Raises:
        ValueError: there is no such group.
    """
    if group not in GROUPS:
        raise ValueError(f"plugins({group!r}): expected one of {', '.join(GROUPS)}")
    found = []
    for point in entry_points(group=f"rxotlp.{group}"):
        value, error = None, None
        try:
            value = point.load()
        except (Exception, SystemExit) as raised:  # whatever their module does when imported
            error = f"{type(raised).__name__}: {raised}"
        if value is not None and not callable(value):
            error = f"{point.value} is no function but {type(value).__name__}"
            value = None
        elif value is None and error is None:
            error = f"{point.value} is None"
        dist = point.dist
        distribution = f"{dist.name} {dist.version}" if dist is not None else "unknown"
        found.append(Plugin(point.name, group, distribution, value, error))
    return sorted(found, key=lambda plugin: (plugin.name, plugin.distribution))
