"""V2C: video -> latents -> tokens at the tap -> pointmaps -> alignment -> refinement.

Or, with DUSt3R in place of backbone and head: video -> pointmaps -> alignment -> refinement.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor
from tqdm.auto import tqdm

from jog3r.errors import AlignmentError, InputError
from jog3r.geometry import check_intrinsics
from jog3r.routes.arguments import check_alignment, known_intrinsics
from jog3r.routes.pointmaps import seen_frames, star, video_pointmaps, working_size
from jog3r.stitch import StitchedModel

if TYPE_CHECKING:
    from jog3r.alignment import PairPointmaps, Regularisers
    from jog3r.data.fit import ResizeAndCrop
    from jog3r.model import JOG3R
    from jog3r.results import Reconstruction, Video


def video_to_cameras(
    model: "JOG3R",
    source: Any,
    *,
    K: Any,
    stride: int,
    max_frames: int | None,
    seed: int,
    regularisers: "Regularisers | None",
    refine: str | None,
    progress: bool,
) -> "Reconstruction":
    """Reconstruct a video; `JOG3R.reconstruct` explains the arguments.

    Raises:
        InputError: What `read_video` refuses, a single frame, K that does not fit, no such
            refinement.
        AlignmentError: Pointmaps that no camera explains.
        FileError: What `read_video` cannot read.
    """
    from jog3r.data.fit import resize_and_crop
    from jog3r.data.media import read_video
    from jog3r.results import Video

    check_alignment(regularisers, refine)
    if isinstance(model.network, StitchedModel):
        model.network.check_head()
    original = read_video(source, stride=stride, max_frames=max_frames)
    if len(original) < 2:
        raise InputError(
            f"video: expected at least 2 frames, got {len(original)}; one frame has no camera path"
        )
    seen = seen_frames(model, len(original))
    source_size = (original.height, original.width)
    K_source = known_intrinsics(K, source_size, len(original))
    size = working_size(model, source_size)
    frames, K, mapping = resize_and_crop(original.tensor(), K_source, size)
    if K is not None:
        check_intrinsics(K, size, name="K, after crop and resizing")
    with tqdm(total=2, desc="reconstructing", disable=not progress) as bar:
        pairs = video_pointmaps(model, frames, star(len(seen)), seed=seed, fps=original.fps)
        bar.update()
        found = align_pointmaps(
            pairs,
            frames_at(Video.from_tensor(frames, fps=original.fps), seen),
            K=K[seen] if K is not None and K.ndim == 3 else K,
            regularisers=regularisers,
            refine=refine,
        )
        bar.update()
    return _in_source_pixels(found, mapping, frames_at(original, seen))


def align_pointmaps(
    pairs: "PairPointmaps",
    video: "Video",
    *,
    K: Tensor | None = None,
    regularisers: "Regularisers | None" = None,
    refine: str | None = "photometric",
) -> "Reconstruction":
    """Align the pointmaps of one video; the result is in the pixels of the network.

    Raises:
        AlignmentError: Pointmaps that no camera explains.
    """
    from jog3r.alignment import refine_photometrically, solve
    from jog3r.results import Cameras, Reconstruction

    try:
        aligned = solve(pairs, regularisers=regularisers, intrinsics=K)
        if refine == "photometric":
            aligned = refine_photometrically(aligned, video.tensor())
        cameras = Cameras(
            world_from_camera=aligned.world_from_camera,
            K=aligned.K,
            image_size=(video.height, video.width),
        )
    except InputError as error:
        raise AlignmentError(
            "video: expected a clip that the model understands, got pointmaps that no camera"
            f" explains ({error}); try other frames or give K"
        ) from error
    return Reconstruction(
        video=video,
        cameras=cameras,
        depth=aligned.depth,
        confidence=aligned.confidence,
        scale="relative",
    )


def frames_at(video: "Video", seen: Sequence[int]) -> "Video":
    """Give a video of some of the frames, at the rate at which they are apart."""
    from jog3r.results import Video

    if len(seen) == len(video):
        return video
    return Video(video.frames[list(seen)], fps=video.fps * len(seen) / len(video))


def _in_source_pixels(
    found: "Reconstruction", mapping: "ResizeAndCrop", original: "Video"
) -> "Reconstruction":
    """State a result in the pixels of the user's frames; what the crop cut off has no depth."""
    from jog3r.results import Cameras, Reconstruction

    cameras = Cameras(
        world_from_camera=found.cameras.world_from_camera,
        K=mapping.intrinsics_to_source(found.cameras.K),
        image_size=mapping.source_size,
    )
    return Reconstruction(
        video=original,
        cameras=cameras,
        depth=mapping.depth_to_source(found.depth),
        confidence=mapping.confidence_to_source(found.confidence),
        scale=found.scale,
    )
