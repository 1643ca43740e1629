"""Claim: DUSt3R's recipe learns in the controlled world, well below any constant prediction.

Trains recipes/dust3r_tiny.yaml from nothing for `--steps` steps and compares held-out pairs with
the truth: the normalised distance of the pointmaps of both views, as the loss measures it. Beside
it what knows nothing of the images: the mean pointmap of training pairs, and a wall that all rays
hit at the same depth.
"""

import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from benchmarks.held_out import FIRST_CLIP
from benchmarks.record import REPOSITORY, Record, parser, progress
from jog3r import JOG3R
from jog3r.data.world import World, WorldConfig
from jog3r.geometry.pointmaps import pointmap_from_depth
from jog3r.heads.dust3r import DUSt3R
from jog3r.losses.pointmap_regression import pointmap_regression, scale_of_pairs
from jog3r.training.cli import main as train
from jog3r.training.pairs import PairTargets, pair_targets
from jog3r.training.recipes import read_stages
from jog3r.training.world_data import WorldBatches, collate

RECIPE = REPOSITORY / "recipes" / "dust3r_tiny.yaml"
MAX_DEPTH = 20.0
BATCH = 32
BOTH_ORDERS = torch.tensor([[0, 1], [1, 0]])


def main() -> None:
    """Train, evaluate, write the table and the curve."""
    made = parser(__doc__, clips=256, model=False)
    made.add_argument("--steps", type=int, default=200, help="optimiser steps")
    made.add_argument("--device", default="cpu", help="where it trains: cpu, cuda")
    args = made.parse_args()
    torch.set_num_threads(args.threads)
    record = Record("pair_training", args)
    with tempfile.TemporaryDirectory() as folder:
        curve = trained(Path(folder), args)
        model = JOG3R.from_pretrained(Path(folder) / "model")
    batches = list(held_out(args.clips, args.seed))
    rows = [
        {"prediction": name, **distances(batches, points)}
        for name, points in predictions(model, batches).items()
    ]
    record.write(rows, notes(args))
    record.write(curve, notes(args), table="curve")


def notes(args: Any) -> dict[str, str]:
    """Say what the numbers are."""
    return {
        "pairs": f"both orders of two frames of {args.clips} held-out clips, drawn as in training",
        "distance": "mean over valid pixels of the distance between predicted and true points, each"
        " divided by its mean distance from camera 1 over both views",
    }


def trained(folder: Path, args: Any) -> list[dict[str, float]]:
    """Run the recipe; give its curve on its own 64 held-out clips."""
    stage = read_stages(RECIPE)["pairs"]
    text = yaml.safe_dump({"stages": {"pairs": stage}}).replace("runs/dust3r_tiny", str(folder))
    text = text.replace("jog3r/assets", str(REPOSITORY / "jog3r" / "assets"))
    (folder / "recipe.yaml").write_text(text)
    every = max(args.steps // 10, 1)
    progress(f"training for {args.steps} steps")
    train(
        [
            *("--config", str(folder / "recipe.yaml")),
            f"--seed_everything={args.seed}",
            f"--trainer.accelerator={'cpu' if args.device == 'cpu' else 'gpu'}",
            f"--trainer.max_steps={args.steps}",
            f"--trainer.val_check_interval={every}",
            f"--model.init_args.warmup_steps={every}",
            f"--model.init_args.decay_steps={args.steps}",
        ]
    )
    (log,) = folder.glob("log/*/metrics.csv")
    lines = csv.DictReader(log.open())
    return [
        {"step": int(line["step"]) + 1, "distance": float(line["val/distance"])}
        for line in lines
        if line["val/distance"]
    ]


def held_out(clips: int, seed: int) -> Iterator[dict[str, Any]]:
    """Give held-out pairs, batch by batch."""
    photos = str(REPOSITORY / "jog3r" / "assets" / "photos")
    world, first = World(WorldConfig(photos=photos)), FIRST_CLIP + 900_000 + 10_000 * seed
    for start in range(first, first + clips, BATCH):
        seeds = range(start, min(start + BATCH, first + clips))
        yield collate([world.clip(each, 2) for each in seeds])


def predictions(model: JOG3R, batches: list[dict[str, Any]]) -> dict[str, list[Tensor]]:
    """Give for each way to predict the points `(2, P, H, W, 3)` of every batch."""
    constant, pixels = mean_pointmap(), wall(batches[0]["K"][0, 0])
    sizes = [2 * len(batch["video"]) for batch in batches]
    return {
        "trained": [of_network(model, batch) for batch in batches],
        "mean pointmap of training pairs": [repeated(constant, size) for size in sizes],
        "a wall at one depth": [repeated(pixels, size) for size in sizes],
    }


def repeated(points: Tensor, pairs: int) -> Tensor:
    """Give every pair the same points `(2, H, W, 3)`."""
    return points[:, None].expand(-1, pairs, -1, -1, -1)


@torch.inference_mode()
def of_network(model: JOG3R, batch: dict[str, Any]) -> Tensor:
    """Predict both orders of a batch's frames."""
    assert isinstance(model.network, DUSt3R)
    frames = batch["video"][:, BOTH_ORDERS].flatten(0, 1)  # (P, 2, 3, H, W)
    found = model.network(frames[:, 0], frames[:, 1])
    return torch.stack([view.points for view in found])


def mean_pointmap() -> Tensor:
    """Average the normalised pointmaps of 1024 training pairs, pixel by pixel: `(2, H, W, 3)`."""
    photos = str(REPOSITORY / "jog3r" / "assets" / "photos")
    world = World(WorldConfig(photos=photos))
    stream = WorldBatches(world, seed=5, frames_per_batch=2 * BATCH, clip_lengths={2: 1.0})
    total, count = torch.zeros(()), torch.zeros(())
    for step in range(1024 // (2 * BATCH)):
        targets = truth(stream.batch(step))
        valid = torch.stack([targets.valid_1, targets.valid_2])
        points = torch.stack([targets.points_1, targets.points_2])
        points = torch.where(valid[..., None], points, 0.0)
        points = points / scale_of_pairs(points, valid)[None, :, None, None, None]
        total, count = total + points.sum(dim=1), count + valid.sum(dim=1)
    return total / count.clamp(min=1)[..., None]


def wall(K: Tensor) -> Tensor:
    """Give the points of a wall at depth 1 that both views see alike."""
    points = pointmap_from_depth(torch.ones(64, 64), K, torch.eye(4))
    return torch.stack([points, points])


def truth(batch: dict[str, Any]) -> PairTargets:
    """Give what both orders of a batch's frames should be."""
    return pair_targets(batch, BOTH_ORDERS.expand(len(batch["video"]), -1, -1), MAX_DEPTH)


def distances(batches: list[dict[str, Any]], predicted: list[Tensor]) -> dict[str, float]:
    """Average the distances of both views over all batches, by their valid pixels."""
    sums, count = torch.zeros(3), torch.zeros(3)
    for batch, points in zip(batches, predicted, strict=True):
        targets = truth(batch)
        sure = torch.ones(points.shape[1:4])
        _, details = pointmap_regression(
            points_1=points[0],
            points_2=points[1],
            confidence_1=sure,
            confidence_2=sure,
            target_points_1=targets.points_1,
            target_points_2=targets.points_2,
            valid_1=targets.valid_1,
            valid_2=targets.valid_2,
        )
        first, second = targets.valid_1.sum(), targets.valid_2.sum()
        pixels = torch.stack([first + second, first, second])
        names = ("distance", "distance_1", "distance_2")
        sums += torch.stack([details[name] for name in names]) * pixels
        count += pixels
    both, first, second = (sums / count).tolist()
    return {"distance": both, "view 1": first, "view 2": second}


if __name__ == "__main__":
    main()
