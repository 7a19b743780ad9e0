"""The command line: parse, call, render. No logic lives here, and nothing heavy is imported before a command needs it."""

from csbsctl.cli.main import main

__all__ = ["main"]
