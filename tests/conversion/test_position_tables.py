import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jog3r.backbones.positions import sincos_space, sincos_time
from jog3r.conversion.position_tables import read_space_table, read_time_table
from jog3r.errors import InputError

CPU = torch.device("cpu")
SCALES = st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0, 4.0])
WIDTHS = st.sampled_from([16, 48, 384, 1152])
DTYPES = st.sampled_from([torch.float32, torch.float64])


@settings(deadline=None, max_examples=60)
@given(h=st.integers(1, 40), w=st.integers(1, 40), scale=SCALES, width=WIDTHS, dtype=DTYPES)
def test_grid_and_step_of_a_space_table(
    h: int, w: int, scale: float, width: int, dtype: torch.dtype
) -> None:
    table = sincos_space(width, h, w, scale, CPU)[None].to(dtype)
    assert read_space_table(table) == (h, w, scale if h * w > 1 else 1.0)


@settings(deadline=None, max_examples=40)
@given(T=st.integers(1, 128), scale=SCALES, width=WIDTHS, dtype=DTYPES)
def test_frames_and_step_of_a_time_table(
    T: int, scale: float, width: int, dtype: torch.dtype
) -> None:
    table = sincos_time(width, T, scale, CPU)[None].to(dtype)
    assert read_time_table(table) == (T, scale if T > 1 else 1.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("h", "w", "scale"), [(16, 16, 0.5), (32, 32, 1.0), (15, 27, 1.0)])
def test_published_tables_in_half_precision(
    dtype: torch.dtype, h: int, w: int, scale: float
) -> None:
    table = sincos_space(1152, h, w, scale, CPU)[None].to(dtype)
    assert read_space_table(table) == (h, w, scale)
    assert read_time_table(sincos_time(1152, 16, 1.0, CPU)[None].to(dtype)) == (16, 1.0)


@pytest.mark.parametrize("table", [torch.zeros(1, 6, 16), torch.ones(1, 6, 16)])
def test_other_tables(table: torch.Tensor) -> None:
    with pytest.raises(InputError, match="pos_embed: expected a sine-cosine table, got other"):
        read_space_table(table)
    with pytest.raises(InputError, match="pos_embed_temporal: expected a sine-cosine table"):
        read_time_table(table)
