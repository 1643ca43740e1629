from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image

from jog3r import FileError, InputError, Video
from jog3r.data.media import read_video


@pytest.fixture(autouse=True)
def unchecked() -> Iterator[None]:
    """Switch the runtime type checks off: what is left is what a user meets."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def numbered(count: int = 12, height: int = 10, width: int = 14) -> torch.Tensor:
    """Frames whose every pixel holds the number of the frame."""
    return torch.arange(count, dtype=torch.uint8)[:, None, None, None].repeat(1, height, width, 3)


def numbers(video: Video) -> list[int]:
    return video.frames[:, 0, 0, 0].tolist()


def save_images(folder: Path, names: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for index, (name, frame) in enumerate(zip(names, numbered(len(names)), strict=True)):
        Image.fromarray(frame.numpy()).save(folder / name, quality=100)
        assert frame[0, 0, 0] == index
    return folder


# Arrays and tensors


@pytest.mark.parametrize("kind", ["tensor", "array", "negative strides"])
def test_8_bit_frames_are_taken_as_they_are(kind: str) -> None:
    frames: Any = torch.randint(0, 256, (3, 10, 14, 3), dtype=torch.uint8)
    expected = Video(frames, 10.0)
    if kind == "array":
        frames = frames.numpy()
    if kind == "negative strides":  # as in bgr[..., ::-1]
        frames = frames.numpy()[..., ::-1].copy()[..., ::-1]
    assert read_video(frames) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_floating_point_frames_hold_minus_one_to_one(dtype: torch.dtype) -> None:
    video = Video(numbered(12), 10.0)
    assert read_video(video.tensor().to(dtype)) == video
    assert read_video(video.tensor().double().numpy()) == video


def test_the_result_does_not_change_with_the_input() -> None:
    frames = numbered(4)
    video = read_video(frames, stride=2)
    frames[:] = 99
    assert numbers(video) == [0, 2]


def test_a_video_is_taken_too() -> None:
    video = Video(numbered(12), 30)
    assert read_video(video) == video
    assert read_video(video, stride=3).fps == 10
    assert read_video(video, fps=5).fps == 5


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, list(range(12))),
        ({"stride": 5}, [0, 5, 10]),
        ({"max_frames": 2}, [0, 1]),
        ({"stride": 5, "max_frames": 2}, [0, 5]),
        ({"max_frames": 99}, list(range(12))),
        ({"stride": 99}, [0]),
    ],
)
def test_thinning_is_the_same_for_every_source(
    tmp_path: Path, arguments: dict[str, int], expected: list[int]
) -> None:
    frames = numbered(12)
    assert numbers(read_video(frames, **arguments)) == expected
    assert numbers(read_video(Video(frames, 30), **arguments)) == expected
    folder = save_images(tmp_path / "images", [f"{index}.png" for index in range(12)])
    assert numbers(read_video(folder, **arguments)) == expected
    bright = Video(20 * frames, 30)
    clip = read_video(bright.save(tmp_path / "clip.mp4"), **arguments)
    assert [round(number / 20) for number in numbers(clip)] == expected
    assert clip.fps == 30 / arguments.get("stride", 1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), r"expected uint8 \(T, H, W, 3\)"),
        (torch.zeros(16, 16, 3, dtype=torch.uint8), r"expected uint8 \(T, H, W, 3\), got \(16"),
        (torch.zeros(2, 16, 16, 4, dtype=torch.uint8), "colours last"),
        (torch.zeros(0, 16, 16, 3, dtype=torch.uint8), r"got \(0, 16, 16, 3\)"),
        (torch.zeros(2, 16, 16, 3), r"expected floating point as \(T, 3, H, W\).*as uint8"),
        (torch.zeros(1, 2, 3, 16, 16), r"expected one clip .* one by one, batch\[0\]"),
        (torch.zeros(2, 1, 16, 16), r"source: expected \(T, 3, H, W\), got \(2, 1, 16, 16\)"),
        (torch.full((2, 3, 16, 16), 255.0), r"values in \[-1, 1\], got 255 to 255"),
        (torch.full((2, 3, 16, 16), float("nan")), "NaN or infinite of 1536"),
        (torch.full((2, 3, 16, 16), float("inf")), "NaN or infinite of 1536"),
        (torch.zeros(2, 16, 16, 3, dtype=torch.int64), "got torch.int64 .*convert it to uint8"),
        (torch.zeros(2, 16, 16, 3, dtype=torch.bool), "got torch.bool"),
        (np.zeros((2, 16, 16, 3), np.uint16), "source: expected uint8"),
        (np.array(["a"]), "source: expected uint8"),
        (np.zeros((2, 16, 16, 3), object), "source: expected uint8"),
        (torch.zeros(2, 7, 16, 3, dtype=torch.uint8), "expected at least 8x8 px, got 16x7"),
        (torch.zeros(2, 3, 16, 7), "expected at least 8x8 px, got 7x16"),
        ([np.zeros((16, 16, 3), np.uint8)], r"got list; stack frames into one uint8 array"),
        (None, "expected a video file, a folder of images, an array or a tensor, got NoneType"),
    ],
)
def test_other_arrays_are_refused(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_video(source)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stride": 0}, "stride: expected a number from 1 to 1000000000, got 0"),
        ({"stride": True}, "stride: expected a whole number, got True"),
        ({"stride": 10**30}, "stride: expected a number from 1"),
        ({"stride": 1.5}, "stride: expected a whole number"),
        ({"max_frames": 0}, "max_frames: expected a number from 1"),
        ({"fps": 0}, "fps: expected frames per second in"),
        ({"fps": "fast"}, "fps: expected frames per second in .*, got 'fast'"),
        ({"fps": float("nan")}, "fps: expected frames per second in"),
    ],
)
def test_unusable_thinning(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_video(numbered(), **arguments)


# Folders of images


def test_images_come_in_natural_order(tmp_path: Path) -> None:
    names = [f"frame{index}.png" for index in (0, 1, 2, 9, 10, 11, 99, 100)]
    names += ["frame100b.PNG", "x1.bmp", "x01y.webp", "x2.jpg", "x10.jpeg"]
    folder = save_images(tmp_path / "images", names)
    assert sorted(names) != names
    video = read_video(folder)
    assert numbers(video) == list(range(len(names)))
    assert video.fps == 10
    assert read_video(str(folder), fps=24).fps == 24


def test_other_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    folder = save_images(tmp_path / "images", ["1.png", "2.png"])
    (folder / "notes.txt").write_text("x")
    (folder / "._1.png").write_text("what macOS leaves on foreign disks")
    assert numbers(read_video(folder)) == [0, 1]


@pytest.mark.parametrize("kind", ["folder", "link to nothing"])
def test_an_image_that_is_no_file_is_named(tmp_path: Path, kind: str) -> None:
    folder = save_images(tmp_path / "images", ["1.png", "3.png"])
    if kind == "folder":
        (folder / "2.png").mkdir()
    else:
        (folder / "2.png").symlink_to(folder / "gone.png")
    with pytest.raises(FileError, match=r"2\.png: expected an image, got a folder or a link"):
        read_video(folder)


def test_one_image_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    folder = save_images(tmp_path / "images", ["1.png", "2.png"])
    assert numbers(read_video(folder / "2.png")) == [1]
    assert len(read_video(save_images(tmp_path / "one", ["1.png"]))) == 1


def test_grey_palette_and_opaque_images_become_rgb(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    grey = Image.new("L", (14, 10), 50)
    for index, mode in enumerate(["L", "RGB", "RGBA", "P"]):
        grey.convert(mode).save(folder / f"{index}.png")
    assert numbers(read_video(folder)) == [50] * 4


def test_photos_are_turned_upright(tmp_path: Path) -> None:
    image = np.zeros((16, 24, 3), np.uint8)
    image[:8, :8] = 255  # white in the upper left corner as stored
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    Image.fromarray(image).save(tmp_path / "a.png", exif=exif)
    frame = read_video(tmp_path / "a.png").frames[0]
    assert frame.shape == (24, 16, 3)
    assert frame[:8, 8:].min() == 255
    assert frame[8:].max() == 0


def test_images_of_several_sizes_are_listed(tmp_path: Path) -> None:
    folder = save_images(tmp_path / "images", ["1.png", "2.png", "3.png"])
    Image.new("RGB", (20, 30)).save(folder / "2b.png")
    with pytest.raises(
        FileError,
        match=r"images: expected images of one size, got 3 of 14x10, 1 of 20x30 \(.*2b\.png\)",
    ):
        read_video(folder)
    assert numbers(read_video(folder, max_frames=2)) == [0, 1]  # what is not used may differ


@pytest.mark.parametrize("content", ["nothing", "text"])
def test_a_folder_without_images(tmp_path: Path, content: str) -> None:
    if content == "text":
        (tmp_path / "clip.mp4").write_text("x")
    found = "an empty folder" if content == "nothing" else "clip.mp4"
    with pytest.raises(FileError, match=rf"expected images \(.jpg .*\), got {found}; give"):
        read_video(tmp_path)


@pytest.mark.parametrize("name", ["2.png", "2.jpg", "2.webp"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_a_damaged_image_is_named(tmp_path: Path, name: str, damage: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for path in (tmp_path / "1.png", tmp_path / name):
        Image.fromarray(noise).save(path)
    data = (tmp_path / name).read_bytes()
    new = {"truncated": data[: len(data) // 2], "empty": b"", "text": b"no image " * 9}[damage]
    (tmp_path / name).write_bytes(new)
    with pytest.raises(FileError, match=f"{name}: expected a readable image"):
        read_video(tmp_path)


def test_images_that_would_lose_something_are_refused(tmp_path: Path) -> None:
    Image.new("I;16", (16, 16)).save(tmp_path / "depth.png")
    with pytest.raises(FileError, match=r"depth\.png: expected 8-bit colours, got mode I;16"):
        read_video(tmp_path / "depth.png")
    Image.new("RGBA", (16, 16), (1, 2, 3, 128)).save(tmp_path / "glass.png")
    with pytest.raises(FileError, match=r"glass\.png: expected an opaque image"):
        read_video(tmp_path / "glass.png")


def test_an_image_beyond_what_is_safe_to_decode(tmp_path: Path) -> None:
    Image.new("1", (20_000, 10_000)).save(tmp_path / "huge.png")
    with pytest.raises(FileError, match=r"huge\.png: expected a readable image"):
        read_video(tmp_path)


# Files


def test_names_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="expected a video file or a folder of images, got 'File"):
        read_video(tmp_path / ("a" * 300))
    with pytest.raises(InputError, match="source: expected the name of a file or folder"):
        read_video("a\0b")


def test_too_small_files(tmp_path: Path) -> None:
    Image.new("RGB", (7, 16)).save(tmp_path / "a.png")
    with pytest.raises(FileError, match=r"a\.png: expected at least 8x8 px, got 7x16"):
        read_video(tmp_path / "a.png")
    path = Video(torch.zeros(2, 6, 16, 3, dtype=torch.uint8), 8).save(tmp_path / "a.mp4")
    with pytest.raises(FileError, match=r"a\.mp4: expected at least 8x8 px, got 16x6"):
        read_video(path)


def test_video_files_are_thinned_to_a_rate(tmp_path: Path) -> None:
    path = Video(20 * numbered(12), 30).save(tmp_path / "a.mp4")
    video = read_video(path, fps=10)
    assert [round(number / 20) for number in numbers(video)] == [0, 3, 6, 9]
    assert video.fps == 10


@pytest.mark.parametrize("name", ["none.mp4", "none.png", "none"])
def test_missing_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileError, match=rf"{name}: expected a video file, got no file"):
        read_video(tmp_path / name)


def test_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video " * 50)
    with pytest.raises(FileError, match=r"a\.mp4: expected a readable video"):
        read_video(str(tmp_path / "a.mp4"))


def test_real_material(shared: Path) -> None:
    assert len(read_video(shared / "data/fox/images", stride=10)) == 5
    clip = next((shared / "data/re10k_clips").glob("*/clip.mp4"))
    from_file, from_images = read_video(clip), read_video(clip.parent / "frames")
    assert from_file.frames.shape == from_images.frames.shape
    # The images were made from the video: the same frames in the same order.
    difference = (from_file.frames.float() - from_images.frames.float()).abs()
    assert difference.mean() < 4
