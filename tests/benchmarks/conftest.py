"""The benchmarks are scripts of the repository, not of the package: find them there."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent

if str(REPOSITORY) not in sys.path:
    sys.path.insert(0, str(REPOSITORY))
