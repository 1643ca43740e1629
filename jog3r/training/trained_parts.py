"""Which parameters train, and which stay as they came.

Source: JOG3R section 3: the first blocks are frozen, of the others only the temporal attention
trains; decoder and heads train from scratch.
"""

import re
from dataclasses import dataclass
from typing import Literal

from torch import nn

from jog3r.errors import InputError
from jog3r.model import JOG3R

Share = Literal["all", "temporal_attention", "none"]

TEMPORAL_ATTENTION = {
    "stdit": r"blocks\.(\d+)\.attn_temp\.",
    "stdit2": r"blocks\.(\d+)\.attn_temp\.",
    "stdit3": r"temporal_blocks\.(\d+)\.attn\.",
}
"""Where a backbone keeps its temporal attention; the number is that of the block, from 0."""
BLOCK = r"(?:blocks|spatial_blocks|temporal_blocks)\.(\d+)\."


@dataclass(kw_only=True, frozen=True)
class TrainedParts:
    """Plain values.

    Args:
        backbone: Its parameters that train: all of them, those of the temporal attention, or none.
        frozen_blocks: So many of its first blocks do not train in any case.
        text_encoder: Whether the text encoder trains, if the model has one of its own.

    Raises:
        InputError: A negative number of blocks.
    """

    backbone: Share = "all"
    frozen_blocks: int = 0
    text_encoder: bool = True

    def __post_init__(self) -> None:
        if self.frozen_blocks < 0:
            raise InputError(f"frozen_blocks: expected 0 or more, got {self.frozen_blocks}")

    def apply(self, model: JOG3R) -> list[nn.Parameter]:
        """Freeze what does not train; give what does. The autoencoder never does, the head always.

        Raises:
            InputError: A backbone of which it is not known where its temporal attention is, or
                fewer blocks than are to be frozen.
        """
        self._check(model)
        kind = model.stitched.config.backbone
        for name, parameter in model.named_parameters():
            part, _, inside = name.partition(".")
            trains = part == "text_encoder" and self.text_encoder
            if part == "network":
                in_backbone = inside.startswith("backbone.")
                trains = not in_backbone or self._trains(kind, inside.removeprefix("backbone."))
            parameter.requires_grad_(trains)
        return [parameter for parameter in model.parameters() if parameter.requires_grad]

    def _trains(self, kind: str, name: str) -> bool:
        block = re.match(BLOCK, name)
        if self.backbone == "none" or (block and int(block[1]) < self.frozen_blocks):
            return False
        return self.backbone == "all" or re.match(TEMPORAL_ATTENTION[kind], name) is not None

    def _check(self, model: JOG3R) -> None:
        config, depth = model.stitched.config, model.stitched.backbone.config.depth
        if self.backbone == "temporal_attention" and config.backbone not in TEMPORAL_ATTENTION:
            raise InputError(
                f"trained.backbone: expected one of {[*TEMPORAL_ATTENTION]} for temporal_attention,"
                f" got {config.backbone}; train all or none of it"
            )
        if self.frozen_blocks > depth:
            raise InputError(
                f"trained.frozen_blocks: expected at most {depth} blocks, got {self.frozen_blocks}"
            )
