"""What a training stage begins with: an autoencoder, or a whole model to go on from."""

from pathlib import Path

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.errors import FileError
from jog3r.model import JOG3R
from jog3r.weights_file import WEIGHTS_FILE, read_weights

AUTOENCODER_FILE = "autoencoder.safetensors"


def load_autoencoder(autoencoder: FrameAutoencoder, folder: str) -> None:
    """Load the autoencoder that an earlier run of stage one has published.

    Raises:
        FileError: The folder holds none, or it does not fit the config.
    """
    read_weights(autoencoder, Path(folder) / AUTOENCODER_FILE)


def load_start(model: JOG3R, folder: str) -> None:
    """Load a folder written by an earlier stage.

    Raises:
        FileError: The folder holds neither an autoencoder nor a model, or they do not fit the
            config.
    """
    whole, part = Path(folder) / WEIGHTS_FILE, Path(folder) / AUTOENCODER_FILE
    if whole.is_file():
        read_weights(model, whole)
    elif part.is_file():
        read_weights(model.autoencoder, part)
    else:
        raise FileError(
            f"start: expected {AUTOENCODER_FILE} or {WEIGHTS_FILE} in {folder}, got neither; run"
            " the autoencoder stage first or give another folder"
        )
