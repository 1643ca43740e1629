"""`python -m jog3r`, for launchers such as torchrun that start modules."""

import sys

from jog3r.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
