"""Entry point of the command line: which command, and one clear line when it fails."""

import errno
import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import jog3r
from jog3r.cli import (
    convert,
    convert_cameras,
    data,
    demo,
    evaluate_cameras,
    export,
    generate,
    info,
    path,
    publish,
    reconstruct,
    train,
)
from jog3r.cli.parser import Parser
from jog3r.errors import InputError, Jog3rError

COMMANDS = (
    *(demo, generate, reconstruct, export, path, convert_cameras, evaluate_cameras),
    *(data, train, publish, convert, info),
)
USAGE, FAILURE, STOPPED = 2, 1, 130
_FROM_A_WORKER = re.compile(r"Caught \w+ in .*\njog3r\.errors\.\w+: (.*)", re.DOTALL)
"""What torch makes of an error of ours in a process that reads data: a whole traceback."""

DESCRIPTION = """\
Generate video with its cameras, and reconstruct video in 3D, with one model.

A first walk:
  jog3r demo                                      see everything once, about a minute
  jog3r generate "a red sphere in a brick room" --cameras
  jog3r reconstruct clip.mp4 --out outputs/clip
"""
EPILOG = """\
`jog3r COMMAND --help` explains a command. Exit status: 0 done, 1 failed, 2 wrong usage or input,
130 stopped by Ctrl-C. JOG3R_DEBUG=1 in the environment shows the traceback of a failure.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status.

    Args:
        argv: words after `jog3r`; None takes those of this process.

    Raises:
        SystemExit: after --help, --version or wrong usage, as argparse does.
    """
    # Before torch loads: waiting OpenMP threads that spin slow a shared machine down several times.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that cannot show a name
    words = list(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_command(words)
    with warnings.catch_warnings(), _own_log_shown():
        _show_own_warnings_only()
        try:
            args.run(args)
            if sys.stdout is not None:  # it is where our caller has closed it
                sys.stdout.flush()
        except Exception as error:
            if os.environ.get("JOG3R_DEBUG"):
                raise
            return _report(error)
        except KeyboardInterrupt:
            return _say("stopped", STOPPED)
    return 0


def build_parser() -> Parser:
    """Return the parser with all commands."""
    parser = Parser(prog="jog3r", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"jog3r {jog3r.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def _report(error: Exception) -> int:
    """Turn a failure into one line and an exit status."""
    if isinstance(error, BrokenPipeError):
        # The reader of our output has left (`jog3r info | head`): nobody is there to be told.
        _drop_output()
        return FAILURE
    if isinstance(error, Jog3rError):
        told = _FROM_A_WORKER.sub(r"\1", str(error))
        return _say(f"error: {told}", USAGE if isinstance(error, InputError) else FAILURE)
    if isinstance(error, OSError) and error.filename is not None:
        told = f"expected a path that can be used, got {error.strerror}; check it"
        return _say(f"error: {error.filename}: {told} and its permissions", FAILURE)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        _drop_output()  # what we print goes into a file, on a disk that is full
        return _say(f"error: standard output: {error.strerror}", FAILURE)
    hint = "set JOG3R_DEBUG=1 for the traceback"
    return _say(f"error: unexpected {type(error).__name__}: {error}; {hint}", FAILURE)


def _drop_output() -> None:
    """Send what is still to be printed nowhere, so that Python does not fail on it once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str, status: int) -> int:
    print("jog3r:", " ".join(message.split()), file=sys.stderr)
    return status


class _OneLineEach(logging.Handler):
    """Print a log message as one line, and the same message only once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{record.levelname.lower()}: {record.getMessage()}"
        if line not in self._told:
            self._told.add(line)
            _say(line, 0)


@contextmanager
def _own_log_shown() -> Iterator[None]:
    log, handler = logging.getLogger("jog3r"), _OneLineEach()
    propagate = log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.propagate = propagate
        log.removeHandler(handler)


def _show_own_warnings_only() -> None:
    """Print jog3r's warnings as one line each; those of other packages are not for the user."""
    if sys.warnoptions or os.environ.get("JOG3R_DEBUG"):
        return

    def show(message: Warning | str, category: type, filename: str, *_: object) -> None:
        del category, filename
        _say(f"warning: {message}", 0)

    warnings.showwarning = show
    warnings.simplefilter("ignore")
    for place in (r"jog3r\b", r"__main__$"):
        warnings.filterwarnings("default", module=place)
