"""What the command line says about itself."""

import subprocess
import sys

import pytest
import typer.main

from rxotlp.cli import app

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_mentions_every_option_and_says_what_each_is(name: str) -> None:
    """A newcomer has nothing else to go by."""
    done = subprocess.run(
        [sys.executable, "-m", "rxotlp", name, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "Exit status" in done.stdout
    for parameter in COMMANDS[name].params:
        assert parameter.help, f"{name}: {parameter.name} has no help"
        for option in parameter.opts if parameter.param_type_name == "option" else ():
            assert option in done.stdout
