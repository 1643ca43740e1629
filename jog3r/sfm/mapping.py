"""Cameras from scratch: global structure from motion, and incremental where that finds nothing."""

import pycolmap
import torch

from jog3r.sfm.bundle import FINE_PX, adjust
from jog3r.sfm.lenses import Lenses, set_lenses
from jog3r.sfm.matches import Matches, agreement
from jog3r.sfm.reading import read_model
from jog3r.sfm.sparse import SparseModel
from jog3r.sfm.workspace import Workspace

MIN_MODEL_FRAMES = 3


def map_from_scratch(
    space: Workspace, matches: Matches, starts: list[Lenses]
) -> SparseModel | None:
    """Find cameras without any to begin with.

    Every start is mapped, and the solution that explains most matches wins: from a wrong focal
    length a mapper can end in a wrong solution, which explains fewer.

    Args:
        space: with features and matches.
        matches: what to compare solutions by.
        starts: K to begin with; several where it is not known.

    Returns:
        None if no mapper finds a solution.
    """
    found = [model for lenses in starts for model in _solutions(space, lenses)]
    if not found:
        return None
    return max(found, key=lambda model: score(model, matches))


def score(model: SparseModel, matches: Matches) -> float:
    """Return the share of matches that a solution explains."""
    return agreement(matches, model.world_from_camera, model.K, model.registered)


def _solutions(space: Workspace, lenses: Lenses) -> list[SparseModel]:
    set_lenses(space, lenses)
    models = [*_global(space, lenses).values()]
    if not models:
        models = [*_incremental(space, lenses).values()]
    if not models:
        return []
    largest = max(models, key=lambda model: model.num_reg_images())
    rough = read_model(largest, space)
    K = rough.K.where(torch.tensor(not lenses.known), lenses.K)
    fine = adjust(
        space, Lenses(K, lenses.known), rough.world_from_camera, rough.registered, FINE_PX
    )
    return [rough] if fine is None else [fine]


def _global(space: Workspace, lenses: Lenses) -> dict[int, pycolmap.Reconstruction]:
    options = pycolmap.GlobalPipelineOptions()
    options.num_threads, options.random_seed = 1, space.seed
    options.min_model_size = MIN_MODEL_FRAMES
    options.mapper.num_threads, options.mapper.random_seed = 1, space.seed
    options.mapper.global_positioning.use_gpu = False
    options.mapper.bundle_adjustment.ceres.use_gpu = False
    options.mapper.bundle_adjustment.refine_focal_length = not lenses.known
    return pycolmap.global_mapping(space.database, space.images, space.models, options)


def _incremental(space: Workspace, lenses: Lenses) -> dict[int, pycolmap.Reconstruction]:
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads, options.random_seed = 1, space.seed
    options.min_model_size, options.extract_colors = MIN_MODEL_FRAMES, False
    options.ba_refine_focal_length = not lenses.known
    options.mapper.abs_pose_refine_focal_length = not lenses.known
    return pycolmap.incremental_mapping(space.database, space.images, space.models, options)
