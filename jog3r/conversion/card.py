"""The README.md of a converted model: where it comes from, and what may be done with it."""

from collections.abc import Sequence

NON_COMMERCIAL = "NC"
"""A word in the SPDX names of licences that forbid commercial use."""

CARD = """\
---
library_name: jog3r
license: {identifier}
---

# {title}

Converted by `jog3r convert` from {origins}. The values are those of the
originals{dtype}; names, layout and `config.json` are jog3r's.

```python
from jog3r import JOG3R

model = JOG3R.from_pretrained("path/of/this/folder")
```

`jog3r info path/of/this/folder` lists its parts.

## Licence

The weights keep the licence of the originals: {licence}. {consequence}
"""


def card(title: str, origins: Sequence[str], licence: str, dtype: str | None) -> str:
    """Write the text.

    Args:
        title: What it is.
        origins: Where its parts were published.
        licence: SPDX expression.
        dtype: What the values were rounded to; None if they were not.
    """
    parts = licence.split(" AND ")
    return CARD.format(
        identifier=parts[0].lower() if len(parts) == 1 else "other",
        title=title,
        origins=" and ".join(origins),
        dtype=f", rounded to {dtype}" if dtype else "",
        licence=licence,
        consequence=consequence(licence),
    )


def consequence(licence: str) -> str:
    """Say what a licence means for whoever uses or passes on the weights."""
    if not is_commercial(licence):
        shared = ", and what is adapted from them is passed on under the same licence"
        return f"**Not for commercial use.** Their author is named{shared * ('SA' in licence)}."
    return "Commercial use is allowed; whoever passes them on keeps the licence and the credit."


def is_commercial(licence: str) -> bool:
    """Whether an SPDX expression allows commercial use, as far as its names say."""
    return NON_COMMERCIAL not in licence.replace(" ", "-").split("-")
