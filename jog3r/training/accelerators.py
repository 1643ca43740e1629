"""Accelerators as their makers describe them, for estimates of time and memory."""

from dataclasses import dataclass

from jog3r.errors import InputError

EFFICIENCY = 0.4
"""Share of an accelerator's peak that a step is assumed to reach."""


@dataclass(frozen=True)
class Accelerator:
    """One device.

    Attributes:
        flops: Operations per second of dense matrix products in bfloat16, at best.
        memory_bytes: Of the device.
        link_bytes_per_s: To its neighbours within a machine, in one direction.
    """

    flops: float
    memory_bytes: float
    link_bytes_per_s: float


ACCELERATORS = {
    "a100-40": Accelerator(312e12, 40e9, 300e9),
    "a100": Accelerator(312e12, 80e9, 300e9),
    "h100": Accelerator(989e12, 80e9, 450e9),
    "h200": Accelerator(989e12, 141e9, 450e9),
    "l4": Accelerator(121e12, 24e9, 32e9),
    "rtx-3090": Accelerator(71e12, 24e9, 28e9),
    "rtx-4090": Accelerator(165e12, 24e9, 32e9),
}
"""By name; figures of data sheets, without sparsity. Links are NVLink, else PCIe."""


def accelerator(name: str) -> Accelerator:
    """Find an accelerator by its name, or take a number as its operations per second.

    Args:
        name: As in `ACCELERATORS`, or a number such as 3.1e14, of whose memory and links nothing is
            known.

    Raises:
        InputError: Neither.
    """
    if name.lower() in ACCELERATORS:
        return ACCELERATORS[name.lower()]
    try:
        flops = float(name)
    except ValueError:
        flops = 0.0
    if not 0.0 < flops < float("inf"):
        raise InputError(
            f"--device-flops: expected one of {[*ACCELERATORS]} or operations per second, got"
            f" {name}; data sheets state those of dense bfloat16 products"
        )
    return Accelerator(flops, float("inf"), float("inf"))
