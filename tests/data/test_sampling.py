"""Which frames of a clip are drawn: closed forms, and the shares of many draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jog3r.data.sampling import STRIDES, check_sampling, draw_frames, least_length
from jog3r.errors import InputError


def draws(count: int, **options: object) -> list[list[int] | None]:
    rng = np.random.default_rng(3)
    return [draw_frames(rng=rng, **options) for _ in range(count)]  # type: ignore[arg-type]


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 99))
def test_draws_are_even_and_inside(length: int, frames: int, seed: int) -> None:
    drawn = draw_frames(length, frames=frames, rng=np.random.default_rng(seed))
    if drawn is None:
        assert length < least_length(frames)
        return
    assert length >= least_length(frames)
    assert len(drawn) == frames
    assert min(drawn) >= 0
    assert max(drawn) < length
    steps = set(np.diff(drawn).tolist())
    assert len(steps) <= 1
    assert all(abs(step) in STRIDES for step in steps)


def test_every_stride_start_and_direction_that_fits_comes_equally_often() -> None:
    drawn = [tuple(d) for d in draws(6000, length=4, frames=2, strides=(1, 2, 4)) if d]
    forward = [d for d in drawn if d[0] < d[1]]
    assert len(forward) / len(drawn) == pytest.approx(0.5, abs=0.03)
    stride_one = [d for d in drawn if abs(d[0] - d[1]) == 1]
    assert len(stride_one) / len(drawn) == pytest.approx(0.5, abs=0.03)
    assert {abs(d[0] - d[1]) for d in drawn} == {1, 2}
    for start in range(3):
        share = sum(min(d) == start for d in stride_one) / len(stride_one)
        assert share == pytest.approx(1 / 3, abs=0.03)


def test_the_share_of_reversed_clips_is_as_asked() -> None:
    backwards = [d[0] > d[-1] for d in draws(3000, length=40, frames=4, reverse_share=0.2) if d]
    assert np.mean(backwards) == pytest.approx(0.2, abs=0.03)
    for share in (0.0, 1.0):
        drawn = draws(50, length=40, frames=4, reverse_share=share)
        assert {d[0] > d[-1] for d in drawn if d} == {bool(share)}


def test_one_generator_gives_the_same_draws_whatever_clips_were_too_short() -> None:
    after_short, after_long = np.random.default_rng(5), np.random.default_rng(5)
    assert draw_frames(3, frames=16, rng=after_short) is None
    assert draw_frames(300, frames=16, rng=after_long) is not None
    assert after_short.random() == after_long.random()


def test_least_length_is_the_boundary() -> None:
    rng = np.random.default_rng(0)
    least = least_length(5, (3, 2))
    assert least == 9
    assert (
        draw_frames(least, frames=5, strides=(3, 2), reverse_share=0.0, rng=rng) == [*range(9)][::2]
    )
    assert draw_frames(least - 1, frames=5, strides=(3, 2), rng=rng) is None


@pytest.mark.parametrize(
    "options",
    [{"frames": 0}, {"strides": ()}, {"strides": (1, 0)}, {"reverse_share": 1.1}],
    ids=str,
)
def test_what_cannot_be_drawn_is_refused(options: dict[str, object]) -> None:
    asked = {"frames": 2, "strides": (1,), "reverse_share": 0.5, **options}
    with pytest.raises(InputError, match="sampling: expected frames and strides of at least 1"):
        check_sampling(**asked)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="sampling"):
        draw_frames(9, rng=np.random.default_rng(0), **asked)  # type: ignore[arg-type]
