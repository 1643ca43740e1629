"""The command line: parse, call the library, print. One file per command.

Nothing here imports torch before a command runs, so that help and usage errors come at once.
"""

from jog3r.cli.entry import main

__all__ = ["main"]
