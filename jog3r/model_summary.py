"""What a model consists of, told to people."""

from typing import TYPE_CHECKING, Any

from jog3r.codecs.text import TextEncoder
from jog3r.stitch import StitchedModel

if TYPE_CHECKING:
    from jog3r.model import JOG3R


def summary(model: "JOG3R") -> str:
    """Describe parts, parameters, sizes and licence."""
    rows = {name.replace("_", " "): _count(part) for name, part in model.named_children()}
    if isinstance(model._modules.get("network"), StitchedModel):
        tapped = model.stitched.config.tap is not None
        backbone, network = _count(model.stitched.backbone), rows.pop("network")
        rows |= {"backbone": backbone} | ({"pointmap head": network - backbone} if tapped else {})
    text = {name: f"{count / 1e6:7.2f} M parameters" for name, count in rows.items()}
    text |= {"all": f"{_count(model) / 1e6:7.2f} M parameters"} | _facts(model)
    return "\n".join(f"{name:<14} {value}" for name, value in text.items())


def _facts(model: "JOG3R") -> dict[str, str]:
    """Give what is to be said of the parts there are, by name."""
    (height, width), config = model.config.image_size, model.config
    facts = {
        "works at": f"{height}x{width} px, {config.num_frames} frames, {config.fps:g} frames/s"
    }
    if isinstance(network := model._modules.get("network"), StitchedModel):
        tap, depth = network.config.tap, network.backbone.config.depth
        facts["tap"] = "none" if tap is None else f"block {tap} of {depth}"
    if hasattr(model, "schedule"):
        facts["prediction"] = model.schedule.description
    if hasattr(model, "text_encoder"):
        text = model.text_encoder
        words = isinstance(text, TextEncoder)
        facts["vocabulary"] = f"{len(text.vocabulary())} words" if words else text.config.source
    return facts | {"licence": config.licence}


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
