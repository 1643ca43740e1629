"""Surfaces of the controlled world: named colours, patterns, photographs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jog3r.data.world import kinds
from jog3r.errors import FileError

# sRGB values in 0..255 of the colour words that captions use.
COLOURS = {
    "red": (205, 38, 36),
    "green": (44, 150, 58),
    "blue": (38, 78, 200),
    "yellow": (238, 205, 40),
    "orange": (240, 128, 28),
    "purple": (132, 56, 168),
    "pink": (240, 140, 175),
    "cyan": (50, 190, 205),
    "white": (238, 238, 234),
    "black": (28, 28, 32),
    "gray": (128, 130, 134),
    "brown": (122, 78, 44),
}
# Mean share of the second colour of each pattern, used where it is too fine to resolve.
_MEAN_SHARE = {
    kinds.PLAIN: 0.12,
    kinds.CHECKER: 0.5,
    kinds.STRIPES: 0.5,
    kinds.BRICKS: 0.30,
    kinds.PLANKS: 0.43,
    kinds.TILES: 0.20,
    kinds.MOTTLED: 0.5,
    kinds.PHOTO: 0.0,
}


def linear(srgb: tuple[float, ...] | np.ndarray) -> np.ndarray:
    """Turn sRGB in 0..255 into linear light in 0..1 (gamma 2.2, which `render` undoes)."""
    return (np.asarray(srgb, dtype=np.float64) / 255.0) ** 2.2


@dataclass(frozen=True)
class Material:
    """A pattern of two linear colours, or a photograph.

    Attributes:
        kind: One of the materials in `kinds.py`.
        first: Linear colour.
        second: Linear colour of the rest of the pattern.
        scale: Pattern periods (or photographs) per metre.
        photo: Index of the photograph.
        offset: Of the pattern (or photograph), in periods.
        glow: Light given off by itself, as a factor of its colour (windows).
    """

    kind: int
    first: tuple[float, float, float]
    second: tuple[float, float, float]
    scale: float
    photo: int = -1
    offset: tuple[float, float] = (0.137, 0.137)
    glow: float = 0.0

    def row(self) -> list[float]:
        """Give the caster's columns.

        Kind, two colours, scale, photo index, mean share of the second colour, offsets, glow.
        """
        return [
            self.kind,
            *self.first,
            *self.second,
            self.scale,
            self.photo,
            _MEAN_SHARE[self.kind],
            *self.offset,
            self.glow,
        ]

    @staticmethod
    def of(
        kind: int, first: np.ndarray, second: np.ndarray, *, scale: float, glow: float = 0.0
    ) -> "Material":
        """Make a pattern of two linear colours, cut to [0, 1]."""
        a, b = (tuple(float(c) for c in np.clip(colour, 0.0, 1.0)) for colour in (first, second))
        return Material(kind, (a[0], a[1], a[2]), (b[0], b[1], b[2]), float(scale), glow=glow)

    @staticmethod
    def plain(colour: str, rng: np.random.Generator) -> "Material":
        """Make a plain surface of a named colour."""
        base = linear(COLOURS[colour]) * rng.uniform(0.85, 1.1)
        return Material.of(kinds.PLAIN, base, base * 0.6, scale=rng.uniform(1.5, 4.0))

    @staticmethod
    def window(rng: np.random.Generator) -> "Material":
        """Make panes that glow like the sky."""
        sky, frame = linear((190, 220, 250)) * rng.uniform(0.8, 1.1), linear((235, 235, 235)) * 0.6
        return Material.of(kinds.TILES, sky, frame, scale=rng.uniform(1.6, 2.6), glow=0.7)

    @staticmethod
    def photograph(index: int, metres: float, rng: np.random.Generator) -> "Material":
        """Make a photograph of so many metres' width, cut at a random place."""
        offset = (float(rng.uniform(0.0, 2.0)), float(rng.uniform(0.0, 2.0)))
        white = (1.0, 1.0, 1.0)
        return Material(kinds.PHOTO, white, white, 1.0 / metres, photo=index, offset=offset)


def object_material(colour: str, rng: np.random.Generator) -> Material:
    """Draw a solid object's surface: its colour, often with a second tone of it."""
    base = linear(COLOURS[colour]) * rng.uniform(0.85, 1.1)
    choices = [kinds.PLAIN, kinds.PLAIN, kinds.MOTTLED, kinds.CHECKER, kinds.STRIPES]
    kind = int(rng.choice(choices))
    if kind == kinds.PLAIN:
        return Material.of(kind, base, base * 0.6, scale=rng.uniform(1.5, 4.0))
    tone = base * 0.45 if base.max() > 0.2 else base + 0.12
    return Material.of(kind, base, tone, scale=rng.uniform(2.0, 5.0))


def wall_materials(place: str, rng: np.random.Generator) -> tuple[Material, Material, Material]:
    """Draw wall, floor and ceiling of a room."""
    shade = rng.uniform(0.85, 1.1)
    white, wood = linear((226, 222, 214)), linear((168, 118, 72))
    plaster, slab = linear((235, 233, 228)) * shade, linear((176, 172, 164)) * shade
    ceiling = Material.of(kinds.PLAIN, plaster, linear((225, 222, 216)), scale=1.0)
    planks = Material.of(kinds.PLANKS, wood * shade, wood * 0.45, scale=rng.uniform(2.0, 3.5))
    stone = Material.of(kinds.TILES, slab, linear((120, 118, 114)), scale=rng.uniform(1.5, 2.5))
    wool, tuft = linear(_muted(rng)) * shade, linear(_muted(rng))
    carpet = Material.of(kinds.MOTTLED, wool, tuft, scale=rng.uniform(3.0, 6.0))
    floor = [planks, stone, carpet][int(rng.integers(3))]
    if place == "brick room":
        clay, mortar = linear((172, 84, 62)) * shade, linear((196, 184, 168))
        bricks = Material.of(kinds.BRICKS, clay, mortar, scale=rng.uniform(2.0, 3.2))
        return bricks, floor, ceiling
    if place == "wooden room":
        boards = Material.of(kinds.PLANKS, wood * 0.6, wood * 0.3, scale=2.5)
        return planks, boards, ceiling
    if place == "tiled room":
        glaze = [(170, 205, 215), (205, 225, 210), (225, 225, 228)][int(rng.integers(3))]
        tone, joint = linear(glaze) * shade, linear((140, 145, 148))
        tiles = Material.of(kinds.TILES, tone, joint, scale=rng.uniform(2.0, 3.5))
        return tiles, stone, ceiling
    if place == "gallery":
        dark = linear((70, 74, 84)) * shade
        board = Material.of(kinds.CHECKER, white * 0.8, dark, scale=rng.uniform(1.0, 2.0))
        return Material.of(kinds.PLAIN, dark, dark * 0.7, scale=1.0), board, ceiling
    if place == "painted room":
        paint = linear(_muted(rng)) * shade
        return Material.of(kinds.PLAIN, paint, paint * 0.75, scale=1.0), floor, ceiling
    return Material.of(kinds.PLAIN, white * shade, white * 0.75, scale=1.0), floor, ceiling


# Kind, two sRGB colours, range of the pattern's periods per metre.
_GROUND = {
    "green field": (kinds.MOTTLED, (88, 140, 56), (52, 96, 40), (1.0, 2.5)),
    "desert": (kinds.MOTTLED, (222, 190, 130), (186, 146, 92), (0.8, 2.0)),
    "snowy field": (kinds.MOTTLED, (236, 240, 246), (196, 208, 224), (0.8, 2.0)),
    "courtyard": (kinds.TILES, (164, 156, 146), (96, 92, 88), (0.9, 1.6)),
}


def ground_material(place: str, rng: np.random.Generator) -> Material:
    """Draw the ground of an open place."""
    kind, first, second, scales = _GROUND[place]
    shade = rng.uniform(0.85, 1.1)
    return Material.of(kind, linear(first) * shade, linear(second), scale=rng.uniform(*scales))


def load_photos(folder: str | Path | None, *, size: int = 128) -> np.ndarray:
    """Read the photographs of a folder as textures.

    Returns:
        `(P, size, size, 3)` float32 linear colours; `(0, 2, 2, 3)` when no folder is given.

    Raises:
        FileError: The folder does not exist or holds no image.
    """
    if folder is None:
        return np.zeros((0, 2, 2, 3), dtype=np.float32)
    from PIL import Image

    files = sorted(
        path for path in Path(folder).glob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"}
    )
    if not files:
        raise FileError(
            f"photos: expected a folder with .jpg or .png files, got {folder}; give another folder"
            " or none"
        )
    textures = []
    for file in files:
        with Image.open(file) as image:
            square = image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
        textures.append(linear(np.asarray(square)).astype(np.float32))
    return np.stack(textures)


def _muted(rng: np.random.Generator) -> tuple[int, int, int]:
    """Draw a wall paint: any hue, little saturation."""
    grey = rng.uniform(120.0, 215.0)
    r, g, b = np.clip(grey + rng.uniform(-38.0, 38.0, size=3), 0.0, 255.0)
    return int(r), int(g), int(b)
