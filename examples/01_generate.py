"""Lesson 1: from a sentence to a video, and to a video with its cameras.

    python examples/01_generate.py --out outputs/lesson1

What to take home
    * One model object does everything; `from_pretrained("tiny")` needs no network.
    * `cameras=True` reads the cameras from the sampler's own last step: the video stays the same.
    * The same seed gives the same video, alone or in a list of seeds.
"""

import argparse
from pathlib import Path

import torch

from jog3r import JOG3R


def main() -> None:
    """Run the lesson."""
    parser = argparse.ArgumentParser(description="Generate videos, with and without cameras.")
    parser.add_argument("--out", type=Path, default=Path("outputs/lesson1"))
    parser.add_argument("--model", default="tiny", help="a packaged model, a folder or a hub id")
    parser.add_argument("--prompt", default="a red sphere in a brick room, the camera moves right")
    parser.add_argument("--steps", type=int, default=20, help="sampling steps")
    parser.add_argument("--frames", type=int, default=16, help="length of the videos")
    args = parser.parse_args()

    model = JOG3R.from_pretrained(args.model)
    prompt: str = args.prompt

    # The packaged model knows the words of its small world. Others are reported, not guessed.
    print("words it does not know:", model.unknown_words(prompt) or "none")

    # Text to video (T2V). Guidance above 1 follows the prompt more strictly, at twice the cost.
    steps, frames = args.steps, args.frames
    plain = model.generate(prompt, guidance_scale=2.0, num_inference_steps=steps, num_frames=frames)
    print(plain)

    # The same with its cameras (T2V+C): nothing is encoded or noised again.
    shot = model.generate(prompt, cameras=True, num_inference_steps=steps, num_frames=frames)
    assert torch.equal(shot.video.frames, plain.video.frames)
    assert shot.reconstruction is not None
    print(shot.reconstruction)

    # Several seeds give several videos in one batch; seed 0 among them is the one from above.
    shots = model.generate(prompt, seed=[0, 1], num_inference_steps=steps, num_frames=frames)
    difference = shots[0].video.frames.int() - plain.video.frames.int()
    print("largest difference, alone against in a batch:", int(difference.abs().max()), "of 255")

    # A callback sees the latents after each step, and may return changed ones.
    def report(step: int, timestep: float, latents: torch.Tensor) -> None:
        print(f"  step {step}, timestep {timestep:g}, spread of the latents {latents.std():.2f}")

    options = {"num_inference_steps": steps, "num_frames": frames, "progress": False}
    model.generate(prompt, seed=2, callback=report, **options)

    # `save` writes video, cameras, depth, points and a picture of it all to one folder.
    folder = shot.save(args.out / "with_cameras", overwrite=True)
    plain.video.save(args.out / "video.mp4")
    print("open", folder / "overview.png")


if __name__ == "__main__":
    main()
