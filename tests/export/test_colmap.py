"""COLMAP models: our writers against pycolmap's reader, its writers against our readers."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from jog3r import Cameras, FileError, InputError, Reconstruction
from jog3r.export.colmap import cameras_model, find_model, observations, read_colmap, scene_model
from jog3r.export.colmap_binary import BINARY_FILES, read_colmap_binary, write_colmap_binary
from jog3r.export.colmap_records import ColmapModel
from jog3r.export.colmap_text import TEXT_FILES, read_colmap_text, write_colmap_text
from jog3r.geometry import invert, project, transform_points

pycolmap = pytest.importorskip("pycolmap")

Writer = Callable[[Path, ColmapModel], None]
Reader = Callable[[Path], ColmapModel]
KINDS = pytest.mark.parametrize(
    ("write", "read"),
    [(write_colmap_text, read_colmap_text), (write_colmap_binary, read_colmap_binary)],
    ids=["text", "binary"],
)
NAMES = ["c10.png", "c9.png", "b.png", "z.png", "a.png", "y.png"]
"""In another order than the frames when sorted, as text and as numbers."""


@pytest.fixture(scope="module")
def model(room: Reconstruction) -> ColmapModel:
    return scene_model(room.points, room.cameras, room.depth, NAMES)


def assert_same(a: ColmapModel, b: ColmapModel) -> None:
    assert a.files == b.files
    np.testing.assert_array_equal(a.positions, b.positions)
    np.testing.assert_array_equal(a.colors, b.colors)
    np.testing.assert_array_equal(a.errors_px, b.errors_px)
    for mine, other in zip(a.observations, b.observations, strict=True):
        np.testing.assert_array_equal(mine, other)


@KINDS
def test_round_trip(model: ColmapModel, tmp_path: Path, write: Writer, read: Reader) -> None:
    write(tmp_path / "m", model)
    loaded = read(tmp_path / "m")
    assert_same(loaded, model)
    assert torch.equal(loaded.cameras.K, model.cameras.K)
    torch.testing.assert_close(
        loaded.cameras.world_from_camera, model.cameras.world_from_camera, atol=1.2e-7, rtol=1.2e-7
    )
    write(tmp_path / "again", loaded)
    again = read(tmp_path / "again")
    assert_same(again, loaded)
    np.testing.assert_allclose(
        again.cameras.world_from_camera, loaded.cameras.world_from_camera, atol=1e-7
    )


@KINDS
def test_pycolmap_reads_ours(
    room: Reconstruction, model: ColmapModel, tmp_path: Path, write: Writer, read: Reader
) -> None:
    write(tmp_path, model)
    theirs = pycolmap.Reconstruction(str(tmp_path))
    assert theirs.num_cameras() == 1  # one K for all frames
    assert theirs.num_reg_images() == 6
    assert theirs.num_points3D() == len(room.points)
    for image in theirs.images.values():
        frame = NAMES.index(image.name)
        expected = room.cameras.world_from_camera[frame]
        np.testing.assert_allclose(image.projection_center(), expected[:3, 3], atol=1e-6)
        camera_from_world = image.cam_from_world().matrix()
        np.testing.assert_allclose(camera_from_world[:, :3], expected[:3, :3].T, atol=1e-6)
        K = image.camera.calibration_matrix()
        np.testing.assert_array_equal(K.astype(np.float32), room.cameras.K[frame])
        assert (image.camera.height, image.camera.width) == room.cameras.image_size
    for number, point in list(theirs.points3D.items())[::97]:
        np.testing.assert_array_equal(point.xyz, model.positions[number - 1])
        np.testing.assert_array_equal(point.color, model.colors[number - 1])
        seen = {theirs.image(e.image_id).name for e in point.track.elements}
        rows = model.observations.points == number - 1
        assert seen == {NAMES[frame] for frame in model.observations.frames[rows]}
    # The pixels are where the points project: pycolmap's own pixel rule is ours.
    theirs.update_point_3d_errors()
    assert theirs.compute_mean_reprojection_error() < 1e-4


@KINDS
def test_we_read_what_pycolmap_wrote(
    model: ColmapModel, tmp_path: Path, write: Writer, read: Reader
) -> None:
    write(tmp_path / "ours", model)
    theirs = pycolmap.Reconstruction(str(tmp_path / "ours"))
    (tmp_path / "theirs").mkdir()
    if write is write_colmap_text:
        theirs.write_text(str(tmp_path / "theirs"))
    else:
        theirs.write_binary(str(tmp_path / "theirs"))
    assert len(list((tmp_path / "theirs").iterdir())) == 5  # rigs and frames besides
    loaded = read(tmp_path / "theirs")
    order = np.lexsort(loaded.positions.T)
    expected = np.lexsort(model.positions.T)
    np.testing.assert_array_equal(loaded.positions[order], model.positions[expected])
    assert loaded.files == model.files
    assert len(loaded.observations.points) == len(model.observations.points)
    position = loaded.positions[loaded.observations.points]
    frame = torch.from_numpy(loaded.observations.frames)
    seen_from = invert(loaded.cameras.world_from_camera.double())[frame]
    pixel, _ = project(
        transform_points(seen_from, torch.from_numpy(position)), loaded.cameras.K.double()[frame]
    )
    np.testing.assert_allclose(pixel, loaded.observations.pixels, atol=1e-4)


def foreign(folder: Path, model: str, parameters: list[float]) -> Path:
    """Let pycolmap build a model of two images from nothing, and write it in both kinds."""
    made = pycolmap.Reconstruction()
    camera = pycolmap.Camera(model=model, width=64, height=48, params=parameters, camera_id=3)
    made.add_camera_with_trivial_rig(camera)
    for number, name, x in ((7, "second name.png", 1.0), (4, "first.png", 0.0)):
        image = pycolmap.Image(name=name, camera_id=3, image_id=number)
        placed = pycolmap.Rigid3d(pycolmap.Rotation3d(np.eye(3)), np.array([-x, 0.0, 0.0]))
        made.add_image_with_trivial_frame(image, placed)
    for kind in ("text", "binary"):
        (folder / kind).mkdir(parents=True)
        getattr(made, f"write_{kind}")(str(folder / kind))
    return folder


@pytest.mark.parametrize(
    ("lens", "parameters"),
    [("SIMPLE_PINHOLE", [50.0, 31.0, 25.0]), ("PINHOLE", [50.0, 50.0, 31.0, 25.0])],
)
def test_foreign_lenses_without_distortion(
    tmp_path: Path, lens: str, parameters: list[float]
) -> None:
    folder = foreign(tmp_path, lens, parameters)
    loaded = read_colmap_binary(folder / "binary")
    assert loaded.files == ("first.png", "second name.png")  # by id; the name of 7 is whole
    assert loaded.cameras.world_from_camera[:, 0, 3].tolist() == [0.0, 1.0]
    assert loaded.cameras.K[1].tolist() == [[50.0, 0, 31], [0, 50, 25], [0, 0, 1]]
    assert loaded.cameras.image_size == (48, 64)
    with pytest.raises(FileError, match=r"images\.txt: line \d+: expected 10 columns .* got 11"):
        read_colmap_text(folder / "text")  # COLMAP's own text cannot say a name with a space


@pytest.mark.parametrize(
    ("lens", "parameters"),
    [
        ("SIMPLE_RADIAL", [50.0, 32.0, 24.0, 0.1]),
        ("OPENCV", [50.0, 50, 32, 24, 0.1, 0, 0, 0]),
        ("FISHEYE", [50.0, 50, 32, 24]),
    ],
)
def test_lenses_with_distortion_are_refused(
    tmp_path: Path, lens: str, parameters: list[float]
) -> None:
    folder = foreign(tmp_path, lens, parameters)
    for kind, read in (("text", read_colmap_text), ("binary", read_colmap_binary)):
        with pytest.raises(FileError, match=r"without distortion.*undistort the images first"):
            read(folder / kind)


def test_frames_of_several_lenses(cameras: Cameras, tmp_path: Path) -> None:
    write_colmap_binary(tmp_path, cameras_model(cameras))
    assert pycolmap.Reconstruction(str(tmp_path)).num_cameras() == 13
    assert torch.equal(read_colmap_binary(tmp_path).cameras.K, cameras.K)


def test_points_without_any_camera_that_sees_them(room: Reconstruction, tmp_path: Path) -> None:
    model = scene_model(room.points, room.cameras, torch.zeros_like(room.depth), NAMES)
    assert len(model.observations.points) == 0
    write_colmap_binary(tmp_path, model)
    assert pycolmap.Reconstruction(str(tmp_path)).num_points3D() == len(room.points)
    assert_same(read_colmap_binary(tmp_path), model)


def test_observations_are_what_the_cameras_see(room: Reconstruction) -> None:
    seen = observations(room.points.points, room.cameras, room.depth)
    assert (np.diff(seen.frames) >= 0).all()
    # Every point is seen at least by the camera whose pixel it is, here in an empty room by most.
    counts = np.bincount(seen.points, minlength=len(room.points))
    assert counts.min() >= 1
    assert counts.max() == 6
    assert 3 < counts.mean() < 5.5
    halved = observations(room.points.points, room.cameras, room.depth * 0.5)
    assert len(halved.points) == 0


def test_a_model_is_found_in_its_project(model: ColmapModel, tmp_path: Path) -> None:
    write_colmap_text(tmp_path / "a/sparse/0", model)
    assert find_model(tmp_path / "a", TEXT_FILES) == tmp_path / "a/sparse/0"
    assert_same(read_colmap(tmp_path / "a"), model)
    write_colmap_binary(tmp_path / "b/sparse", model)
    assert_same(read_colmap(tmp_path / "b"), model)
    with pytest.raises(FileError, match=r"cameras\.bin.*, got a folder without"):
        find_model(tmp_path / "a", BINARY_FILES)
    with pytest.raises(FileError, match="got no such folder"):
        read_colmap(tmp_path / "nowhere")


# What cannot be written


def test_writing_refuses(model: ColmapModel, cameras: Cameras, tmp_path: Path) -> None:
    K = cameras.K.clone()
    K[3, 0, 1] = 0.5
    skewed = Cameras(cameras.world_from_camera, K, cameras.image_size)
    with pytest.raises(InputError, match="K: expected no skew"):
        write_colmap_text(tmp_path / "a", cameras_model(skewed))
    with pytest.raises(InputError, match="files: expected 13 image names, got 2"):
        write_colmap_text(tmp_path / "a", cameras_model(cameras, ["a", "b"]))
    with pytest.raises(InputError, match="files: expected another name for every image, got 'a'"):
        write_colmap_binary(tmp_path / "a", cameras_model(cameras, ["a"] * 13))
    spaced = model._replace(files=("a b.png", *NAMES[1:]))
    with pytest.raises(InputError, match=r"files: expected names without spaces, got 'a b\.png'"):
        write_colmap_text(tmp_path / "a", spaced)
    assert not list(tmp_path.iterdir())
    write_colmap_binary(tmp_path / "a", spaced)
    assert read_colmap_binary(tmp_path / "a").files == spaced.files
    with pytest.raises(InputError, match=r"without another COLMAP model, got .*cameras\.bin"):
        write_colmap_text(tmp_path / "a", model)
    write_colmap_binary(tmp_path / "a", model)  # its own files are replaced
    assert read_colmap_binary(tmp_path / "a").files == tuple(NAMES)


# Damaged files

LENSES = "1 PINHOLE 64 48 50 50 32 24\n"
IMAGES = "# two\n1 1 0 0 0 0 0 0 1 a.png\n1.5 2.5 8 3 3 -1\n2 1 0 0 0 1 0 0 1 b.png\n\n"
POINTS = "8 0 0 5 255 0 9 -1 1 0\n"


def write_texts(folder: Path, lenses: str, images: str, points: str) -> Path:
    for name, text in zip(TEXT_FILES, (lenses, images, points), strict=True):
        (folder / name).write_text(text)
    return folder


def test_a_small_text_model(tmp_path: Path) -> None:
    loaded = read_colmap_text(write_texts(tmp_path, LENSES, IMAGES, POINTS))
    assert loaded.files == ("a.png", "b.png")
    assert loaded.positions.tolist() == [[0, 0, 5]]
    assert loaded.observations.pixels.tolist() == [[1.5, 2.5]]  # the pixel of -1 is left out
    assert loaded.cameras.world_from_camera[1, :3, 3].tolist() == [-1, 0, 0]


@pytest.mark.parametrize(
    ("part", "old", "new", "message"),
    [
        (0, LENSES, "", "image a.png: expected a camera of the model, got id 1"),
        (0, " 24", "", r"cameras\.txt: line 1: expected 8 columns .* got 7"),
        (0, "PINHOLE 64 48 50 50 32 24", "PINHOLE", r"line 1: expected CAMERA_ID .* got 2 columns"),
        (0, "64", "6.4", r"line 1, column 3 \(WIDTH\): expected a whole number, got '6.4'"),
        (0, "64", "64000000", "expected sides up to 1000000 px, got 64000000x48"),
        (0, "64", "20", "K: expected pixels of a 20x48 image"),
        (0, "50 50", "50 nan", r"line 1, column 6 \(fy\): expected a finite number, got 'nan'"),
        (0, LENSES, LENSES * 2, "line 2, column 1: expected a new id, got 1 again"),
        (0, "PINHOLE", "RADIAL", r"line 1, column 2 \(MODEL\): .* got RADIAL; undistort"),
        (1, IMAGES, "# none\n", "expected one image per camera, got none"),
        (1, "1 1 0 0 0", "1 1 0 0", r"images\.txt: line 2: expected 10 columns .* got 9"),
        (1, "1 1 0 0 0", "1 1 x 0 0", r"line 2, column 3 \(QX\): expected a finite number"),
        (1, "1 1 0 0 0", "1 1 1 0 0", "image a.png: expected a unit quaternion .* length 1.414"),
        (1, " 3 3 -1", " 3 3", r"line 3: expected X Y POINT3D_ID, three columns .* got 5"),
        (1, " 8 ", " inf ", r"line 3, column 3 \(POINT3D_ID\): expected a finite number"),
        (1, " 8 ", " 9 ", "image a.png: expected points of the model, got ids that no point has"),
        (1, " 8 ", " -1 ", "point 8: expected a track of 0 images, as many as show it, got 1"),
        (1, "\n2 1", "\n1 1", "line 4, column 1: expected a new id, got 1 again"),
        (1, "b.png", "a.png", "expected every image once, got 'a.png' again"),
        (1, " 1 b.png", " 5 b.png", "image b.png: expected a camera of the model, got id 5"),
        (2, " 1 0\n", " 1\n", r"points3D\.txt: line 1: expected POINT3D_ID .* got 9 columns"),
        (2, "255", "256", "line 1, columns 5 to 7: expected colours of 8 bits, got 256 0 9"),
        (2, "8 0", "8 nan", r"line 1, column 2 \(X\): expected a finite number, got 'nan'"),
        (2, "8 0", "-8 0", r"line 1, column 1 \(POINT3D_ID\): expected a whole number"),
        (2, POINTS, POINTS * 2, "expected every POINT3D_ID once"),
        (2, POINTS, "", "image a.png: expected points of the model"),
    ],
)
def test_damaged_text(tmp_path: Path, part: int, old: str, new: str, message: str) -> None:
    texts = [LENSES, IMAGES, POINTS]
    assert old in texts[part]
    texts[part] = texts[part].replace(old, new, 1)
    with pytest.raises(FileError, match=message) as caught:
        read_colmap_text(write_texts(tmp_path, *texts))
    assert str(tmp_path) in str(caught.value)


def test_images_of_several_sizes(tmp_path: Path) -> None:
    lenses = LENSES + "2 SIMPLE_PINHOLE 32 48 50 16 24\n"
    images = IMAGES.replace("1 b.png", "2 b.png")
    with pytest.raises(FileError, match=r"expected images of one size, got .*\(48, 32\), \(48, 64"):
        read_colmap_text(write_texts(tmp_path, lenses, images, POINTS))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = write_texts(tmp_path_factory.mktemp("small"), LENSES, IMAGES, POINTS)
    model = read_colmap_text(folder)
    write_colmap_binary(folder / "binary", model)
    return {name: (folder / "binary" / name).read_bytes() for name in BINARY_FILES}


def test_every_truncated_binary_is_refused(small: dict[str, bytes], tmp_path: Path) -> None:
    for name, content in small.items():
        for other, whole in small.items():
            (tmp_path / other).write_bytes(whole)
        for length in range(len(content)):
            (tmp_path / name).write_bytes(content[:length])
            with pytest.raises(FileError, match=rf"{name}: .*is the file truncated"):
                read_colmap_binary(tmp_path)
        (tmp_path / name).write_bytes(content + b"\0")
        with pytest.raises(FileError, match=rf"{name}: expected the end .* got 1 more bytes"):
            read_colmap_binary(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(FileError, match=rf"{name}: expected a binary file, got none of this"):
            read_colmap_binary(tmp_path)


@pytest.mark.parametrize(
    ("name", "place", "new", "message"),
    [
        ("cameras.bin", 0, struct.pack("<Q", 2**60), "camera 2 of .*: expected 24 bytes"),
        ("cameras.bin", 12, struct.pack("<i", 99), "camera 1 of 1: .* got model number 99"),
        ("cameras.bin", 32, struct.pack("<d", float("nan")), "K: expected"),
        ("images.bin", 12, struct.pack("<d", float("nan")), "unit quaternion .* got length nan"),
        ("images.bin", 44, struct.pack("<d", float("inf")), "world_from_camera: expected"),
        ("images.bin", 72, b"\xff", "image 1 of 2: expected a name at byte"),
        ("images.bin", 78, struct.pack("<Q", 2**62), "image 1 of 2: expected .* bytes at byte 86"),
        ("images.bin", 86, struct.pack("<d", float("nan")), "finite positions of pixels"),
        ("points3D.bin", 16, struct.pack("<d", float("nan")), "finite positions of points"),
        ("points3D.bin", 51, struct.pack("<Q", 2**62), "point 1 of 1: expected .* bytes"),
    ],
)
def test_damaged_binary(
    small: dict[str, bytes], tmp_path: Path, name: str, place: int, new: bytes, message: str
) -> None:
    for other, whole in small.items():
        (tmp_path / other).write_bytes(whole)
    content = small[name]
    (tmp_path / name).write_bytes(content[:place] + new + content[place + len(new) :])
    with pytest.raises(FileError, match=message):
        read_colmap_binary(tmp_path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "cameras.bin").mkdir()
    with pytest.raises(FileError, match=r"cameras\.bin: .* got 'Is a directory'"):
        read_colmap_binary(tmp_path)


def test_repeated_ids_in_binary(small: dict[str, bytes], tmp_path: Path) -> None:
    for name, doubled in small.items():
        for other, whole in small.items():
            (tmp_path / other).write_bytes(whole)
        count = struct.unpack("<Q", doubled[:8])[0]
        (tmp_path / name).write_bytes(struct.pack("<Q", 2 * count) + doubled[8:] * 2)
        with pytest.raises(FileError, match=rf"{name}.*(a new id, got 1 again|every id once)"):
            read_colmap_binary(tmp_path)
