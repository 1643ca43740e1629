"""Configs survive JSON, and strangers are refused."""

import json
from typing import Any

import pytest

from jog3r.config import from_plain, to_plain
from jog3r.errors import InputError
from jog3r.model import JOG3R


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
    ],
)
def test_strangers(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_plain(JOG3R.Config, values)
