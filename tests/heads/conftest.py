"""DUSt3R networks with stored weights."""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor, nn

from jog3r.heads.dust3r import DUSt3R
from jog3r.heads.pointmap import Pointmap, read_output_modes


class Reference:
    """A network with its stored weights, numbers and tolerance."""

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / "meta.json").read_text("utf-8"))
        self.meta = meta
        self.tolerance: dict[str, float] = meta["tolerance"]["float32"]
        self.weights = load_file(folder / "weights.safetensors")
        self.io = load_file(folder / "io.safetensors")
        self.network = config_of(meta["config"]).build()
        self.network.load_state_dict(self.weights, strict=True)

    def run(self, case: str) -> tuple[Pointmap, Pointmap]:
        """Give the pointmaps of a stored case."""
        names = ("img1", "img2", "true_shape1", "true_shape2")
        return self.network(*(self.io.get(f"{case}.{name}") for name in names))

    def record(self, case: str) -> tuple[dict[str, list[Tensor]], tuple[Pointmap, Pointmap]]:
        """Run a case and list what every module gave, call by call."""
        seen: dict[str, list[Tensor]] = defaultdict(list)

        def keep(name: str) -> Callable[..., None]:
            return lambda _module, _inputs, out: seen[name].append(out)

        modules: dict[str, nn.Module] = dict(self.network.named_modules())
        handles = [m.register_forward_hook(keep(name)) for name, m in modules.items() if name]
        maps = self.run(case)
        for handle in handles:
            handle.remove()
        return seen, maps


def config_of(public: dict[str, Any]) -> DUSt3R.Config:
    """Read a configuration in the words of public checkpoints."""
    config: dict[str, Any] = {
        "patch": public["patch_size"],
        "mlp_ratio": public["mlp_ratio"],
        "head": public["head_type"],
        "depth_mode": read_output_modes(
            *[
                [float(x) if x in ("inf", "-inf") else x for x in public[f"{mode}_mode"]]
                for mode in ("depth", "conf")
            ]
        ),
    }
    for part, short in (("encoder", "enc"), ("decoder", "dec")):
        config[f"{part}_width"] = public[f"{short}_embed_dim"]
        config[f"{part}_depth"] = public[f"{short}_depth"]
        config[f"{part}_heads"] = public[f"{short}_num_heads"]
    if dpt := public.get("dpt"):
        config["dpt_hooks"] = tuple(dpt["hooks_idx"])
        config["dpt_layer_dims"] = tuple(dpt["layer_dims"])
        config["dpt_feature_dim"], config["dpt_last_dim"] = dpt["feature_dim"], dpt["last_dim"]
    return DUSt3R.Config(**config)


@pytest.fixture
def reference(parity: Callable[[str], Path]) -> Callable[[str], Reference]:
    """Return a function that loads a stored network by the name of its fixture."""
    return lambda name: Reference(parity(name))
