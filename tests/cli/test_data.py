"""`jog3r data check`: what it prints, and when it fails."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from jog3r.cli import main
from jog3r.cli.data import ACTIONS
from jog3r.cli.parser import Parser
from tests.data.readers.films import write_film


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = ["videoid,name", "a,a hall", "b,", "c,a yard", "d,gone", "e,x,y"]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    for name, frames in (("a", 20), ("b", 20), ("c", 5)):
        write_film(tmp_path / f"{name}.mp4", frames)
    return tmp_path


def check(*words: object) -> int:
    return main(["data", "check", *map(str, words)])


def test_check_counts_what_is_there_and_what_is_broken(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(table, "--as", "video-table", "--option", "licence=CC0-1.0") == 0
    said = capsys.readouterr().out
    for line in (
        f"video-table in {table}",
        "licence    CC0-1.0",
        "announced  5 clips",
        "found      3 clips (60.0%)",
        "decoded    0 clips",
        "used       2 clips with at least 16 frames, for 16 frames at strides 1 2 4 8",
        "lengths    5 to 20 frames, median 20",
        "parts      frames 3, fps 3, caption 2",
        "no-video              1 times, clips lost: 1",
        "empty-caption         1 times, clips lost: 0",
        "t.csv: line 6: expected 2 columns",
        "c: expected at least 16 frames, got 5",
    ):
        assert line in said


def test_options_change_what_would_be_used(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(table, "--as", "video-table", "--frames", 3, "--strides", 2) == 0
    assert "used       3 clips with at least 5 frames" in capsys.readouterr().out


def test_decoding_finds_what_headers_hide(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytearray((table / "a.mp4").read_bytes())
    start = content.find(b"mdat") + 4
    content[start : start + 200] = bytes(200)
    (table / "a.mp4").write_bytes(content)
    assert check(table, "--as", "video-table", "--decode", "--all") == 0
    output = capsys.readouterr()
    assert "decoded    2 clips" in output.out
    assert "used       1 clips" in output.out
    assert "unreadable            1 times, clips lost: 1" in output.out
    assert output.err == ""


def test_all_gives_every_problem_a_line(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (table / "t.csv").write_text("videoid,name\na,x\nd,x\ne,x\n")
    (table / "c.mp4").unlink()
    check(table, "--as", "video-table")
    assert capsys.readouterr().out.count("expected a video of") == 1
    check(table, "--as", "video-table", "--all")
    assert capsys.readouterr().out.count("expected a video of") == 2


def test_nothing_to_use_fails(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(table, "--as", "video-table", "--frames", 99) == 1
    output = capsys.readouterr()
    assert "too-short             3 times" in output.out
    assert output.err.count("\n") == 1
    assert "expected clips that can be used, got none of 5" in output.err


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["--as", "video-table"], 2, "folder: expected a folder of video-table, got none"),
        (["nowhere", "--as", "re10k"], 1, "nowhere: expected a folder of re10k"),
        ([".", "--as", "videos", "--option", "sizes=3"], 2, "options that its reader takes"),
        ([".", "--as", "videos", "--option", "size"], 2, "expected KEY=VALUE"),
    ],
    ids=str,
)
def test_what_cannot_be_checked_is_one_line(
    words: list[str], status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(*words) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error


@pytest.mark.usefixtures("as_a_user")
def test_depth_is_compared_with_cameras(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["clips=2", f"first_seed={1 << 40}"]
    assert check("--as", "world", "--option", *options) == 0
    said = capsys.readouterr().out
    assert "unit against cameras, of 2 clips: right 2, wrong 0, cannot tell 0" in said
    assert "no problems" in said


def test_help_names_every_default_and_needs_nothing_but_the_standard_library() -> None:
    commands = Parser(prog="jog3r data").add_subparsers()
    for action in ACTIONS:
        action.add_parser(commands)
    for name, parser in commands.choices.items():
        for option in parser._actions:
            if option.required or option.nargs == 0 or isinstance(option, argparse._HelpAction):
                continue
            assert "(default: " in (option.help or "") or not option.option_strings, (
                f"{name}: {option.option_strings}"
            )
    for name in commands.choices:
        code = (
            "import sys\nfrom jog3r.cli import main\n"
            f"try: main(['data', '{name}', '--help'])\n"
            "finally: print('modules:', *{n.split('.')[0] for n in sys.modules})"
        )
        run = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
        text, _, modules = run.stdout.partition("modules:")
        assert text.startswith(f"usage: jog3r data {name}"), run.stderr
        assert "example" in text
        assert set(modules.split()) <= set(sys.stdlib_module_names) | {"jog3r", "__main__"}
