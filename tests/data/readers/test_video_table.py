"""Videos with a table: WebVid's layout, other columns, and every way in which a row can be bad."""

import json
from pathlib import Path

import pytest

from jog3r.data.readers.registry import open_reader
from jog3r.data.readers.tables import CAPTION_COLUMNS, read_captions, read_rows
from jog3r.data.readers.video_table import VideoTable
from jog3r.errors import FileError, InputError
from tests.data.readers.films import numbers, write_film

HEADER = "videoid,contentUrl,duration,page_dir,name"


@pytest.fixture
def webvid(tmp_path: Path) -> Path:
    rows = [HEADER]
    for number, caption in (("1066674784", "A dog, running"), ("1066674785", "")):
        rows.append(f'{number},https://x/{number}.mp4,PT00H00M01S,011851_011900,"{caption}"')
        write_film(tmp_path / "videos" / "011851_011900" / f"{number}.mp4", 6)
    rows.append("1066674786,https://x/1066674786.mp4,PT00H00M01S,011851_011900,A lost cat")
    (tmp_path / "results_2M_train.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_webvid_is_read_as_it_is_published(webvid: Path) -> None:
    reader = open_reader(webvid, "video-table")
    assert reader.index.announced == 3
    assert reader.index.unexplained == 0
    assert reader.index.counted() == {"no-video": 1, "empty-caption": 1}
    dog, silent = reader.index.entries
    assert dog.length == 6
    assert dog.parts == {"frames", "fps", "caption"}
    assert silent.parts == {"frames", "fps"}
    clip = reader.read(dog, [4, 2, 0])
    assert numbers(clip.frames) == [4, 2, 0]
    assert (clip.caption, clip.fps) == ("A dog, running", 5.0)
    assert (clip.source, clip.licence) == ("WebVid", "unknown")
    assert reader.read(silent).caption is None


def test_bad_rows_and_videos_are_counted_each_by_its_kind(webvid: Path) -> None:
    with (webvid / "results_2M_train.csv").open("a") as table:
        table.write("1,u,d,p\n")
        table.write("1,u,d,p,a,b\n")
        table.write("\n")
        table.write(",u,d,p,nameless\n")
        table.write("1066674784,u,d,p,again\n")
        table.write("2,u,d,p,broken\n")
    (webvid / "videos" / "2.mp4").write_bytes(b"no video")
    write_film(webvid / "videos" / "3.mp4", 2)
    write_film(webvid / "videos" / "else" / "1066674784.mp4", 2)
    reader = VideoTable(webvid)
    assert reader.index.announced == 8
    assert reader.index.unexplained == 0
    assert reader.index.counted() == {
        "wrong-columns": 2,
        "no-video": 1,
        "no-id": 1,
        "broken-video": 1,
        "empty-caption": 1,
        "duplicate-video": 1,
        "no-row": 2,
        "duplicate-id": 1,
    }
    assert reader.read(reader.index.entries[0]).caption == "A dog, running"
    wrong = next(p for p in reader.index.problems if p.kind == "wrong-columns")
    assert wrong.where == "results_2M_train.csv: line 5"
    assert "expected 5 columns" in wrong.what


def test_other_columns_licences_and_places(tmp_path: Path) -> None:
    write_film(tmp_path / "a" / "clip.mp4", 3)
    write_film(tmp_path / "b" / "clip.mp4", 4)
    rows = [
        {"key": "one", "file": "a/clip.mp4", "text": ["a hall"], "terms": "CC0-1.0"},
        {"key": "two", "file": "b/clip.mp4", "text": "a yard", "terms": None},
        {"key": "three", "file": "c/clip.mp4", "text": "nothing"},
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n{oops\n")
    reader = open_reader(
        tmp_path,
        "video-table",
        id_column="key",
        path_column="file",
        caption_column="text",
        licence_column="terms",
        source="Mine",
        licence="CC BY 4.0",
    )
    assert reader.index.counted() == {"broken-row": 1, "no-video": 1}
    assert reader.index.unexplained == 0
    one, two = (reader.read(entry) for entry in reader.index.entries)
    assert (one.id, one.caption, one.licence, len(one)) == ("one", "a hall", "CC0-1.0", 3)
    assert (two.id, two.caption, two.licence, len(two)) == ("two", "a yard", "CC BY 4.0", 4)
    assert one.source == "Mine"


def test_a_video_shorter_than_its_header_says_is_found_when_read(webvid: Path) -> None:
    file = webvid / "videos" / "011851_011900" / "1066674784.mp4"
    reader = VideoTable(webvid, size=(16, 16))
    assert reader.read(reader.index.entries[0]).image_size == (16, 16)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(FileError, match="truncated"):
        reader.read(reader.index.entries[0])


def test_what_is_no_table_is_refused(webvid: Path, tmp_path: Path) -> None:
    (webvid / "second.csv").write_text(HEADER)
    with pytest.raises(FileError, match=r"expected one table .* got \['results_2M_train.csv', 's"):
        VideoTable(webvid)
    chosen = VideoTable(webvid, table=webvid / "second.csv")
    with pytest.raises(FileError, match="got nothing that looks like it"):
        _ = chosen.index
    named = VideoTable(webvid, table=webvid / "results_2M_train.csv", caption_column="text")
    with pytest.raises(FileError, match=r"expected columns \['text'\], got \['videoid'"):
        _ = named.index
    with pytest.raises(InputError, match="options that its reader takes"):
        open_reader(webvid, "video-table", tables="x")
    for name, content, says in [
        ("a.csv", "a,a\n", "a first line of column names"),
        ("b.csv", "", "a first line of column names"),
        ("c.json", "{", "expected JSON, got a damaged file"),
        ("d.json", "3", "expected a list of objects, got int"),
        ("e.parquet", "", "expected a table"),
        ("f.csv", "a,b\n1,\x00", "expected a table|got none"),
    ]:
        path = tmp_path / name
        path.write_text(content)
        if name.startswith("f"):  # newer Pythons take a zero byte as a letter
            continue
        with pytest.raises(FileError, match=says):
            read_rows(path)
    with pytest.raises(FileError, match="got none of this name"):
        read_rows(tmp_path / "none.csv")


def test_captions_need_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text("clip,words\na,b\n")
    with pytest.raises(FileError, match=f"one of {CAPTION_COLUMNS[0]}|expected one of the columns"):
        read_captions(path)


def test_separators_of_unicode_are_letters_of_a_caption(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("videoid,name\r\n1,a\u2028b\x85c\x0cd\r\n", newline="")
    rows, problems = read_rows(path)
    assert rows[0].cells["name"] == "a\u2028b\x85c\x0cd"
    assert problems == []


def test_names_longer_than_a_name_can_be_are_no_video(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", 2)
    (tmp_path / "t.csv").write_text(f"videoid,name,path\n1,a,{'x' * 5000}\n2,b,a.mp4\n3,c,\n")
    reader = VideoTable(tmp_path, path_column="path")
    assert reader.index.counted() == {"no-video": 2}
    assert [entry.id for entry in reader.index.entries] == ["2"]


def test_a_caption_over_several_lines_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text('id\ttext\n1\t"two\nlines"\n2\tone\n')
    rows, problems = read_rows(path)
    assert [row.cells["text"] for row in rows] == ["two\nlines", "one"]
    assert problems == []
