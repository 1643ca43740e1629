import pytest
import torch
from torch import Tensor

from jog3r.errors import InputError
from jog3r.heads.orientation import Layout, layout_of, together
from jog3r.heads.rope2d import rotation_of_grid

CPU = torch.device("cpu")


def shapes(*pairs: tuple[int, int]) -> Tensor:
    return torch.tensor(pairs)


def test_without_true_shapes_every_view_is_as_stored() -> None:
    layout = layout_of((48, 32), 16, None)
    assert layout == Layout((3, 2))
    assert [part.transposed for part in layout.parts()] == [False]
    stored = rotation_of_grid(3, 2, 8, 100.0, CPU)
    assert layout.rotation(8, 100.0, CPU) is stored


def test_views_of_both_orientations_come_back_in_order() -> None:
    layout = layout_of((32, 48), 16, shapes((32, 48), (48, 32), (32, 48), (48, 32)))
    parts = layout.parts()
    assert [(part.grid, part.transposed) for part in parts] == [((2, 3), False), ((3, 2), True)]
    values = torch.arange(4.0)
    assert torch.equal(together(parts, [values[part.views] for part in parts]), values)
    rotation = layout.rotation(8, 100.0, CPU)
    for view, grid in enumerate([(2, 3), (3, 2), (2, 3), (3, 2)]):
        assert torch.equal(rotation.cos[view, 0], rotation_of_grid(*grid, 8, 100.0, CPU).cos)


def test_one_orientation_alone_is_one_part() -> None:
    assert layout_of((32, 48), 16, shapes((32, 48))).portrait is None
    assert layout_of((32, 32), 16, shapes((32, 32))).portrait is None  # a square has no side up
    (part,) = layout_of((32, 48), 16, shapes((48, 32), (48, 32))).parts()
    assert part.transposed
    assert part.grid == (3, 2)


@pytest.mark.parametrize(
    ("size", "true_shape"),
    [((32, 48), (32, 32)), ((32, 48), (16, 48)), ((48, 32), (48, 32)), ((48, 32), (32, 48))],
)
def test_other_shapes_raise(size: tuple[int, int], true_shape: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="true_shape: expected images in landscape layout"):
        layout_of(size, 16, shapes(true_shape))
