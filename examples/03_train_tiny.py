"""Lesson 3: a few steps of the real training, all stages, and the model that comes out.

    python examples/03_train_tiny.py --out outputs/lesson3

The whole training is `jog3r train --config recipes/tiny.yaml`. This lesson runs the same recipe for
a handful of steps, so the video it ends with is noise: what it shows is the way there.

What to take home
    * A recipe is a YAML file with stages; each stage is one LightningCLI configuration.
    * Any key can be overridden by its dotted name, here and on the command line.
    * Training data is rendered on the fly from the controlled world: there is nothing to download.
"""

import argparse
from pathlib import Path

import jog3r
from jog3r import JOG3R
from jog3r.training.cli import main as train

REPOSITORY = Path(__file__).resolve().parent.parent


def main() -> None:
    """Run the lesson."""
    parser = argparse.ArgumentParser(description="Train for a few steps.")
    parser.add_argument("--out", type=Path, default=Path("outputs/lesson3"))
    parser.add_argument("--steps", type=int, default=4, help="optimiser steps of each stage")
    parser.add_argument("--batch", type=int, default=32, help="frames per step")
    args = parser.parse_args()

    # A recipe of our own: the published one with its folders moved. (It names paths relative to the
    # repository's root; we may be anywhere.)
    photos = Path(jog3r.__file__).parent / "assets" / "photos"
    recipe = (REPOSITORY / "recipes" / "tiny.yaml").read_text()
    recipe = recipe.replace("runs/tiny", str(args.out)).replace("jog3r/assets/photos", str(photos))
    recipe = recipe.replace("steps: 20 #", "steps: 4 #")  # of sampling: noise needs no care
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "recipe.yaml").write_text(recipe)

    # What `jog3r train` does, with overrides that apply to every stage.
    train(
        [
            "--config",
            str(args.out / "recipe.yaml"),
            "--overwrite",  # what an earlier run of this lesson has left
            f"--trainer.max_steps={args.steps}",
            f"--trainer.val_check_interval={args.steps}",
            "--trainer.accelerator=cpu",
            f"--data.init_args.frames_per_batch={args.batch}",
            "--data.init_args.validation_clips=2",
            "--data.init_args.workers=0",
        ]
    )

    # Stage one left an autoencoder, the others whole models: folders like any published one.
    print("made:", *sorted(path.name for path in args.out.iterdir()))
    model = JOG3R.from_pretrained(args.out / "model")
    print(model.summary())
    shot = model.generate("a red sphere", num_inference_steps=10, num_frames=4, progress=False)
    shot.video.save(args.out / "noise.mp4")

    # To go on from published weights instead of from nothing, give the last stage their folder:
    #   --stage more_scenes --model.init_args.start=jog3r/weights/tiny
    print("open", *sorted(args.out.glob("*_samples/*.png")))


if __name__ == "__main__":
    main()
