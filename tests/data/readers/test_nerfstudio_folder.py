"""nerfstudio folders against the analytic room, and the fox's own file."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from jog3r.data.readers.lens import Lens
from jog3r.data.readers.nerfstudio import NerfstudioFolder
from jog3r.errors import FileError
from tests.data.readers.trees import (
    check_truth,
    millimetres,
    save,
    shoot,
    transforms,
    write_json,
)

BENT = Lens((50.0, 52.0), (31.0, 25.0), (48, 64), (0.06, -0.02), (0.001, 0.002))


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    shots = shoot(BENT)
    files = [f"images/frame_{index}.png" for index in range(len(shots))]
    content = transforms(shots, files, BENT)
    for index, frame in enumerate(content["frames"]):
        frame |= {"depth_file_path": f"depths/{index}.png", "mask_path": f"masks/{index}.png"}
        mask = np.full(BENT.size, 255, np.uint8)
        mask[:, :20] = 0
        save(tmp_path / files[index], shots.frames[index])
        save(tmp_path / frame["depth_file_path"], millimetres(shots.depth[index]))
        save(tmp_path / frame["mask_path"], mask)
    content["frames"].reverse()  # the order of the file means nothing
    write_json(tmp_path / "transforms.json", content)
    return tmp_path


def test_pictures_depth_and_masks(scene: Path) -> None:
    reader = NerfstudioFolder(scene)
    (entry,) = reader.index.entries
    assert entry.id == scene.name
    assert entry.parts == {"frames", "K", "world_from_camera", "depth", "mask"}
    clip = reader.read(entry)
    check_truth(clip, depth=0.03)
    assert clip.mask is not None
    assert not bool(clip.mask[:, :, :18].any())
    assert bool(clip.mask[:, :, 22:].all())
    assert clip.missing == ("fps", "points_world", "caption")
    assert (clip.source, clip.licence, clip.scale) == ("nerfstudio", "unknown", "relative")
    assert clip.world_from_camera is not None
    torch.testing.assert_close(
        clip.world_from_camera, shoot(BENT).world_from_camera.float(), atol=1e-6, rtol=1e-6
    )


def test_maps_that_some_frames_lack_are_no_part(scene: Path) -> None:
    path = scene / "transforms.json"
    content = json.loads(path.read_text())
    del content["frames"][0]["mask_path"]
    write_json(path, content)
    (entry,) = NerfstudioFolder(scene).index.entries
    assert entry.parts == {"frames", "K", "world_from_camera", "depth"}


def test_a_frame_without_its_depth_file_is_counted(scene: Path) -> None:
    (scene / "depths/2.png").unlink()
    reader = NerfstudioFolder(scene)
    assert reader.index.counted() == {"no-map": 1}
    check_truth(reader.read(reader.index.entries[0]), depth=0.03)


def test_depth_of_8_bits_is_refused(scene: Path) -> None:
    save(scene / "depths/2.png", np.zeros(BENT.size, np.uint8))
    reader = NerfstudioFolder(scene)
    with pytest.raises(FileError, match=r"2.png: expected one channel of 16 bits"):
        reader.read(reader.index.entries[0])


def test_the_fox(shared: Path, tmp_path: Path) -> None:
    fox = shared / "data" / "fox"
    shutil.copy(fox / "original_transforms.json", tmp_path / "transforms.json")
    (tmp_path / "images").symlink_to(fox / "images")
    reader = NerfstudioFolder(tmp_path)
    index = reader.index
    (entry,) = index.entries
    assert index.counted() == {"no-picture": 17}  # 67 poses for 50 images
    assert entry.length == 50
    known = json.loads((fox / "cameras.json").read_text())["frames"]
    clip = reader.read(entry, [0, 10, 49])
    assert clip.image_size == (640, 360)
    assert clip.world_from_camera is not None
    assert clip.K is not None
    for row, frame in enumerate((0, 10, 49)):
        expected = torch.tensor(known[frame]["world_from_camera"])
        torch.testing.assert_close(clip.world_from_camera[row], expected, atol=2e-5, rtol=1e-5)
        # The pictures are a third of what the file describes; straightening zooms a little.
        K = torch.tensor(known[frame]["K"])
        torch.testing.assert_close(clip.K[row, :2, 2], K[:2, 2], atol=1e-3, rtol=1e-5)
        assert 1 <= float(clip.K[row, 0, 0] / K[0, 0]) < 1.1
