"""One seed -> one clip of the controlled world, with everything that is true about it."""

from dataclasses import dataclass, field

import numpy as np

from jog3r.data.world.camera_paths import PathConfig, sample_path
from jog3r.data.world.captions import Description
from jog3r.data.world.materials import load_photos
from jog3r.data.world.render import Rendering, render
from jog3r.data.world.scene import Scene, SceneConfig, sample_scene
from jog3r.errors import InputError

# Seeds from here on are never drawn by training: tests and benchmarks live there.
HELD_OUT = 1 << 40
# A thing is worth a word when it covers this share of the pictures.
_VISIBLE_SHARE = 0.006


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """The controlled world as a data source.

    Args:
        size: Height and width of the square frames [px].
        samples: Rays per pixel and axis for colour.
        shadows: Whether lamps cast shadows.
        photos: Folder of photographs to hang and wrap around things; null for none.
        scene: What scenes are drawn from.
        path: How cameras move.
    """

    size: int = 64
    samples: int = 2
    shadows: bool = True
    photos: str | None = None
    scene: SceneConfig = field(default_factory=SceneConfig)
    path: PathConfig = field(default_factory=PathConfig)


@dataclass(frozen=True)
class WorldClip:
    """A rendered clip and its truth.

    Attributes:
        frames: `(T, H, W, 3)` uint8.
        depth: `(T, H, W)` float32 z-depth [m], 0 for the sky.
        normals: `(T, H, W, 3)` float32, world axes.
        ids: `(T, H, W)` int16 index of the visible surface, -1 for the sky; objects that captions
            name are in `Scene.things`.
        K: `(T, 3, 3)` float32 [px].
        world_from_camera: `(T, 4, 4)` float32; the world is the camera of the first frame.
        gravity: `(3,)` float32 unit vector pointing down, in that world.
        description: What can be said of it.
        caption: What is said of it.
        seed: That gives it again.
    """

    frames: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    ids: np.ndarray
    K: np.ndarray
    world_from_camera: np.ndarray
    gravity: np.ndarray
    description: Description
    caption: str
    seed: int

    def points_world(self) -> np.ndarray:
        """Give pointmaps `(T, H, W, 3)` float32 in the world; meaningless where depth is 0."""
        height, width = self.depth.shape[1:]
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        pixels = np.stack([x, y, np.ones_like(x)], axis=-1)
        rays = np.einsum("tij,hwj->thwi", np.linalg.inv(self.K.astype(np.float64)), pixels)
        camera = rays * self.depth[..., None]
        rotation, position = self.world_from_camera[:, :3, :3], self.world_from_camera[:, :3, 3]
        return (np.einsum("tij,thwj->thwi", rotation, camera) + position[:, None, None]).astype(
            np.float32
        )


class World:
    """A deterministic source of clips: a seed gives the same clip, whatever was drawn before.

    Rendering compiles on the first clip (about 5 s).

    Args:
        config: What clips are drawn from; None for the defaults.

    Raises:
        FileError: A folder of photographs without any.

    Example:
        >>> clip = World(WorldConfig(size=16)).clip(seed=3, frames=2)
        >>> clip.frames.shape, clip.depth.dtype.name
        ((2, 16, 16, 3), 'float32')
    """

    def __init__(self, config: WorldConfig | None = None) -> None:
        self.config = config or WorldConfig()
        self.photos = load_photos(self.config.photos)

    def clip(self, seed: int, frames: int = 16, *, vary_caption: bool = False) -> WorldClip:
        """Render the clip of a seed.

        Args:
            seed: Which clip; HELD_OUT and above never occur in training.
            frames: How many frames, evenly spaced in the path where it is longer (the stride is
                drawn from the seed).
            vary_caption: Leave parts of the caption out and use synonyms, as training wants.

        Raises:
            InputError: Fewer than one frame or more than the path has.
        """
        rng = np.random.default_rng([seed, 0x4A33])
        scene = sample_scene(rng, self.config.scene, self.photos)
        path = sample_path(rng, scene, self.config.path)
        chosen = self._choose(rng, frames)
        cameras = path.world_from_camera[chosen]
        K = np.tile(_intrinsics(path.fov_deg, self.config.size), (frames, 1, 1))
        size = (self.config.size, self.config.size)
        seen = render(
            scene, cameras, K, size, samples=self.config.samples, shadows=self.config.shadows
        )
        description = Description(_visible(scene, seen), scene.place, scene.mood, path.move)
        caption = description.caption(rng if vary_caption else None)
        # Everything is stated in the first camera's frame.
        world_from_scene = np.linalg.inv(cameras[0])
        return WorldClip(
            frames=seen.frames,
            depth=seen.depth,
            normals=seen.normals @ world_from_scene[:3, :3].T.astype(np.float32),
            ids=seen.ids,
            K=K.astype(np.float32),
            world_from_camera=(world_from_scene @ cameras).astype(np.float32),
            gravity=world_from_scene[:3, 1].astype(np.float32),
            description=description,
            caption=caption,
            seed=seed,
        )

    def _choose(self, rng: np.random.Generator, frames: int) -> np.ndarray:
        length = self.config.path.frames
        if not 1 <= frames <= length:
            raise InputError(
                f"frames: expected 1 to {length}, got {frames}; set path.frames higher for longer"
                " clips"
            )
        longest = (length - 1) // max(frames - 1, 1)
        stride = int(rng.integers(1, longest + 1))
        start = int(rng.integers(0, length - stride * (frames - 1)))
        return start + stride * np.arange(frames)


def _intrinsics(fov_deg: float, size: int) -> np.ndarray:
    focal = 0.5 * size / np.tan(0.5 * np.radians(fov_deg))
    return np.asarray([[focal, 0.0, 0.5 * size], [0.0, focal, 0.5 * size], [0.0, 0.0, 1.0]])


def _visible(scene: Scene, seen: Rendering) -> tuple[tuple[str, str], ...]:
    """List colour and shape of the things one sees, the largest first."""
    counts = np.bincount(seen.ids[seen.ids >= 0].ravel(), minlength=len(scene.objects))
    shown = [thing for thing in scene.things if counts[thing.row] >= _VISIBLE_SHARE * seen.ids.size]
    shown.sort(key=lambda thing: -counts[thing.row])
    return tuple((thing.colour, thing.shape) for thing in shown)
