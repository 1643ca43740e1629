"""The errors that jog3r raises on purpose.

Every message reads `<name>: expected <what>, got <what>; <what to do>`: one line is enough to act.
Each class also derives from the built-in exception a caller would guess, so that
`except ValueError` works too.
"""

from collections.abc import Sequence
from typing import Any


class Jog3rError(Exception):
    """Base class: catching it catches everything that jog3r raises on purpose."""


class InputError(Jog3rError, ValueError):
    """An argument is unusable: wrong shape or dtype, NaN, out of range, unsupported combination."""


class MissingPartError(InputError, AttributeError):
    """A model is asked for a part that its checkpoint does not hold."""


class AlignmentError(InputError):
    """Pointmaps that no camera explains.

    Attributes:
        generations: The Generations that the call has made nonetheless, one for each sample; the
            `reconstruction` of those that failed is None. Empty where nothing was generated.
    """

    # Any: errors lie below results, and import nothing of them.
    generations: list[Any]

    def __init__(self, message: str, generations: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.generations = list(generations)


class FileError(Jog3rError, ValueError):
    """An input file or folder is missing, empty, corrupt, truncated or of a foreign format."""


class SaveError(Jog3rError, OSError):
    """An output could not be written (disk full, no permission); nothing partial is left behind."""


class MissingPackageError(Jog3rError, ImportError):
    """A feature needs a package that is not installed or does not load; the message says which."""


class TrainingError(Jog3rError, RuntimeError):
    """Training cannot go on: its loss or its gradients are NaN or infinite."""
