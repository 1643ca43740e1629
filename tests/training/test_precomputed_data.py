"""Streams of precomputed clips: every clip in turn, the same whatever reads them."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from jog3r.data.precomputed import PrecomputedClip
from jog3r.errors import FileError, InputError
from jog3r.training.precomputed_data import PrecomputedBatches, PrecomputedDataModule

LENGTH = 9


def save_clip(file: Path, number: int, *, length: int = LENGTH, tokens: int = 3) -> None:
    """Write a clip whose latents say which clip and which frame they are of."""
    latents = torch.arange(length)[None, :, None, None] + 100.0 * number
    poses = torch.eye(4).repeat(length, 1, 1)
    poses[:, 0, 3] = torch.arange(length)
    K = torch.tensor([[8.0, 0.0, 4.0], [0.0, 8.0, 4.0], [0.0, 0.0, 1.0]])
    PrecomputedClip(
        latents=latents.expand(2, -1, 2, 2),
        text=torch.full((tokens, 4), float(number)),
        text_mask=torch.ones(tokens, dtype=torch.bool),
        depth=torch.ones(length, 8, 8),
        K=K.expand(length, -1, -1),
        world_from_camera=poses,
        caption=f"clip {number}",
    ).save(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(5):
        save_clip(
            tmp_path / f"part_{number % 2}" / f"{number}.safetensors", number, tokens=number + 1
        )
    return tmp_path


def stream(folder: Path, **changed: object) -> PrecomputedBatches:
    files = sorted(folder.rglob("*.safetensors"))
    given = {"frames": 3, "batch_size": 2, "strides": (1, 2, 8), "reverse_share": 0.5, "seed": 1}
    return PrecomputedBatches(files, **{**given, **changed})  # type: ignore[arg-type]


def test_every_clip_comes_once_a_round(folder: Path) -> None:
    batches = [stream(folder).batch(i) for i in range(10)]
    captions = [caption for batch in batches for caption in batch["caption"]]
    rounds = [captions[i : i + 5] for i in range(0, 20, 5)]
    assert all(sorted(each) == [f"clip {n}" for n in range(5)] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1


def test_strides_and_directions(folder: Path) -> None:
    steps: Counter[int] = Counter()
    for index in range(60):
        latents = stream(folder).batch(index)["latents"]
        assert latents.shape == (2, 2, 3, 2, 2)
        frames = latents[:, 0, :, 0, 0]
        step = frames.diff(dim=1)
        assert torch.equal(step[:, 0], step[:, 1])
        steps.update(step[:, 0].int().tolist())
        poses = stream(folder).batch(index)["world_from_camera"]
        torch.testing.assert_close(poses[:, 1, 0, 3], step[:, 0])
    # Stride 8 does not fit nine frames; the other four come equally often.
    assert set(steps) == {-2, -1, 1, 2}
    assert min(steps.values()) > 15


def test_texts_are_padded_to_the_longest(folder: Path) -> None:
    batch = stream(folder, batch_size=5).batch(0)
    assert batch["text"].shape == (5, 5, 4)
    lengths = [int(caption[-1]) + 1 for caption in batch["caption"]]
    assert batch["text_mask"].sum(dim=1).tolist() == lengths
    assert not batch["text"][~batch["text_mask"]].any()


def test_a_stream_goes_on_where_it_stopped(folder: Path) -> None:
    whole = iter(stream(folder))
    batches = [next(whole) for _ in range(4)]
    rest = iter(stream(folder, first=2))
    for batch in batches[2:]:
        assert torch.equal(next(rest)["latents"], batch["latents"])
    shared = [next(iter(stream(folder, rank=rank, world_size=2))) for rank in range(2)]
    for one, other in zip(shared, batches, strict=False):
        assert torch.equal(one["latents"], other["latents"])


def test_the_data_module(folder: Path) -> None:
    data = PrecomputedDataModule(
        folder=str(folder), validation_folder=str(folder), frames=4, batch_size=2, workers=0
    )
    batch = next(iter(data.train_dataloader()))
    assert batch["depth"].shape == (2, 4, 8, 8)
    held_out = list(data.val_dataloader())
    assert [len(each["caption"]) for each in held_out] == [2, 2, 1]
    assert held_out[0]["latents"][0, 0, :, 0, 0].tolist() == [0, 1, 2, 3]
    data.load_state_dict({"batches_done": 3})
    later = next(iter(data.train_dataloader()))
    wanted = stream(folder, frames=4, strides=(1, 2, 4, 8), seed=0).batch(3)
    assert torch.equal(later["latents"], wanted["latents"])


class TestWrongData:
    def test_clips_that_are_too_short(self, folder: Path) -> None:
        with pytest.raises(FileError, match=r"expected at least 10 frames for clips of 10, got 9"):
            stream(folder, frames=10).batch(0)

    @pytest.mark.parametrize(
        "wide", [{"latents": torch.zeros(2, LENGTH, 2, 4)}, {"text": torch.zeros(3, 5)}]
    )
    def test_clips_of_two_sizes(self, folder: Path, wide: dict[str, torch.Tensor]) -> None:
        save_clip(folder / "x.safetensors", 7)
        clip = PrecomputedClip.load(folder / "x.safetensors")
        PrecomputedClip(**{**vars(clip), **wide}).save(folder / "x.safetensors")
        with pytest.raises(InputError, match="clips: expected one size of latents and depth"):
            stream(folder, batch_size=6).batch(0)

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        data = PrecomputedDataModule(folder=str(tmp_path), validation_folder=str(tmp_path))
        with pytest.raises(FileError, match="expected a folder of precomputed clips"):
            data.train_dataloader()

    @pytest.mark.parametrize(
        "changed", [{"frames": 0}, {"strides": ()}, {"strides": (0,)}, {"reverse_share": 1.5}]
    )
    def test_settings_out_of_range(self, folder: Path, changed: dict[str, object]) -> None:
        with pytest.raises(InputError, match="data: expected frames, batch_size and strides"):
            PrecomputedDataModule(
                folder=str(folder),
                validation_folder=str(folder),
                **changed,  # type: ignore[arg-type]
            )
