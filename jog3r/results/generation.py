"""A generated video and the scene behind it."""

from dataclasses import dataclass
from pathlib import Path

from jog3r.errors import InputError
from jog3r.result_checks import whole_number
from jog3r.results.equality import Result
from jog3r.results.reconstruction import Reconstruction
from jog3r.results.video import Video


@dataclass(frozen=True, eq=False, repr=False)
class Generation(Result):
    """A generated video and, if its cameras were asked for, the scene behind it.

    Args:
        video: what was generated.
        prompt: what was asked for.
        seed: that gives the same result again.
        reconstruction: of this very video, or None.

    Raises:
        InputError: a reconstruction of another video, a prompt that is no text, or a seed that is
            no whole number.
    """

    video: Video
    prompt: str
    seed: int
    reconstruction: Reconstruction | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str):
            raise InputError(f"prompt: expected text, got {self.prompt!r}")
        # The class is frozen; files hold Python's int, not numpy's.
        object.__setattr__(self, "seed", whole_number("seed", self.seed))
        if self.reconstruction is not None and self.reconstruction.video != self.video:
            raise InputError(
                f"reconstruction: expected one of {self.video!r}, got one of other frames"
            )

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write everything to a folder, as `Reconstruction.save` does.

        Raises:
            InputError: the folder exists and `overwrite` is False, or it is not one of ours.
            SaveError: it could not be written; nothing partial is left.
        """
        from jog3r.export.folder import write_generation

        return write_generation(folder, self, overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | Path) -> "Generation":
        """Read what `save` wrote, bit for bit.

        Raises:
            FileError: missing, truncated or foreign folder or file; names it.
        """
        from jog3r.export.folder import read_generation

        return read_generation(folder)

    def __repr__(self) -> str:
        scene = "" if self.reconstruction is None else ", with reconstruction"
        return f"Generation({self.prompt!r}, seed={self.seed}, {self.video!r}{scene})"
