"""docs/conformance.md says what is tested, and nothing else."""

import pytest

from tests.support.conformance import PAGE, RULES, Test, collect, render


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_test_of_its_own(rule: str) -> None:
    """A row without a test is a promise that nobody would notice broken."""
    assert collect()[rule]


def test_the_page_is_what_the_tests_make_of_it() -> None:
    """`python -m tests.support.conformance --write` after a test has come or gone."""
    assert PAGE.read_text(encoding="utf-8") == render(collect())


def test_a_rule_that_does_not_exist_is_noticed() -> None:
    """A wrong digit in a name would hide a test from the page."""
    assert Test("", "test_c3_c15_it").rules == ["C3", "C15"]
    assert Test("", "test_environment_it").rules == ["environment"]
    assert Test("", "test_c3po_is_golden").rules == []
    with pytest.raises(KeyError):
        _ = Test("", "test_s99_it").rules
