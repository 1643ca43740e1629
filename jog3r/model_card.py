"""The README.md of a model folder, and what the licence of its weights means."""

CARD_FILE = "README.md"
NON_COMMERCIAL = "NC"
"""A word in the SPDX names of licences that forbid commercial use."""

CARD = """\
---
library_name: jog3r
license: {identifier}
---

# A model of jog3r

```text
{summary}
```

```python
from jog3r import JOG3R

model = JOG3R.from_pretrained("path/of/this/folder")
```

## Licence

{licence}. {consequence}
"""


def plain_card(summary: str, licence: str) -> str:
    """Write the card of a model of which nothing else is known.

    Args:
        summary: Of its parts.
        licence: SPDX expression.
    """
    return CARD.format(
        identifier=hub_name(licence),
        summary=summary,
        licence=licence,
        consequence=consequence(licence),
    )


def hub_name(licence: str) -> str:
    """Give a licence the name it has on the Hugging Face hub; several have none."""
    return "other" if " AND " in licence else licence.lower()


def consequence(licence: str) -> str:
    """Say what a licence means for whoever uses or passes on the weights."""
    if not is_commercial(licence):
        shared = ", and what is adapted from them is passed on under the same licence"
        return f"**Not for commercial use.** Their author is named{shared * ('SA' in licence)}."
    return "Commercial use is allowed; whoever passes them on keeps the licence and the credit."


def is_commercial(licence: str) -> bool:
    """Whether an SPDX expression allows commercial use, as far as its names say."""
    return NON_COMMERCIAL not in licence.replace(" ", "-").split("-")
