"""Heads: what turns backbone features into pointmaps. Installed and imported as `jog3r.heads`."""

# From the repository root `import heads` would work as well and make every class a second time.
if __name__ != "jog3r.heads":
    raise ImportError(f"expected this package to be imported as jog3r.heads, got {__name__}")
