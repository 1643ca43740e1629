"""The README.md of a converted model: where it comes from, and what may be done with it."""

from collections.abc import Sequence

from jog3r.model_card import consequence, hub_name

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
    return CARD.format(
        identifier=hub_name(licence),
        title=title,
        origins=" and ".join(origins),
        dtype=f", rounded to {dtype}" if dtype else "",
        licence=licence,
        consequence=consequence(licence),
    )
