"""The cases of `benchmarks.speed`: each prepares itself and returns what is to be timed."""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.record import REPOSITORY, load_model

PROMPT = "a red sphere and a blue cube in a brick room, warm light, the camera moves forward"
Case = Callable[[argparse.Namespace], Callable[[], Any]]
CLIPS_RENDERED = 8


def import_jog3r(args: argparse.Namespace) -> Callable[[], Any]:
    """`import jog3r` in a new interpreter, its start not counted (the fastest of three)."""
    code = (
        f"import sys, time; sys.path.insert(0, {str(REPOSITORY)!r}); t = time.perf_counter();"
        " import jog3r; print(time.perf_counter() - t)"
    )

    def run() -> float:
        # -S: the environment's .pth files already import jog3r when the interpreter starts.
        words = [sys.executable, "-S", "-c", code]
        return min(float(subprocess.check_output(words)) for _ in range(3))

    return run


def command_line(*words: str) -> Case:
    """A call of the command line, the interpreter's start counted."""

    def case(args: argparse.Namespace) -> Callable[[], Any]:
        command = [str(Path(sys.executable).parent / "jog3r"), *words]
        return lambda: subprocess.run(command, check=True, capture_output=True)

    return case


def generate(cameras: bool) -> Case:
    """T2V or T2V+C with the default options."""

    def case(args: argparse.Namespace) -> Callable[[], Any]:
        model = load_model(args)
        return lambda: model.generate(PROMPT, cameras=cameras, progress=False)

    return case


def real_frames() -> Any:
    """The eight frames of the packaged real clip, there and back."""
    import torch

    from jog3r.data.media import read_video

    frames = read_video(REPOSITORY / "jog3r" / "assets" / "real_clip").tensor()
    return torch.cat([frames, frames.flip(0)])


def reconstruct(args: argparse.Namespace) -> Callable[[], Any]:
    """V2C."""
    model, frames = load_model(args), real_frames()
    return lambda: model.reconstruct(frames, progress=False)


def alignment(args: argparse.Namespace) -> Callable[[], Any]:
    """Cameras from the pointmaps that V2C makes of the same clip."""
    import torch

    from jog3r.alignment import solve, star
    from jog3r.data.fit import resize_and_crop
    from jog3r.routes.pointmaps import token_pointmaps, video_tokens

    model = load_model(args)
    frames, _, _ = resize_and_crop(real_frames(), None, model.config.image_size)
    tokens = video_tokens(model, frames[None], [0])[0]
    pairs = token_pointmaps(model, tokens, star(len(tokens)))
    torch.set_num_threads(1)
    return lambda: solve(pairs)


def training_step(args: argparse.Namespace) -> Callable[[], Any]:
    """One step of the recipe's joint stage on clips of 16 frames, without rendering them."""
    import torch
    import yaml

    from benchmarks import held_out
    from jog3r.config import from_plain
    from jog3r.model import JOG3R
    from jog3r.training.joint import JointTraining
    from jog3r.training.world_data import collate

    torch.set_num_threads(args.threads)
    stage = yaml.safe_load((REPOSITORY / "recipes" / "tiny.yaml").read_text())["stages"]["joint"]
    options = dict(stage["model"]["init_args"])
    folder = args.model if Path(args.model).is_dir() else f"jog3r/weights/{args.model}"
    options["start"] = str(REPOSITORY / folder)
    options["model"] = from_plain(JOG3R.Config, options["model"], "recipes/tiny.yaml")
    joint = JointTraining(**options).train()
    optimiser = joint.configure_optimizers()["optimizer"]
    count = stage["data"]["init_args"]["frames_per_batch"] // held_out.FRAMES
    seeds = range(held_out.FIRST_CLIP, held_out.FIRST_CLIP + count)
    batch = collate(list(held_out.clips(held_out.world(), seeds, threads=1)))

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = joint.losses(batch, 0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(joint.parameters(), stage["trainer"]["gradient_clip_val"])
        optimiser.step()
        optimiser.zero_grad()

    return run


def renderer(size: int) -> Case:
    """Clips of the world, drawn and rendered."""

    def case(args: argparse.Namespace) -> Callable[[], Any]:
        from benchmarks import held_out

        world = held_out.world(size)
        seeds = range(held_out.FIRST_CLIP, held_out.FIRST_CLIP + CLIPS_RENDERED)
        return lambda: [world.clip(seed, held_out.FRAMES) for seed in seeds]

    return case


CASES: dict[str, Case] = {
    "import jog3r": import_jog3r,
    "jog3r --help": command_line("--help"),
    "jog3r generate --help": command_line("generate", "--help"),
    "load the model": lambda args: lambda: load_model(args),
    "generate (T2V)": generate(cameras=False),
    "generate with cameras (T2V+C)": generate(cameras=True),
    "reconstruct (V2C)": reconstruct,
    "alignment alone": alignment,
    "training step, 4 clips x 16 frames": training_step,
    "world, 8 x 16 frames at 64 px": renderer(64),
    "world, 8 x 16 frames at 128 px": renderer(128),
}
