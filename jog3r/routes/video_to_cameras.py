"""V2C: video -> latents -> tokens at the tap -> pointmaps -> alignment -> refinement.

Or, with DUSt3R in place of backbone and head: video -> pointmaps -> alignment -> refinement.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from jog3r.errors import AlignmentError, InputError
from jog3r.routes.arguments import AlignmentOptions
from jog3r.routes.pointmaps import seen_frames, usual_graph, video_pointmaps, working_size
from jog3r.routes.priors import Priors
from jog3r.stitch import StitchedModel

if TYPE_CHECKING:
    from jog3r.alignment import Alignment, PairPointmaps
    from jog3r.data.fit import ResizeAndCrop
    from jog3r.model import JOG3R
    from jog3r.results import Reconstruction, Video

LONGEST = 64
"""Frames up to which a video is reconstructed as a whole unless a window is asked for."""


def video_to_cameras(
    model: "JOG3R",
    source: Any,
    options: AlignmentOptions,
    *,
    K: Any,
    cameras: Any,
    masks: Any,
    stride: int,
    max_frames: int | None,
    seed: int,
    progress: bool,
) -> "Reconstruction":
    """Reconstruct a video; `JOG3R.reconstruct` explains the arguments.

    Raises:
        InputError: What `read_video` and `Priors` refuse, or a single frame.
        AlignmentError: Pointmaps that no camera explains.
        FileError: What `read_video` cannot read.
    """
    from jog3r.data.media import read_video

    if isinstance(model.network, StitchedModel):
        model.network.check_head()
    video = read_video(source, stride=stride, max_frames=max_frames)
    if len(video) < 2:
        raise InputError(
            f"video: expected at least 2 frames, got {len(video)}; one frame has no camera path"
        )
    size = (video.height, video.width)
    priors = Priors.of(K=K, cameras=cameras, masks=masks, size=size, frames=len(video))
    if priors.cameras is not None and options.bundle:
        raise InputError(
            'refine: expected "photometric" or None beside known cameras, got "bundle", which moves'
            " all of them; leave one out"
        )
    if priors.K is not None and not options.shared_focal:
        raise InputError(
            "shared_focal: expected True beside known K, got False; nothing is left to find"
        )
    if options.window is not None or len(video) > LONGEST:
        from jog3r.routes.long_video_to_cameras import long_video_to_cameras

        return long_video_to_cameras(model, video, priors, options, seed=seed, progress=progress)
    with tqdm(total=2, desc="reconstructing", disable=not progress) as bar:
        return whole_video_to_cameras(model, video, priors, options, seed=seed, bar=bar)


def whole_video_to_cameras(
    model: "JOG3R",
    video: "Video",
    priors: Priors,
    options: AlignmentOptions,
    *,
    seed: int,
    bar: Any,
) -> "Reconstruction":
    """Reconstruct a video whose frames go through the model at once."""
    from jog3r.alignment import pair_graph
    from jog3r.data.fit import resize_and_crop
    from jog3r.results import Video

    seen = seen_frames(model, len(video))
    frames, _, mapping = resize_and_crop(
        video.tensor(), None, working_size(model, (video.height, video.width))
    )
    graph = pair_graph(options.graph or usual_graph(model), len(seen))
    known = priors.at(seen)
    pairs = video_pointmaps(model, frames, graph, seed=seed, fps=video.fps)
    bar.update()
    small = frames_at(Video.from_tensor(frames, fps=video.fps), seen)
    scene = align_pointmaps(pairs, small, options, priors=known.to_target(mapping))
    # What the crop cut off has no depth.
    depth = mapping.depth_to_source(scene.depth)
    confidence = mapping.confidence_to_source(scene.confidence)
    scene = in_source_pixels(scene, mapping, frames_at(video, seen), known.masks, depth, confidence)
    scene = bundled(scene, options, K_known=priors.K is not None)
    bar.update()
    return scene


def align_pointmaps(
    pairs: "PairPointmaps",
    video: "Video",
    options: AlignmentOptions,
    *,
    priors: Priors | None = None,
) -> "Reconstruction":
    """Align the pointmaps of one video; the result is in the pixels of the network.

    Raises:
        AlignmentError: Pointmaps that no camera explains.
    """
    from jog3r.alignment import align

    known = priors or Priors()
    with blaming_the_video():
        scene = align(
            pairs,
            video=video,
            intrinsics=known.K,
            cameras=known.cameras,
            masks=known.masks,
            regularisers=options.regularisers,
            shared_focal=options.shared_focal,
        )
        return laid_over(scene, known) if options.photometric else scene


@contextmanager
def blaming_the_video() -> Iterator[None]:
    """Call it the video's fault if pointmaps are refused, as all arguments have been checked.

    Raises:
        AlignmentError: Pointmaps that no camera explains.
    """
    try:
        yield
    except AlignmentError:
        raise
    except InputError as error:
        raise AlignmentError(
            "video: expected a clip that the model understands, got pointmaps that no camera"
            f" explains ({error}); try other frames or give K"
        ) from error


def laid_over(scene: "Reconstruction", priors: Priors) -> "Reconstruction":
    """Refine a scene photometrically; known cameras stay."""
    from jog3r.alignment import Alignment

    cameras = scene.cameras
    start = Alignment(cameras.world_from_camera, cameras.K, scene.depth, scene.confidence)
    moved = lay_over(start, scene.video, priors)
    return replace(scene, cameras=replace(cameras, world_from_camera=moved.world_from_camera))


def lay_over(alignment: "Alignment", video: "Video", priors: Priors) -> "Alignment":
    """Refine an alignment photometrically, given what is known of its frames."""
    from jog3r.alignment import refine_photometrically

    known = torch.zeros(len(video), dtype=torch.bool)
    known[list(priors.cameras or ())] = True
    return refine_photometrically(alignment, video.tensor(), masks=priors.masks, known=known)


def bundled(
    scene: "Reconstruction", options: AlignmentOptions, *, K_known: bool = False
) -> "Reconstruction":
    """Refine a scene in the user's pixels by bundle adjustment, if that is asked for."""
    if not options.bundle:
        return scene
    from jog3r.sfm import refine_bundle

    return refine_bundle(scene, K_known=K_known)


def frames_at(video: "Video", seen: Sequence[int]) -> "Video":
    """Give a video of some of the frames, at the rate at which they are apart."""
    from jog3r.results import Video

    if len(seen) == len(video):
        return video
    return Video(video.frames[list(seen)], fps=video.fps * len(seen) / len(video))


def in_source_pixels(
    found: "Reconstruction",
    mapping: "ResizeAndCrop",
    original: "Video",
    masks: Tensor | None,
    depth: Tensor,
    confidence: Tensor,
) -> "Reconstruction":
    """State a result in the pixels of the user's frames, given its depth and confidence there."""
    from jog3r.results import Cameras

    cameras = Cameras(
        world_from_camera=found.cameras.world_from_camera,
        K=mapping.intrinsics_to_source(found.cameras.K),
        image_size=mapping.source_size,
    )
    return replace(
        found, video=original, cameras=cameras, depth=depth, confidence=confidence, mask=masks
    )
