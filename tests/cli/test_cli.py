"""The command line's frame: help, usage errors, and how failures are told."""

import argparse
import dataclasses
import logging
import os
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, IterableDataset

from jog3r.cli import info, main, reconstruct
from jog3r.cli.entry import COMMANDS, build_parser
from jog3r.cli.outputs import DESCRIPTIONS, check_free, print_outputs, slug
from jog3r.errors import FileError, InputError, Jog3rError, MissingPackageError, SaveError
from jog3r.export.folder import FORMAT

NAMES = [command.__name__.rpartition(".")[2].replace("_", "-") for command in COMMANDS]


def fails(words: list[str], capsys: pytest.CaptureFixture[str], *, status: int, says: str) -> None:
    """Run a command line in this process and check that it fails with one line on stderr."""
    try:
        got = main(words)
    except SystemExit as stopped:
        got = stopped.code
    error = capsys.readouterr().err
    assert got == status
    assert error.count("\n") == 1
    assert error.startswith("jog3r: ")
    assert says in error


@pytest.mark.parametrize("words", [[], *([name] for name in NAMES)], ids=str)
def test_help_needs_nothing_but_the_standard_library(words: list[str]) -> None:
    code = (
        "import sys\nfrom jog3r.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('modules:', *{name.split('.')[0] for name in sys.modules})"
    )
    run = subprocess.run(
        # -S: without the environment's start-up hooks, only what the command imports counts.
        [sys.executable, "-S", "-c", code, *words, "--help"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    help_text, _, modules = run.stdout.partition("modules:")
    assert run.returncode == 0, run.stderr
    assert help_text.startswith("usage: jog3r")
    assert "example" in help_text or not words
    assert set(modules.split()) <= set(sys.stdlib_module_names) | {"jog3r", "__main__"}


def test_main_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in NAMES)


def test_help_names_every_default_of_an_option_with_a_value() -> None:
    commands = next(
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    for name, parser in commands.choices.items():
        for action in parser._actions:
            if action.required or action.nargs == 0 or not action.option_strings:
                continue
            group = next(g.title for g in parser._action_groups if action in g._group_actions)
            assert "(default: " in f"{action.help} {group}" or "default:" in (group or ""), (
                f"{name}: {action.option_strings}"
            )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("jog3r ")


def test_no_command_prints_the_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "usage: jog3r" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["paint"], "'paint'"),
        (["--colour"], "--colour"),
        (["generate"], "PROMPT"),
        (["generate", "a cone", "--stpes", "3"], "'--stpes'; see `jog3r generate --help`"),
        (["generate", "a cone", "--steps", "0"], "at least 1, got '0'"),
        (["generate", "a cone", "--frames", "many"], "at least 1, got 'many'"),
        (["generate", "a cone", "--seed", "-1"], "at least 0, got '-1'"),
        (["generate", "a cone", "--guidance", "nan"], "a number, got 'nan'"),
        (["reconstruct", "clip.mp4"], "--out"),
        (["reconstruct", "clip.mp4", "--out", "x", "--fov-deg", "180"], "between 0 and 180"),
        (["reconstruct", "clip.mp4", "--out", "x", "--K", "1", "2"], "--K"),
        (["reconstruct", "a", "--out", "x", "--fov-deg", "9", "--K", "1", "1", "1", "1"], "--fov"),
        (["reconstruct", "clip.mp4", "--out", "x", "--static-camera", "-1"], "at least 0"),
        (["reconstruct", "clip.mp4", "--out", "x", "--fps", "0"], "above 0"),
        (["reconstruct", "clip.mp4", "--out", "x", "--fps", "5", "--stride", "2"], "not allowed"),
        (["train"], "--config"),
        (["info", "tiny", "small"], "'small'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fails(words, capsys, status=2, says=says)


class Torn(IterableDataset[int]):
    """Data of which nothing can be read."""

    def __iter__(self) -> Iterator[int]:
        raise FileError("3.tar: expected a shard, got another file; copy it again")


def test_an_error_of_a_process_that_reads_data_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch puts a whole traceback into the message."""

    def run(_: argparse.Namespace) -> None:
        next(iter(DataLoader(Torn(), batch_size=None, num_workers=1)))

    monkeypatch.setattr(info, "run", run)
    fails(["info", "tiny"], capsys, status=1, says="error: 3.tar: expected a shard, got another")


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (InputError("K: expected (3, 3),\n  got (4, 4)"), 2, "error: K: expected (3, 3), got (4,"),
        (FileError("a.mp4: expected a video, got text"), 1, "error: a.mp4: expected"),
        (SaveError("out: disk full"), 1, "error: out: disk full"),
        (MissingPackageError("av: not installed"), 1, "error: av: not"),
        (Jog3rError("broken"), 1, "error: broken"),
        (
            PermissionError(13, "Permission denied", "a.yaml"),
            1,
            "error: a.yaml: expected a path that can be used, got Permission denied; check it and",
        ),
        (KeyError("depth"), 1, "error: unexpected KeyError: 'depth'; set JOG3R_DEBUG=1"),
        (OSError("odd"), 1, "error: unexpected OSError: odd; set JOG3R_DEBUG=1"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_failures_are_one_line(
    error: BaseException,
    status: int,
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(_: argparse.Namespace) -> None:
        raise error

    monkeypatch.delenv("JOG3R_DEBUG", raising=False)
    monkeypatch.setattr(info, "run", run)
    fails(["info"], capsys, status=status, says=says)


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: argparse.Namespace) -> None:
        raise InputError("here")

    monkeypatch.setenv("JOG3R_DEBUG", "1")
    monkeypatch.setattr(info, "run", run)
    with pytest.raises(InputError, match="here"):
        main(["info"])


def test_a_reader_that_leaves_is_no_error() -> None:
    code = (
        "from jog3r.cli import info, main\n"
        "info.run = lambda args: [print('line') for _ in range(100_000)]\n"
        "raise SystemExit(main(['info']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 1


def test_own_warnings_are_one_line_and_foreign_ones_are_silent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_: argparse.Namespace) -> None:
        text = "prompt: unknown words 'zebra',\n'crossing'"
        warnings.warn_explicit(text, UserWarning, "model.py", 1, module="jog3r.model")
        warnings.warn_explicit("not for you", UserWarning, "x.py", 1, module="torch.nn")

    monkeypatch.delenv("JOG3R_DEBUG", raising=False)
    monkeypatch.setattr(sys, "warnoptions", [])
    monkeypatch.setattr(info, "run", run)
    assert main(["info"]) == 0
    error = capsys.readouterr().err
    assert error == "jog3r: warning: prompt: unknown words 'zebra', 'crossing'\n"


def test_log_messages_are_one_line_and_told_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("jog3r.codecs")

    def run(_: argparse.Namespace) -> None:
        log.info("loading")
        log.warning("unknown word %s", "zebra")
        log.warning("unknown word %s", "zebra")

    monkeypatch.setattr(info, "run", run)
    assert main(["info"]) == 0
    assert capsys.readouterr().err == "jog3r: warning: unknown word zebra\n"
    assert logging.getLogger("jog3r").handlers == []


def test_openmp_threads_do_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setattr(info, "run", lambda _: None)
    assert main(["info"]) == 0
    assert os.environ["GOMP_SPINCOUNT"] == "0"


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A red sphere, in a brick room!", "a-red-sphere-in-a-brick-room"),
        ("../../etc/passwd", "etc-passwd"),
        ("!?", "prompt"),
        ("ein blauer Würfel", "ein-blauer-würfel"),
        ("x" * 60, "x" * 48),
        ("word " * 20, "word-word-word-word-word-word-word-word-word"),
    ],
)
def test_slug(prompt: str, name: str) -> None:
    assert slug(prompt) == name


def test_taken_folder_is_refused(tmp_path: Path) -> None:
    check_free(tmp_path / "new", overwrite=False)
    check_free(tmp_path, overwrite=True)
    with pytest.raises(InputError, match="--overwrite"):
        check_free(tmp_path, overwrite=False)


def test_only_results_are_overwritten(tmp_path: Path) -> None:
    video, meta, diary = (tmp_path / name for name in ("video.mp4", "meta.json", "diary.txt"))
    video.touch()
    with pytest.raises(InputError, match="--out: expected one written by jog3r"):
        check_free(tmp_path, overwrite=True)
    with pytest.raises(InputError, match=r"video\.mp4"):
        check_free(video, overwrite=True)
    with pytest.raises(InputError, match="--out: "):
        check_free(video / "below", overwrite=False)
    meta.write_text('{"format": "another"}')
    with pytest.raises(InputError, match="--out: expected one written by jog3r"):
        check_free(tmp_path, overwrite=True)
    meta.write_text(f'{{"format": "{FORMAT}"}}')
    check_free(tmp_path, overwrite=True)
    diary.touch()
    with pytest.raises(InputError, match=r"diary\.txt"):
        check_free(tmp_path, overwrite=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full: not on this system")
@pytest.mark.parametrize(("target", "status"), [(">&-", 0), (">/dev/full", 1)])
def test_output_that_goes_nowhere(target: str, status: int) -> None:
    code = "import sys; from jog3r.cli import main; sys.exit(main(['info']))"
    line = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} {target}"
    done = subprocess.run(line, shell=True, capture_output=True, text=True)
    assert done.returncode == status
    told = "jog3r: error: standard output: No space left on device\n"
    assert done.stderr == (told if status else "")


def test_every_file_of_a_result_is_described() -> None:
    from jog3r.export.folder import NAMES

    assert set(DESCRIPTIONS) == NAMES


def test_outputs_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "video.mp4").touch()
    print_outputs([tmp_path])
    folder, *lines = capsys.readouterr().out.splitlines()
    assert folder == str(tmp_path)
    assert [line.split()[0] for line in lines] == ["video.mp4", "frames"]


def test_train_passes_every_word_on() -> None:
    words = ["train", "--config", "a.yaml", "--stage", "joint", "--trainer.max_steps", "10"]
    assert build_parser().parse_command(words).words == words[1:]


def test_regularisers_match_the_library() -> None:
    from jog3r.alignment.regularisers import Regularisers

    fields = [field.name for field in dataclasses.fields(Regularisers)]
    assert list(reconstruct.REGULARISERS) == fields
    line = ["reconstruct", "clip.mp4", "--out", "x"]
    args = build_parser().parse_command([*line, "--static-camera", "0.5"])
    assert reconstruct.regularisers(args) == Regularisers(static_camera=0.5)
    assert reconstruct.regularisers(build_parser().parse_command(line)) is None


def test_known_camera_becomes_intrinsics() -> None:
    import torch

    line = ["reconstruct", "clip.mp4", "--out", "x"]
    size = (48, 64)
    parse = build_parser().parse_command
    assert reconstruct.intrinsics(parse(line), size) is None
    fov = reconstruct.intrinsics(parse([*line, "--fov-deg", "90"]), size)
    known = reconstruct.intrinsics(parse([*line, "--K", "24", "24", "32", "24"]), size)
    assert fov is not None
    assert known is not None
    # Half of 48 rows at 45 degrees.
    torch.testing.assert_close(fov, known)


def test_missing_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOG3R_DEBUG", raising=False)
    missing, out = str(tmp_path / "missing.mp4"), tmp_path / "out"
    fails(["reconstruct", missing, "--out", str(out)], capsys, status=1, says="missing.mp4")
    nowhere = str(tmp_path / "model")
    fails(["info", nowhere], capsys, status=1, says="model")
    line = ["generate", "a cone", "--out", str(out), "--model", nowhere]
    fails(line, capsys, status=1, says="model")
    assert not out.exists()
