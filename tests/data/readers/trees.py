"""Small data sets in their public layouts, pictured in the analytic room of `tests.scenes`.

Colours are a smooth function of the place in the world, so that the truth of a clip can be stated
for any camera: `check_truth` casts the room for the K and the cameras that a reader gives, and
compares colours and depth with what it read. A wrong axis, a transposed rotation, half a pixel or
a forgotten distortion all show.
"""

import gzip
import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import roma
import torch
from PIL import Image
from torch import Tensor

from jog3r.data.clip import Clip
from jog3r.data.readers.lens import Lens
from jog3r.geometry import invert, pixel_centres, project, transform_points, unproject
from tests.scenes import Path as CameraPath
from tests.scenes import camera_path, cast, cast_rays

FLIP_YZ = np.diag([1.0, -1.0, -1.0, 1.0])
Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1.0]])


@dataclass(frozen=True)
class Shots:
    """Pictures of the room and their truth."""

    lens: Lens
    world_from_camera: Tensor  # (T, 4, 4) float64
    frames: np.ndarray  # (T, h, w, 3) uint8
    depth: Tensor  # (T, h, w) float64, along z

    def __len__(self) -> int:
        return len(self.frames)


def shoot(
    lens: Lens,
    *,
    path: CameraPath = "arc",
    frames: int = 4,
    offset: int = 0,
    place: Tensor | None = None,
) -> Shots:
    """Picture the room.

    Args:
        lens: Of the camera, distortion included.
        path: That it follows.
        frames: How many.
        offset: Frames of the path to pass over.
        place: 4x4 float64, moves the whole path.
    """
    cameras = camera_path(path, offset + frames, 0.12, 0.02, 0)[offset:]
    if place is not None:
        cameras = place @ cameras
    rays = _rays(lens)[None].expand(frames, -1, -1, -1)
    depth = cast_rays(cameras, rays)
    points = transform_points(cameras, rays * depth[..., None])
    return Shots(lens, cameras, colours(points).round().numpy().astype(np.uint8), depth)


def colours(points: Tensor) -> Tensor:
    """Give every place of the world its colour in [27, 227]."""
    turned = points @ points.new_tensor([[0.9, 0.4, -0.3], [-0.2, 0.8, 0.5], [0.4, -0.5, 0.7]])
    return 127 + 100 * torch.sin(1.3 * turned + points.new_tensor([0.0, 1.0, 2.0]))


def colour_error(seen: Tensor, truth: Tensor) -> float:
    """Return the mean difference of the best nine tenths: the rest may be edges of the balls."""
    off = (seen.double() - truth.double()).abs().flatten().sort().values
    return float(off[: len(off) * 9 // 10].mean())


def _rays(lens: Lens) -> Tensor:
    """Invert the lens: each round corrects a ray by how far its pixel is off."""
    wanted = pixel_centres(lens.size, dtype=torch.float64)
    focal = torch.tensor(lens.focal, dtype=torch.float64)
    rays = (wanted - torch.tensor(lens.centre, dtype=torch.float64)) / focal
    for _ in range(30):
        rays = rays - (lens.pixels(rays) - wanted) / focal
    return torch.cat([rays, torch.ones_like(rays[..., :1])], dim=-1)


def check_truth(
    clip: Clip, *, colour: float = 0.7, depth: float | None = None, share: float = 0.97
) -> None:
    """Compare a clip with the room.

    Args:
        clip: As read.
        colour: Difference allowed, of 255; half a pixel makes 1.5 and more.
        depth: Relative difference allowed where the clip has depth; None where it has none.
        share: Of the pixels with depth that must be within it: at an edge two surfaces meet.
    """
    assert clip.frames is not None
    assert clip.K is not None
    assert clip.world_from_camera is not None
    cameras, K = clip.world_from_camera.double(), clip.K.double()
    truth = cast(cameras, K, (clip.frames.shape[1], clip.frames.shape[2]))
    seen = colours(transform_points(cameras, unproject(truth, K)))
    assert colour_error(clip.frames, seen) < colour
    assert (clip.depth is None) == (depth is None)
    if depth is not None and clip.depth is not None:
        known = clip.depth > 0
        assert int(known.sum()) > 20
        off = (clip.depth.double() / truth - 1).abs()[known]
        assert float((off < depth).double().mean()) >= share
        check_reprojection(clip, depth)


def check_reprojection(clip: Clip, tolerance: float) -> None:
    """Carry the depth of every frame into the next one, where its surfaces must lie."""
    assert clip.depth is not None
    assert clip.K is not None
    assert clip.world_from_camera is not None
    cameras, K = clip.world_from_camera.double(), clip.K.double()
    for one, other in zip(range(len(clip) - 1), range(1, len(clip)), strict=True):
        camera = unproject(clip.depth[one].double(), K[one])[clip.depth[one] > 0]
        world = transform_points(cameras[one], camera)
        pixel, z = project(transform_points(invert(cameras[other]), world), K[other])
        rays = torch.cat([_straight(pixel, K[other]), torch.ones_like(z)[:, None]], dim=-1)
        there = cast_rays(cameras[other][None], rays[None, None])[0, 0]
        # The median: what one frame sees may be hidden in the other.
        assert float((z / there - 1).abs().median()) < tolerance


def _straight(pixel: Tensor, K: Tensor) -> Tensor:
    return (pixel - K[:2, 2]) / K.diagonal()[:2]


def save(path: Path, numbers: np.ndarray) -> None:
    """Write a picture of 8 or of 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jpg":
        Image.fromarray(numbers).save(path, quality=98, subsampling=0)
    else:
        Image.fromarray(numbers).save(path)


def millimetres(depth: Tensor, none: int = 0) -> np.ndarray:
    """Return depth [m] as 16-bit millimetres; what is beyond 65 m has `none`."""
    numbers = (depth * 1000).round().numpy()
    return np.where(numbers < 65000, numbers, none).astype(np.uint16)


def write_json(path: Path, content: object) -> None:
    """Write JSON, folders and all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def transforms(shots: Shots, files: list[str], lens: Lens) -> dict:
    """Return the content of a transforms.json as nerfstudio makes it from COLMAP.

    Args:
        shots: Whose cameras these are.
        files: `file_path` of each.
        lens: That the file describes, which may be larger than the pictures.
    """
    matrices = Z_UP @ shots.world_from_camera.numpy() @ FLIP_YZ
    names = zip(("k1", "k2", "k3", "k4"), lens.radial, strict=False)
    return {
        "w": lens.size[1],
        "h": lens.size[0],
        "fl_x": lens.focal[0],
        "fl_y": lens.focal[1],
        "cx": lens.centre[0],
        "cy": lens.centre[1],
        **dict(names),
        "p1": lens.tangential[0],
        "p2": lens.tangential[1],
        "camera_model": "OPENCV",
        "frames": [
            {"file_path": file, "transform_matrix": matrix.tolist(), "colmap_im_id": index + 1}
            for index, (file, matrix) in enumerate(zip(files, matrices, strict=True))
        ],
        "applied_transform": Z_UP[:3].tolist(),
    }


def dl3dv_scene(scene: Path, shots: Shots, *, reduced: int = 4) -> None:
    """Write a scene of DL3DV-10K, its pictures reduced, its cameras not."""
    names = [f"frame_{index:05d}.png" for index in range(1, len(shots) + 1)]
    for name, frame in zip(names, shots.frames, strict=True):
        save(scene / f"images_{reduced}" / name, frame)
    full = shots.lens.resized((shots.lens.size[0] * reduced, shots.lens.size[1] * reduced))
    content = transforms(shots, [f"images/{name}" for name in names], full)
    write_json(scene / "transforms.json", content)


def co3d_frames(folder: Path, place: str, shots: Shots, *, format: str) -> list[dict]:
    """Write the pictures of a sequence of CO3Dv2 and return its annotations.

    Args:
        folder: Of the categories.
        place: CATEGORY/SEQUENCE.
        shots: To write.
        format: `ndc_isotropic` or `ndc_norm_image_bounds`.
    """
    height, width = shots.lens.size
    units = (min(height, width) / 2,) * 2 if format == "ndc_isotropic" else (width / 2, height / 2)
    half = (width / 2, height / 2)
    sides = list(zip(shots.lens.focal, shots.lens.centre, units, half, strict=True))
    frames = []
    for index, camera in enumerate(invert(shots.world_from_camera).numpy()):
        name = f"frame{index + 1:06d}"
        paths = [f"{place}/images/{name}.jpg", f"{place}/depths/{name}.jpg.geometric.png"]
        paths += [f"{place}/depth_masks/{name}.png", f"{place}/masks/{name}.png"]
        depth = (shots.depth[index].numpy() / 2.0).astype(np.float16)
        sure = np.full(depth.shape, 255, np.uint8)
        sure[:4] = 0
        for path, numbers in zip(
            paths,
            (shots.frames[index], depth.view(np.uint16), sure, (255 * (depth < 2.5))),
            strict=True,
        ):
            save(folder / path, numbers if numbers.dtype == np.uint16 else numbers.astype(np.uint8))
        # x_camera = x_world R + T, x left and y up: two rows of camera_from_world change sign.
        flipped = np.diag([-1.0, -1.0, 1.0, 1.0]) @ camera
        frames.append(
            {
                "sequence_name": place.split("/")[1],
                "frame_number": index + 1,
                "frame_timestamp": index / 10,
                "image": {"path": paths[0], "size": [height, width]},
                "depth": {"path": paths[1], "scale_adjustment": 2.0, "mask_path": paths[2]},
                "mask": {"path": paths[3], "mass": 100.0},
                "viewpoint": {
                    "R": flipped[:3, :3].T.tolist(),
                    "T": flipped[:3, 3].tolist(),
                    "focal_length": [focal / unit for focal, _, unit, _ in sides],
                    "principal_point": [(mid - at) / unit for _, at, unit, mid in sides],
                    "intrinsics_format": format,
                },
                "meta": {"frame_type": "train_known"},
            }
        )
    return frames


def write_jgz(path: Path, content: object) -> None:
    """Write gzipped JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps(content).encode()))


def scannet_scene(scene: Path, shots: Shots, depth: Shots) -> None:
    """Write a scene as ScanNet's SensReader exports it; K has pixel centres at whole numbers."""
    for index in range(len(shots)):
        save(scene / f"color/{index}.jpg", shots.frames[index])
        save(scene / f"depth/{index}.png", millimetres(depth.depth[index]))
        write_matrix(scene / f"pose/{index}.txt", shots.world_from_camera[index].numpy())
    for kind, lens in (("color", shots.lens), ("depth", depth.lens)):
        K = np.eye(4)
        K[:3, :3] = lens.matrix.numpy()
        K[:2, 2] -= 0.5
        write_matrix(scene / f"intrinsic/intrinsic_{kind}.txt", K)
        write_matrix(scene / f"intrinsic/extrinsic_{kind}.txt", np.eye(4))


def seven_scenes_sequence(sequence: Path, shots: Shots) -> None:
    """Write a sequence of 7-Scenes."""
    for index in range(len(shots)):
        name = f"frame-{index:06d}"
        save(sequence / f"{name}.color.png", shots.frames[index])
        save(sequence / f"{name}.depth.png", millimetres(shots.depth[index], none=65535))
        write_matrix(sequence / f"{name}.pose.txt", shots.world_from_camera[index].numpy())


def write_matrix(path: Path, matrix: np.ndarray) -> None:
    """Write a matrix as rows of numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(" ".join(f"{n:.9g}" for n in row) + "\n" for row in matrix))


@dataclass(frozen=True)
class Model:
    """A COLMAP model as its records: written here independently of the library."""

    lenses: list[tuple[str, Lens, tuple[float, ...]]]
    images: list[tuple[str, np.ndarray, int, list[int]]]  # name, camera_from_world, lens, points
    positions: np.ndarray


def colmap_model(shots: list[Shots], names: list[list[str]], *, points: int = 80) -> Model:
    """Return the model of several cameras' pictures, with points of the room that they see.

    Args:
        shots: One per lens.
        names: Of their images.
        points: Taken from every first frame.
    """
    world = torch.cat([_some_points(each, points) for each in shots])
    images = []
    for number, (each, files) in enumerate(zip(shots, names, strict=True)):
        for file, camera in zip(files, each.world_from_camera, strict=True):
            ids = [int(row) + 1 for row in _seen(world, camera, each.lens)]
            images.append((file, invert(camera).numpy(), number + 1, ids))
    lenses = [_stored_lens(each.lens) for each in shots]
    return Model(lenses, images, world.numpy())


def _some_points(shots: Shots, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    rays = _rays(shots.lens) * shots.depth[0][..., None]
    chosen = torch.randperm(rays[..., 0].numel(), generator=generator)[:count]
    return transform_points(shots.world_from_camera[0], rays.reshape(-1, 3)[chosen])


def _seen(world: Tensor, camera: Tensor, lens: Lens) -> Tensor:
    inside = transform_points(invert(camera), world)
    rays = inside / inside[:, 2:]
    pixel = lens.pixels(rays[:, :2])
    bound = pixel.new_tensor(lens.size[::-1])
    free = cast_rays(camera[None], rays[None, None])[0, 0] >= inside[:, 2] * 0.999
    return ((inside[:, 2] > 0) & (pixel > 0).all(-1) & (pixel < bound).all(-1) & free).nonzero()


def _stored_lens(lens: Lens) -> tuple[str, Lens, tuple[float, ...]]:
    if not lens.distorted:
        return "PINHOLE", lens, (*lens.focal, *lens.centre)
    if lens.focal[0] == lens.focal[1] and not any((*lens.radial[1:], *lens.tangential)):
        return "SIMPLE_RADIAL", lens, (lens.focal[0], *lens.centre, lens.radial[0])
    return "OPENCV", lens, (*lens.focal, *lens.centre, *lens.radial[:2], *lens.tangential)


def _quaternion(camera_from_world: np.ndarray) -> list[float]:
    x, y, z, w = roma.rotmat_to_unitquat(torch.from_numpy(camera_from_world[:3, :3])).tolist()
    return [w, x, y, z]


def write_model_text(folder: Path, model: Model) -> None:
    """Write cameras.txt, images.txt and points3D.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    lenses, images, points = [], [], []
    tracks: dict[int, list[str]] = {}
    for number, (kind, lens, numbers) in enumerate(model.lenses, start=1):
        size = f"{lens.size[1]} {lens.size[0]}"
        lenses.append(f"{number} {kind} {size} {' '.join(map(repr, numbers))}")
    for number, (name, camera, lens, ids) in enumerate(model.images, start=1):
        placed = " ".join(repr(n) for n in [*_quaternion(camera), *camera[:3, 3].tolist()])
        seen = [f"1.0 1.0 {point}" for point in ids] + ["2.0 2.0 -1"]
        images += [f"{number} {placed} {lens} {name}", " ".join(seen)]
        for index, point in enumerate(ids):
            tracks.setdefault(point, []).append(f"{number} {index}")
    for number, position in enumerate(model.positions.tolist(), start=1):
        track = " ".join(tracks.get(number, []))
        points.append(f"{number} {' '.join(map(repr, position))} 9 9 9 0.5 {track}")
    for name, lines in (("cameras", lenses), ("images", images), ("points3D", points)):
        (folder / f"{name}.txt").write_text("# made\n" + "\n".join(lines) + "\n")


KINDS = {"SIMPLE_PINHOLE": 0, "PINHOLE": 1, "SIMPLE_RADIAL": 2, "OPENCV": 4, "OPENCV_FISHEYE": 5}


def write_model_binary(folder: Path, model: Model) -> None:
    """Write cameras.bin, images.bin and points3D.bin."""
    folder.mkdir(parents=True, exist_ok=True)
    lenses = struct.pack("<Q", len(model.lenses))
    for number, (kind, lens, numbers) in enumerate(model.lenses, start=1):
        lenses += struct.pack("<IiQQ", number, KINDS[kind], lens.size[1], lens.size[0])
        lenses += struct.pack(f"<{len(numbers)}d", *numbers)
    images = struct.pack("<Q", len(model.images))
    tracks: dict[int, list[int]] = {}
    for number, (name, camera, lens, ids) in enumerate(model.images, start=1):
        placed = [*_quaternion(camera), *camera[:3, 3].tolist()]
        images += struct.pack("<I7dI", number, *placed, lens) + name.encode() + b"\0"
        images += struct.pack("<Q", len(ids) + 1)
        for index, point in enumerate(ids):
            images += struct.pack("<ddQ", 1.0, 1.0, point)
            tracks.setdefault(point, []).extend([number, index])
        images += struct.pack("<ddQ", 2.0, 2.0, 2**64 - 1)
    points = struct.pack("<Q", len(model.positions))
    for number, position in enumerate(model.positions.tolist(), start=1):
        track = tracks.get(number, [])
        points += struct.pack("<Q3d3Bd", number, *position, 9, 9, 9, 0.5)
        points += struct.pack(f"<Q{len(track)}I", len(track) // 2, *track)
    for name, content in (("cameras", lenses), ("images", images), ("points3D", points)):
        (folder / f"{name}.bin").write_bytes(content)
