"""SIGTERM means what it meant before pycolmap was imported."""

import signal
import subprocess
import sys

import pytest

FIRST = "import os, signal, sys\n"
THEN = "import jog3r.sfm\nos.kill(os.getpid(), signal.SIGTERM)\n"
OWN = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"


@pytest.mark.parametrize(("handler", "status"), [("", -signal.SIGTERM), (OWN, 3)])
def test_a_process_ends_without_a_stack_trace(handler: str, status: int) -> None:
    line = [sys.executable, "-c", FIRST + handler + THEN]
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (status, "")
