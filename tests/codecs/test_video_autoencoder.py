"""Open-Sora 1.2's autoencoder: parity with the original, lengths, and the public layout."""

import dataclasses
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.codecs.temporal_autoencoder import TemporalAutoencoder
from jog3r.codecs.video_autoencoder import VideoAutoencoder
from jog3r.config import from_plain, to_plain
from jog3r.errors import InputError

TINY = VideoAutoencoder.Config(
    spatial=FrameAutoencoder.Config(block_out_channels=(4, 4), latent_channels=4),
    temporal=TemporalAutoencoder.Config(
        filters=4, res_blocks=1, multipliers=(1, 1, 2, 2), groups=2
    ),
)


@pytest.fixture(scope="module")
def tiny() -> VideoAutoencoder:
    torch.manual_seed(0)
    return TINY.build().requires_grad_(False)


class Reference:
    """The original's numbers, and our class with its weights."""

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / "meta.json").read_text("utf-8"))
        self.tolerance: dict[str, Any] = meta["tolerance"]["float32"]
        self.io = load_file(folder / "io.safetensors")
        self.model = config_of(meta["config"]).build().requires_grad_(False)
        self.model.load_state_dict(load_file(folder / "weights.safetensors"), strict=True)

    def check(self, got: Tensor, name: str) -> None:
        torch.testing.assert_close(
            got, self.io[name], **self.tolerance, msg=lambda m: f"{name} {m}"
        )


def config_of(meta: dict[str, Any]) -> VideoAutoencoder.Config:
    spatial, temporal, pipeline = (
        meta[k] for k in ("spatial_autoencoderkl", "temporal", "pipeline")
    )
    return VideoAutoencoder.Config(
        spatial=FrameAutoencoder.Config(
            block_out_channels=tuple(spatial["block_out_channels"]),
            layers_per_block=spatial["layers_per_block"],
            latent_channels=spatial["latent_channels"],
            norm_groups=spatial["norm_num_groups"],
            attention=True,
            scaling_factor=pipeline["spatial_scaling_factor"],
        ),
        temporal=TemporalAutoencoder.Config(
            channels=temporal["in_out_channels"],
            latent_channels=temporal["latent_embed_dim"],
            filters=temporal["filters"],
            res_blocks=temporal["num_res_blocks"],
            multipliers=tuple(temporal["channel_multipliers"]),
            downsample=tuple(temporal["temporal_downsample"]),
            groups=temporal["num_groups"],
        ),
        shift=tuple(pipeline["shift"]),
        scale=tuple(pipeline["scale"]),
        micro_frames=pipeline["micro_frame_size"],
    )


@pytest.fixture(scope="module")
def reference(parity: Callable[[str], Path]) -> Reference:
    return Reference(parity("opensora_vae"))


def recorded(part: nn.Module, prefix: str, names: list[str], run: Callable[[], Any]) -> dict:
    """Run something and give what the named modules of a part have made meanwhile."""
    seen: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: seen.__setitem__(name, output)

    handles = [
        part.get_submodule(name.removeprefix(prefix).removeprefix(".")).register_forward_hook(
            hook(name)
        )
        for name in names
    ]
    run()
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parity
class TestParity:
    @pytest.mark.parametrize("case", ["t17", "t8", "t1"])
    def test_temporal_part(self, reference: Reference, case: str) -> None:
        temporal, frames = reference.model.temporal_vae, reference.io[f"{case}.x"]
        mean, logvar = temporal.encode(frames)
        reference.check(mean, f"{case}.mean")
        reference.check(logvar, f"{case}.logvar")
        reference.check(temporal.decode(mean, frames.shape[2]), f"{case}.recon")

    @pytest.mark.parametrize("part", ["enc", "dec"])
    def test_activations(self, reference: Reference, part: str) -> None:
        temporal, io = reference.model.temporal_vae, reference.io
        module, run = {
            "enc": (temporal.encoder, lambda: temporal.encode(io["t17.x"])),
            "dec": (temporal.decoder, lambda: temporal.decode(io["t17.mean"], 17)),
        }[part]
        prefix = f"t17.{part}"
        names = [name for name in io if name == prefix or name.startswith(prefix + ".")]
        assert len(names) == {"enc": 4, "dec": 2}[part]
        for name, output in recorded(module, prefix, names, run).items():
            reference.check(output, name)

    def test_pipeline(self, reference: Reference) -> None:
        model, video = reference.model, reference.io["pipe.video"].transpose(1, 2)
        reference.check(model.encode_space(video), "pipe.spatial_latent")
        latents = model.encode(video)
        reference.check(latents, "pipe.z")
        uncut = model.decode(latents, num_frames=21, cut=False)
        reference.check(uncut.transpose(1, 2), "pipe.recon")
        assert torch.equal(model.decode(latents, num_frames=21), uncut.clamp(-1.0, 1.0))

    def test_latent_frames(self, reference: Reference) -> None:
        for frames, latents in reference.io["pipe.latent_frames_table"].tolist():
            assert reference.model.latent_frames(frames) == latents

    def test_nothing_stored_is_left_out(self, reference: Reference) -> None:
        cases = {f"{case}.{what}" for case in ("t17", "t8", "t1") for what in ENDS}
        inside = {name for name in reference.io if name.startswith(("t17.enc", "t17.dec"))}
        pipeline = {f"pipe.{what}" for what in ("video", "spatial_latent", "z", "recon")}
        assert cases | inside | pipeline | {"pipe.latent_frames_table"} == set(reference.io)


ENDS = ("x", "mean", "logvar", "recon")


@pytest.fixture(scope="module")
def full() -> VideoAutoencoder:
    with torch.device("meta"):
        return VideoAutoencoder.Config().build()


class TestPublicLayout:
    """What parity/README.md states of the full-size checkpoint."""

    def test_settings(self, full: VideoAutoencoder) -> None:
        temporal = full.config.temporal
        assert (temporal.filters, temporal.res_blocks, temporal.groups) == (128, 4, 32)
        assert temporal.multipliers == (1, 2, 2, 4)
        assert temporal.downsample == (False, True, True)
        assert full.config.shift == (-0.10, 0.34, 0.27, 0.98)
        assert full.config.scale == (3.85, 2.32, 2.33, 3.06)
        assert (full.factor, full.latent_channels, full.config.micro_frames) == (8, 4, 17)
        assert full.config.spatial == FrameAutoencoder.Config.sd_vae_ft_ema()

    def test_names(self, full: VideoAutoencoder) -> None:
        state = full.state_dict()
        assert state["scale"].shape == state["shift"].shape == (1, 4, 1, 1, 1)
        parts = {".".join(name.split(".")[:2]) for name in state} - {"scale", "shift"}
        temporal = {"encoder", "decoder", "quant_conv", "post_quant_conv"}
        assert parts == {"spatial_vae.module", *(f"temporal_vae.{part}" for part in temporal)}
        for name in state:
            if name.startswith("temporal_vae.") and "norm" not in name:
                assert name.endswith((".conv.weight", ".conv.bias"))
        with torch.device("meta"):
            frames = FrameAutoencoder.Config.sd_vae_ft_ema().build().vae
        spatial = {name for name in state if name.startswith("spatial_vae.module.")}
        assert spatial == {f"spatial_vae.module.{name}" for name in frames.state_dict()}

    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("encoder.conv_in.conv.weight", (128, 4, 3, 3, 3)),
            ("encoder.block_res_blocks.1.0.conv3.conv.weight", (256, 128, 1, 1, 1)),
            ("encoder.block_res_blocks.3.3.conv2.conv.weight", (512, 512, 3, 3, 3)),
            ("encoder.conv_blocks.1.conv.weight", (256, 256, 3, 3, 3)),
            ("encoder.conv2.conv.weight", (8, 512, 1, 1, 1)),
            ("quant_conv.conv.weight", (8, 8, 1, 1, 1)),
            ("post_quant_conv.conv.weight", (4, 4, 1, 1, 1)),
            ("decoder.conv1.conv.bias", (512,)),
            ("decoder.res_blocks.3.norm1.weight", (512,)),
            ("decoder.block_res_blocks.2.0.conv3.conv.weight", (256, 512, 1, 1, 1)),
            ("decoder.conv_blocks.2.conv.weight", (1024, 512, 3, 3, 3)),
            ("decoder.conv_out.conv.weight", (4, 128, 3, 3, 3)),
        ],
    )
    def test_shapes(self, full: VideoAutoencoder, name: str, shape: tuple[int, ...]) -> None:
        assert full.state_dict()[f"temporal_vae.{name}"].shape == shape

    def test_names_are_those_of_the_fixture_with_more_blocks(
        self, full: VideoAutoencoder, parity: Callable[[str], Path]
    ) -> None:
        known = load_file(parity("opensora_vae") / "weights.safetensors")
        first_block = re.compile(r"\.(block_res_blocks\.\d|res_blocks)\.\d\.")
        alike = {first_block.sub(r".\1.0.", name) for name in full.state_dict()}
        temporal = {name for name in known if name.startswith("temporal_vae.")}
        assert {name for name in alike if name.startswith("temporal_vae.")} == temporal

    def test_plain_values(self) -> None:
        plain = json.loads(json.dumps(to_plain(VideoAutoencoder.Config())))
        assert plain["kind"] == "opensora-1.2"
        assert from_plain(VideoAutoencoder.Config, plain) == VideoAutoencoder.Config()


class TestLengths:
    @given(num_frames=st.integers(1, 120))
    def test_latents_end_with_frames(self, tiny: VideoAutoencoder, num_frames: int) -> None:
        ends = tiny.frames_of_latents(num_frames)
        assert len(ends) == tiny.latent_frames(num_frames)
        assert ends[-1] == num_frames - 1
        assert ends == sorted(set(ends))
        assert {b - a for a, b in itertools.pairwise(ends)} <= {1, 2, 3, 4}
        assert tiny.latent_frames(17 + num_frames) == 5 + tiny.latent_frames(num_frames)

    @pytest.mark.parametrize("frames", [1, 2, 4, 17, 19, 35])
    def test_encode_and_decode_agree(
        self, tiny: VideoAutoencoder, generator: torch.Generator, frames: int
    ) -> None:
        video = 2.0 * torch.rand(2, frames, 3, 4, 6, generator=generator) - 1.0
        latents = tiny.encode(video)
        assert latents.shape == (2, 4, tiny.latent_frames(frames), 2, 3)
        assert tiny.decode(latents, num_frames=frames).shape == video.shape
        alone = tiny.encode(video[1:])
        torch.testing.assert_close(latents[1:], alone, atol=1e-5, rtol=1e-5)

    def test_clips_are_encoded_by_themselves(
        self, tiny: VideoAutoencoder, generator: torch.Generator
    ) -> None:
        video = 2.0 * torch.rand(1, 21, 3, 4, 4, generator=generator) - 1.0
        parts = [tiny.encode(video[:, :17]), tiny.encode(video[:, 17:])]
        torch.testing.assert_close(tiny.encode(video), torch.cat(parts, dim=2))

    def test_the_longest_video_is_the_default(
        self, tiny: VideoAutoencoder, generator: torch.Generator
    ) -> None:
        latents = torch.randn(1, 4, 6, 2, 2, generator=generator)
        assert tiny.decode(latents).shape[1] == 17 + 4
        shorter = tiny.decode(latents, num_frames=18)
        torch.testing.assert_close(shorter[:, 17:], tiny.decode(latents)[:, 20:])

    def test_chunks_change_nothing(
        self, tiny: VideoAutoencoder, generator: torch.Generator
    ) -> None:
        video = 2.0 * torch.rand(1, 5, 3, 4, 6, generator=generator) - 1.0
        latents = tiny.encode(video)
        torch.testing.assert_close(tiny.encode(video, chunk=2), latents, atol=1e-5, rtol=1e-5)
        whole, parts = tiny.decode(latents), tiny.decode(latents, chunk=2)
        torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)

    def test_tiles_reach_the_spatial_part(
        self, tiny: VideoAutoencoder, generator: torch.Generator
    ) -> None:
        video = 2.0 * torch.rand(1, 1, 3, 16, 24, generator=generator) - 1.0
        before = tiny.encode(video)
        tiny.use_tiles(8)
        assert not torch.equal(tiny.encode(video), before)
        tiny.use_tiles(32)
        assert torch.equal(tiny.encode(video), before)
        tiny.use_tiles(None)

    def test_other_dtypes(self, generator: torch.Generator) -> None:
        torch.manual_seed(0)
        made = TINY.build().requires_grad_(False)
        video = 2.0 * torch.rand(1, 5, 3, 4, 6, generator=generator) - 1.0
        latents = made.encode(video)
        made.to(torch.bfloat16)
        assert made.encode(video).dtype == made.decode(latents).dtype == torch.float32
        torch.testing.assert_close(made.encode(video), latents, atol=0.05, rtol=0.05)


class TestWrongInput:
    @pytest.mark.parametrize("num_frames", [16, 22])
    def test_frames_of_other_latents(self, tiny: VideoAutoencoder, num_frames: int) -> None:
        with pytest.raises(InputError, match="num_frames: expected a video of 6 latents"):
            tiny.decode(torch.zeros(1, 4, 6, 2, 2), num_frames=num_frames)

    @pytest.mark.parametrize("num_frames", [0, -3, True, 4.0])
    def test_no_frames(self, tiny: VideoAutoencoder, num_frames: Any, as_a_user: None) -> None:
        for call in (tiny.latent_frames, tiny.frames_of_latents):
            with pytest.raises(InputError, match="num_frames: expected a whole number above 0"):
                call(num_frames)

    def test_the_temporal_part_alone(self, tiny: VideoAutoencoder) -> None:
        with pytest.raises(InputError, match="num_frames: expected 4 for each of 2 latents"):
            tiny.temporal_vae.decode(torch.zeros(1, 4, 2, 2, 2), 4)

    @pytest.mark.parametrize("shape", [(1, 1, 3, 5, 4), (1, 0, 3, 4, 4)])
    def test_videos_that_cannot_be(self, tiny: VideoAutoencoder, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match="video: expected"):
            tiny.encode(torch.zeros(shape))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"scale": (1.0, 1.0)}, "shift and scale of 4 channels, got 4 and 2"),
            ({"shift": (0.0,)}, "shift and scale of 4 channels, got 1 and 4"),
            ({"scale": (1.0, 1.0, 1.0, 0.0)}, r"scale: expected finite numbers above 0"),
            ({"micro_frames": 0}, "micro_frames: expected finite numbers above 0"),
            ({"spatial": FrameAutoencoder.Config()}, "latent channels of the spatial part, 6"),
        ],
    )
    def test_configs_that_cannot_be(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            dataclasses.replace(VideoAutoencoder.Config(), **change)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"filters": 0}, "filters: expected finite numbers above 0"),
            ({"downsample": (True,)}, "downsample: expected 3 values"),
            ({"groups": 48}, "groups: expected a divisor of the widths"),
        ],
    )
    def test_temporal_configs_that_cannot_be(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            TemporalAutoencoder.Config(**change)
