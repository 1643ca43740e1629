"""What a stage of a recipe would cost, before it runs; nothing of its size is built."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import yaml
from torch import nn

from jog3r.errors import InputError
from jog3r.training.accelerators import EFFICIENCY, Accelerator, accelerator
from jog3r.training.cost import Work
from jog3r.training.kinds import with_class_paths
from jog3r.training.rehearsal import checkpointed_blocks
from jog3r.training.stage_cost import Settings, StageCost, fsdp_memory, stage_cost

GIB = 2.0**30


def dry_run(
    stage: Mapping[str, Any], *, device: str | None = None, efficiency: float = EFFICIENCY
) -> str:
    """Describe what a stage needs, per process.

    Args:
        stage: A LightningCLI configuration.
        device: A name or operations per second, see `accelerator`; None for the device at hand.
        efficiency: Share of its peak that is reached.

    Raises:
        InputError: Values that make no model, a class whose step is not known, or an unknown
            device.
    """
    module = meta_module(stage["model"])
    settings, trainer = settings_of(stage), stage.get("trainer") or {}
    chosen = accelerator(device) if device else at_hand(settings.precision)
    costs = [
        (share, work, stage_cost(module, work, settings)) for share, work in works(stage["data"])
    ]
    worst = max((cost for _, _, cost in costs), key=lambda cost: cost.memory)
    batches = int(trainer.get("accumulate_grad_batches") or 1)
    flops = sum(share * cost.executed_flops for share, _, cost in costs) * batches
    speed = chosen.flops * (efficiency if device else 1.0)
    of = f"{efficiency:.0%} of {chosen.flops / 1e12:.0f}" if device else "as measured here"
    lines = [
        f"parameters    {worst.numbers / 1e6:.1f} M: {worst.trained / 1e6:.1f} M train,"
        f" {(worst.numbers - worst.trained) / 1e6:.1f} M are frozen",
        *_batches(costs),
        f"step          {sum(s * c.tokens for s, _, c in costs) * batches:,.0f} tokens,"
        f" {flops / 1e12:.3g} TFLOP: {'one batch' if batches == 1 else f'{batches} batches'}",
        f"time          {flops / speed:.3g} s per step at {speed / 1e12:.3g} TFLOP/s, {of}",
        *_memory(worst, chosen),
        *_divided(module, worst, trainer),
    ]
    return "\n".join(lines)


def _batches(costs: Sequence[tuple[float, Work, StageCost]]) -> list[str]:
    """Show which batches there are, and what each costs."""
    shown = [
        f"              {share:5.0%}  {work.clips:5}  {work.frames:6}  {cost.tokens:7,}"
        f"  {cost.flops / 1e12:8.3g}  {cost.executed_flops / 1e12:8.3g}"
        for share, work, cost in costs
    ]
    return ["batches       share  clips  frames   tokens     TFLOP  executed", *shown]


def _memory(cost: StageCost, device: Accelerator) -> list[str]:
    """Show what takes how much, in the batch that takes most."""
    names = ("weights", "gradients", "optimiser", "average", "activations")
    parts = "  ".join(f"{getattr(cost, name) / GIB:{max(len(name), 7)}.2f}" for name in names)
    known = device.memory_bytes < float("inf")
    of = f" of {device.memory_bytes / GIB:.0f}" if known else ""
    lines = [
        "memory [GiB]  " + "  ".join(f"{name:>7}" for name in (*names, "sum")),
        f"              {parts}  {cost.memory / GIB:7.2f}{of}"
        + (": too much" if cost.memory > device.memory_bytes else ""),
    ]
    if cost.kept_activations == cost.activations:
        return lines
    return [
        *lines,
        f"              {cost.kept_activations / GIB:.2f} of activations without checkpointing",
    ]


def _divided(module: nn.Module, cost: StageCost, trainer: Mapping[str, Any]) -> list[str]:
    """Tell what FSDP2 leaves on a process, where the recipe says among how many it divides."""
    strategy = trainer.get("strategy")
    name = strategy.get("class_path") if isinstance(strategy, Mapping) else strategy
    devices, machines = trainer.get("devices"), int(trainer.get("num_nodes") or 1)
    sharded = str(name).lower().startswith("fsdp") or str(name).endswith("FullySharded")
    if not sharded or not isinstance(devices, int):
        return []
    weights = [sum(p.numel() for p in b.parameters()) for b in checkpointed_blocks(module)]
    largest, processes = max(weights, default=0) * cost.weights // cost.numbers, devices * machines
    left = fsdp_memory(cost, processes, largest_block=largest)
    return [f"              {left / GIB:.2f} on each of {processes} processes by FSDP2"]


def overridden(stage: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Apply overrides of the command line, `--a.b value` or `--a.b=value`, to a stage.

    Raises:
        InputError: A word that is neither a key nor its value.
    """
    pairs = [part for word in words for part in (word.split("=", 1) if "--" in word else [word])]
    keys, values = pairs[::2], pairs[1::2]
    if len(keys) != len(values) or not all(key.startswith("--") for key in keys):
        raise InputError(f"overrides: expected --KEY VALUE, got {' '.join(words)}")
    for key, value in zip(keys, values, strict=True):
        stage = _replaced(stage, key.removeprefix("--").split("."), yaml.safe_load(value))
    return dict(stage)


def _replaced(tree: Any, path: Sequence[str], value: Any) -> dict[str, Any]:
    name, *rest = path
    inside = tree if isinstance(tree, Mapping) else {}
    return {**inside, name: _replaced(inside.get(name), rest, value) if rest else value}


def meta_module(model: Mapping[str, Any]) -> Any:
    """Build a LightningModule on the meta device; what it starts from is left alone.

    Raises:
        InputError: Keys or values that its class does not take.
    """
    import lightning.pytorch as pl
    from jsonargparse import ArgumentError, ArgumentParser

    model = with_class_paths({"model": model})["model"]
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(pl.LightningModule, "model")
    given = {**(model.get("init_args") or {})}
    if "start" in given:
        given["start"] = None
    try:
        parsed = parser.parse_object(
            {"model": {"class_path": model["class_path"], "init_args": given}}
        )
        with torch.device("meta"):
            return parser.instantiate(parsed).model
    except ArgumentError as error:
        raise InputError(
            f"model: expected keys and values that its class takes, got:"
            f" {' '.join(str(error).split())[:300]}; correct the recipe"
        ) from error


def settings_of(stage: Mapping[str, Any]) -> Settings:
    """Read what of a trainer's configuration matters to the cost."""
    trainer = stage.get("trainer") or {}
    precision = str(trainer.get("precision") or "32")
    callbacks = trainer.get("callbacks") or []
    average = any("WeightAveraging" in str(each.get("class_path")) for each in callbacks)
    half = torch.bfloat16 if "bf16" in precision else torch.float16
    return Settings(
        precision=half if "16" in precision else torch.float32,
        weight_bytes=2 if precision.endswith("16-true") else 4,
        average=average,
    )


def works(data: Mapping[str, Any]) -> list[tuple[float, Work]]:
    """Read which batches a stage sees, and in which shares.

    Raises:
        InputError: A class of data that is not known.
    """
    kind = str(data.get("class_path", "")).rpartition(".")[2]
    given = data.get("init_args") or {}
    if kind == "WorldDataModule":
        frames, side = int(given.get("frames_per_batch", 128)), int(given.get("size", 64))
        lengths = given.get("clip_lengths") or {16: 1.0}
        total = sum(lengths.values())
        return [
            (share / total, Work(clips=frames // int(length), frames=int(length), side=side))
            for length, share in lengths.items()
        ]
    if kind in ("PreparedDataModule", "ClipDataModule"):
        size = given.get("size") or (64, 64)
        side = size if isinstance(size, int) else size[0]
        work = Work(clips=int(given.get("batch_size", 1)), frames=int(given.get("frames", 16)))
        return [(1.0, replace(work, side=side, precomputed=kind == "PreparedDataModule"))]
    raise InputError(
        "data.class_path: expected jog3r's WorldDataModule, PreparedDataModule or ClipDataModule,"
        f" got {data.get('class_path')}; count with jog3r.training.stage_cost"
    )


def at_hand(precision: torch.dtype) -> Accelerator:
    """Measure how fast this machine multiplies matrices, in a second or two."""
    from torch.utils.benchmark import Timer

    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    side = 1024 if str(device) == "cpu" else 8192
    a, b = (torch.randn(side, side, device=device, dtype=precision) for _ in range(2))
    timer = Timer("a @ b", globals={"a": a, "b": b}, num_threads=torch.get_num_threads())
    seconds = timer.blocked_autorange(min_run_time=0.3).median
    return Accelerator(2.0 * side**3 / seconds, float("inf"), float("inf"))
