"""V2C of videos of any length: window by window, with results kept in files.

The model sees a window of frames at a time, windows are stitched by what they have in common, and
what is as long as the video lies in temporary files that are mapped into memory. The files are
deleted as soon as they are mapped, so they last as long as the result and leave nothing behind.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from torch import Tensor
from tqdm.auto import tqdm

from jog3r.errors import InputError
from jog3r.routes.arguments import AlignmentOptions
from jog3r.routes.pointmaps import seen_frames, usual_graph, video_pointmaps, working_size
from jog3r.routes.priors import Priors
from jog3r.routes.video_to_cameras import blaming_the_video, bundled, in_source_pixels, lay_over

if TYPE_CHECKING:
    from jog3r.alignment import Alignment, PairPointmaps
    from jog3r.data.fit import ResizeAndCrop
    from jog3r.model import JOG3R
    from jog3r.results import Reconstruction, Video

WINDOW = 32
"""Frames of a window unless the user says so."""
CHUNK = 16
"""Frames that are brought to the user's pixels at a time."""


class WindowedVideo:
    """A video in the pixels of a model, read where it is asked for.

    Args:
        model: That gives the pointmaps.
        video: In the user's pixels.
        seed: Of the noise that a video backbone is given.
        bar: Counts the windows.
    """

    def __init__(self, model: "JOG3R", video: "Video", seed: int, bar: Any) -> None:
        from jog3r.data.fit import ResizeAndCrop

        self.model, self.video, self.seed, self.bar = model, video, seed, bar
        source = (video.height, video.width)
        self.mapping = ResizeAndCrop.fit(source, working_size(model, source))

    def frames(self, numbers: Sequence[int]) -> "Video":
        """Give some frames in the pixels of the model."""
        from jog3r.results import Video

        some = Video(self.video.frames[list(numbers)], self.video.fps)
        return Video.from_tensor(self.mapping.frames_to_target(some.tensor()), fps=some.fps)

    def pointmaps(self, numbers: Sequence[int], pairs: Tensor) -> "PairPointmaps":
        """Give the pointmaps of pairs that count within some frames."""
        self.bar.update()
        frames = self.frames(numbers).tensor()
        return video_pointmaps(self.model, frames, pairs, seed=self.seed, fps=self.video.fps)


def long_video_to_cameras(
    model: "JOG3R",
    video: "Video",
    priors: Priors,
    options: AlignmentOptions,
    *,
    seed: int,
    progress: bool,
) -> "Reconstruction":
    """Reconstruct a video in windows; `JOG3R.reconstruct` explains the arguments.

    Raises:
        InputError: A model whose latents span several frames, or an overlap that is not smaller
            than the window.
        AlignmentError: A window that no camera explains, or two that do not fit together.
    """
    from jog3r.alignment import align_windows
    from jog3r.alignment.windows import cut

    if len(seen_frames(model, len(video))) < len(video):
        raise InputError(
            "window: expected a model with a latent for every frame, got one whose latents span"
            " several; take fewer frames (max_frames, stride)"
        )
    window = min(options.window or WINDOW, len(video))
    overlap = options.overlap or max(1, window // 4)
    cut(len(video), window, overlap)  # which refuses an overlap that is too long
    with (
        TemporaryDirectory(prefix="jog3r-", ignore_cleanup_errors=True) as folder,
        tqdm(desc="reconstructing windows", disable=not progress) as bar,
    ):
        windowed = WindowedVideo(model, video, seed, bar)
        known = priors.to_target(windowed.mapping)

        def laid_over(numbers: Sequence[int], found: "Alignment") -> "Alignment":
            some = list(numbers)
            return lay_over(found, windowed.frames(some), known.at(some))

        with blaming_the_video():
            small = align_windows(
                windowed.pointmaps,
                len(video),
                graph=options.graph or usual_graph(model),
                window=window,
                overlap=overlap,
                intrinsics=known.K,
                cameras=known.cameras,
                masks=known.masks,
                regularisers=options.regularisers,
                shared_focal=options.shared_focal,
                refine_window=laid_over if options.photometric else None,
                folder=Path(folder) / "aligned",
            )
        scene = _in_source_pixels(small, windowed.mapping, video, priors.masks, Path(folder))
        return bundled(scene, options, K_known=priors.K is not None)


def _in_source_pixels(
    small: "Reconstruction",
    mapping: "ResizeAndCrop",
    video: "Video",
    masks: Tensor | None,
    folder: Path,
) -> "Reconstruction":
    """State a long result in the pixels of the user's frames, some frames at a time."""
    from jog3r.alignment.off_load import frame_store

    shape = (len(video), video.height, video.width)
    depth = frame_store(folder / "depth.npy", shape)
    confidence = frame_store(folder / "confidence.npy", shape)
    for first in range(0, len(video), CHUNK):
        part = slice(first, first + CHUNK)
        depth.write(first, mapping.depth_to_source(small.depth[part]))
        confidence.write(first, mapping.confidence_to_source(small.confidence[part]))
    return in_source_pixels(small, mapping, video, masks, depth.tensor(), confidence.tensor())
