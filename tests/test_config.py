"""Configs survive JSON, and strangers are refused."""

import dataclasses
import json
from typing import Any, Literal

import pytest

from jog3r.config import from_plain, to_plain
from jog3r.errors import InputError
from jog3r.model import JOG3R
from jog3r.stitch import StitchedModel


def test_round_trip_through_json(tiny_model: Any) -> None:
    text = json.dumps(to_plain(tiny_model.config))
    again = from_plain(JOG3R.Config, json.loads(text))
    assert json.dumps(to_plain(again)) == text
    assert again.autoencoder == tiny_model.config.autoencoder
    assert isinstance(again.network, StitchedModel.Config)
    assert again.network.build().state_dict().keys() == tiny_model.network.state_dict().keys()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_sise": [8, 8]}, "image_sise"),
        ({"schedule": {"beta": 1}}, r"config\.schedule: expected keys of"),
        ({"schedule": [1, 2]}, r"config\.schedule: expected keys and values, got list"),
        ({"schedule": {"prediction_type": "score"}}, "schedule: expected .* prediction_type"),
        ({"schedule": {"beta_start": 0.5, "beta_end": 0.1}}, "beta_start <= beta_end"),
        ({"schedule": {"steps": 100}}, "schedule: expected steps from 101 to 100000, got 100"),
        ({"schedule": {"steps": 10**9}}, "schedule: expected steps from 101"),
        ({"schedule": {"steps": 1000.0}}, r"config\.schedule\.steps: expected int, got 1000\.0"),
        ({"schedule": {"beta_end": 10**400}}, "beta_end: expected float"),
        ({"schedule": {"prediction_type": None}}, "prediction_type: expected .*v_prediction"),
        ({"image_size": None}, r"image_size: expected tuple\[int, int\], got None"),
        ({"image_size": "64"}, "image_size: expected"),
        ({"image_size": 64}, "image_size: expected"),
        ({"image_size": [64]}, "image_size: expected"),
        ({"image_size": [64, 64, 64]}, "image_size: expected"),
        ({"image_size": [64.0, 64.0]}, r"image_size\[0\]: expected int, got 64\.0"),
        ({"image_size": [-64, 64]}, "image_size: expected finite numbers above 0"),
        ({"image_size": [0, 0]}, "image_size: expected finite numbers above 0"),
        ({"fps": 0}, "fps: expected finite numbers above 0"),
        ({"fps": "8"}, "fps: expected float, got '8'"),
        ({"fps": float("inf")}, "fps: expected float, got inf"),
        ({"num_frames": 0}, "num_frames: expected finite numbers above 0"),
        ({"num_frames": None}, "num_frames: expected int"),
        ({"num_frames": True}, "num_frames: expected int, got True"),
        ({"licence": 5}, "licence: expected str"),
        ({"network": {"tap": 0}}, r"network\.tap: expected finite numbers above 0"),
        ({"network": {"tap": []}}, r"network\.tap: expected int"),
        ({"network": {"decoder_heads": -1}}, r"network\.decoder_heads: expected"),
        ({"network": {"backbone_config": []}}, "backbone_config: expected dict"),
        ({"text_encoder": {"layers": "x"}}, r"text_encoder\.layers: expected int"),
        ({"text_encoder": {"max_tokens": None}}, r"text_encoder\.max_tokens: expected int"),
        ({"text_encoder": {"width": 4, "heads": 8}}, "heads: expected at most .* width of 4"),
        ({"autoencoder": {"norm_groups": -1}}, r"autoencoder\.norm_groups: expected"),
        ({"autoencoder": {"block_out_channels": []}}, "block_out_channels: expected finite"),
        ({"autoencoder": {"attention": 1}}, "attention: expected bool, got 1"),
    ],
)
def test_strangers(values: dict[str, Any], message: str, as_a_user: None) -> None:
    with pytest.raises(InputError, match=message):
        from_plain(JOG3R.Config, values)


def test_a_value_may_be_optional() -> None:
    @dataclasses.dataclass
    class Optional:
        sizes: tuple[int, ...] | None = ()

    assert from_plain(Optional, {"sizes": None}) == Optional(None)
    assert from_plain(Optional, {"sizes": [1, 2]}) == Optional((1, 2))
    with pytest.raises(InputError, match=r"sizes\[0\]: expected int, got '1'"):
        from_plain(Optional, {"sizes": ["1"]})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
    kind: Literal["round"] = "round"
    radius: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Square:
    kind: Literal["square"] = "square"
    side: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Holder:
    shape: Round | Square | None = None


class TestAlternatives:
    @pytest.mark.parametrize("shape", [Round(radius=2.0), Square(side=3.0), None])
    def test_round_trip(self, shape: Round | Square | None) -> None:
        holder = Holder(shape=shape)
        assert from_plain(Holder, json.loads(json.dumps(to_plain(holder)))) == holder

    def test_without_a_kind_it_is_the_first(self) -> None:
        assert from_plain(Holder, {"shape": {"radius": 2.0}}) == Holder(shape=Round(radius=2.0))

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            (
                {"kind": "oval"},
                r"config\.shape\.kind: expected one of .*round.*square.*, got 'oval'",
            ),
            ({"kind": ["round"]}, r"config\.shape\.kind: expected"),
            ({"kind": "square", "radius": 1.0}, r"config\.shape: expected keys of"),
            ({"side": 1.0}, r"config\.shape: expected keys of"),
            ("round", r"config\.shape: expected keys and values, got str"),
        ],
    )
    def test_strangers(self, shape: Any, message: str, as_a_user: None) -> None:
        with pytest.raises(InputError, match=message):
            from_plain(Holder, {"shape": shape})


def test_what_is_left_out_keeps_its_default() -> None:
    config = from_plain(JOG3R.Config, {"network": {"tap": 3}, "image_size": [32, 48]})
    assert config.network == StitchedModel.Config(tap=3)
    assert config.image_size == (32, 48)
    assert config.schedule == JOG3R.Config().schedule
