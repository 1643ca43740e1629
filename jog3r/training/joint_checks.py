"""What joint training refuses before anything is built."""

from jog3r.errors import InputError
from jog3r.training.trained_parts import TrainedParts


def check_weights(gen: float, rec: float) -> None:
    """Check the weights of the two losses.

    Raises:
        InputError: A negative one, or two of 0.
    """
    if not (gen >= 0.0 and rec >= 0.0 and gen + rec > 0.0):
        raise InputError(
            f"gen_weight, rec_weight: expected two numbers of at least 0, one of them above, got"
            f" {gen} and {rec}; 0 leaves a half of the training out"
        )


def check_counts(**counts: int) -> None:
    """Check numbers of clips or pairs, by their names.

    Raises:
        InputError: One below 1.
    """
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name}: expected 1 or more, got {count}; rec_weight 0 takes none")


def check_ranges(timestep_power: float, max_depth: float, prompt_dropout: float) -> None:
    """Check what would leave a loss without anything to learn from.

    Raises:
        InputError: One out of range.
    """
    for name, number in (("timestep_power", timestep_power), ("max_depth", max_depth)):
        if not number > 0.0:
            raise InputError(f"{name}: expected a number above 0, got {number}")
    if not 0.0 <= prompt_dropout <= 1.0:
        raise InputError(f"prompt_dropout: expected a share from 0 to 1, got {prompt_dropout}")


def check_only_adapters(trained: TrainedParts | None) -> None:
    """Check that adapters are all that trains in the backbone.

    Raises:
        InputError: Parts of it, or blocks without adapters, are asked for as well.
    """
    if trained is not None and (trained.backbone != "none" or trained.frozen_blocks):
        raise InputError(
            "trained.backbone, trained.frozen_blocks: expected none and 0 beside lora, whose"
            f" adapters train in every block, got {trained.backbone} and {trained.frozen_blocks};"
            " leave one out"
        )
