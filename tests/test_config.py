"""Configs survive JSON, and strangers are refused."""

import json
from typing import Any

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
    assert again.network.build().state_dict().keys() == tiny_model.network.state_dict().keys()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_sise": [8, 8]}, "image_sise"),
        ({"schedule": {"beta": 1}}, r"config\.schedule: expected keys of"),
        ({"schedule": [1, 2]}, r"config\.schedule: expected keys and values, got list"),
        ({"schedule": None}, r"config\.schedule: expected keys and values, got NoneType"),
        ({"schedule": {"prediction_type": "score"}}, "schedule: expected .* prediction_type"),
        ({"schedule": {"beta_start": 0.5, "beta_end": 0.1}}, "beta_start <= beta_end"),
        ({"schedule": {"steps": 0}}, "schedule: expected steps >= 1"),
    ],
)
def test_strangers(values: dict[str, Any], message: str, as_a_user: None) -> None:
    with pytest.raises(InputError, match=message):
        from_plain(JOG3R.Config, values)


def test_what_is_left_out_keeps_its_default() -> None:
    config = from_plain(JOG3R.Config, {"network": {"tap": 3}, "image_size": [32, 48]})
    assert config.network == StitchedModel.Config(tap=3)
    assert config.image_size == (32, 48)
    assert config.schedule == JOG3R.Config().schedule
