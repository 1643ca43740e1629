"""What only Open-Sora 1.1 and 1.2 know: the video's format, clean frames, sizes of any kind."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from jog3r.backbones.interface import VideoFormat
from jog3r.backbones.stdit import STDiT
from jog3r.backbones.stdit2 import STDiT2
from jog3r.backbones.stdit3 import STDiT3

IN_FORMAT = {"stdit2": ["num_frames", "height", "width", "fps"], "stdit3": ["height", "fps"]}


@pytest.fixture(params=sorted(IN_FORMAT))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


class TestFormat:
    def test_what_the_network_is_told_changes_the_prediction(
        self, tiny: Callable, made_call: Callable, name: str
    ) -> None:
        model, call = tiny(name), made_call(name)
        plain = call(model).prediction
        for changed in IN_FORMAT[name]:
            numbers = vars(call.named["video_format"])
            other = VideoFormat(**numbers | {changed: numbers[changed] * 2})
            assert not torch.allclose(call(model, video_format=other).prediction, plain)

    def test_shape_of_equal_area_and_length_do_not_matter_to_stdit3(
        self, tiny: Callable, made_call: Callable
    ) -> None:
        model, call = tiny("stdit3"), made_call("stdit3")
        numbers = vars(call.named["video_format"])
        other = {"num_frames": numbers["num_frames"] * 3}
        other |= {"height": numbers["width"], "width": numbers["height"]}
        turned = VideoFormat(**numbers | other)
        same = call(model, video_format=turned).prediction
        torch.testing.assert_close(same, call(model).prediction)


class TestCleanFrames:
    def test_all_noised_is_no_mask(self, tiny: Callable, made_call: Callable, name: str) -> None:
        model, call = tiny(name), made_call(name)
        every = call(model, x_mask=torch.ones(3, 3, dtype=torch.bool)).prediction
        torch.testing.assert_close(every, call(model, x_mask=None).prediction)

    def test_a_clean_video_does_not_depend_on_its_timestep_within_the_blocks(
        self, tiny: Callable, made_call: Callable, name: str
    ) -> None:
        model, call = tiny(name), made_call(name)
        latents, timestep, text, mask = call.positional
        named = call.named | {"x_mask": torch.zeros(3, 3, dtype=torch.bool), "taps": (4,)}
        a = model(latents, timestep, text, mask, **named).taps[4]
        b = model(latents, timestep / 2, text, mask, **named).taps[4]
        at_zero = model(latents, 0 * timestep, text, mask, **named | {"x_mask": None}).taps[4]
        assert torch.equal(a, b)
        torch.testing.assert_close(a, at_zero)

    def test_patches_in_time_are_clean_where_all_their_frames_are(
        self, tiny: Callable, made_call: Callable, name: str
    ) -> None:
        model = tiny(name, patch_size=(2, 2, 2))
        call = made_call(name, (5, 4, 6))
        masks = [[[1, 0, 0, 0, 1]], [[1, 1, 0, 0, 1]], [[0, 1, 0, 0, 1]], [[1, 1, 0, 1, 1]]]
        found = [
            call(model, x_mask=torch.tensor(mask * 3).bool(), taps=(1,)).taps[1] for mask in masks
        ]
        assert found[0].shape == (3, 3, 6, 24)
        assert torch.equal(found[0], found[1])
        assert torch.equal(found[0], found[2])
        assert not torch.allclose(found[0], found[3])


@pytest.mark.parametrize("size", [(1, 4, 6), (5, 4, 6), (3, 5, 7), (2, 1, 1), (3, 8, 2)])
def test_any_length_and_size(
    tiny: Callable, made_call: Callable, name: str, size: tuple[int, int, int]
) -> None:
    call = made_call(name, size)
    out = call(tiny(name), taps=(2,))
    assert out.prediction.shape == (3, 8, *size)
    assert out.prediction.isfinite().all()
    places = -(-size[1] // 2) * -(-size[2] // 2)
    assert out.taps[2].shape == (3, size[0], places, 24)


def test_odd_latents_are_filled_up_with_zeros(
    tiny: Callable, made_call: Callable, name: str
) -> None:
    model, call = tiny(name), made_call(name, (3, 3, 5))
    latents, *others = call.positional
    filled = torch.nn.functional.pad(latents, (0, 1, 0, 1))
    expected = model(filled, *others, **call.named).prediction[..., :3, :5]
    torch.testing.assert_close(call(model).prediction, expected)


@pytest.mark.parametrize("qk_norm", [True, False])
def test_without_normalised_queries(
    tiny: Callable, made_call: Callable, name: str, qk_norm: bool
) -> None:
    model = tiny(name, qk_norm=qk_norm)
    assert any("q_norm" in key for key in model.state_dict()) == qk_norm
    assert made_call(name)(model).prediction.isfinite().all()


class TestFullSize:
    """Numbers of parameters and names of the published networks, without their memory."""

    @staticmethod
    def made(network: Any) -> tuple[dict[str, torch.Size], int]:
        with torch.device("meta"):
            model = network.Config().build()
        shapes = {key: value.shape for key, value in model.state_dict().items()}
        return shapes, sum(parameter.numel() for parameter in model.parameters())

    def test_stdit3(self) -> None:
        shapes, parameters = self.made(STDiT3)
        assert len(shapes) == 973
        assert parameters == 1_207_643_936
        expected = {
            "rope.freqs": (36,),
            "x_embedder.proj.weight": (1152, 4, 1, 2, 2),
            "t_embedder.mlp.0.weight": (1152, 256),
            "t_embedder.mlp.2.weight": (1152, 1152),
            "fps_embedder.mlp.0.weight": (1152, 256),
            "t_block.1.weight": (6912, 1152),
            "y_embedder.y_embedding": (300, 4096),
            "y_embedder.y_proj.fc1.weight": (1152, 4096),
            "final_layer.scale_shift_table": (2, 1152),
            "final_layer.linear.weight": (32, 1152),
        }
        for block in ("spatial_blocks.27.", "temporal_blocks.27."):
            expected |= {
                block + "scale_shift_table": (6, 1152),
                block + "attn.qkv.weight": (3456, 1152),
                block + "attn.q_norm.weight": (72,),
                block + "attn.k_norm.weight": (72,),
                block + "attn.proj.weight": (1152, 1152),
                block + "cross_attn.q_linear.weight": (1152, 1152),
                block + "cross_attn.kv_linear.weight": (2304, 1152),
                block + "cross_attn.proj.bias": (1152,),
                block + "mlp.fc1.weight": (4608, 1152),
                block + "mlp.fc2.weight": (1152, 4608),
            }
        assert {key: tuple(shapes[key]) for key in expected} == expected
        assert not [key for key in shapes if "pos_embed" in key]

    def test_stdit2(self) -> None:
        shapes, parameters = self.made(STDiT2)
        assert len(shapes) == 707
        assert parameters == 767_452_064
        expected = {
            "rope.freqs": (36,),
            "t_block_temp.1.weight": (3456, 1152),
            "csize_embedder.mlp.2.weight": (384, 384),
            "ar_embedder.mlp.2.weight": (384, 384),
            "fl_embedder.mlp.2.weight": (1152, 1152),
            "fps_embedder.mlp.2.weight": (1152, 1152),
            "y_embedder.y_embedding": (200, 4096),
            "blocks.27.scale_shift_table_temporal": (3, 1152),
            "blocks.27.attn_temp.q_norm.weight": (72,),
        }
        assert {key: tuple(shapes[key]) for key in expected} == expected

    def test_stdit(self) -> None:
        shapes, parameters = self.made(STDiT)
        assert len(shapes) == 550
        # Published as "724 M", counted in units of 2**20.
        assert parameters == 759_620_768
        assert parameters // 2**20 == 724
        assert shapes["pos_embed"] == (1, 256, 1152)
