"""CO3Dv2 against closed forms and the analytic room."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from jog3r.data.readers.co3d import CO3D, lens_from_ndc, world_from_camera
from jog3r.data.readers.lens import Lens
from jog3r.data.readers.registry import open_reader
from tests.data.readers.trees import check_truth, co3d_frames, shoot, write_jgz

LENS = Lens((70.0, 72.0), (27.0, 37.0), (72, 56))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("co3d")
    frames = co3d_frames(folder, "apple/110_1_2", shoot(LENS), format="ndc_isotropic")
    frames += co3d_frames(
        folder, "apple/111_3_4", shoot(LENS, path="truck"), format="ndc_norm_image_bounds"
    )
    write_jgz(folder / "apple/frame_annotations.jgz", frames[::-1])
    frames = co3d_frames(folder, "toy bus/9_9_9", shoot(LENS, frames=2), format="ndc_isotropic")
    write_jgz(folder / "toy bus/frame_annotations.jgz", frames)
    return folder


def test_sequences(tree: Path) -> None:
    reader = open_reader(tree, "co3d")
    index = reader.index
    ids = ["apple/110_1_2", "apple/111_3_4", "toy bus/9_9_9"]
    assert [entry.id for entry in index.entries] == ids
    assert index.problems == ()
    clips = [reader.read(entry) for entry in index.entries]
    for clip in clips:
        check_truth(clip, colour=1.2, depth=0.002)
        assert clip.depth is not None
        assert not bool(clip.depth[:, :4].any())  # the depth mask's part
    clip = clips[2]
    assert clip.caption == "toy bus"
    assert clip.missing == ("fps", "points_world", "mask")
    assert (clip.source, clip.licence) == ("CO3Dv2", "CC BY-NC 4.0")


def test_the_mask_of_the_object(tree: Path) -> None:
    reader = CO3D(tree, foreground=True)
    clip = reader.read(reader.index.entries[0])
    assert clip.mask is not None
    near = shoot(LENS).depth / 2 < 2.5
    assert float((clip.mask == near).float().mean()) > 0.99


def test_fitted_to_another_size(tree: Path) -> None:
    reader = CO3D(tree, size=(40, 40))
    clip = reader.read(reader.index.entries[0], [2, 0])
    assert clip.image_size == (40, 40)
    check_truth(clip, colour=1.5, depth=0.03)


def test_cameras_by_closed_forms() -> None:
    # A point at x, y, z of OpenCV's camera is at -x, -y, z of PyTorch3D's.
    generator = torch.Generator().manual_seed(1)
    R = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    R = R * R.det().sign()
    T = torch.tensor([0.3, -0.2, 4.0], dtype=torch.float64)
    world = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    rows = world @ R + T
    camera = torch.from_numpy(world_from_camera(R.tolist(), T.tolist()))
    back = rows * torch.tensor([-1.0, -1.0, 1.0]) @ camera[:3, :3].T + camera[:3, 3]
    torch.testing.assert_close(back, world)
    assert float(torch.linalg.det(camera)) == pytest.approx(1.0)


@pytest.mark.parametrize(("height", "width"), [(100, 200), (200, 100), (64, 64)])
def test_lenses_by_closed_forms(height: int, width: int) -> None:
    focal, principal, point = [1.7, 1.9], [0.1, -0.2], (0.4, 0.3, 2.0)  # x left, y up
    ndc = [focal[i] * point[i] / point[2] + principal[i] for i in (0, 1)]
    short = min(height, width) / 2
    for format, half in (
        ("ndc_isotropic", (short, short)),
        ("ndc_norm_image_bounds", (width / 2, height / 2)),
    ):
        lens = lens_from_ndc(focal, principal, (height, width), format)
        pixel = lens.pixels(torch.tensor([-point[0] / point[2], -point[1] / point[2]]).double())
        # Normalised coordinates count from the image's centre, to the left and up.
        expected = [width / 2 - half[0] * ndc[0], height / 2 - half[1] * ndc[1]]
        torch.testing.assert_close(pixel, torch.tensor(expected, dtype=torch.float64))


def _drop(key: str) -> Callable[[dict], object]:
    return lambda frame: frame.pop(key)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (_drop("viewpoint"), "camera"),
        (lambda frame: frame["viewpoint"].update(intrinsics_format="pixels"), "camera"),
        (lambda frame: frame["viewpoint"].update(R=np.diag([1, 1, 2.0]).tolist()), "camera"),
        (lambda frame: frame["viewpoint"].update(R=[[1.0]]), "camera"),
        (lambda frame: frame["viewpoint"].update(T=[float("nan")] * 3), "no-camera"),
        (lambda frame: frame["image"].update(path="apple/110_1_2/images/no.jpg"), "no-picture"),
        (lambda frame: frame["depth"].update(path="apple/110_1_2/depths/no.png"), "no-map"),
    ],
)
def test_broken_frames_are_counted(
    tmp_path: Path, change: Callable[[dict], object], kind: str
) -> None:
    frames = co3d_frames(tmp_path, "apple/110_1_2", shoot(LENS, frames=3), format="ndc_isotropic")
    change(frames[1])
    write_jgz(tmp_path / "apple/frame_annotations.jgz", frames)
    assert CO3D(tmp_path).index.counted() == {kind: 1}  # frames 1 and 3: an even run
    reader = CO3D(tmp_path, even=False)
    assert reader.index.counted() == {kind: 1}
    (entry,) = reader.index.entries
    assert entry.length == 2
    check_truth(reader.read(entry), colour=1.2, depth=0.002)


def test_broken_annotations_are_counted(tmp_path: Path) -> None:
    shots = shoot(LENS, frames=2)
    kept = co3d_frames(tmp_path, "apple/110_1_2", shots, format="ndc_isotropic")
    co3d_frames(tmp_path, "apple/111_3_4", shots, format="ndc_isotropic")
    write_jgz(tmp_path / "apple/frame_annotations.jgz", kept)
    cut = co3d_frames(tmp_path, "car/5_5_5", shots, format="ndc_isotropic")
    path = tmp_path / "car/frame_annotations.jgz"
    write_jgz(path, cut)
    path.write_bytes(path.read_bytes()[:-40])
    index = CO3D(tmp_path).index
    assert [entry.id for entry in index.entries] == ["apple/110_1_2"]
    assert index.announced == 3
    assert index.unexplained == 0
    assert index.counted() == {"unreadable": 2}
    texts = " ".join(problem.what for problem in index.problems)
    assert "is it truncated?" in texts
    assert "got none of this sequence" in texts


def test_announced_sequences_without_files_are_counted(tmp_path: Path) -> None:
    frames = co3d_frames(tmp_path, "apple/1_1_1", shoot(LENS, frames=2), format="ndc_isotropic")
    ghost = [frame | {"sequence_name": "2_2_2"} for frame in frames]
    for number, frame in enumerate(ghost):
        frame["image"] = {"path": f"apple/2_2_2/images/{number}.jpg", "size": [72, 56]}
    write_jgz(tmp_path / "apple/frame_annotations.jgz", frames + ghost)
    index = CO3D(tmp_path).index
    assert index.announced == 2
    assert index.coverage == 0.5
    assert index.counted() == {"no-picture": 2, "no-frames": 1}
