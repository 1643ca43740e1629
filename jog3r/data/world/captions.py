"""Captions of world clips, and the vocabulary they are made of."""

from dataclasses import dataclass

import numpy as np

from jog3r.data.world.camera_paths import MOVES
from jog3r.data.world.materials import COLOURS
from jog3r.data.world.scene import MOODS, OPEN_PLACES, ROOM_PLACES, SHAPES

# Words a prompt may use instead of the ones on the right.
SYNONYMS = {"ball": "sphere", "box": "cube", "grey": "gray"}
_OTHER_WORD = {word: synonym for synonym, word in SYNONYMS.items()}


@dataclass(frozen=True)
class Description:
    """What a caption may say of a clip.

    Attributes:
        things: Colour and shape of the visible objects, most visible first.
        place: Room or open ground.
        mood: Kind of light.
        move: What the camera does.
    """

    things: tuple[tuple[str, str], ...]
    place: str
    mood: str
    move: str

    def caption(self, rng: np.random.Generator | None = None) -> str:
        """Say it all; with `rng`, leave out parts now and then and use synonyms, as people do."""
        named, mood, move = self.things[:3], self.mood, self.move
        if rng is not None:
            named = named[: int(rng.integers(1, 4))]
            mood = mood if rng.random() < 0.6 else ""
            move = move if rng.random() < 0.75 else ""
        subject = _join([_thing(colour, shape, rng) for colour, shape in named])
        place = f"{_article(self.place)} {self.place}"
        parts = [f"{subject} in {place}" if subject else place]
        parts += [mood] if mood else []
        parts += [f"the camera {move}"] if move else []
        return ", ".join(parts)


def vocabulary() -> list[str]:
    """List every word and mark that a caption can contain, sorted."""
    texts = [
        *COLOURS,
        *SHAPES,
        *SYNONYMS,
        *MOVES,
        *MOODS,
        *ROOM_PLACES,
        *OPEN_PLACES,
        "patterned",
        "a an in and the camera ,",
    ]
    return sorted({word for text in texts for word in text.split()})


def _thing(colour: str, shape: str, rng: np.random.Generator | None) -> str:
    if rng is not None and rng.random() < 0.25:
        colour, shape = _OTHER_WORD.get(colour, colour), _OTHER_WORD.get(shape, shape)
    return f"{_article(colour)} {colour} {shape}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _join(parts: list[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return ", ".join(parts[:-1]) + " and " + parts[-1]
