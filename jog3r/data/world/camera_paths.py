"""Camera paths with the step sizes and turns of real house tours.

The distributions are fitted to the 21 RealEstate10K paths whose statistics
`benchmarks/world_cameras.py` prints beside ours: rotation per frame, direction of travel against
the viewing direction, field of view.
"""

import math
from dataclasses import dataclass

import numpy as np

from jog3r.data.world.scene import Scene

# Camera move -> share of clips, direction of travel in the camera's axes, sign of the yaw.
MOVES: dict[str, tuple[float, tuple[float, float, float], float]] = {
    "moves forward": (0.46, (0.0, 0.0, 1.0), 0.0),
    "moves backward": (0.08, (0.0, 0.0, -1.0), 0.0),
    "moves left": (0.08, (-1.0, 0.0, 0.0), 0.0),
    "moves right": (0.08, (1.0, 0.0, 0.0), 0.0),
    "rises": (0.03, (0.0, -1.0, 0.0), 0.0),
    "descends": (0.03, (0.0, 1.0, 0.0), 0.0),
    "orbits left": (0.06, (-1.0, 0.0, 0.0), 1.0),
    "orbits right": (0.06, (1.0, 0.0, 0.0), -1.0),
    "turns left": (0.06, (0.0, 0.0, 1.0), -1.0),
    "turns right": (0.06, (0.0, 0.0, 1.0), 1.0),
}


@dataclass(frozen=True, kw_only=True)
class PathConfig:
    """How cameras move; angles in degrees, lengths in metres, rates per frame.

    Args:
        frames: Length of a full path.
        yaw_median_deg: Median turn per frame of clips that are not orbits (log-normal).
        yaw_spread: Standard deviation of its logarithm.
        step_median: Median travel per frame (log-normal).
        step_spread: Standard deviation of its logarithm.
        spread_deg: Standard deviation of the direction of travel about the named move, each of two
            angles.
        fov_median_deg: Median vertical field of view.
        fov_spread_deg: Its standard deviation; cut at 42 and 72 degrees.
        handheld_share: Share of clips with a trembling hand.
        clearance: Smallest distance of any camera to any surface.
    """

    frames: int = 16
    yaw_median_deg: float = 1.25
    yaw_spread: float = 1.2
    step_median: float = 0.055
    step_spread: float = 0.6
    spread_deg: float = 9.0
    fov_median_deg: float = 58.8
    fov_spread_deg: float = 2.5
    handheld_share: float = 0.4
    clearance: float = 0.35


@dataclass(frozen=True)
class CameraPath:
    """`world_from_camera` `(T, 4, 4)` float64, vertical field of view [deg], name of the move."""

    world_from_camera: np.ndarray
    fov_deg: float
    move: str


def sample_path(rng: np.random.Generator, scene: Scene, config: PathConfig) -> CameraPath:
    """Draw a path that keeps clear of every surface.

    Paths that come too close are drawn again; after every eighth failure they also get shorter, so
    the search ends.

    Raises:
        RuntimeError: No start leaves room for a camera (the scene has no free space).
    """
    moves = list(MOVES)
    shares = np.asarray([MOVES[move][0] for move in moves])
    fov = float(np.clip(rng.normal(config.fov_median_deg, config.fov_spread_deg), 42.0, 72.0))
    move = str(rng.choice(moves, p=shares / shares.sum()))
    for attempt in range(400):
        start = _start(rng, scene)
        path = start @ _motion(rng, move, config, 0.8 ** (attempt // 8))
        if scene.clearance(path[:, :3, 3]).min() >= config.clearance:
            return CameraPath(path, fov, move)
    raise RuntimeError("sample_path: no camera position keeps clear of all surfaces")


def _start(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    """Stand somewhere at hand to eye height and look at one of the things, nearly level."""
    target = (
        scene.objects[scene.things[int(rng.integers(len(scene.things)))].row, 1:4]
        if scene.things
        else np.zeros(3)
    )
    distance, angle = rng.uniform(1.6, 4.6), rng.uniform(0.0, 2.0 * math.pi)
    x, z = target[0] + distance * math.sin(angle), target[2] + distance * math.cos(angle)
    position = np.asarray([x, -rng.uniform(0.8, 1.8), z])
    away = target - position
    yaw = math.atan2(away[0], away[2]) + math.radians(rng.normal(0.0, 9.0))
    level = -math.atan2(away[1], math.hypot(away[0], away[2]))
    pitch = level * rng.uniform(0.4, 1.0) + math.radians(rng.normal(0.0, 3.0))
    transform = np.eye(4)
    transform[:3, :3] = _turn(yaw, pitch, math.radians(rng.normal(0.0, 1.0)))
    transform[:3, 3] = position
    return transform


def _motion(rng: np.random.Generator, move: str, config: PathConfig, shrink: float) -> np.ndarray:
    """The path relative to its first camera, `(T, 4, 4)`."""
    count = config.frames
    _, direction, sign = MOVES[move]
    step = config.step_median * math.exp(config.step_spread * rng.normal()) * shrink
    rate = math.radians(config.yaw_median_deg * math.exp(config.yaw_spread * rng.normal()))
    if "orbits" in move:  # keep a point at a middle distance in view
        rate = sign * step / rng.uniform(1.6, 3.2)
    elif "turns" in move:
        rate, step = sign * max(2.0 * rate, math.radians(1.2)), 0.4 * step
    else:
        rate *= rng.choice([-1.0, 1.0])
    rate = float(np.clip(rate, -math.radians(5.0), math.radians(5.0)))
    off_yaw, off_pitch = np.radians(rng.normal(0.0, config.spread_deg, size=2))
    aim = _turn(off_yaw, off_pitch, 0.0) @ np.asarray(direction)
    yaw = np.cumsum(rate * _sway(rng, count, 0.35))
    pitch = np.cumsum(rate * 0.12 * rng.normal() * _sway(rng, count, 0.5))
    roll = np.cumsum(rate * 0.06 * rng.normal() * _sway(rng, count, 0.5))
    pace = step * _sway(rng, count, 0.3)
    shake = np.zeros((count, 3))
    if rng.random() < config.handheld_share:
        tremble = math.radians(rng.uniform(0.05, 0.35))
        yaw, pitch, roll = (angle + tremble * _tremor(rng, count) for angle in (yaw, pitch, roll))
        strength = rng.uniform(0.001, 0.006)
        shake = strength * np.stack([_tremor(rng, count) for _ in range(3)], axis=1)
    angles = zip(yaw - yaw[0], pitch - pitch[0], roll - roll[0], strict=True)
    rotations = np.stack([_turn(*each) for each in angles])
    steps = pace[1:, None] * (rotations[:-1] @ aim)
    path = np.tile(np.eye(4), (count, 1, 1))
    path[:, :3, :3] = rotations
    path[1:, :3, 3] = np.cumsum(steps, axis=0) + (shake - shake[0])[1:]
    return path


def _sway(rng: np.random.Generator, count: int, strength: float) -> np.ndarray:
    """A slowly varying positive factor around one."""
    phase, cycles = rng.uniform(0.0, 2.0 * math.pi), rng.uniform(0.3, 1.2)
    return 1.0 + strength * np.sin(phase + 2.0 * math.pi * cycles * np.arange(count) / count)


def _tremor(rng: np.random.Generator, count: int) -> np.ndarray:
    """Noise with a correlation of about two frames and unit scale."""
    noise = rng.normal(size=count + 4)
    return np.convolve(noise, [0.1, 0.25, 0.3, 0.25, 0.1], mode="valid")[:count] * 2.0


def _turn(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Turn by yaw, then pitch, then roll [rad].

    Positive yaw, about y, looks right; positive pitch, about x, looks up.
    """
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (math.cos, math.sin))
    about_y = np.asarray([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    about_x = np.asarray([[1.0, 0.0, 0.0], [0.0, cp, -sp], [0.0, sp, cp]])
    about_z = np.asarray([[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]])
    return about_y @ about_x @ about_z
