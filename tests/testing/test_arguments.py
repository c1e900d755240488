"""The suites say what they want, once, instead of that every rule is broken."""

from collections.abc import Callable
from typing import Any

import pytest

from rxotlp import exporters
from rxotlp import operators as ops
from rxotlp.schedulers import VirtualScheduler
from rxotlp.testing import check_exporter, check_operator, check_processor, check_scheduler


@pytest.mark.parametrize(
    ("check", "given", "says"),
    [
        (check_operator, ops.batch(), "check_operator(ops.batch()): expected a function that"),
        (check_operator, 3, "check_operator(3): expected a function that makes the operator"),
        (check_processor, 3, "check_processor(3): expected a function of an element, got int"),
        (check_exporter, exporters.Memory(), "check_exporter(<Memory to memory>): expected a cl"),
        (check_scheduler, VirtualScheduler(), "check_scheduler("),
    ],
)
def test_a_thing_instead_of_what_makes_it_is_refused(
    check: Callable[[Any], None], given: Any, says: str
) -> None:
    """It is the first mistake that everybody makes with them."""
    with pytest.raises(TypeError) as raised:
        check(given)
    assert str(raised.value).startswith(says)
