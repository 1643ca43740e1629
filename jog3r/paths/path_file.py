"""Camera paths as JSON that people can read and write.

::

    {"camera_path": {"move": "series", "moves": [
      {"move": "dolly", "distance_depths": 0.5},
      {"move": "orbit", "angle_deg": 90, "radius_world": 2.0}]}}

`move` names the move and the other keys are its arguments, with the unit in the name: `_deg`;
`_world` for lengths in the unit of the world; in place of it `_depths` for multiples of the median
depth of the scene, for files that fit every scene. Besides the moves of `jog3r.geometry`

    {"move": "keyframes", "keyframes": [{"position_world": [0, 0, 0]},
      {"position_world": [1, 0, 2], "pan_deg": 30, "tilt_deg": 0, "roll_deg": 0, "zoom": 1.2}]}
    {"move": "cameras", "file": "walk.txt", "scale": 0.1}

goes smoothly through cameras that are listed (`rotation`, world_from_camera as 3x3 numbers, may
stand in place of the angles, and `time` may say when, in any unit) or that a camera file holds,
which is sought beside the description. `format` may name the format of that file.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jog3r.errors import FileError, InputError
from jog3r.export.atomic import atomic_file
from jog3r.export.cameras import format_named
from jog3r.export.cameras_json import read_json
from jog3r.geometry import rigid
from jog3r.geometry.camera_moves import (
    Dolly,
    Handheld,
    Move,
    Pan,
    Pedestal,
    Roll,
    Tilt,
    Truck,
    Zoom,
)
from jog3r.geometry.camera_orbits import Arc, Orbit, Spiral
from jog3r.geometry.camera_paths import Eased, Reversed, Series, Together
from jog3r.geometry.keyframes import Keyframes
from jog3r.paths.recorded import read_trajectory, recorded

ROOT = "camera_path"
PLAIN: dict[str, type[Move]] = {
    kind.__name__.lower(): kind
    for kind in (
        *(Dolly, Truck, Pedestal, Pan, Tilt, Roll, Zoom, Orbit, Arc, Spiral, Handheld),
        *(Series, Together, Reversed, Eased),
    )
}
MOVES = (*PLAIN, "keyframes", "cameras")
WORLD, DEPTHS = "_world", "_depths"
MAX_NESTING = 50
"""How deep moves may lie in moves."""
_KEYFRAME_KEYS = ("time", "position", "rotation", "pan_deg", "tilt_deg", "roll_deg", "zoom")


def write_path(path: str | Path, move: Move) -> None:
    """Write a camera path with all digits; lengths come out in the unit of the world.

    Args:
        path: to create or replace.
        move: to write.

    Raises:
        SaveError: the file could not be written; nothing partial is left.
    """
    text = json.dumps({ROOT: describe(move)}, indent=2)
    with atomic_file(path) as file:
        file.write((text + "\n").encode())


def read_path(path: str | Path, *, median_depth_world: float | None = None) -> Move:
    """Read a camera path.

    Args:
        path: to read.
        median_depth_world: of the scene that the path is for, in the unit of its world: what
            `_depths` means. May be left out for files without such lengths.

    Raises:
        InputError: a file with `_depths` without a median depth, or one that is not above 0.
        FileError: missing or truncated file, an unknown move, a missing or unknown key, a length or
            angle in another unit, NaN; names the entry.
    """
    content = read_json(path)
    if list(content) != [ROOT]:
        found = ", ".join(map(repr, content)) or "none"
        raise FileError(f"{path}: expected the one entry {ROOT!r}, got {found}")
    try:
        return parse_move(
            content[ROOT], median_depth_world=median_depth_world, folder=Path(path).parent
        )
    except _NoSceneError:  # the file is fine, an argument is missing
        raise
    except InputError as error:
        raise FileError(f"{path}: {error}") from error


def parse_move(
    entry: Any, *, median_depth_world: float | None = None, folder: Path | None = None
) -> Move:
    """Build a move from its description.

    Args:
        entry: as in the file.
        median_depth_world: as in `read_path`.
        folder: where camera files are sought; None for the working folder.

    Raises:
        InputError: as FileError of `read_path`.
        FileError: a camera file that is missing, truncated or foreign.

    Example:
        >>> parse_move({"move": "dolly", "distance_depths": 0.5}, median_depth_world=4.0)
        Dolly(distance_world=2.0)
    """
    if median_depth_world is not None and not 0 < median_depth_world < math.inf:
        raise InputError(f"median_depth_world: expected above 0, got {median_depth_world}")
    return _Parser(median_depth_world, folder or Path()).move(entry, ROOT)


def describe(move: Move) -> dict[str, Any]:
    """Return the description of a move, as in the file.

    Example:
        >>> describe(Orbit(angle_deg=90.0, radius_world=2.0))
        {'move': 'orbit', 'angle_deg': 90.0, 'radius_world': 2.0, 'elevation_deg': 0.0}
    """
    if isinstance(move, Keyframes):
        return {"move": "keyframes", "keyframes": _describe_keyframes(move)}
    entry: dict[str, Any] = {"move": type(move).__name__.lower()}
    for field in fields(move):
        value = getattr(move, field.name)
        if isinstance(value, Move):
            value = describe(value)
        elif field.name == "moves":
            value = [describe(part) for part in value]
        if value is not None:
            entry[field.name] = value
    return entry


def _describe_keyframes(move: Keyframes) -> list[dict[str, Any]]:
    entries = []
    for index, camera in enumerate(move.world_from_camera.double()):
        entry: dict[str, Any] = {} if move.times is None else {"time": move.times[index]}
        entry |= {"position_world": camera[:3, 3].tolist(), "rotation": camera[:3, :3].tolist()}
        entry |= {} if move.zoom is None else {"zoom": move.zoom[index]}
        entries.append(entry)
    return entries


class _NoSceneError(InputError):
    """A length in depths, without a scene to measure."""


@dataclass(frozen=True)
class _Parser:
    """One walk through a description; `where` names the entry, as in camera_path.moves[2]."""

    median_depth_world: float | None
    folder: Path

    def move(self, entry: Any, where: str) -> Move:
        if where.count(".") > MAX_NESTING:
            raise InputError(f"{ROOT}: expected moves at most {MAX_NESTING} deep, got more")
        name = _mapping(entry, where).get("move")
        if name not in MOVES:
            raise InputError(f"{where}.move: expected one of {', '.join(MOVES)}, got {name!r}")
        given = {key: value for key, value in entry.items() if key != "move"}
        if name == "keyframes":
            return self._keyframes(given, where)
        if name == "cameras":
            return self._cameras(given, where)
        kind = PLAIN[name]
        known = fields(kind)
        values = self._in_world(given, [field.name for field in known], where)
        for field in known:
            if field.name not in values and field.default is MISSING:
                raise InputError(f"{where}: expected {_spelled(field.name)} for {name}, got none")
        converted = {
            field.name: self._value(values[field.name], field, f"{where}.{field.name}")
            for field in known
            if field.name in values
        }
        return _built(kind, converted, where)

    def _value(self, value: Any, field: "Field[Any]", where: str) -> Any:
        if field.name == "of":
            return self.move(value, where)
        if field.name == "moves":
            parts = _sequence(value, where)
            return tuple(self.move(part, f"{where}[{i}]") for i, part in enumerate(parts))
        if field.name == "durations":
            return tuple(_number(part, where) for part in _sequence(value, where))
        if field.name == "easing":
            return value
        number = _number(value, where)
        if field.type is not int:
            return number
        if not number.is_integer():
            raise InputError(f"{where}: expected a whole number, got {value!r}")
        return int(value)

    def _in_world(self, given: Mapping[str, Any], known: list[str], where: str) -> dict[str, Any]:
        """Return the values by the names of the arguments, lengths in the unit of the world."""
        values: dict[str, Any] = {}
        for key, value in given.items():
            name = key
            if key.endswith(DEPTHS) and key.removesuffix(DEPTHS) + WORLD in known:
                name = key.removesuffix(DEPTHS) + WORLD
                value = self._depths(value, f"{where}.{key}")
            if name not in known:
                raise InputError(f"{where}.{key}: {_advice(key, known)}")
            if name in values:
                raise InputError(f"{where}.{key}: expected the length once, got it in two units")
            values[name] = value
        return values

    def _depths(self, value: Any, where: str) -> Any:
        if self.median_depth_world is None:
            raise _NoSceneError(
                f"{where}: expected a scene whose median depth is the unit, got none; name the"
                f" scene, or give the length as {WORLD}"
            )
        if isinstance(value, list):
            return [_number(part, where) * self.median_depth_world for part in value]
        return _number(value, where) * self.median_depth_world

    def _keyframes(self, given: Mapping[str, Any], where: str) -> Keyframes:
        _only(given, ("keyframes",), where)
        entries = _sequence(given.get("keyframes"), f"{where}.keyframes")
        known = [key if key != "position" else key + WORLD for key in _KEYFRAME_KEYS]
        frames = []
        for index, entry in enumerate(entries):
            place = f"{where}.keyframes[{index}]"
            frames.append(self._in_world(_mapping(entry, place), known, place))
        times = [frame["time"] for frame in frames if "time" in frame]
        if times and len(times) != len(frames):
            raise InputError(f"{where}.keyframes: expected a time in all or none, got {len(times)}")
        cameras = [
            _keyframe(frame, f"{where}.keyframes[{index}]") for index, frame in enumerate(frames)
        ]
        values = {
            "world_from_camera": torch.stack(cameras),
            "times": tuple(_number(time, f"{where}.time") for time in times) or None,
            "zoom": tuple(_number(frame.get("zoom", 1.0), f"{where}.zoom") for frame in frames),
        }
        return _built(Keyframes, values, where)

    def _cameras(self, given: Mapping[str, Any], where: str) -> Keyframes:
        _only(given, ("file", "format", "scale"), where)
        if not isinstance(given.get("file"), str):
            raise InputError(f"{where}.file: expected text, got {given.get('file')!r:.60}")
        if "format" in given:
            _checked_format(given["format"], where)
        found = read_trajectory(self.folder / given["file"], given.get("format"))
        return recorded(found, scale=_number(given.get("scale", 1.0), f"{where}.scale"))


def _keyframe(frame: Mapping[str, Any], where: str) -> Tensor:
    position = _numbers(frame.get("position" + WORLD), (3,), f"{where}.position{WORLD}")
    angles = [key for key in ("pan_deg", "tilt_deg", "roll_deg") if key in frame]
    if "rotation" in frame:
        if angles:
            raise InputError(f"{where}: expected rotation or angles, got rotation and {angles[0]}")
        return rigid(_numbers(frame["rotation"], (3, 3), f"{where}.rotation"), position)
    pan, tilt, roll = (
        _number(frame.get(key, 0.0), f"{where}.{key}")
        for key in ("pan_deg", "tilt_deg", "roll_deg")
    )
    turns = Together(moves=(Pan(angle_deg=pan), Tilt(angle_deg=tilt), Roll(angle_deg=roll)))
    return rigid(turns.at(torch.ones(1)).start_from_camera[0, :3, :3], position)


def _checked_format(name: Any, where: str) -> None:
    try:
        format_named(name)
    except InputError as error:
        raise InputError(f"{where}.{error}") from error


def _built(kind: type[Any], values: Mapping[str, Any], where: str) -> Any:
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{where}.{error}") from error


def _advice(key: str, known: list[str]) -> str:
    """Say what is wrong about a key: its unit, if the rest of the name is right."""
    stem = key.rpartition("_")[0] or key
    same = [name for name in known if name.rpartition("_")[0] in (stem, key)]
    wanted = " or ".join(map(_spelled, same)) or f"one of {', '.join(map(_spelled, known))}"
    return f"expected {wanted}, got {key!r}" + ("; the name ends in the unit" if same else "")


def _spelled(name: str) -> str:
    return f"{name} (or {name.removesuffix(WORLD)}{DEPTHS})" if name.endswith(WORLD) else name


def _only(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in given:
        if key not in known:
            raise InputError(f"{where}.{key}: {_advice(key, list(known))}")


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: expected an object with named entries, got {value!r:.60}")
    return value


def _sequence(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise InputError(f"{where}: expected a list with entries, got {value!r:.60}")
    return value


def _number(value: Any, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{where}: expected a finite number, got {value!r:.60}")
    return number


def _numbers(value: Any, shape: tuple[int, ...], where: str) -> Tensor:
    try:
        numbers = torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        numbers = torch.empty(0)
    if tuple(numbers.shape) != shape or not bool(torch.isfinite(numbers).all()):
        size = "x".join(map(str, shape))
        raise InputError(f"{where}: expected {size} finite numbers, got {value!r:.60}")
    return numbers
