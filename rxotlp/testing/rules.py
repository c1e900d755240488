"""What a conformance suite is made of: rules, each tried by itself, all of them reported."""

import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

__all__ = ["Broken", "ConformanceError", "Rule", "expect", "try_all"]


class Broken(NamedTuple):
    """A rule that does not hold, and what was seen instead."""

    rule: str
    seen: str


class ConformanceError(AssertionError):
    """Something breaks rules that everything of its kind keeps.

    Attributes:
        subject: what was checked.
        broken: every broken rule, in the order of the suite.
    """

    def __init__(self, subject: str, broken: Sequence[Broken]) -> None:
        self.subject = subject
        self.broken = list(broken)
        lines = "\n".join(f"  {rule}: {seen}" for rule, seen in self.broken)
        super().__init__(f"{subject} breaks {len(self.broken)} rules\n{lines}")

    @property
    def rules(self) -> list[str]:
        """The names of the broken rules."""
        return [rule for rule, _ in self.broken]


class Rule(NamedTuple):
    """A rule's name, and a function that raises AssertionError where it does not hold."""

    name: str
    attempt: Callable[..., Any]


def expect(holds: bool, seen: str) -> None:
    """Raise when it does not hold; unlike `assert` also under `python -O`."""
    if not holds:
        raise AssertionError(seen)


def try_all(subject: str, rules: Sequence[Rule], *arguments: Any) -> None:
    """Try each rule with `arguments`.

    Raises:
        ConformanceError: some do not hold. Whatever else a rule's attempt raises counts as
            broken too: a subject that raises out of the suite is not what it promised.
    """
    broken = []
    for rule in rules:
        try:
            rule.attempt(*arguments)
        except AssertionError as error:
            broken.append(Broken(rule.name, str(error)))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{where.filename.rpartition('/')[2]}:{where.lineno}"
            broken.append(Broken(rule.name, f"raised {type(error).__name__}: {error} ({place})"))
    if broken:
        raise ConformanceError(subject, broken)
