"""CO3Dv2: turns around everyday objects."""

import gzip
import json
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.data.clip import Part
from jog3r.data.readers.lens import Lens
from jog3r.data.readers.pictures import read_16_bit, read_stencil
from jog3r.data.readers.posed import PosedReader, Scene, View, frame_problem, map_on_frame
from jog3r.errors import FileError

FRAMES = "frame_annotations.jgz"
OPENCV_FROM_PYTORCH3D = np.diag([-1.0, -1.0, 1.0])
"""PyTorch3D's camera looks along z as ours, but its x points left and its y up."""


class Maps(NamedTuple):
    """What a frame has besides its picture; None where the data set has no such file."""

    depth: Path | None
    depth_scale: float
    depth_mask: Path | None
    foreground: Path | None


class CO3D(PosedReader):
    """Sequences of CO3Dv2.

    Layout::

        CATEGORY/frame_annotations.jgz         gzipped JSON, a list of frames: sequence_name,
                                               frame_number, image {path, size}, viewpoint {R, T,
                                               focal_length, principal_point, intrinsics_format},
                                               depth {path, scale_adjustment, mask_path},
                                               mask {path}
        CATEGORY/SEQUENCE/images/frame000001.jpg
        CATEGORY/SEQUENCE/depths/frame000001.jpg.geometric.png     16 bits that are a float16
        CATEGORY/SEQUENCE/depth_masks/frame000001.png              where that depth is sure
        CATEGORY/SEQUENCE/masks/frame000001.png                    the object

    A clip is a sequence, `CATEGORY/SEQUENCE`, its frames in the order of their numbers, its
    caption the category. Cameras are PyTorch3D's: rows, `x_camera = x_world R + T`, x left, y up;
    focal length and principal point in units of half the shorter side (`ndc_isotropic`) or half of
    each side (`ndc_norm_image_bounds`). Depth is the float16 times scale_adjustment where the
    depth mask is set, and 0 elsewhere. Lengths are relative: a sequence has its own unit.

    Args:
        folder: Of the categories.
        foreground: Give the object's mask (above half) as `mask`.
        size: As of every `PosedReader`.
        even: Likewise; False uses what lies beyond a gap too.

    Source: PyTorch3D documentation, "Cameras"; Reizenstein et al., "Common Objects in 3D";
        github.com/facebookresearch/co3d, issues 4, 25 and 62.
    """

    name = "co3d"
    source = "CO3Dv2"
    film = True
    licence = "CC BY-NC 4.0"

    def __init__(
        self,
        folder: str | Path | None,
        *,
        foreground: bool = False,
        size: tuple[int, int] | None = None,
        even: bool = True,
    ) -> None:
        super().__init__(folder, size=size, even=even)
        self.foreground = foreground

    def _scenes(self) -> list[tuple[str, str]]:
        scenes: set[str] = set()
        for category in (path.parent for path in self.folder.glob(f"*/{FRAMES}")):
            scenes |= {f"{category.name}/{p.parent.name}" for p in category.glob("*/images")}
            try:
                listed = _annotations(category / FRAMES)
            except FileError:
                continue  # counted with each of its sequences
            scenes |= {f"{category.name}/{sequence}" for sequence in listed}
        return [(scene, scene) for scene in scenes]

    def _scene(self, place: str) -> Scene:
        category, sequence = place.split("/")
        listed = _annotations(self.folder / category / FRAMES)
        if sequence not in listed:
            raise FileError(f"{place}: expected frames in {FRAMES}, got none of this sequence")
        views, problems = [], []
        for frame in sorted(listed[sequence], key=lambda frame: frame["frame_number"]):
            try:
                views.append(self._view(frame))
            except (KeyError, TypeError, ValueError) as error:
                where = f"{place}, frame {frame['frame_number']}"
                what = f"expected an annotation as of CO3Dv2, got {error!r}"
                problems.append(frame_problem("camera", where, what))
        return Scene(tuple(views), tuple(problems), self._parts(views))

    def _parts(self, views: list[View]) -> frozenset[Part]:
        parts: set[Part] = set()
        if all(view.more.depth is not None for view in views):
            parts.add("depth")
        if self.foreground and all(view.more.foreground is not None for view in views):
            parts.add("mask")
        return frozenset(parts)

    def _view(self, frame: dict[str, Any]) -> View:
        height, width = (int(side) for side in frame["image"]["size"])
        viewpoint = frame["viewpoint"]
        lens = lens_from_ndc(
            viewpoint["focal_length"],
            viewpoint["principal_point"],
            (height, width),
            viewpoint.get("intrinsics_format", "ndc_norm_image_bounds"),
        )
        camera = world_from_camera(viewpoint["R"], viewpoint["T"])
        maps = self._maps(frame)
        wanted = (maps.depth, maps.depth_mask, maps.foreground if self.foreground else None)
        beside = tuple(path for path in wanted if path is not None)
        return View(self.folder / frame["image"]["path"], lens, camera, maps, beside)

    def _maps(self, frame: dict[str, Any]) -> Maps:
        depth, mask = frame.get("depth") or {}, frame.get("mask") or {}
        paths = (depth.get("path"), depth.get("mask_path"), mask.get("path"))
        files = [None if path is None else self.folder / path for path in paths]
        return Maps(files[0], float(depth.get("scale_adjustment", 1.0)), files[1], files[2])

    def _depth(
        self, view: View, K: Float[Tensor, "3 3"], size: tuple[int, int]
    ) -> Float[Tensor, "h w"]:
        maps: Maps = view.more
        assert maps.depth is not None  # else the scene would not have the part
        halves = read_16_bit(maps.depth).view(np.float16).astype(np.float32) * maps.depth_scale
        known = np.isfinite(halves) & (halves > 0)
        depth = torch.from_numpy(np.where(known, halves, 0).astype(np.float32))
        found = map_on_frame(maps.depth, depth, view.lens, K, size)
        if maps.depth_mask is None:
            return found
        sure = read_stencil(maps.depth_mask).float()
        return found * (map_on_frame(maps.depth_mask, sure, view.lens, K, size) > 0)

    def _mask(
        self, view: View, K: Float[Tensor, "3 3"], size: tuple[int, int]
    ) -> Bool[Tensor, "h w"]:
        file = view.more.foreground
        return map_on_frame(file, read_stencil(file).float(), view.lens, K, size) > 127

    def _caption(self, place: str) -> str:
        return place.split("/")[0]


def world_from_camera(R: list[list[float]], T: list[float]) -> np.ndarray:
    """Return a camera of PyTorch3D, `x_camera = x_world R + T` in rows, in OpenCV axes.

    Example:
        >>> world_from_camera([[-1, 0, 0], [0, -1, 0], [0, 0, 1]], [0, 0, 2])[2]
        array([ 0.,  0.,  1., -2.])
    """
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3] = OPENCV_FROM_PYTORCH3D @ np.asarray(R, dtype=np.float64).T
    camera_from_world[:3, 3] = OPENCV_FROM_PYTORCH3D @ np.asarray(T, dtype=np.float64)
    camera = np.eye(4)
    camera[:3, :3] = camera_from_world[:3, :3].T
    camera[:3, 3] = -camera_from_world[:3, :3].T @ camera_from_world[:3, 3]
    return camera


def lens_from_ndc(
    focal: list[float], principal: list[float], size: tuple[int, int], format: str
) -> Lens:
    """Return the lens of normalised device coordinates, which count from the centre, left and up.

    Args:
        focal: Both focal lengths.
        principal: Principal point.
        size: (height, width) of the picture [px].
        format: `ndc_isotropic` (units of half the shorter side) or `ndc_norm_image_bounds` (of
            half of each side).

    Raises:
        ValueError: Another format.

    Example:
        >>> lens_from_ndc([2.0, 2.0], [0.5, 0.0], (100, 200), "ndc_isotropic")
        Lens(focal=(100.0, 100.0), centre=(75.0, 50.0), size=(100, 200), radial=(), \
tangential=(0.0, 0.0))
    """
    height, width = size
    if format == "ndc_isotropic":
        units = (min(size) / 2, min(size) / 2)
    elif format == "ndc_norm_image_bounds":
        units = (width / 2, height / 2)
    else:
        raise ValueError(f"intrinsics_format {format!r}")
    return Lens(
        (float(focal[0]) * units[0], float(focal[1]) * units[1]),
        (width / 2 - float(principal[0]) * units[0], height / 2 - float(principal[1]) * units[1]),
        size,
    )


@lru_cache(maxsize=1)
def _annotations(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the frames of a category by sequence."""
    try:
        with gzip.open(path, "rb") as file:
            frames = json.load(file)
        by_sequence: dict[str, list[dict[str, Any]]] = {}
        for frame in frames:
            frame["frame_number"] = int(frame["frame_number"])
            by_sequence.setdefault(frame["sequence_name"], []).append(frame)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"{path}: expected a gzipped list of frames, got '{error}'; is it truncated?"
        ) from error
    return by_sequence
