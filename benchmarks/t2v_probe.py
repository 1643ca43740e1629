"""Claim: generated videos show the colours, shapes and places that their captions name.

A probe trained on world frames with exact labels looks at them. Beside its hit rate: the same with
captions shuffled among the clips, the base rate of the world, and real clips with these captions,
as they are and through the model's autoencoder. The clips are those of t2vc_world.
"""

import argparse
import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks import held_out
from benchmarks.caption_scores import caption_rows, probe_rows, thresholds
from benchmarks.held_out import Prompt
from benchmarks.probe import (
    ABSENT,
    ATTRIBUTES,
    PRESENT,
    Frames,
    Probe,
    as_input,
    labelled_frames,
    train_probe,
)
from benchmarks.record import REPOSITORY, Record, load_model, parser, progress, source_hash
from benchmarks.shots import CACHE, SETTINGS, make_shots
from jog3r.data.world import World

CALIBRATION, TEST = held_out.FIRST_PROBE, held_out.FIRST_PROBE + 50_000
TRAINING = held_out.FIRST_PROBE + 100_000


NOTES = {
    "prompts": held_out.PROMPTS,
    "sampling": SETTINGS,
    "hit": "share of a clip's frames in which the probe sees an attribute that the caption"
    " names; mean over its attributes, then over clips; se over clips",
    "shuffled": "exact mean over all other clips; they may show the attribute by their own"
    " captions",
    "chance": "share of the world's frames that show the named attributes",
    "rank": "how often a named attribute scores higher than in clips whose captions do not"
    " name it; chance 50",
    "world_clip": "the probe on the real clips that the captions were taken from",
}


def trained_probe(world: World, args: argparse.Namespace) -> Probe:
    """Train the probe, or read it if the same one was trained before."""
    scenes = args.probe_frames // 2
    source = source_hash("jog3r/data/world", "jog3r/geometry")
    source += (REPOSITORY / "benchmarks" / "probe.py").read_text()
    key = f"{source} {scenes} {args.epochs} {args.seed}"
    file = CACHE / f"probe-{hashlib.sha256(key.encode()).hexdigest()[:24]}.pt"
    if file.is_file():
        probe = Probe()
        probe.load_state_dict(torch.load(file, weights_only=True))
        return probe.eval()
    seeds = range(TRAINING, TRAINING + scenes)
    data = labelled_frames(world, seeds, threads=args.threads)
    progress(f"probe: rendered {len(data.frames)} frames")
    probe = train_probe(data, epochs=args.epochs, seed=args.seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(probe.state_dict(), file.with_suffix(".part"))
    file.with_suffix(".part").replace(file)
    return probe


@torch.inference_mode()
def decoded(model: Any, frames: Tensor) -> Tensor:
    """Frames `(N, 3, H, W)` in [-1, 1] through the model's autoencoder and back."""
    latents = model.autoencoder.encode(frames[None].to(model.device))
    return model.autoencoder.decode(latents)[0].cpu()


def named_attributes(prompts: Sequence[Prompt]) -> Tensor:
    """Which attributes the captions name, `(prompts, attributes)`."""
    words = [
        {p.named.place, *(word for thing in p.named.things for word in thing)} for p in prompts
    ]
    return torch.tensor([[name in named for name in ATTRIBUTES] for named in words])


def write_probe_table(
    record: Record, model: Any, probe: Probe, calibration: Frames, test: Frames
) -> tuple[Tensor, Tensor]:
    """Write how good the probe is.

    Returns:
        Thresholds of colours and shapes; share of the test frames that show each attribute.
    """
    limits = thresholds(probe.scores(as_input(calibration.frames)), calibration.labels)
    frames, labels = as_input(test.frames), test.labels
    rows = probe_rows("held-out world frames", probe.scores(frames), labels, limits)
    seen = probe.scores(decoded(model, frames))
    rows += probe_rows("the same, through the autoencoder", seen, labels, limits)
    notes = {
        "probe": f"trained on {record.args.probe_frames} frames of half as many held-out scenes,"
        " not those of the tests; the model under test plays no part",
        "labels": f"present: its things cover {PRESENT:.1%} of the frame; absent: below"
        f" {ABSENT:.1%}; frames in between are left out for that attribute",
        "thresholds": f"best balanced accuracy on {len(calibration.frames)} other frames",
        "average": "over the attributes of a kind, each counted the same",
    }
    record.write(rows, notes, table="probe")
    return limits, (labels == 1).float().mean(dim=0)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser(__doc__, clips=64)
    options.add_argument("--probe-frames", type=int, default=12000, help="frames the probe sees")
    options.add_argument("--epochs", type=int, default=8, help="how often it sees them")
    options.add_argument("--test-frames", type=int, default=2000, help="frames it is tested on")
    args = options.parse_args(argv)
    model, world = load_model(args), held_out.world()
    record = Record("t2v_probe", args)
    probe = trained_probe(world, args)
    calibration, test = (
        labelled_frames(world, range(first, first + args.test_frames // 2), threads=args.threads)
        for first in (CALIBRATION, TEST)
    )
    limits, base_rate = write_probe_table(record, model, probe, calibration, test)
    prompts = held_out.prompts(world, args.clips, seed=args.seed, threads=args.threads)
    shots = list(make_shots(model, args.model, prompts))
    videos = {
        "generated": [shot.video.tensor() for shot in shots],
        "world_clip": [held_out.as_video(prompt.clip) for prompt in prompts],
    }
    videos["world_clip_decoded"] = [decoded(model, video) for video in videos["world_clip"]]
    scores = {
        name: torch.stack([probe.scores(video) for video in clips])
        for name, clips in videos.items()
    }
    generated = scores.pop("generated")
    named = named_attributes(prompts)
    record.write(caption_rows(generated, named, limits, base_rate, scores), NOTES, table="captions")


if __name__ == "__main__":
    main()
