"""Low-rank adapters: a few numbers beside each large matrix train, and fold into it at the end.

Source: Hu et al. 2021, arXiv 2106.09685, through peft.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from jog3r.errors import InputError
from jog3r.model import JOG3R

if TYPE_CHECKING:
    from peft import LoraConfig
    from peft.tuners.lora import LoraLayer

Targets = Literal["attention", "attention_and_feed_forward"]

# How every backbone calls the linear layers of its blocks.
ATTENTION = r".*\.(attn|attn_temp|cross_attn)\.(qkv|q_linear|kv_linear|proj)"
FEED_FORWARD = r".*\.mlp\.(fc1|fc2)"
ADAPTER_FILE = "adapter_model.safetensors"


@dataclass(kw_only=True, frozen=True)
class LoRA:
    """Plain values.

    Args:
        rank: Of the matrix that is added to each weight.
        alpha: It is multiplied by alpha / rank.
        dropout: Share of the adapters' inputs that is left out while training.
        targets: The layers of the backbone that get one: those of all attention, within frames,
            along time and to the text, or those of the feed-forward parts as well.

    Raises:
        InputError: A rank below 1, an alpha that is not above 0, or a dropout outside [0, 1).
    """

    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.0
    targets: Targets = "attention"

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0.0 or not 0.0 <= self.dropout < 1.0:
            raise InputError(
                "lora: expected a rank of 1 or more, alpha above 0 and dropout in [0, 1), got"
                f" {self.rank}, {self.alpha} and {self.dropout}; 16, 16 and 0 are usual"
            )

    def apply(self, model: JOG3R) -> list[nn.Parameter]:
        """Put adapters into the backbone, in place, and freeze the rest of it.

        The head and the text encoder stay as they are, frozen or not. A fresh adapter adds nothing.

        Returns:
            The adapters' parameters.

        Raises:
            InputError: There are adapters already.
        """
        from peft import inject_adapter_in_model

        backbone = model.stitched.get_submodule("backbone")
        if any(True for _ in _layers(backbone)):
            raise InputError(
                "lora: expected a backbone without adapters, got one with; merge them first"
            )
        before = {id(parameter) for parameter in backbone.parameters()}
        inject_adapter_in_model(self._peft_config(), backbone)
        backbone.requires_grad_(False)
        adapters = [each for each in backbone.parameters() if id(each) not in before]
        for parameter in adapters:
            parameter.requires_grad_(True)
        return adapters

    def merge(self, model: JOG3R) -> JOG3R:
        """Give a plain model whose matrices hold the adapters; the one given stays as it is."""
        plain = copy.deepcopy(model)
        backbone = plain.stitched.get_submodule("backbone")
        for name, layer in list(_layers(backbone)):
            layer.merge()
            backbone.set_submodule(name, layer.get_base_layer())
        del backbone.peft_config
        return plain

    def save_adapter(self, model: JOG3R, folder: str | Path) -> None:
        """Write the adapters alone in peft's format; `PeftModel.from_pretrained` puts them back.

        Args:
            model: With adapters.
            folder: Made if missing.
        """
        from peft import get_peft_model_state_dict
        from safetensors.torch import save_file

        from jog3r.export.atomic import atomic_files

        adapters: dict[str, Tensor] = get_peft_model_state_dict(model.stitched.backbone)
        with atomic_files(folder) as place:
            self._peft_config().save_pretrained(str(place))
            # As peft itself writes them: of the backbone inside of its wrapper.
            named = {f"base_model.model.{name}": each for name, each in adapters.items()}
            save_file({name: each.cpu() for name, each in named.items()}, place / ADAPTER_FILE)

    def _peft_config(self) -> "LoraConfig":
        from peft import LoraConfig

        both = self.targets == "attention_and_feed_forward"
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # a factor like any other
            lora_dropout=self.dropout,
            target_modules=f"({ATTENTION}|{FEED_FORWARD})" if both else ATTENTION,
        )


def _layers(backbone: nn.Module) -> "Iterator[tuple[str, LoraLayer]]":
    from peft.tuners.lora import LoraLayer

    for name, module in backbone.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module
