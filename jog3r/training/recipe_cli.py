"""LightningCLI as recipes need it: checked before anything is built, with whole checkpoints."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.strategies import StrategyRegistry

from jog3r.errors import FileError, InputError
from jog3r.training.checkpoint_io import AtomicCheckpoints
from jog3r.training.sharding import FullySharded

# Names for `--trainer.strategy`, beside Lightning's own.
StrategyRegistry.register("fsdp2", FullySharded)
StrategyRegistry.register("fsdp2_sharded_checkpoints", FullySharded, sharded_checkpoints=True)
LARGEST_SEED = (1 << 32) - 1


class _AtTheStart(pl.Callback):
    """Calls a function before the first step, once data have been opened."""

    def __init__(self, begins: Callable[[], None]) -> None:
        self.begins = begins

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.begins()


class RecipeCLI(LightningCLI):
    """Runs one stage; checkpoints are whole or absent, and torchrun decides how many processes.

    Args:
        words: Of the command line, after the program's name.
        ready: Called when everything is built and nothing is written yet.
        begins: Called right before the first step.
    """

    def __init__(
        self, words: list[str], ready: Callable[[], None], begins: Callable[[], None]
    ) -> None:
        self.ready, self.begins = ready, begins
        super().__init__(
            pl.LightningModule,
            pl.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_kwargs={"overwrite": True},
            # Errors come as exceptions, not as an exit with a page of usage.
            parser_kwargs={"exit_on_error": False},
            args=words,
        )

    def parse_arguments(self, parser: Any, args: Any) -> None:
        """Read the configuration, and check what Lightning would silently replace.

        Raises:
            InputError: A seed that random generators do not take.
        """
        super().parse_arguments(parser, args)
        seed = self.config.fit.seed_everything
        if not 0 <= int(seed) <= LARGEST_SEED:
            raise InputError(f"seed_everything: expected 0 to {LARGEST_SEED}, got {seed}")

    def _parse_ckpt_path(self) -> None:
        """Leave checkpoints alone: they hold no settings, and a damaged one is reported later."""

    def before_instantiate_classes(self) -> None:
        """Look for the checkpoint before a model is built and a folder is made for its log.

        Raises:
            FileError: It does not exist.
        """
        checkpoint = self.config.fit.ckpt_path
        # Lightning's own words and addresses are no files.
        no_file = re.fullmatch("None|best|hpc|registry.*|.*://.*", str(checkpoint))
        if not no_file and not Path(checkpoint).exists():
            raise FileError(
                f"--ckpt_path: expected a checkpoint, got {checkpoint}, which does not exist; check"
                " the path"
            )

    def before_fit(self) -> None:
        """Tell that everything is built, and have the beginning told."""
        self.ready()
        self.trainer.callbacks.insert(0, _AtTheStart(self.begins))  # type: ignore[attr-defined]

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Build the trainer, with whole checkpoints unless the recipe has a CheckpointIO.

        Raises:
            InputError: Settings that do not go together, or that this machine lacks.
        """
        plugins = self.config_init["fit"]["trainer"]["plugins"] or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            kwargs["plugins"] = [*plugins, AtomicCheckpoints()]
        if "TORCHELASTIC_RUN_ID" in os.environ:
            kwargs["devices"] = int(os.environ["LOCAL_WORLD_SIZE"])
            kwargs["num_nodes"] = int(os.environ["GROUP_WORLD_SIZE"])
        try:
            return super().instantiate_trainer(**kwargs)
        except (ValueError, MisconfigurationException) as error:
            raise InputError(
                f"trainer: expected settings that this machine can follow, got: {error}; correct"
                " the recipe or the command line"
            ) from error
