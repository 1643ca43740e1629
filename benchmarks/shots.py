"""Generated clips with their cameras, made once for all benchmarks that look at them.

They are kept in `outputs/benchmarks/`, which git ignores. A file's name holds a hash of the
weights, of the library's source and of the request, so none outlives a change of these.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.held_out import Prompt
from benchmarks.record import REPOSITORY, progress, source_hash, weights_hash
from jog3r.errors import InputError
from jog3r.results import Cameras, Reconstruction, Video

CACHE = REPOSITORY / "outputs" / "benchmarks"
STEPS, GUIDANCE, BATCH = 20, 4.0, 4
SETTINGS = f"{STEPS} steps, guidance {GUIDANCE:g}, the model's own length and size"


@dataclass(frozen=True)
class Shot:
    """One run of T2V+C; `scene` is None where the pointmaps could not be aligned."""

    prompt: Prompt
    video: Video
    scene: Reconstruction | None


def make_shots(model: Any, name: str, prompts: Sequence[Prompt]) -> Iterator[Shot]:
    """Generate a clip with cameras for every prompt, or read it if it was made before.

    Args:
        model: the model.
        name: what it was loaded as.
        prompts: with their seeds.
    """
    source = source_hash("jog3r", "heads")
    key = f"{weights_hash(name)} {source} {torch.__version__} {model.device} {SETTINGS}"
    files = [CACHE / f"{_digest(f'{key} {p.seed} {p.caption}')}.pt" for p in prompts]
    missing = [i for i, file in enumerate(files) if not file.is_file()]
    for start in range(0, len(missing), BATCH):
        chosen = missing[start : start + BATCH]
        for i, shot in zip(chosen, _generate(model, [prompts[i] for i in chosen]), strict=True):
            _store(files[i], shot)
        progress(f"generated {min(start + BATCH, len(missing))} of {len(missing)} clips")
    return (_read(file, prompt) for file, prompt in zip(files, prompts, strict=True))


def _generate(model: Any, prompts: Sequence[Prompt]) -> list[Shot]:
    """Run the route T2V+C, but go on where `model.generate` would raise for one of the batch."""
    from jog3r.routes.arguments import SamplingOptions
    from jog3r.routes.text_to_video import decode, sample_latents
    from jog3r.routes.video_to_cameras import reconstruct_tokens

    options = SamplingOptions(
        negative_prompt="",
        guidance_scale=GUIDANCE,
        steps=STEPS,
        frames=model.config.num_frames,
        callback=None,
        progress=False,
    )
    captions, seeds = [p.caption for p in prompts], [p.seed for p in prompts]
    sample = sample_latents(model, captions, seeds, options)
    shots = []
    for prompt, tokens, video in zip(
        prompts, sample.tokens, decode(model, sample.latents), strict=True
    ):
        try:
            scene = reconstruct_tokens(model, tokens, video)
        except InputError as error:
            progress(f"{prompt.caption!r}: {error}")
            scene = None
        shots.append(Shot(prompt, video, scene))
    return shots


def _store(file: Path, shot: Shot) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Any] = {"frames": shot.video.frames, "fps": shot.video.fps}
    if shot.scene is not None:
        cameras = shot.scene.cameras
        parts |= {"world_from_camera": cameras.world_from_camera, "K": cameras.K}
        parts |= {"depth": shot.scene.depth, "confidence": shot.scene.confidence}
    torch.save(parts, file.with_suffix(".part"))
    file.with_suffix(".part").replace(file)


def _read(file: Path, prompt: Prompt) -> Shot:
    parts = torch.load(file, weights_only=True)
    video = Video(parts["frames"], parts["fps"])
    if "K" not in parts:
        return Shot(prompt, video, None)
    cameras = Cameras(parts["world_from_camera"], parts["K"], (video.height, video.width))
    depth, confidence = parts["depth"], parts["confidence"]
    return Shot(prompt, video, Reconstruction(video, cameras, depth, confidence, "relative"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
