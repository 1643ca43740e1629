"""What every benchmark shares: its options, its model, and the files its numbers go to."""

import argparse
import csv
import hashlib
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jog3r
from benchmarks.tables import format_cell, format_table

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "benchmarks" / "results"
SOURCES = ("jog3r", "heads", "benchmarks", "recipes")
PACKAGES = ("torch", "diffusers", "numpy")


def parser(description: str | None, *, clips: int | None, model: bool = True) -> Any:
    """Build the parser with the options that all benchmarks have.

    Args:
        description: the script's docstring.
        clips: default of `--clips`; None for scripts that have no such number.
        model: whether the script runs a model.
    """
    made = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    if model:
        made.add_argument("--model", default="tiny", help="shipped name, folder or hub id")
        made.add_argument("--device", default="cpu", help="where the model runs: cpu, cuda")
    if clips is not None:
        made.add_argument("--clips", type=int, default=clips, help="how many clips")
    made.add_argument("--seed", type=int, default=0, help="of everything random in here")
    made.add_argument("--threads", type=int, default=2, help="CPU threads")
    made.add_argument("--out", type=Path, default=RESULTS, help="folder for the result files")
    return made


def load_model(args: argparse.Namespace) -> Any:
    """Load the model that the options name, and set the number of threads."""
    import torch

    from jog3r.model import JOG3R

    torch.set_num_threads(args.threads)
    return JOG3R.from_pretrained(args.model, device=args.device)


@dataclass
class Record:
    """The tables of one run.

    Args:
        claim: name of the script; result files begin with it.
        args: the options it ran with.
        started: when [s since 1970].
    """

    claim: str
    args: argparse.Namespace
    started: float = field(default_factory=time.time)

    def write(
        self, rows: Sequence[Mapping[str, Any]], notes: Mapping[str, str], *, table: str = ""
    ) -> Path:
        """Print a table and write it as CSV, with where it comes from in lines that begin with #.

        Args:
            rows: all with the same keys.
            notes: what a reader has to know: frame sampler, alignment rule, what is averaged.
            table: its name, where a script has several.
        """
        name = f"{self.claim}_{table}" if table else self.claim
        device = str(getattr(self.args, "device", "cpu")).split(":")[0]
        path = self.args.out / f"{name}-{device}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        header = {**self.header(device), **notes}
        cells = [[format_cell(value) for value in row.values()] for row in rows]
        with path.open("w", newline="") as file:
            file.writelines(f"# {key}: {value}\n" for key, value in header.items())
            csv.writer(file, lineterminator="\n").writerows([list(rows[0]), *cells])
        print(f"\n{name}   ({device}, commit {header['commit']})")
        for key, note in notes.items():
            print(f"  {key}: {note}")
        print(format_table([list(rows[0]), *cells]), flush=True)
        return path

    def header(self, device: str) -> dict[str, str]:
        """Say where the numbers come from."""
        options = {
            key: value
            for key, value in vars(self.args).items()
            if key not in ("out", "model", "device", "threads")
        }
        where = processor() if device == "cpu" else accelerator()
        return {
            "claim": self.claim,
            "commit": commit(),
            "date": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(self.started)),
            "versions": ", ".join(
                [f"jog3r {jog3r.__version__}", f"python {platform.python_version()}"]
                + [f"{name} {version(name)}" for name in PACKAGES]
            ),
            "device": f"{where}, {getattr(self.args, 'threads', 1)} CPU threads",
            **({"model": fingerprint(self.args.model)} if hasattr(self.args, "model") else {}),
            "options": ", ".join(f"{key} {value}" for key, value in options.items()),
            "minutes": f"{(time.time() - self.started) / 60:.1f} until this table",
        }


def commit() -> str:
    """Name the commit, with a plus if sources differ from it."""
    try:
        found = _git("rev-parse", "--short=10", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", *SOURCES)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    changed = [line for line in changed.splitlines() if "benchmarks/results/" not in line]
    return found + ("+changes" if changed else "")


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def fingerprint(model: str) -> str:
    """Name a model by its weights, not by where they lie."""
    name = Path(model).name
    return f"{name}, weights sha256 {weights_hash(model)[:16]}"


def weights_hash(model: str) -> str:
    """Return the sha256 of a local or shipped model's weight file; `remote` for hub ids."""
    folder = Path(model) if Path(model).is_dir() else REPOSITORY / "jog3r" / "weights" / model
    file = folder / "model.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "remote"


def source_hash(*folders: str) -> str:
    """Return the sha256 of source files, so that a cache never outlives a change of them."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted((REPOSITORY / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def processor() -> str:
    """Name the CPU."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def accelerator() -> str:
    """Name the first accelerator."""
    import torch

    return torch.cuda.get_device_name(0)


def progress(text: str) -> None:
    """Show how far a run is, outside of its tables."""
    print(text, file=sys.stderr, flush=True)
