import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jog3r import SaveError
from jog3r.export.atomic import atomic_file, atomic_files, atomic_folder

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fill_file(path: Path, error: BaseException | None = None) -> None:
    with atomic_file(path) as file:
        file.write(b"new")
        if error is not None:
            raise error


def fill_folder(path: Path, error: BaseException | None = None) -> None:
    with atomic_folder(path) as folder:
        fill_file(folder / "new.txt", error)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    for content in (b"first", b"second, longer"):
        with atomic_file(tmp_path / "a.txt") as file:
            file.write(content)
        assert (tmp_path / "a.txt").read_bytes() == content
        assert names(tmp_path) == ["a.txt"]


def test_a_file_is_not_seen_before_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with atomic_file(tmp_path / "a.txt") as file:
        file.write(b"new")
        file.flush()
        assert (tmp_path / "a.txt").read_text() == "old"


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a.txt") as file:
        file.write(b"x")
    (tmp_path / "b.txt").write_text("x")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk_leaves_the_old_file_and_names_the_new(tmp_path: Path, existing: bool) -> None:
    target = tmp_path / "deep" / "er" / "a.txt"
    if existing:
        target.parent.mkdir(parents=True)
        target.write_text("old")
    before = names(tmp_path)
    with pytest.raises(SaveError, match=r"a\.txt: expected .* got 'No space left") as caught:
        fill_file(target, FULL)
    assert names(tmp_path) == before
    assert str(target) in str(caught.value)
    assert not existing or target.read_text() == "old"


def test_other_errors_pass_unchanged_and_leave_nothing(tmp_path: Path) -> None:
    for error in (KeyboardInterrupt(), ValueError()):
        with pytest.raises(type(error)):
            fill_file(tmp_path / "deep" / "a.txt", error)
        with pytest.raises(type(error)):
            fill_folder(tmp_path / "deep" / "scene", error)
    assert not names(tmp_path)


def test_missing_parents_are_made(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "x" / "y" / "a.txt") as file:
        file.write(b"1")
    with atomic_folder(tmp_path / "x" / "z" / "scene") as folder:
        (folder / "b.txt").write_text("2")
    assert names(tmp_path) == ["a.txt", "b.txt", "scene", "x", "y", "z"]


def test_a_parent_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SaveError, match=r"file/a\.txt"):
        fill_file(tmp_path / "file" / "a.txt")
    assert names(tmp_path) == ["file"]


def test_a_loop_of_links_is_reported(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for fill in (fill_file, fill_folder):
        with pytest.raises(SaveError, match="got 'Too many levels of symbolic links'"):
            fill(tmp_path / "loop" / "a.txt")


def test_a_deleted_working_folder_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SaveError, match=r"a\.txt: expected .* 'No such file"):
        fill_file(Path("a.txt"))


def test_an_old_folder_that_stays_is_only_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "scene"
    fill_folder(target)

    def busy(path: Path) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))

    monkeypatch.setattr("shutil.rmtree", busy)
    fill_folder(target)
    assert (target / "new.txt").is_file()
    assert "the replaced folder could not be deleted" in caplog.text


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    with atomic_file(tmp_path / "link.txt") as file:
        file.write(b"new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "scene"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with atomic_folder(target) as folder:
        (folder / "new.txt").write_text("new")
        assert names(target) == ["old.txt"]
    assert names(tmp_path) == ["new.txt", "scene"]


def test_a_failure_inside_a_folder_names_the_folder(tmp_path: Path) -> None:
    target = tmp_path / "scene"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(SaveError, match="No space left") as caught:
        fill_folder(target, FULL)
    assert str(caught.value).startswith(f"{target}: ")
    assert ".tmp" not in str(caught.value)
    assert names(tmp_path) == ["old.txt", "scene"]


def test_the_old_folder_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "scene"
    target.mkdir()
    (target / "old.txt").write_text("old")
    rename, calls = Path.rename, []

    def second_fails(self: Path, to: Path) -> Path:
        calls.append(to)
        if len(calls) == 2:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(SaveError, match="Permission denied"):
        fill_folder(target)
    assert len(calls) == 3
    assert names(tmp_path) == ["old.txt", "scene"]


def fill_files(folder: Path, error: BaseException | None = None) -> None:
    with atomic_files(folder, obsolete=("*.old",)) as place:
        (place / "b.txt").write_text("new")
        (place / "c.old").write_text("new")
        assert not (folder / "c.old").exists()
        if error is not None:
            raise error


def test_files_replace_those_of_their_names_and_what_is_obsolete(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    fill_files(folder)
    assert names(folder) == ["b.txt", "c.old"]
    for name in ("a.txt", "b.txt", "d.old"):
        (folder / name).write_text("old")
    (folder / "c.old").unlink()
    fill_files(folder)
    assert names(folder) == ["a.txt", "b.txt", "c.old"]
    assert [(folder / name).read_text() for name in names(folder)] == ["old", "new", "new"]


@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk_leaves_all_files_as_they_were(tmp_path: Path, existing: bool) -> None:
    folder = tmp_path / "folder"
    if existing:
        folder.mkdir()
        (folder / "b.txt").write_text("old")
    with pytest.raises(SaveError, match=r"folder: expected to write it whole, got 'No space left"):
        fill_files(folder, FULL)
    assert names(tmp_path) == (["b.txt", "folder"] if existing else [])
    assert not existing or (folder / "b.txt").read_text() == "old"


LIMITED = """
import resource, sys
from pathlib import Path
import jog3r, torch
from jog3r import Cameras, Reconstruction, SaveError, Video
from jog3r.geometry import intrinsics_from_fov

T, size = 2, (32, 32)
generator = torch.Generator().manual_seed(0)
scene = Reconstruction(
    Video(torch.randint(0, 256, (T, *size, 3), dtype=torch.uint8, generator=generator), 8.0),
    Cameras(torch.eye(4).repeat(T, 1, 1), intrinsics_from_fov(60.0, size).repeat(T, 1, 1), size),
    1 + torch.rand(T, *size, generator=generator),
    torch.ones(T, *size),
    "metric",
)
folder = Path(sys.argv[1])
scene.save(folder / "whole")
sizes = {p.relative_to(folder / "whole"): p.stat().st_size for p in (folder / "whole").rglob("*.*")}
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for size in sorted(set(sizes.values())):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, hard))  # fails at the files of this size
    last = size == max(sizes.values())
    try:
        if last:
            scene.save(folder / "whole", overwrite=True)
        else:
            scene.save(folder / "new" / "whole")
    except SaveError as error:
        assert "File too large" in str(error), error
        assert ".tmp" not in str(error), error
    else:
        raise AssertionError(f"no error at {size} bytes: {sizes}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert [p.name for p in folder.iterdir()] == ["whole"], list(folder.rglob("*"))
assert Reconstruction.load(folder / "whole") == scene
print(len(set(sizes.values())), "limits")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_whatever_file_of_a_scene_fails_nothing_is_left(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout.split()[0]) >= 9, run.stdout
