"""One script per claim; run them from the repository's root: `python -m benchmarks.v2c_world`."""
