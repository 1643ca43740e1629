"""A process that is asked to end ends: pycolmap would print a stack trace of C++ first."""

import signal
import threading


def keep_python_handlers() -> None:
    """Give SIGTERM back to Python's handler, which the import of pycolmap has put out of force."""
    handler = signal.getsignal(signal.SIGTERM)  # as Python remembers it; None: not Python's
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
