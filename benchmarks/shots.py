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
from jog3r.errors import AlignmentError
from jog3r.results import Cameras, Reconstruction, Video

CACHE = REPOSITORY / "outputs" / "benchmarks"
STEPS, GUIDANCE, BATCH = 20, 2.0, 4
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
    """Run the route T2V+C; where a clip's alignment fails, its shot has no scene."""
    try:
        made = model.generate(
            [prompt.caption for prompt in prompts],
            seed=[prompt.seed for prompt in prompts],
            cameras=True,
            guidance_scale=GUIDANCE,
            num_inference_steps=STEPS,
            progress=False,
        )
    except AlignmentError as error:
        progress(str(error))
        made = error.generations
    return [Shot(p, shot.video, shot.reconstruction) for p, shot in zip(prompts, made, strict=True)]


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
