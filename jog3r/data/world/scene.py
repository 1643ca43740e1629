"""Scenes of the controlled world: a place, a light, three to eight solid objects."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from jog3r.data.world import kinds
from jog3r.data.world.materials import (
    COLOURS,
    Material,
    ground_material,
    object_material,
    wall_materials,
)

# Columns of an object: kind, centre x y z, half sizes x y z (a sphere's radius; radius and half
# height of cylinder and cone), cosine and sine of its turn about the vertical, first material,
# squared radius of its bounding sphere.
OBJECT_COLUMNS = 11
SHAPES = {
    "sphere": kinds.SPHERE,
    "cube": kinds.BOX,
    "cylinder": kinds.CYLINDER,
    "cone": kinds.CONE,
}
ROOM_PLACES = ("brick room", "white room", "wooden room", "tiled room", "painted room", "gallery")
OPEN_PLACES = ("green field", "desert", "courtyard", "snowy field")
MOODS = ("bright light", "warm light", "cold light", "dim light")


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """What scenes are drawn from.

    Args:
        min_objects: Fewest solid objects in a scene.
        max_objects: Most solid objects in a scene.
        open_share: Share of scenes on open ground; the others are rooms.
        photo_share: Share of walls, floors and objects that carry a photograph, where photographs
            are given.
        moving_share: Share of scenes in which one object moves (0: all scenes are static).
    """

    min_objects: int = 3
    max_objects: int = 8
    open_share: float = 0.25
    photo_share: float = 0.15
    moving_share: float = 0.0


@dataclass(frozen=True)
class SolidObject:
    """One named thing that captions may speak of.

    Attributes:
        shape: A key of `SHAPES`.
        colour: Its name, or "patterned" where it carries a photograph.
        row: Its index in `Scene.objects`.
        radius: On the floor [m].
        velocity: Metres per frame.
    """

    shape: str
    colour: str
    row: int
    radius: float
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass
class Scene:
    """A scene as the caster reads it, with the names captions are made of.

    Attributes:
        objects: `(N, 11)` float64, columns as OBJECT_COLUMNS says. Row 0 is the ground or the room.
        materials: `(M, 13)` float64, see `Material.row`.
        light: `(20,)` float64: kind, position or direction, lamp colour, ambient from above,
            ambient from below, haze per metre, horizon colour, zenith colour.
        photos: `(P, h, w, 3)` float32 linear colours.
        place: One of `ROOM_PLACES` or `OPEN_PLACES`.
        mood: One of `MOODS`.
        things: The objects with a name.
    """

    objects: np.ndarray
    materials: np.ndarray
    light: np.ndarray
    photos: np.ndarray
    place: str
    mood: str
    things: list[SolidObject] = field(default_factory=list)

    def at_frames(self, count: int) -> np.ndarray:
        """Give the rows per frame: `(1, N, 11)` where nothing moves, else `(count, N, 11)`."""
        moving = [thing for thing in self.things if any(thing.velocity)]
        if not moving:
            return self.objects[None]
        rows = np.repeat(self.objects[None], count, axis=0)
        for thing in moving:
            rows[:, thing.row, 1:4] += np.arange(count)[:, None] * np.asarray(thing.velocity)
        return rows

    def clearance(self, points: np.ndarray) -> np.ndarray:
        """Give the smallest distance [m] from points `(n, 3)` to any surface.

        It is negative inside a body and outside the room.
        """
        return np.min([_signed_distance(row, points) for row in self.objects], axis=0)


def sample_scene(rng: np.random.Generator, config: SceneConfig, photos: np.ndarray) -> Scene:
    """Draw one scene."""
    is_open = rng.random() < config.open_share
    place = str(rng.choice(OPEN_PLACES if is_open else ROOM_PLACES))
    mood = str(rng.choice(MOODS))
    has_photo = len(photos) > 0 and rng.random() < 2.0 * config.photo_share
    builder = _Builder(rng, photos, config.photo_share if has_photo else 0.0)
    extent = builder.add_ground(place) if is_open else builder.add_room(place)
    builder.add_things(
        int(rng.integers(config.min_objects, config.max_objects + 1)), extent, is_open
    )
    if rng.random() < config.moving_share:
        builder.set_in_motion()
    light = _sun(rng, mood, place) if is_open else _lamp(rng, mood, builder.rows[0])
    return Scene(
        np.asarray(builder.rows),
        np.asarray(builder.materials),
        light,
        photos,
        place,
        mood,
        builder.things,
    )


class _Builder:
    """Collect rows while a scene is drawn."""

    def __init__(self, rng: np.random.Generator, photos: np.ndarray, photo_share: float) -> None:
        self.rng, self.photos, self.photo_share = rng, photos, photo_share
        self.rows: list[list[float]] = []
        self.materials: list[list[float]] = []
        self.things: list[SolidObject] = []

    def add(
        self,
        kind: int,
        centre: tuple[float, float, float],
        half: tuple[float, float, float],
        turn: float,
        *materials: Material,
    ) -> None:
        """Add a body: its kind, centre and half sizes [m], turn about the vertical [rad]."""
        first = len(self.materials)
        self.materials += [material.row() for material in materials]
        reach = _squared_reach(kind, half)
        self.rows.append([kind, *centre, *half, math.cos(turn), math.sin(turn), first, reach])

    def photo(self, metres: float) -> Material | None:
        """Draw, now and then, a photograph that is about `metres` wide."""
        if self.rng.random() >= self.photo_share:
            return None
        return Material.photograph(int(self.rng.integers(len(self.photos))), metres, self.rng)

    def add_ground(self, place: str) -> tuple[float, float]:
        """Lay open ground; return how far objects stand from its middle [m]."""
        rng = self.rng
        self.add(kinds.GROUND, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0.0, ground_material(place, rng))
        # A few walls or blocks far off, so that the horizon is not empty.
        for _ in range(int(rng.integers(2, 6))):
            angle, distance = rng.uniform(0.0, 2.0 * math.pi), rng.uniform(6.5, 14.0)
            half = (rng.uniform(0.8, 3.0), rng.uniform(0.6, 2.2), rng.uniform(0.5, 1.5))
            material = self.photo(2.5) or wall_materials(str(rng.choice(ROOM_PLACES)), rng)[0]
            centre = (distance * math.sin(angle), -half[1], distance * math.cos(angle))
            self.add(kinds.BOX, centre, half, rng.uniform(0.0, math.pi), material)
        return 2.4, 2.4

    def add_room(self, place: str) -> tuple[float, float]:
        """Build a room; return how far objects stand from its middle [m]."""
        rng = self.rng
        half = (rng.uniform(2.2, 3.6), rng.uniform(1.2, 1.6), rng.uniform(2.2, 3.6))
        wall, floor, ceiling = wall_materials(place, rng)
        self.add(
            kinds.ROOM, (0.0, -half[1], 0.0), half, 0.0, self.photo(3.0) or wall, floor, ceiling
        )
        for _ in range(int(rng.integers(1, 5))):
            self._hang(half)
        if rng.random() < 0.5:  # a rug
            size = (rng.uniform(0.6, 1.4), 0.006, rng.uniform(0.6, 1.4))
            rug = self.photo(1.0) or object_material(str(rng.choice(list(COLOURS))), rng)
            centre = (rng.uniform(-0.8, 0.8), -0.006, rng.uniform(-0.8, 0.8))
            self.add(kinds.BOX, centre, size, rng.uniform(0.0, math.pi), rug)
        return half[0] - 0.5, half[2] - 0.5

    def _hang(self, room: tuple[float, float, float]) -> None:
        """Hang a picture, window or door on one of the four walls."""
        rng = self.rng
        kind = rng.choice(["picture", "window", "door"])
        width = rng.uniform(0.35, 0.8)
        if kind == "door":
            width, height, up = 0.45, 1.0, 1.0
            material = Material.plain(str(rng.choice(["brown", "white", "gray"])), rng)
        elif kind == "window":
            height, up = rng.uniform(0.4, 0.6), room[1] + rng.uniform(0.0, 0.15)
            material = Material.window(rng)
        else:
            height, up = rng.uniform(0.25, 0.5), room[1] + rng.uniform(0.0, 0.2)
            material = self.photo(1.2) or object_material(str(rng.choice(list(COLOURS))), rng)
        on_x, side = rng.random() < 0.5, rng.choice([-1.0, 1.0])
        along = rng.uniform(-0.75, 0.75) * ((room[2] if on_x else room[0]) - width)
        at = side * (room[0] if on_x else room[2])
        centre, half = (
            ((at, -up, along), (0.03, height, width))
            if on_x
            else ((along, -up, at), (width, height, 0.03))
        )
        self.add(kinds.BOX, centre, half, 0.0, material)

    def add_things(self, count: int, extent: tuple[float, float], is_open: bool) -> None:
        """Stand objects on the floor (or on a plinth) without letting them touch."""
        rng, placed = self.rng, []
        spread = 1.0 if is_open else 0.8
        for _ in range(count):
            radius = float(rng.uniform(0.22, 0.62))
            for _attempt in range(30):
                x = rng.uniform(-extent[0], extent[0]) * spread
                z = rng.uniform(-extent[1], extent[1]) * spread
                if all(math.hypot(x - a, z - b) > radius + r + 0.12 for a, b, r in placed):
                    break
            else:
                continue  # the floor is full: a smaller scene, which the caption will match
            placed.append((x, z, radius * 1.2))
            self._stand(str(rng.choice(list(SHAPES))), str(rng.choice(list(COLOURS))), x, z, radius)

    def _stand(self, shape: str, colour: str, x: float, z: float, radius: float) -> None:
        rng = self.rng
        lift = 0.0
        if rng.random() < 0.2:  # a plinth
            lift = float(rng.uniform(0.2, 0.5))
            turn = rng.uniform(0.0, math.pi)
            stone = Material.plain(str(rng.choice(["white", "gray", "brown"])), rng)
            self.add(kinds.BOX, (x, -lift, z), (radius, lift, radius), turn, stone)
            lift, radius = 2.0 * lift, 0.85 * radius
        half = {
            "sphere": (radius, radius, radius),
            "cube": (0.8 * radius, float(rng.uniform(0.7, 1.1)) * radius, 0.8 * radius),
            "cylinder": (0.75 * radius, float(rng.uniform(0.8, 1.5)) * radius, 0.75 * radius),
            "cone": (0.9 * radius, float(rng.uniform(0.9, 1.5)) * radius, 0.9 * radius),
        }[shape]
        material = self.photo(2.0 * radius) or object_material(colour, rng)
        named = colour if material.kind != kinds.PHOTO else "patterned"
        self.add(SHAPES[shape], (x, -lift - half[1], z), half, rng.uniform(0.0, math.pi), material)
        self.things.append(SolidObject(shape, named, len(self.rows) - 1, radius))

    def set_in_motion(self) -> None:
        """Let one object slide over the floor, up to 4 cm per frame."""
        i = int(self.rng.integers(len(self.things)))
        angle, speed = self.rng.uniform(0.0, 2.0 * math.pi), self.rng.uniform(0.01, 0.04)
        velocity = (speed * math.cos(angle), 0.0, speed * math.sin(angle))
        self.things[i] = replace(self.things[i], velocity=velocity)


_MOOD = {  # lamp strength, lamp colour, ambient strength, ambient colour
    "bright light": (1.15, (1.00, 0.98, 0.94), 0.62, (1.00, 1.00, 1.00)),
    "warm light": (1.10, (1.00, 0.78, 0.52), 0.46, (1.00, 0.86, 0.72)),
    "cold light": (1.00, (0.72, 0.86, 1.00), 0.52, (0.80, 0.90, 1.00)),
    "dim light": (0.55, (1.00, 0.90, 0.78), 0.20, (0.90, 0.92, 1.00)),
}
_SKY = {  # horizon, zenith
    "bright light": ((0.62, 0.75, 0.90), (0.16, 0.36, 0.75)),
    "warm light": ((0.90, 0.62, 0.40), (0.35, 0.35, 0.55)),
    "cold light": ((0.62, 0.68, 0.76), (0.40, 0.48, 0.60)),
    "dim light": ((0.16, 0.16, 0.24), (0.04, 0.05, 0.12)),
}


def _light(
    kind: int, where: tuple[float, ...], mood: str, bounce: tuple[float, ...], haze: float
) -> np.ndarray:
    strength, colour, ambient, ambient_colour = _MOOD[mood]
    horizon, zenith = _SKY[mood]
    lamp = [strength * c for c in colour]
    above = [ambient * c for c in ambient_colour]
    below = [0.6 * ambient * c for c in bounce]
    return np.asarray(
        [kind, *where, *lamp, *above, *below, haze, *horizon, *zenith], dtype=np.float64
    )


def _sun(rng: np.random.Generator, mood: str, place: str) -> np.ndarray:
    height, turn = math.radians(rng.uniform(28.0, 65.0)), rng.uniform(0.0, 2.0 * math.pi)
    direction = (
        math.cos(height) * math.cos(turn),
        -math.sin(height),
        math.cos(height) * math.sin(turn),
    )
    bounce = {"green field": (0.5, 0.7, 0.4), "desert": (0.9, 0.75, 0.5)}.get(
        place, (0.75, 0.75, 0.75)
    )
    return _light(kinds.SUN, direction, mood, bounce, 0.03)


def _lamp(rng: np.random.Generator, mood: str, room: list[float]) -> np.ndarray:
    hx, hy, hz = room[4:7]
    where = (rng.uniform(-0.6, 0.6) * hx, -2.0 * hy + 0.15, rng.uniform(-0.6, 0.6) * hz)
    return _light(kinds.POINT_LIGHT, where, mood, (0.9, 0.86, 0.8), 0.0)


def _squared_reach(kind: int, half: tuple[float, float, float]) -> float:
    """Give the squared radius of the bounding sphere.

    A little too large, so that rounding never cuts a silhouette.
    """
    if kind in (kinds.GROUND, kinds.ROOM):
        return kinds.FAR
    used = {kinds.SPHERE: 1, kinds.CYLINDER: 2, kinds.CONE: 2}.get(kind, 3)
    return 1.0001 * sum(h * h for h in half[:used])


def _signed_distance(row: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Give the distance to one object's surface; for cones, to that of the enclosing cylinder."""
    kind, half = int(row[0]), row[4:7]
    if kind == kinds.GROUND:
        return -points[:, 1]
    local = points - row[1:4]
    x, z = row[7] * local[:, 0] - row[8] * local[:, 2], row[8] * local[:, 0] + row[7] * local[:, 2]
    y = local[:, 1]
    if kind == kinds.ROOM:
        return np.min([half[0] - np.abs(x), half[1] - np.abs(y), half[2] - np.abs(z)], axis=0)
    if kind == kinds.SPHERE:
        return np.sqrt(x * x + y * y + z * z) - half[0]
    if kind == kinds.BOX:
        gaps = np.stack([np.abs(x) - half[0], np.abs(y) - half[1], np.abs(z) - half[2]])
    else:
        gaps = np.stack([np.hypot(x, z) - half[0], np.abs(y) - half[1]])
    return np.linalg.norm(np.maximum(gaps, 0.0), axis=0) + np.minimum(gaps.max(axis=0), 0.0)
