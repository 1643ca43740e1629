"""Surfaces of the controlled world: named colours, patterns, photographs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jog3r.data.world import caster
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
    caster.PLAIN: 0.12,
    caster.CHECKER: 0.5,
    caster.STRIPES: 0.5,
    caster.BRICKS: 0.30,
    caster.PLANKS: 0.43,
    caster.TILES: 0.20,
    caster.MOTTLED: 0.5,
    caster.PHOTO: 0.0,
}


def linear(srgb: tuple[float, ...] | np.ndarray) -> np.ndarray:
    """SRGB in 0..255 to linear light in 0..1 (gamma 2.2, the inverse of what `render` applies)."""
    return (np.asarray(srgb, dtype=np.float64) / 255.0) ** 2.2


@dataclass(frozen=True)
class Material:
    """A pattern of two linear colours, or a photograph.

    Attributes:
        scale: Pattern periods (or photographs) per metre.
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
        """The caster's columns: kind, two colours, scale, photo index, mean share, offsets, glow."""
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
        kind: int, first: np.ndarray, second: np.ndarray, scale: float, glow: float = 0.0
    ) -> "Material":
        a, b = (tuple(float(c) for c in np.clip(colour, 0.0, 1.0)) for colour in (first, second))
        return Material(kind, (a[0], a[1], a[2]), (b[0], b[1], b[2]), float(scale), glow=glow)

    @staticmethod
    def plain(colour: str, rng: np.random.Generator) -> "Material":
        base = linear(COLOURS[colour]) * rng.uniform(0.85, 1.1)
        return Material.of(caster.PLAIN, base, base * 0.6, rng.uniform(1.5, 4.0))

    @staticmethod
    def window(rng: np.random.Generator) -> "Material":
        sky = linear((190, 220, 250)) * rng.uniform(0.8, 1.1)
        return Material.of(
            caster.TILES, sky, linear((235, 235, 235)) * 0.6, rng.uniform(1.6, 2.6), glow=0.7
        )

    @staticmethod
    def photograph(index: int, metres: float, rng: np.random.Generator) -> "Material":
        offset = (float(rng.uniform(0.0, 2.0)), float(rng.uniform(0.0, 2.0)))
        white = (1.0, 1.0, 1.0)
        return Material(caster.PHOTO, white, white, 1.0 / metres, photo=index, offset=offset)


def object_material(colour: str, rng: np.random.Generator) -> Material:
    """A solid object's surface: mostly its colour, sometimes with a second tone of it or with white or black."""
    base = linear(COLOURS[colour]) * rng.uniform(0.85, 1.1)
    kind = int(
        rng.choice([caster.PLAIN, caster.PLAIN, caster.MOTTLED, caster.CHECKER, caster.STRIPES])
    )
    if kind == caster.PLAIN:
        return Material.of(kind, base, base * 0.6, rng.uniform(1.5, 4.0))
    tone = base * 0.45 if base.max() > 0.2 else base + 0.12
    return Material.of(kind, base, tone, rng.uniform(2.0, 5.0))


def wall_materials(place: str, rng: np.random.Generator) -> tuple[Material, Material, Material]:
    """Wall, floor and ceiling of a room."""
    shade = rng.uniform(0.85, 1.1)
    white, wood = linear((226, 222, 214)), linear((168, 118, 72))
    ceiling = Material.of(
        caster.PLAIN, linear((235, 233, 228)) * shade, linear((225, 222, 216)), 1.0
    )
    planks = Material.of(caster.PLANKS, wood * shade, wood * 0.45, rng.uniform(2.0, 3.5))
    stone = Material.of(
        caster.TILES,
        linear((176, 172, 164)) * shade,
        linear((120, 118, 114)),
        rng.uniform(1.5, 2.5),
    )
    carpet = Material.of(
        caster.MOTTLED, linear(_muted(rng)) * shade, linear(_muted(rng)), rng.uniform(3.0, 6.0)
    )
    floor = [planks, stone, carpet][int(rng.integers(3))]
    if place == "brick room":
        return (
            Material.of(
                caster.BRICKS,
                linear((172, 84, 62)) * shade,
                linear((196, 184, 168)),
                rng.uniform(2.0, 3.2),
            ),
            floor,
            ceiling,
        )
    if place == "wooden room":
        return planks, Material.of(caster.PLANKS, wood * 0.6, wood * 0.3, 2.5), ceiling
    if place == "tiled room":
        tone = linear([(170, 205, 215), (205, 225, 210), (225, 225, 228)][int(rng.integers(3))])
        return (
            Material.of(caster.TILES, tone * shade, linear((140, 145, 148)), rng.uniform(2.0, 3.5)),
            stone,
            ceiling,
        )
    if place == "painted room":
        paint = linear(_muted(rng)) * shade
        return Material.of(caster.PLAIN, paint, paint * 0.75, 1.0), floor, ceiling
    if place == "gallery":
        dark = linear((70, 74, 84)) * shade
        return (
            Material.of(caster.PLAIN, dark, dark * 0.7, 1.0),
            Material.of(caster.CHECKER, white * 0.8, dark, rng.uniform(1.0, 2.0)),
            ceiling,
        )
    return Material.of(caster.PLAIN, white * shade, white * 0.75, 1.0), floor, ceiling


def ground_material(place: str, rng: np.random.Generator) -> Material:
    """The ground of an open place."""
    shade = rng.uniform(0.85, 1.1)
    if place == "green field":
        return Material.of(
            caster.MOTTLED,
            linear((88, 140, 56)) * shade,
            linear((52, 96, 40)),
            rng.uniform(1.0, 2.5),
        )
    if place == "desert":
        return Material.of(
            caster.MOTTLED,
            linear((222, 190, 130)) * shade,
            linear((186, 146, 92)),
            rng.uniform(0.8, 2.0),
        )
    if place == "snowy field":
        return Material.of(
            caster.MOTTLED,
            linear((236, 240, 246)) * shade,
            linear((196, 208, 224)),
            rng.uniform(0.8, 2.0),
        )
    return Material.of(
        caster.TILES, linear((164, 156, 146)) * shade, linear((96, 92, 88)), rng.uniform(0.9, 1.6)
    )


def load_photos(folder: str | Path | None, size: int = 128) -> np.ndarray:
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
            f"photos: expected a folder with .jpg or .png files, got {folder}; give another folder or none"
        )
    textures = []
    for file in files:
        with Image.open(file) as image:
            square = image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
        textures.append(linear(np.asarray(square)).astype(np.float32))
    return np.stack(textures)


def _muted(rng: np.random.Generator) -> tuple[int, int, int]:
    """A wall paint: any hue, little saturation."""
    grey = rng.uniform(120.0, 215.0)
    r, g, b = np.clip(grey + rng.uniform(-38.0, 38.0, size=3), 0.0, 255.0)
    return int(r), int(g), int(b)
