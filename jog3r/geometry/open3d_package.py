"""The one place that asks for open3d, which is slow to import and hard to install."""

from types import ModuleType

from jog3r.errors import MissingPackageError


def require_open3d(purpose: str) -> ModuleType:
    """Import open3d.

    Args:
        purpose: what it is needed for, as a verb: "find outliers".

    Raises:
        MissingPackageError: it is not installed, or a system library that it needs is missing.
    """
    try:
        import open3d
    except (ImportError, OSError) as error:  # OSError: a system library is missing
        raise MissingPackageError(
            f"open3d: expected it to {purpose}, got '{error}'; pip install open3d, on Debian and"
            " Ubuntu also apt-get install libusb-1.0-0"
        ) from error
    return open3d
