"""The cases of `benchmarks.network_speed`: each prepares a network and returns what is timed."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FRAMES, SIDE = 8, 224
TOKENS = (SIDE // 16) ** 2


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        prepare: Makes the network and its inputs; returns what is to be timed.
        original: Seconds of the public original, where they are known.
        half: Whether products run in bfloat16.
        exact: The same with the plain form or in float32, for the error; makes the same inputs.
    """

    prepare: Callable[[], Callable[[], Any]]
    original: float | None = None
    half: bool = False
    exact: Callable[[], Callable[[], Any]] | None = None


def stdit3(
    batch: int = 2, *, masked: bool = False, backward: bool = False, half: bool = False
) -> Callable[[], Any]:
    """STDiT3, 384 channels, 8 pairs of blocks, latents 8x32x32, 60 of 300 text tokens real."""
    import torch

    from jog3r.backbones.interface import VideoFormat
    from jog3r.backbones.stdit3 import STDiT3

    torch.manual_seed(0)
    network = STDiT3.Config(hidden_size=384, depth=8, num_heads=6).build()
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    network.requires_grad_(backward)
    inputs = (torch.randn(batch, 4, 8, 32, 32), 1000 * torch.rand(batch))
    text = (torch.randn(batch, 300, 4096), (torch.arange(300) < 60).expand(batch, -1))
    told = VideoFormat.of(batch, num_frames=32, height=256, width=256, fps=24)
    x_mask = torch.arange(8).expand(batch, -1) >= 2 if masked else None

    def run() -> Any:
        with torch.set_grad_enabled(backward), torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = network(*inputs, *text, video_format=told, x_mask=x_mask).prediction
        if backward:
            out.square().mean().backward()
            network.zero_grad()
        return out.detach()

    return run


@functools.cache
def dust3r(head: str) -> Any:
    """DUSt3R, encoder 384x6, decoder 384x12, with the public heads."""
    import torch

    from jog3r.heads.dust3r import DUSt3R

    torch.manual_seed(0)
    sizes = {"encoder_width": 384, "encoder_depth": 6, "encoder_heads": 6}
    sizes |= {"decoder_width": 384, "decoder_depth": 12, "decoder_heads": 6}
    return DUSt3R.Config(head=head, **sizes).build().eval().requires_grad_(False)  # type: ignore[arg-type]


def encoder() -> Callable[[], Any]:
    """Eight frames, each alone."""
    import torch

    network, frames = dust3r("linear"), torch.rand(FRAMES, 3, SIDE, SIDE) * 2 - 1
    return lambda: network.encode(frames)


def decoder(*, shared: bool, half: bool = False) -> Callable[[], Any]:
    """Frame 0 with each of the seven others; what is the same for all pairs runs once, or not."""
    import torch

    from jog3r.heads.orientation import Layout

    network, tokens = dust3r("linear"), some_tokens()[0]
    layout = Layout((SIDE // 16, SIDE // 16))
    first = tokens[:1] if shared else tokens[:1].repeat(FRAMES - 1, 1, 1)

    def run() -> Any:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            _, second = network.decode(first, tokens[1:], layout, layout, keep=network.hooks)
        return second[12]

    return run


def some_tokens() -> Any:
    """Tokens of four depths of eight frames, the same every time."""
    import torch

    return torch.randn(4, FRAMES, TOKENS, 384, generator=torch.Generator().manual_seed(0))


def heads(
    head: str, *, shared: bool = True, both: bool = True, chunk: int | None = None
) -> Callable[[], Any]:
    """Both heads, or that of view 2, on the tokens of seven pairs."""
    import torch

    network, grid = dust3r(head), (SIDE // 16, SIDE // 16)
    tokens = some_tokens()
    later = list(tokens[1:, 1:])
    first = tokens[0, :1] if shared else tokens[0, :1].repeat(FRAMES - 1, 1, 1)
    options = {} if chunk is None else {"chunk": chunk}

    def run() -> Any:
        with torch.no_grad():
            if head == "linear":
                network.downstream_head1(later[0], grid)
                return network.downstream_head2(later[0], grid).points
            second = network.downstream_head2([tokens[0, 1:], *later], grid, **options)
            if not both:
                return second.points
            return network.downstream_head1([first, *later], grid, **options).points

    return run


def plain_dpt() -> Callable[[], Any]:
    """Both DPT heads, their layers called one after the other as the publication draws them."""
    import torch
    import torch.nn.functional as F
    from torch import Tensor

    from jog3r.heads.pointmap import decode_pointmap

    network, grid = dust3r("dpt"), (SIDE // 16, SIDE // 16)
    tokens = some_tokens()
    later = list(tokens[1:, 1:])
    views = [tokens[0, :1].repeat(FRAMES - 1, 1, 1), *later], [tokens[0, 1:], *later]
    double = functools.partial(F.interpolate, scale_factor=2, mode="bilinear", align_corners=True)
    nets = [network.downstream_head1.dpt, network.downstream_head2.dpt]
    for net in nets:
        net.to(memory_format=torch.contiguous_format)

    def refine(unit: Any, x: Tensor) -> Tensor:
        return unit.conv2(F.relu(unit.conv1(F.relu(x)))) + x

    def fuse(fusion: Any, x: Tensor, other: Tensor | None = None) -> Tensor:
        x = x if other is None else x + refine(fusion.resConfUnit1, other)
        return fusion.out_conv(double(refine(fusion.resConfUnit2, x)))

    def pixels(net: Any, view: list[Tensor]) -> Tensor:
        images = [each.unflatten(1, grid).permute(0, 3, 1, 2).contiguous() for each in view]
        for number, layers in enumerate(net.act_postprocess):
            for layer in layers:
                images[number] = layer(images[number])
            images[number] = net.scratch.layer_rn[number](images[number])
        path = fuse(net.scratch.refinenet4, images[3])[..., : grid[0], : grid[1]]
        path = fuse(net.scratch.refinenet3, path, images[2])
        path = fuse(net.scratch.refinenet2, path, images[1])
        path = fuse(net.scratch.refinenet1, path, images[0])
        x = double(net.head["0"](path))
        return net.head["4"](F.relu(net.head["2"](x)))

    def run() -> Any:
        with torch.no_grad():
            raw = [pixels(net, view) for net, view in zip(nets, views, strict=True)]
            maps = [decode_pointmap(each.permute(0, 2, 3, 1)) for each in raw]
        return maps[0].points

    return run


def temporal_autoencoder(*, decode: bool) -> Callable[[], Any]:
    """Open-Sora 1.2's temporal autoencoder, 32 filters, two residual blocks, 17 frames of 32x32."""
    import torch

    from jog3r.codecs.temporal_autoencoder import TemporalAutoencoder

    torch.manual_seed(0)
    network = TemporalAutoencoder.Config(filters=32, res_blocks=2).build().requires_grad_(False)
    frames = torch.randn(1, 4, 17, 32, 32)
    latents, _ = network.encode(frames)
    return (lambda: network.decode(latents, 17)) if decode else (lambda: network.encode(frames))


def frame_autoencoder(*, half: bool = False) -> Callable[[], Any]:
    """sd-vae-ft-ema's network decodes four frames of 256x256 px."""
    import torch

    from jog3r.codecs.autoencoder import FrameAutoencoder

    torch.manual_seed(0)
    network = FrameAutoencoder.Config.sd_vae_ft_ema().build().requires_grad_(False)
    latents = torch.randn(1, 4, 4, 32, 32)

    def run() -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return network.decode(latents)

    return run


def convolution() -> Callable[[], Any]:
    """One plain layer in the order that suits a CPU: 3x3, 256 channels, 56x56 px, 4 pictures."""
    import torch
    import torch.nn.functional as F

    picture, weight = torch.randn(4, 256, 56, 56), torch.randn(256, 256, 3, 3)
    last: Any = {"memory_format": torch.channels_last}
    picture, weight = picture.contiguous(**last), weight.contiguous(**last)
    return lambda: F.conv2d(picture, weight, padding=1)


part = functools.partial
unshared = part(decoder, shared=False)
CASES: dict[str, Case] = {
    "a convolution": Case(convolution),
    "STDiT3 forward, batch 1": Case(part(stdit3, 1), 1.12),
    "STDiT3 forward, batch 2": Case(stdit3, 2.17),
    "STDiT3 forward, batch 2, x_mask": Case(part(stdit3, masked=True), 2.21),
    "STDiT3 forward + backward, batch 2": Case(part(stdit3, backward=True), 5.11),
    "STDiT3 forward, batch 2, bfloat16": Case(part(stdit3, half=True), 2.17, True, stdit3),
    "STDiT3 forward + backward, batch 2, bfloat16": Case(
        part(stdit3, backward=True, half=True), 5.11, True, part(stdit3, backward=True)
    ),
    "DUSt3R encoder 384x6, 8 frames": Case(encoder, 0.225),
    "DUSt3R decoder 384x12, 7 pairs": Case(part(decoder, shared=True), 1.20, exact=unshared),
    "the same, nothing shared": Case(unshared, 1.20),
    "DUSt3R decoder 384x12, 7 pairs, bfloat16": Case(
        part(decoder, shared=True, half=True), 1.20, True, unshared
    ),
    "linear heads, 7 pairs": Case(part(heads, "linear"), 0.0155),
    "DPT head of view 2 alone, 7 pairs": Case(part(heads, "dpt", both=False)),
    "DPT heads, 7 pairs": Case(part(heads, "dpt"), 1.77, exact=plain_dpt),
    "DPT heads, 7 pairs, all at once": Case(part(heads, "dpt", chunk=7), 1.77, exact=plain_dpt),
    "DPT heads, 7 pairs, nothing shared": Case(
        part(heads, "dpt", shared=False), 1.77, exact=plain_dpt
    ),
    "DPT heads, 7 pairs, layer by layer": Case(plain_dpt, 1.77),
    "temporal autoencoder, encode": Case(part(temporal_autoencoder, decode=False), 0.184),
    "temporal autoencoder, decode": Case(part(temporal_autoencoder, decode=True), 0.253),
    "frame autoencoder, decode": Case(frame_autoencoder),
    "frame autoencoder, decode, bfloat16": Case(
        part(frame_autoencoder, half=True), half=True, exact=frame_autoencoder
    ),
}
