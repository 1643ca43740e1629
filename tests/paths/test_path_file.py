"""The description of camera paths: there and back, units in the keys, and errors that name them."""

import contextlib
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jog3r.errors import FileError, InputError, SaveError
from jog3r.paths import (
    Dolly,
    Eased,
    Handheld,
    Keyframes,
    Move,
    Orbit,
    Pan,
    Reversed,
    Series,
    Together,
    Zoom,
    cameras_along,
    describe,
    parse_move,
    read_path,
    write_path,
)
from tests.geometry.test_camera_moves import TIMES, moves, random_keyframes, same

ORBIT = {"move": "orbit", "angle_deg": 90, "radius_world": 2.0}


def written(folder: Path, description: object) -> Path:
    path = folder / "path.json"
    path.write_text(json.dumps({"camera_path": description}))
    return path


@settings(deadline=None, max_examples=15)
@given(a=moves(), b=moves())
def test_descriptions_round_trip(a: Move, b: Move) -> None:
    whole = Series(
        moves=(a, Together(moves=(b, Reversed(of=a))), Eased(of=b, easing="in-out")),
        durations=(1.0, 2.0, 0.5),
    )
    again = parse_move(json.loads(json.dumps(describe(whole))))
    assert again == whole


def test_files_round_trip(tmp_path: Path) -> None:
    listed = Keyframes(
        world_from_camera=random_keyframes(1), times=(0, 1, 2, 4, 5), zoom=(1, 1, 2, 1, 3)
    )
    whole = Series(moves=(Dolly(distance_world=1.0), listed, Handheld(seed=4)))
    write_path(tmp_path / "path.json", whole)
    same(read_path(tmp_path / "path.json"), whole, 1e-12)


def test_lengths_may_be_in_median_depths(tmp_path: Path) -> None:
    in_depths = {"move": "orbit", "angle_deg": 90, "radius_depths": 0.5}
    path = written(tmp_path, {"move": "series", "moves": [in_depths]})
    read = read_path(path, median_depth_world=4.0)
    assert read == Series(moves=(Orbit(angle_deg=90.0, radius_world=2.0),))
    with pytest.raises(InputError, match="radius_depths: expected a scene"):
        read_path(path)
    with pytest.raises(InputError, match="median_depth_world: expected above 0"):
        parse_move(in_depths, median_depth_world=0.0)
    with pytest.raises(InputError, match="expected a scene"):
        parse_move(in_depths)


def end(move: Move) -> Tensor:
    return move.at(TIMES).start_from_camera[-1]


def test_keyframes_by_angles_turn_as_the_moves_do() -> None:
    listed = {
        "move": "keyframes",
        "keyframes": [
            {"position_world": [1, 1, 1]},
            {"position_depths": [1, 0.5, 2], "pan_deg": 30, "tilt_deg": 10, "roll_deg": 5},
        ],
    }
    path = parse_move(listed, median_depth_world=2.0)
    turns = [{"pan": 30.0}, {"tilt": 10.0}, {"roll": 5.0}]
    moves = [{"move": name, "angle_deg": angle} for turn in turns for name, angle in turn.items()]
    turned = end(parse_move({"move": "together", "moves": moves}))
    torch.testing.assert_close(end(path)[:3, :3], turned[:3, :3])
    assert end(path)[:3, 3].tolist() == [1.0, 0.0, 3.0]
    assert isinstance(path, Keyframes)
    assert path.times is None


def test_a_camera_file_is_found_beside_the_description(tmp_path: Path) -> None:
    path = Together(moves=(Dolly(distance_world=1.0), Pan(angle_deg=40.0), Zoom(factor=2.0)))
    start = torch.eye(4)
    start[:3, 3] = torch.tensor([5.0, 6.0, 7.0])
    cameras = cameras_along(path, 9, image_size=(48, 64), fov_y_deg=60.0, world_from_start=start)
    for format, keeps_zoom in (("realestate10k", True), ("json", True), ("tum", False)):
        cameras.save(tmp_path / "walk", format)  # type: ignore[arg-type]
        entry = {"move": "cameras", "file": "walk", "format": format, "scale": 10.0}
        read = read_path(written(tmp_path, entry)).at(TIMES)
        wanted = path.at(TIMES)
        wanted.start_from_camera[:, :3, 3] *= 10
        torch.testing.assert_close(
            read.start_from_camera, wanted.start_from_camera, rtol=0, atol=1e-4
        )
        torch.testing.assert_close(
            read.zoom, wanted.zoom if keeps_zoom else torch.ones(9).double(), rtol=0, atol=1e-5
        )


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"move": "fly"}, "camera_path.move: expected one of dolly, .*cameras, got 'fly'"),
        ({"angle_deg": 3}, "camera_path.move: expected one of"),
        ([1], "camera_path: expected an object"),
        ({"move": "orbit", "angle_deg": 90}, "expected radius_world .or radius_depths. for orbit"),
        (ORBIT | {"angle_rad": 1}, "angle_rad: expected angle_deg, got 'angle_rad'; .* the unit"),
        (ORBIT | {"radius_m": 1}, r"radius_m: expected radius_world \(or radius_depths\)"),
        (ORBIT | {"radius": 1}, "radius: expected radius_world"),
        (ORBIT | {"colour": 1}, "colour: expected one of angle_deg, radius_world"),
        (ORBIT | {"angle_deg": "90"}, "angle_deg: expected a finite number, got '90'"),
        (ORBIT | {"angle_deg": True}, "angle_deg: expected a finite number"),
        (ORBIT | {"angle_deg": float("nan")}, "angle_deg: expected a finite number, got nan"),
        (ORBIT | {"radius_world": -1}, "camera_path.radius_world: expected above 0"),
        ({"move": "handheld", "seed": 1.5}, "seed: expected a whole number"),
        ({"move": "series", "moves": []}, "moves: expected a list with entries"),
        ({"move": "series", "moves": [ORBIT, {"move": "x"}]}, r"moves\[1\].move: expected one of"),
        ({"move": "series", "moves": [ORBIT], "durations": [0]}, "durations: expected numbers"),
        ({"move": "eased", "easing": "slow", "of": ORBIT}, "easing: expected one of"),
        ({"move": "reversed", "of": {"move": "pan"}}, "camera_path.of: expected angle_deg"),
        ({"move": "keyframes"}, "keyframes: expected a list"),
        ({"move": "keyframes", "keyframes": [{}]}, r"keyframes\[0\].position_world: expected 3"),
        (
            {"move": "keyframes", "keyframes": [{"position_world": [0, 0, float("nan")]}]},
            "expected 3 finite",
        ),
        (
            {"move": "keyframes", "keyframes": [{"position_world": [0, 0, 0], "pan_rad": 1}]},
            "expected pan_deg",
        ),
        (
            {
                "move": "keyframes",
                "keyframes": [
                    {"position_world": [0, 0, 0], "pan_deg": 1, "rotation": torch.eye(3).tolist()}
                ],
            },
            "expected rotation or angles",
        ),
        (
            {
                "move": "keyframes",
                "keyframes": [
                    {"position_world": [0, 0, 0], "time": 1},
                    {"position_world": [1] * 3},
                ],
            },
            "a time in all or none",
        ),
        ({"move": "keyframes", "frames": []}, "frames: expected one of keyframes"),
        ({"move": "cameras", "format": "tum"}, "file: expected text, got None"),
        ({"move": "cameras", "file": "none", "format": "tum"}, "expected a text file"),
        ({"move": "cameras", "file": "none", "format": "obj"}, "format: expected one of"),
    ],
)
def test_wrong_descriptions_name_the_entry(tmp_path: Path, entry: object, message: str) -> None:
    with pytest.raises(FileError, match=message):
        read_path(written(tmp_path, entry))


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.floats(), max_size=3),
    st.dictionaries(st.sampled_from(["move", "x"]), st.just("pan"), max_size=1),
)


@settings(deadline=None, max_examples=150)
@given(place=st.integers(0, 7), key=st.sampled_from(["", "move", "new_deg"]), value=VALUES)
def test_whatever_a_description_holds_it_is_a_move_or_one_error(place, key, value) -> None:
    keyframe = {"position_world": [0, 0, 1], "pan_deg": 3, "time": 1}
    parts: list[dict] = [
        {"move": "orbit", "angle_deg": 9, "radius_depths": 1},
        {"move": "handheld", "seed": 3, "swings": 2},
        {"move": "keyframes", "keyframes": [keyframe]},
        {"move": "reversed", "of": {"move": "zoom", "factor": 2}},
        {"move": "cameras", "file": "none.txt", "format": "tum"},
        {"move": "together", "moves": [{"move": "roll", "angle_deg": 9}]},
        keyframe,
        {"move": "series", "moves": [{"move": "tilt", "angle_deg": 9}], "durations": [1]},
    ]
    part = parts[place]
    part[key or list(part)[-1]] = value
    whole = {
        "move": "series",
        "moves": [p for p in parts[:6] if p["move"] != "cameras" or place == 4],
    }
    whole["moves"].append(parts[7])
    with contextlib.suppress(InputError, FileError):
        assert isinstance(parse_move(whole, median_depth_world=2.0), Series)


def test_endless_nesting_is_refused(tmp_path: Path) -> None:
    text = '{"move": "reversed", "of": ' * 400 + '{"move": "pan", "angle_deg": 1}' + "}" * 400
    (tmp_path / "path.json").write_text('{"camera_path": ' + text + "}")
    with pytest.raises(FileError, match="at most 50 deep"):
        read_path(tmp_path / "path.json")


def test_a_length_given_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, ORBIT | {"radius_depths": 1})
    with pytest.raises(FileError, match="in two units"):
        read_path(path, median_depth_world=1.0)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "path.json"
    for text in ("{}", '{"frames": []}', '{"camera_path": ', "[]"):
        path.write_text(text)
        with pytest.raises(FileError, match=r"path\.json"):
            read_path(path)
    with pytest.raises(SaveError):
        write_path(tmp_path / "path.json" / "below", Dolly(distance_world=1.0))
