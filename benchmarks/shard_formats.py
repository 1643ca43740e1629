"""How encoded clips are best kept: our indexed tars, WebDataset's pipeline, litdata, single files.

The clips are those of tiny, of 64x64 px, with latents of 6x16x16, text features, depth and cameras:
short ones of 16 frames, 0.2 MB each, and long ones of 128. The bytes of a clip and what is made of
them are the same in all formats. Reading is measured with the page cache warm, in one process: what
is compared is the work that a format makes, not the disk.

litdata is no dependency of ours: `pip install litdata==0.2.76` into an environment of its own.
Without it its rows are left out, and the notes say so.
"""

import importlib.util
import io
import itertools
import resource
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.record import Record, parser, progress
from jog3r.data.precomputed import PrecomputedClip
from jog3r.data.shard_writing import new_portion, write_manifest
from jog3r.data.shards import ShardFolder
from jog3r.data.tensor_parts import TensorParts

SHORT, LONG, PER_SHARD, REPEATS = 16, 128, 128, 3
SOME = list(range(14, -2, -2))
"""Every other of sixteen frames, backwards: what a training step may ask for."""


def clip(number: int, frames: int) -> PrecomputedClip:
    """Make a clip of the sizes of tiny, of noise."""
    drawn = torch.Generator().manual_seed(number)
    K = torch.tensor([[60.0, 0.0, 32.0], [0.0, 60.0, 32.0], [0.0, 0.0, 1.0]])
    return PrecomputedClip(
        id=f"clip-{number}",
        latents=torch.randn(6, frames, 16, 16, generator=drawn),
        text=torch.randn(48, 128, generator=drawn),
        text_mask=torch.ones(48, dtype=torch.bool),
        depth=1.0 + torch.rand(frames, 64, 64, generator=drawn),
        K=K.repeat(frames, 1, 1),
        world_from_camera=torch.eye(4).repeat(frames, 1, 1),
        caption="a red sphere in a brick room",
    )


def decoded(content: bytes, frames: list[int] | None) -> PrecomputedClip:
    """Make the same record of bytes, wherever they come from."""
    return PrecomputedClip.read(TensorParts(io.BytesIO(content), Path("memory"), 0), frames)


class Store(ABC):
    """Clips in one of the formats.

    Args:
        folder: Theirs.
        frames: Of each clip.
    """

    name: str

    def __init__(self, folder: Path, frames: int) -> None:
        self.folder, self.frames = folder, frames

    @abstractmethod
    def write(self, clips: int) -> None:
        """Make and write so many clips."""

    @abstractmethod
    def open(self) -> None:
        """Get ready to read."""

    @abstractmethod
    def some(self, order: Any, frames: list[int] | None) -> None:
        """Read clips in an order, or some frames of each."""


class Tars(Store):
    """Our shards: tars with an index."""

    name = "tar + index"

    def write(self, clips: int) -> None:
        """Write."""
        portions = -(-clips // PER_SHARD)
        for number in range(portions):
            with new_portion(self.folder, number) as portion:
                for place in range(number * PER_SHARD, min((number + 1) * PER_SHARD, clips)):
                    portion.add(place, clip(place, self.frames), (64, 64))
        write_manifest(self.folder, portions, settings={"encoder": "none"})

    def open(self) -> None:
        """Open."""
        self.shards = ShardFolder(self.folder)
        _ = self.shards.buckets

    def some(self, order: Any, frames: list[int] | None) -> None:
        """Read."""
        for place in order:
            self.shards.read("64x64", int(place), frames)


class Pipeline(Store):
    """The same tars through WebDataset's own pipeline: one after the other."""

    name = "WebDataset pipeline"

    def write(self, clips: int) -> None:
        """Write."""
        Tars(self.folder, self.frames).write(clips)

    def open(self) -> None:
        """Open."""
        from webdataset.compat import WebDataset

        files = sorted(str(file) for file in self.folder.rglob("*.tar"))
        self.samples: Any = WebDataset(files, shardshuffle=False)

    def some(self, order: Any, frames: list[int] | None) -> None:
        """Read in the order of the file, the only one; some frames cost a whole clip."""
        for sample in itertools.islice(self.samples, len(order)):
            decoded(sample["safetensors"], frames)


class Files(Store):
    """One safetensors file per clip."""

    name = "one file per clip"

    def write(self, clips: int) -> None:
        """Write."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for place in range(clips):
            content = clip(place, self.frames).to_bytes()
            (self.folder / f"{place:08d}.safetensors").write_bytes(content)

    def open(self) -> None:
        """Open."""
        self.files = sorted(self.folder.glob("*.safetensors"))

    def some(self, order: Any, frames: list[int] | None) -> None:
        """Read."""
        for place in order:
            file = self.files[int(place)]
            with file.open("rb", buffering=0) as opened:
                PrecomputedClip.read(TensorParts(opened, file, 0), frames)


def litdata_sample(number: int, frames: int) -> dict[str, Any]:
    """Give a clip as litdata stores it."""
    return {"record": clip(number, frames).to_bytes()}


class LitData(Store):
    """litdata's chunks, written by its `optimize` in one process."""

    name = "litdata"

    def write(self, clips: int) -> None:
        """Write."""
        from litdata import optimize  # type: ignore[import-not-found]

        optimize(
            fn=partial(litdata_sample, frames=self.frames),
            inputs=list(range(clips)),
            output_dir=str(self.folder),
            num_workers=1,
            chunk_size=PER_SHARD,
            verbose=False,
        )

    def open(self) -> None:
        """Open."""
        from litdata import StreamingDataset  # type: ignore[import-not-found]

        self.clips = StreamingDataset(str(self.folder), shuffle=False)
        _ = self.clips[0]

    def some(self, order: Any, frames: list[int] | None) -> None:
        """Read."""
        for place in order:
            decoded(self.clips[int(place)]["record"], frames)


def cpu_s() -> float:
    """Return the CPU time of this process and of the children it has waited for [s]."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def least(work: Callable[[], None]) -> tuple[float, float]:
    """Return the least CPU and wall time of some runs [s]."""
    found = []
    for _ in range(REPEATS):
        cpu, wall = cpu_s(), time.perf_counter()
        work()
        found.append((cpu_s() - cpu, time.perf_counter() - wall))
    return min(cpu for cpu, _ in found), min(wall for _, wall in found)


def measure(store: Store, clips: int, seed: int) -> dict[str, Any]:
    """Measure one format."""
    progress(f"{store.name}: {clips} clips of {store.frames} frames")
    cpu, wall = cpu_s(), time.perf_counter()
    store.write(clips)
    written = cpu_s() - cpu, time.perf_counter() - wall
    files = [file for file in store.folder.rglob("*") if file.is_file()]
    order = np.random.default_rng(seed).permutation(clips)
    indexed = not isinstance(store, Pipeline)
    opened, _ = least(store.open)
    sequential, wall_sequential = least(lambda: store.some(range(clips), None))
    random, _ = least(lambda: store.some(order, None))
    part, wall_part = least(lambda: store.some(order, SOME))
    # After half of an epoch: an index goes there, a pipeline reads what lies before.
    resumed, _ = least(lambda: store.some(order[-1:] if indexed else order[clips // 2 :], SOME))
    ms = 1000.0 / clips
    return {
        "frames": store.frames,
        "format": store.name,
        "files": len(files),
        "kb_per_clip": sum(file.stat().st_size for file in files) / clips / 1000,
        "write_ms": written[0] * ms,
        "write_wall_ms": written[1] * ms,
        "open_ms": opened * 1000,
        "sequential_ms": sequential * ms,
        "random_ms": random * ms if indexed else float("nan"),
        "random_8_frames_ms": part * ms if indexed else float("nan"),
        "in_order_8_frames_ms": part * ms if not indexed else float("nan"),
        "resume_ms": resumed * 1000,
        "clips_per_s_wall": clips / (wall_part if indexed else wall_sequential),
    }


def main() -> None:
    """Measure all formats."""
    options = parser(__doc__, clips=640, model=False)
    args = options.parse_args()
    torch.set_num_threads(1)
    record = Record("shard_formats", args)
    kinds: list[type[Store]] = [Tars, Pipeline, Files]
    with_litdata = importlib.util.find_spec("litdata") is not None
    if with_litdata:
        kinds.append(LitData)
    rows = []
    for frames, kind in itertools.product((SHORT, LONG), kinds):
        place = Path(tempfile.mkdtemp(prefix="shard_formats"))
        try:
            clips = args.clips * SHORT // frames
            rows.append(measure(kind(place / "clips", frames), clips, args.seed))
        finally:
            shutil.rmtree(place)
    notes = {
        "clips": f"{args.clips} of {SHORT} frames, {args.clips * SHORT // LONG} of {LONG}: noise,"
        " latents 6x16x16, depth 64x64, text 48x128",
        "times": f"CPU of one thread and its children per clip, least of {REPEATS} runs; writing"
        " once, with the making of the clips; page cache warm",
        "open_ms": "until the first clip can be asked for",
        "resume_ms": "until the first clip after half of an epoch is there",
        "clips_per_s_wall": "8 frames in random order; whole clips in order for the pipeline",
        "litdata": "measured" if with_litdata else "not installed, not measured",
    }
    record.write(rows, notes)


if __name__ == "__main__":
    main()
