"""What `jog3r train` imports, for a process that forks into many runs."""

from lightning.pytorch import cli

from jog3r.cli import entry
from jog3r.training import joint, recipe_cli, sharding
from tests.training import small_run

__all__ = ["cli", "entry", "joint", "recipe_cli", "sharding", "small_run"]
