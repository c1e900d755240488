"""The command line: one module a command, put together in `app`."""

from rxotlp.cli.app import app

__all__ = ["app"]
