"""Claim: what a joint step costs beside a step of generation alone, part by part, at equal batch.

Times are those of the processor, on one thread, the least of several rounds in which the ways take
turns. The recipe is the joint stage of recipes/tiny.yaml: 4 clips of 16 frames, bfloat16, Muon.
"""

import time
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

from benchmarks.record import REPOSITORY, Record, parser, progress

WAYS: dict[str, dict[str, Any]] = {
    "generation only": {"rec_weight": 0.0},
    "joint, nothing shared": {"shared": False},
    "joint": {},
    "joint, rec_frames pairs": {"rec_frames": "pairs"},
    "joint, rec_every 2": {"rec_every": 2},
    "joint, rec_every 4": {"rec_every": 4},
    "joint, rec_frames pairs, rec_every 2": {"rec_frames": "pairs", "rec_every": 2},
}
MEANS = {
    "generation only": "L_gen alone",
    "joint, nothing shared": "every pair decodes its first frame anew; the same numbers",
    "joint": "the default: the first frame's part that all pairs share runs once; exact",
    "joint, rec_frames pairs": "another function: reconstruction sees 5 of 16 frames",
    "joint, rec_every 2": "the same expectation, more variance: L_rec on every second clip",
    "joint, rec_every 4": "likewise on every fourth",
    "joint, rec_frames pairs, rec_every 2": "both",
}


def training(recipe: str, *, meta: bool = False) -> Any:
    """Build the joint stage of a recipe, with fresh weights behind the stored autoencoder."""
    import torch

    from jog3r.config import from_plain
    from jog3r.model import JOG3R
    from jog3r.training.joint import JointTraining
    from jog3r.training.recipes import read_stages
    from jog3r.training.trained_parts import TrainedParts

    given = dict(read_stages(REPOSITORY / "recipes" / recipe)["joint"]["model"]["init_args"])
    given["model"] = from_plain(JOG3R.Config, given["model"], "model")
    given["trained"] = from_plain(TrainedParts, given.get("trained") or {}, "trained")
    given["start"] = None if meta else str(REPOSITORY / "recipes" / "tiny_autoencoder")
    torch.manual_seed(0)
    with torch.device("meta" if meta else "cpu"):
        return JointTraining(**given)


def settings(module: Any, way: str) -> None:
    """Switch a module to one of the ways."""
    chosen = {"rec_weight": 1.0, "rec_frames": "all", "rec_every": 1, "shared": True} | WAYS[way]
    for name in ("rec_weight", "rec_frames", "rec_every"):
        setattr(module, name, chosen[name])
    share_first_frames(module.model.stitched, shared=chosen["shared"])


def share_first_frames(network: Any, *, shared: bool) -> None:
    """Decode the pairs of a clip with or without what they share."""
    network.__dict__.pop("star_pointmaps", None)
    if not shared:  # bound to the network, so that copies of it have their own
        network.__dict__["star_pointmaps"] = MethodType(_plain_pointmaps, network)


def _plain_pointmaps(network: Any, tokens: Any, partners: Any, grid: Any) -> Any:
    import torch

    pairs = torch.stack([torch.zeros_like(partners), partners], dim=-1)
    return network.pointmaps(tokens, pairs, grid)


def world_batch(clips: int, frames: int) -> dict[str, Any]:
    """Render a batch of the controlled world."""
    import torch

    from jog3r.data.world import World, WorldConfig
    from jog3r.training.world_data import collate

    world = World(WorldConfig(size=64, photos=str(REPOSITORY / "jog3r/assets/photos")))
    batch = collate([world.clip(seed, frames, vary_caption=True) for seed in range(clips)])
    return {**batch, "number": torch.arange(clips)}


def least(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Take turns, after one warm-up each; give the least processor time of each [s]."""
    best = dict.fromkeys(runs, float("inf"))
    for turn in range(rounds + 1):
        for name, run in runs.items():
            begin = time.process_time()
            run()
            spent = time.process_time() - begin
            best[name] = min(best[name], spent) if turn else best[name]
        progress(f"round {turn} of {rounds}")
    return best


class Steps:
    """The steps and their parts, on one model and batch."""

    def __init__(self, args: Any) -> None:
        self.module, self.args = training("tiny.yaml"), args
        self.batch = world_batch(args.clips, args.frames)
        self.optimiser = self.module.configure_optimizers()["optimizer"]

    def step(self, way: str) -> None:
        """Take a whole step."""
        settings(self.module, way)
        self._mixed(lambda: self.module.losses(self.batch, 0)[0]).backward()
        self.optimiser.step()
        self.optimiser.zero_grad()

    def parts(self) -> dict[str, Callable[[], Any]]:
        """Name the parts of a joint step, each to be timed by itself."""
        import torch

        settings(self.module, "joint")
        model, clips = self.module.model, self.args.clips
        network = model.stitched
        with torch.no_grad():
            latents = self.module._latents(self.batch)
            text, mask = self.module._text(self.batch, [True] * clips, empty=0)
            tokens = network.tokens(latents, torch.zeros(clips), text, mask)
            partners = torch.stack([1 + torch.randperm(15)[:4] for _ in range(clips)])
        inputs = (latents, torch.zeros(clips), text, mask)
        tokens.requires_grad_()

        def head() -> Any:
            found = network.star_pointmaps(tokens, partners, model.token_grid)
            return sum(part.sum() for part in (found.points_1, found.points_2))

        runs: dict[str, Callable[[], Any]] = {
            "data: rendering (in its own process)": lambda: world_batch(clips, self.args.frames),
            "autoencoder": lambda: self._mixed(lambda: self.module._latents(self.batch)),
            "text encoder, forward": lambda: self._mixed(
                lambda: self.module._text(self.batch, [True] * clips, empty=clips)
            ),
            "optimiser (Muon)": self._optimise,
        }
        passes: dict[str, Callable[[], Any]] = {
            "backbone, generation": lambda: network(*inputs).prediction.square().mean(),
            "backbone, reconstruction to the tap": lambda: network.tokens(*inputs).square().mean(),
            "decoder and heads": head,
            "decoder, heads and L_rec": lambda: self.module.reconstruction_loss(
                tokens, partners, self.batch
            )[0],
        }
        for name, run in passes.items():
            runs[f"{name}, forward"] = lambda run=run: self._mixed(run)
            runs[f"{name}, both passes"] = lambda run=run: self._mixed(run).backward()
        return runs

    def _optimise(self) -> None:
        """Step on whatever gradients there are; a first step would have none."""
        import torch

        for parameter in self.module.parameters():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.optimiser.step()

    @staticmethod
    def _mixed(run: Callable[[], Any]) -> Any:
        import torch

        with torch.autocast("cpu", torch.bfloat16):
            return run()


def operations(args: Any) -> dict[str, dict[str, float]]:
    """Count the operations of every way: of the tiny recipe, and of the paper's."""
    from jog3r.training.cost import step_flops

    found: dict[str, dict[str, float]] = {}
    for recipe, clips, precomputed in (
        ("tiny.yaml", args.clips, False),
        ("jog3r_opensora10.yaml", args.clips, True),
    ):
        module = training(recipe, meta=True)
        found[recipe] = {}
        for way in WAYS:
            settings(module, way)
            found[recipe][way] = step_flops(
                module, clips=clips, frames=args.frames, precomputed=precomputed
            )
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    import torch

    options = parser(__doc__, clips=4, model=False)
    options.add_argument("--frames", type=int, default=16, help="of each clip")
    options.add_argument("--rounds", type=int, default=4, help="timed rounds after the warm-up")
    args = options.parse_args(argv)
    torch.set_num_threads(1)
    args.threads = 1
    record, steps = Record("joint_step", args), Steps(args)
    seconds = least({way: (lambda way=way: steps.step(way)) for way in WAYS}, args.rounds)
    flops = operations(args)
    base = "generation only"
    rows = [
        {
            "step": way,
            "seconds": seconds[way],
            "ratio": seconds[way] / seconds[base],
            "ratio_of_operations": flops["tiny.yaml"][way] / flops["tiny.yaml"][base],
            "same_for_the_paper": flops["jog3r_opensora10.yaml"][way]
            / flops["jog3r_opensora10.yaml"][base],
            "what_it_is": MEANS[way],
        }
        for way in WAYS
    ]
    notes = {
        "batch": f"{args.clips} clips of {args.frames} frames, 64x64 px, 4 pairs per clip",
        "time": "processor time of one thread, least of the rounds; data not counted",
        "operations": "of matrix products, convolutions and attention, forward and backward",
        "paper": "recipes/jog3r_opensora10.yaml, precomputed latents and text",
    }
    record.write(rows, notes)
    parts = least(steps.parts(), args.rounds)
    whole = seconds["joint"]
    record.write(
        [{"part": n, "seconds": s, "share_of_joint_step": s / whole} for n, s in parts.items()],
        {"parts": "timed alone, so that they add up to the step only roughly"} | notes,
        table="parts",
    )


if __name__ == "__main__":
    main()
