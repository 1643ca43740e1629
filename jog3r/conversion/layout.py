"""What the names and shapes of a checkpoint tell of its config."""

import itertools
import logging
import re
from collections.abc import Collection, Mapping
from typing import Any

from jog3r.conversion.checkpoints import Checkpoint
from jog3r.errors import FileError, InputError

logger = logging.getLogger(__name__)

DOWNLOAD_AGAIN = "the checkpoint is incomplete or of another kind, download it again"


class UntoldError(InputError):
    """A value that neither shapes nor hints tell has to be set."""


class Layout:
    """Shapes of a checkpoint's tensors, with errors that name the file.

    Attributes:
        checkpoint: Whose they are.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    def __contains__(self, name: str) -> bool:
        return name in self.checkpoint.tensors

    def shape(self, name: str, ndim: int) -> tuple[int, ...]:
        """Give the shape of a tensor.

        Raises:
            FileError: It is not there, is empty, or has not so many axes.
        """
        tensor = self.checkpoint.tensors.get(name)
        if tensor is None or tensor.ndim != ndim or not tensor.numel():
            got = "none of this name" if tensor is None else f"shape {tuple(tensor.shape)}"
            raise FileError(
                f"{self.checkpoint.source}: expected a tensor {name} with {ndim} axes, got {got};"
                f" {DOWNLOAD_AGAIN}"
            )
        return tuple(tensor.shape)

    def width(self, places: Mapping[str, tuple[int, int]]) -> int:
        """Give a width that several tensors must have in common.

        Args:
            places: Name -> how many axes it has, and which of them it is.

        Raises:
            FileError: One is not there, or they differ.
        """
        found = {name: self.shape(name, ndim)[axis] for name, (ndim, axis) in places.items()}
        if len(set(found.values())) > 1:
            raise FileError(
                f"{self.checkpoint.source}: expected one width in several tensors, got {found}; the"
                " checkpoint is damaged or joined from several, download it again"
            )
        return next(iter(found.values()))

    def count(self, prefix: str) -> int:
        """Count what is numbered behind a prefix, such as blocks.

        Raises:
            FileError: Nothing, or a gap in the numbers.
        """
        numbers = self.numbers(prefix)
        if len(numbers) != max(numbers, default=-1) + 1 or not numbers:
            gap = next(number for number in itertools.count() if number not in numbers)
            raise FileError(
                f"{self.checkpoint.source}: expected tensors {prefix}{gap}..., got none;"
                f" {DOWNLOAD_AGAIN}"
            )
        return len(numbers)

    def numbers(self, prefix: str) -> set[int]:
        """Give the numbers behind a prefix."""
        pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
        found = (pattern.match(name) for name in self.checkpoint.tensors)
        return {int(match[1]) for match in found if match}

    def with_hints(self, told: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
        """Add to what the shapes tell what stands beside the checkpoint.

        Args:
            told: Fields of the config that the shapes tell.
            names: Fields of the config -> what the hints call them.

        Raises:
            FileError: Shapes and hints contradict each other.
        """
        hints = {field: self.hint(name) for field, name in names.items()}
        for field, hint in hints.items():
            if field in told and hint is not None and hint != told[field]:
                raise FileError(
                    f"{self.checkpoint.source}: expected {field} = {hint!r} as told beside it"
                    f" ({names[field]}), got {told[field]!r} by its shapes; the file and its"
                    " config belong to different models"
                )
        return {field: hint for field, hint in hints.items() if hint is not None} | dict(told)

    def refuse(self, foreign: Mapping[str, Collection[Any]]) -> None:
        """Refuse a checkpoint that asks for what our class does not do.

        Args:
            foreign: Hints -> the values of each that ask for nothing.

        Raises:
            FileError: One has another value.
        """
        for name, harmless in foreign.items():
            if self.hint(name) not in harmless:
                raise FileError(
                    f"{self.checkpoint.source}: expected a network with {name} one of"
                    f" {[*harmless]}, got {self.hint(name)!r} beside it; this kind is not supported"
                )

    def hint(self, name: str) -> Any:
        """Give what stands beside the checkpoint under a name, with tuples for lists; or None."""
        value = self.checkpoint.hints.get(name)
        return tuple(value) if isinstance(value, list) else value


def usual_heads(width: int, usual: int, name: str, published: int) -> int:
    """Give the number of heads of a published network by its width, as no shape tells it.

    Args:
        width: Channels of its tokens.
        usual: Channels of each head in the published ones.
        name: The setting that tells it otherwise.
        published: The width of these; for others it is a guess, and a warning says so.

    Raises:
        UntoldError: The width is no multiple of that.
    """
    if width % usual:
        raise UntoldError(
            f"{name}: expected to be told, as {width} channels are no multiple of the usual"
            f" {usual} per head; add --set {name}=NUMBER"
        )
    if width != published:
        logger.warning(
            "%s: %d, as in published networks with %d channels per head; add --set %s=NUMBER if it"
            " is another",
            *(name, width // usual, usual, name),
        )
    return width // usual


def overridden(told: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Replace what was told by settings, in nested dictionaries too."""
    nested = {
        name: overridden(told[name], value)
        for name, value in settings.items()
        if isinstance(value, Mapping) and isinstance(told.get(name), Mapping)
    }
    return {**told, **settings, **nested}
