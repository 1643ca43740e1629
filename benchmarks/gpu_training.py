"""Claim: clips per second, MFU and peak memory of a training step on an accelerator.

Random batches: latents and text are given, as from prepared clips. The joint step of `tiny`, and
of STDiT-XL/2 at 16x256x256 and 16x512x512 with gradient checkpointing; bfloat16, the recipe's
optimiser, with and without torch.compile. Every case runs in a process of its own.

It needs the base dependencies of jog3r, diffusers, roma, timm, lightning and transformers among
them; a machine without a network takes them from wheels (`pip wheel . --wheel-dir FOLDER` beside
it, `pip install --no-index --find-links FOLDER jog3r` on it).
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.record import REPOSITORY, Record, parser, progress

CASES: dict[str, tuple[str, int, int]] = {
    "tiny 16x64x64": ("tiny.yaml", 64, 16),
    "STDiT-XL/2 16x256x256": ("jog3r_opensora10.yaml", 256, 4),
    "STDiT-XL/2 16x512x512": ("jog3r_opensora10.yaml", 512, 1),
}
"""Recipe, side of the frames [px] and clips per batch."""


def training(recipe: str, side: int) -> Any:
    """Build the joint stage of a recipe for frames of a size, with fresh weights."""
    from jog3r.training.dry_run import meta_module
    from jog3r.training.recipes import merged, read_stages

    stage = read_stages(REPOSITORY / "recipes" / recipe)["joint"]
    size: dict[str, Any] = {"image_size": [side, side]}
    return meta_module(merged(stage["model"], {"init_args": {"model": size}}))


def filled(module: Any, device: str) -> Any:
    """Give a module of the meta device memory, and small random weights."""
    import torch

    module = module.to_empty(device=device)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.normal_(std=0.02)
    return module


def batch_of(module: Any, clips: int, side: int, device: str) -> dict[str, Any]:
    """Make a batch as prepared clips give it."""
    import torch

    model, frames = module.model, 16
    backbone, (rows, columns) = model.stitched.backbone.config, model.token_grid
    grid = rows * backbone.patch_size[1], columns * backbone.patch_size[2]
    K = torch.tensor([[side, 0.0, side / 2], [0.0, side, side / 2], [0.0, 0.0, 1.0]])
    length = backbone.max_text_tokens
    made = {
        "latents": torch.randn(clips, backbone.in_channels, frames, *grid),
        "text": torch.randn(clips, length, backbone.caption_channels),
        "text_mask": torch.ones(clips, length, dtype=torch.bool),
        "depth": 1.0 + torch.rand(clips, frames, side, side),
        "K": K.expand(clips, frames, 3, 3),
        "world_from_camera": torch.eye(4).expand(clips, frames, 4, 4),
    }
    return {**{k: v.to(device) for k, v in made.items()}, "number": torch.arange(clips)}


def measure(case: str, args: argparse.Namespace) -> dict[str, Any]:
    """Take the steps of one case in this process."""
    import torch

    from jog3r.training.cost import step_flops

    recipe, side, clips = CASES[case]
    clips = args.clips or clips
    module = training(recipe, side)
    flops = step_flops(module, clips=clips, frames=16, precomputed=True)
    module = filled(module, args.device)
    if args.compile:
        backbone = module.model.stitched.backbone
        for block in backbone.blocks:
            block.compile()
    optimiser = module.configure_optimizers()["optimizer"]
    batch, seconds, kind = batch_of(module, clips, side, args.device), [], args.device.split(":")[0]
    if kind == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(args.warm_up + args.repeats):
        begin = time.perf_counter()
        with torch.autocast(kind, torch.bfloat16):
            loss = module.losses(batch, 0)[0]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if kind == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    step = median(seconds[args.warm_up :])
    peak = torch.cuda.max_memory_allocated() / 2**30 if kind == "cuda" else float("nan")
    return {
        "clips": clips,
        "step_s": step,
        "clips_per_s": clips / step,
        "TFLOP": flops / 1e12,
        "TFLOP_per_s": flops / step / 1e12,
        "MFU": flops / step / args.peak_flops if args.peak_flops else float("nan"),
        "peak_GiB": peak,
        "first_step_s": seconds[0],
    }


def in_fresh_process(case: str, args: argparse.Namespace, *, compiled: bool) -> dict[str, Any]:
    """Run one case in a new process; what fails, as for want of memory, leaves its reason."""
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.gpu_training", "--case", case]
    for option in ("device", "clips", "repeats", "warm_up", "peak_flops"):
        words += [f"--{option.replace('_', '-')}", str(getattr(args, option))]
    words += ["--compile"] if compiled else []
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    row: dict[str, Any] = {"case": case, "compile": compiled}
    if done.returncode:
        progress(f"{case}: {done.stderr.strip().splitlines()[-1]}")
        return row
    return row | json.loads(done.stdout.splitlines()[-1])


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser(__doc__, clips=0, model=False)
    options.add_argument("--device", default="cuda", help="cuda, or cpu to try the script")
    options.add_argument("--repeats", type=int, default=10, help="timed steps")
    options.add_argument("--warm-up", type=int, default=3, help="steps before them")
    options.add_argument(
        "--peak-flops", type=float, default=989e12, help="of dense bfloat16 products; 0: no MFU"
    )
    options.add_argument("--compile", action="store_true", help="with --case: compile the blocks")
    options.add_argument("--case", choices=list(CASES), help="only this one, as a line of JSON")
    args = options.parse_args(argv)
    if args.case:
        print(json.dumps(measure(args.case, args)))
        return
    record, rows = Record("gpu_training", args), []
    for case in CASES:
        for compiled in (False, True):
            progress(f"{case}, compile {compiled}")
            rows.append(in_fresh_process(case, args, compiled=compiled))
    notes = {
        "step": "joint step, forward, backward and optimiser; median; batches ready on the device",
        "MFU": f"operations that the model asks for over {args.peak_flops:g} per second",
        "failed": "rows without numbers did not run",
    }
    keys = list(max(rows, key=len))
    record.write([{key: row.get(key, float("nan")) for key in keys} for row in rows], notes)


if __name__ == "__main__":
    main()
