"""What a training stage begins with: an autoencoder, or a whole model to go on from."""

from pathlib import Path

from torch import nn

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.errors import FileError
from jog3r.model import JOG3R
from jog3r.weights_file import CONFIG_FILE, read_weights

AUTOENCODER_FILE = "autoencoder.safetensors"


def load_autoencoder(autoencoder: FrameAutoencoder, folder: str) -> None:
    """Load the autoencoder that an earlier run of stage one has published.

    Raises:
        FileError: The folder holds none, or it does not fit the config.
    """
    read_weights(autoencoder, Path(folder) / AUTOENCODER_FILE)


def load_start(model: JOG3R, folder: str) -> None:
    """Load a folder written by an earlier stage, or a converted checkpoint.

    A model may hold fewer parts than the one that starts, and a backbone without a head; what it
    lacks keeps its fresh weights.

    Raises:
        FileError: The folder holds neither an autoencoder nor a model, or they do not fit the
            config.
    """
    if (Path(folder) / AUTOENCODER_FILE).is_file():
        read_weights(model.autoencoder, Path(folder) / AUTOENCODER_FILE)
        return
    if not (Path(folder) / CONFIG_FILE).is_file():
        raise FileError(
            f"start: expected {AUTOENCODER_FILE} or a model with {CONFIG_FILE} in {folder}, got"
            " neither; run the autoencoder stage first or give another folder"
        )
    held = JOG3R.from_pretrained(folder)
    for name, part in held.named_children():
        headless = name == "network" and held.stitched.config.tap is None
        path = "network.backbone" if headless else name
        _take_over(model, path, part.get_submodule("backbone") if headless else part, folder)


def _take_over(model: JOG3R, path: str, part: nn.Module, folder: str) -> None:
    try:
        # The parameters themselves: a large model need not be there twice, and one that has two
        # names, as T5's word embedding, stays one.
        model.get_submodule(path).load_state_dict(part.state_dict(keep_vars=True), assign=True)
    except (AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise FileError(
            f"start: expected a {path} in {folder} that fits the recipe's config, got another"
            f" ({reason}); correct the recipe or give another folder"
        ) from error
