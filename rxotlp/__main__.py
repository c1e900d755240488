"""`python -m rxotlp` and the `rxotlp` command.

The command line is in the `[gateway]` extra; an application that embeds rxotlp does not
need typer and rich, so this says how to get them instead of failing with a traceback.
"""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    try:
        from rxotlp.cli import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        print(
            f"rxotlp: the command line needs {error.name}: pip install 'rxotlp[gateway]'",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
    app(prog_name="rxotlp")


if __name__ == "__main__":
    main()
