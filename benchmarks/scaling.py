"""Claim: none; a model of what STDiT-XL/2 at 16x512x512 needs on 8, 64 and 512 accelerators.

Everything is counted without values (jog3r.training.stage_cost) but for what a data sheet says of
an accelerator, and a share of its peak that is assumed. benchmarks/scaling_check.py compares the
same model with measured steps of small networks.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.record import REPOSITORY, Record, parser

GIB = 2.0**30
CASES = {
    "paper's parts train": {},
    "everything trains": {"trained": {"backbone": "all", "frozen_blocks": 0}},
}


def module_of(changes: dict[str, Any]) -> Any:
    """Build the joint stage of the paper's recipe on the meta device."""
    from jog3r.training.dry_run import meta_module
    from jog3r.training.recipes import merged, read_stages

    stage = read_stages(REPOSITORY / "recipes" / "jog3r_opensora10.yaml")["joint"]
    return meta_module(merged(stage["model"], {"init_args": changes}))


def main(argv: Sequence[str] | None = None) -> None:
    """Print the model."""
    from jog3r.training.accelerators import accelerator
    from jog3r.training.cost import Work
    from jog3r.training.stage_cost import (
        Settings,
        ddp_traffic,
        fsdp_memory,
        fsdp_traffic,
        stage_cost,
    )

    options = parser(__doc__, clips=1, model=False)
    options.add_argument("--accelerator", default="h100", help="named, or operations per second")
    options.add_argument("--efficiency", type=float, default=0.4, help="share of its peak")
    options.add_argument("--network", type=float, default=50e9, help="bytes/s between machines")
    options.add_argument("--steps", type=int, default=40000, help="of the run whose cost is told")
    options.add_argument("--batch", type=int, default=64, help="clips per step of that run")
    args = options.parse_args(argv)
    record, device = Record("scaling", args), accelerator(args.accelerator)
    work = Work(clips=args.clips, frames=16, precomputed=True)
    rows, memory, whole = [], [], []
    for case, changes in CASES.items():
        module = module_of(changes)
        block = 4 * max(
            sum(p.numel() for p in each.parameters())
            for each in module.model.network.backbone.blocks
        )
        kept = stage_cost(module, work, Settings())
        memory.append(
            {"case": case, "parameters_M": kept.numbers / 1e6, "trained_M": kept.trained / 1e6}
            | {
                f"{name}_GiB": getattr(kept, name) / GIB
                for name in ("weights", "gradients", "optimiser", "activations", "kept_activations")
            }
            | {"average_GiB_if_kept": kept.weights / GIB}
        )
        for checkpointing in (True, False):
            cost = kept
            if not checkpointing:
                cost = replace(kept, executed_flops=kept.flops, activations=kept.kept_activations)
            compute = cost.executed_flops / (device.flops * args.efficiency)
            for processes in (8, 64, 512):
                link = device.link_bytes_per_s if processes == 8 else args.network
                ddp, fsdp = ddp_traffic(cost, processes), fsdp_traffic(cost, processes)
                rows.append(
                    {
                        "case": case,
                        "checkpointing": checkpointing,
                        "processes": processes,
                        "ddp_GiB": cost.memory / GIB,
                        "fsdp2_GiB": fsdp_memory(cost, processes, largest_block=block) / GIB,
                        "compute_s": compute,
                        "ddp_sends_GB": ddp.gradients / 1e9,
                        "ddp_s": ddp.gradients / link,
                        "fsdp2_sends_GB": (fsdp.gradients + fsdp.weights) / 1e9,
                        "fsdp2_s": (fsdp.gradients + fsdp.weights) / link,
                        "clips_per_s": args.clips * processes / max(compute, ddp.gradients / link),
                    }
                )
        seconds = kept.executed_flops / args.clips / (device.flops * args.efficiency)
        hours = args.steps * args.batch * seconds / 3600
        whole.append(
            {
                "case": case,
                "steps": args.steps,
                "clips_per_step": args.batch,
                "EFLOP": args.steps * args.batch * kept.executed_flops / args.clips / 1e18,
                "accelerator_hours": hours,
                "days_on_8": hours / 8 / 24,
                "days_on_64": hours / 64 / 24,
                "MB_per_clip": clip_bytes() / 1e6,
                "MB_per_s_and_accelerator": clip_bytes() / seconds / 1e6,
            }
        )
    notes = {
        "model": "recipes/jog3r_opensora10.yaml, joint step, precomputed latents and text, one clip"
        " per batch and process, bfloat16 products, float32 weights, AdamW",
        "assumed": f"{args.accelerator} at {args.efficiency:.0%} of {device.flops / 1e12:.0f}"
        f" TFLOP/s; links of {device.link_bytes_per_s / 1e9:.0f} GB/s in a machine of 8 and"
        f" {args.network / 1e9:.0f} GB/s beyond; not measured",
        "time": "compute and traffic stand apart; clips_per_s takes them as fully overlapped",
        "activations": "what autograd keeps, rounded weights included; with checkpointing the block"
        " that runs again as well",
    }
    record.write(memory, notes, table="memory")
    record.write(rows, notes, table="processes")
    assumed = {"run": "the paper states neither steps, nor batch, nor accelerators: these are ours"}
    record.write(whole, notes | assumed, table="run")


def clip_bytes() -> float:
    """Count a prepared clip: latents and depth in float16, text of 120 tokens in bfloat16."""
    latents, depth, text = 16 * 4 * 64 * 64 * 2, 16 * 512 * 512 * 2, 120 * 4096 * 2
    return float(latents + depth + text + 16 * (9 + 16) * 4)


if __name__ == "__main__":
    main()
