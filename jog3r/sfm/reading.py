"""What COLMAP has found, read into tensors."""

import numpy as np
import pycolmap
import torch
from torch import Tensor

from jog3r.sfm.matches import Matches
from jog3r.sfm.sparse import SparseModel, linked_frames, only
from jog3r.sfm.workspace import Workspace


def read_matches(space: Workspace) -> Matches:
    """Read the verified matches from the database."""
    frames, pixels = [np.zeros((0, 2), np.int64)], [np.zeros((0, 2, 2), np.float32)]
    with pycolmap.Database.open(space.database) as database:
        keypoints = [database.read_keypoints(frame + 1)[:, :2] for frame in range(space.frames)]
        for pair, geometry in zip(*database.read_two_view_geometries(), strict=True):
            i, j = sorted(number - 1 for number in pycolmap.pair_id_to_image_pair(pair))
            found = np.asarray(geometry.inlier_matches).reshape(-1, 2)
            frames.append(np.full(found.shape, (i, j), np.int64))
            pixels.append(np.stack([keypoints[i][found[:, 0]], keypoints[j][found[:, 1]]], 1))
    order = np.lexsort(np.concatenate(frames).T[::-1])
    return Matches(
        torch.from_numpy(np.concatenate(frames)[order]),
        torch.from_numpy(np.concatenate(pixels)[order]).double(),
        space.frames,
    )


def read_model(model: pycolmap.Reconstruction, space: Workspace) -> SparseModel:
    """Read a solution, without the frames that hang on it by too little (`linked_frames`)."""
    frames = space.frames
    registered = torch.zeros(frames, dtype=torch.bool)
    world_from_camera = torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1)
    K = torch.eye(3, dtype=torch.float64).repeat(frames, 1, 1)
    K[:] = torch.from_numpy(next(iter(model.cameras.values())).calibration_matrix())
    for number, image in sorted(model.images.items()):
        if not image.has_pose:
            continue
        frame = number - 1
        registered[frame] = True
        K[frame] = torch.from_numpy(model.cameras[image.camera_id].calibration_matrix())
        matrix = torch.from_numpy(np.array(image.cam_from_world().inverse().matrix()))
        world_from_camera[frame, :3] = matrix
    points, errors, seen = _read_points(model)
    found = SparseModel(registered, world_from_camera, K, points, errors, *seen)
    return only(found, linked_frames(found))


def _read_points(
    model: pycolmap.Reconstruction,
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    points, errors, frame, pixel, point = [], [], [], [], []
    keypoints = {number: [p.xy for p in image.points2D] for number, image in model.images.items()}
    for _, entry in sorted(model.points3D.items()):
        for element in entry.track.elements:
            frame.append(element.image_id - 1)
            pixel.append(keypoints[element.image_id][element.point2D_idx])
            point.append(len(points))
        points.append(entry.xyz)
        errors.append(entry.error)
    seen = (
        torch.tensor(frame, dtype=torch.long),
        torch.from_numpy(np.array(pixel, np.float64).reshape(-1, 2)),
        torch.tensor(point, dtype=torch.long),
    )
    xyz = torch.from_numpy(np.array(points, np.float64).reshape(-1, 3))
    return xyz, torch.tensor(errors, dtype=torch.float64), seen
