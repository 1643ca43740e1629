"""The errors that jog3r raises on purpose.

Every message reads `<name>: expected <what>, got <what>; <what to do>`: one line is enough to act.
Each class also derives from the built-in exception a caller would guess, so that
`except ValueError` works too.
"""


class Jog3rError(Exception):
    """Base class: catching it catches everything that jog3r raises on purpose."""


class InputError(Jog3rError, ValueError):
    """An argument is unusable: wrong shape or dtype, NaN, out of range, unsupported combination."""


class FileError(Jog3rError, ValueError):
    """An input file or folder is missing, empty, corrupt, truncated or of a foreign format."""


class SaveError(Jog3rError, OSError):
    """An output could not be written (disk full, no permission); nothing partial is left behind."""


class MissingPackageError(Jog3rError, ImportError):
    """A feature needs a package that is not installed or does not load; the message says which."""
