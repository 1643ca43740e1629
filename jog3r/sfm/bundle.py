"""Triangulation from given cameras, and bundle adjustment of cameras, points and focal length."""

import pycolmap
from torch import Tensor

from jog3r.geometry import invert
from jog3r.sfm.lenses import Lenses, set_lenses
from jog3r.sfm.reading import read_model
from jog3r.sfm.sparse import SparseModel
from jog3r.sfm.workspace import Workspace, picture_name

COARSE_PX = (16.0, 8.0, 4.0)
"""Reprojection errors up to which observations count, round by round, from rough cameras."""
FINE_PX = (4.0, 4.0)
"""The same from cameras that a mapper has found."""
MIN_ANGLE_DEG = 1.0
"""Points whose rays meet at less than this say nothing about depth."""
MIN_POINTS = 30
"""Fewer points than this do not hold a video's cameras."""


def adjust(
    space: Workspace,
    lenses: Lenses,
    world_from_camera: Tensor,
    registered: Tensor,
    thresholds_px: tuple[float, ...],
) -> SparseModel | None:
    """Triangulate, drop what does not fit and adjust everything, once for every threshold.

    Args:
        space: with features and matches.
        lenses: K to begin with; adjusted where it is not known.
        world_from_camera: to begin with.
        registered: frames to use.
        thresholds_px: reprojection errors beyond which observations are dropped, one per round.

    Returns:
        None if too few points can be triangulated.
    """
    set_lenses(space, lenses)
    model = _with_cameras(space, lenses, world_from_camera, registered)
    for threshold in thresholds_px:
        model = _triangulate(space, model, threshold)
        if model.num_points3D() < MIN_POINTS:
            return None
        _solve(model, lenses.known)
        pycolmap.ObservationManager(model).filter_all_points3D(threshold, MIN_ANGLE_DEG)
        if model.num_points3D() < MIN_POINTS:
            return None
    return read_model(model, space)


def _with_cameras(
    space: Workspace, lenses: Lenses, world_from_camera: Tensor, registered: Tensor
) -> pycolmap.Reconstruction:
    model = pycolmap.Reconstruction()
    cameras = lenses.cameras(space.size)
    for camera in cameras:
        model.add_camera_with_trivial_rig(camera)
    camera_from_world = invert(world_from_camera.double())
    for frame in registered.nonzero()[:, 0].tolist():
        number = frame + 1
        camera = 1 if len(cameras) == 1 else number
        image = pycolmap.Image(name=picture_name(frame), camera_id=camera, image_id=number)
        matrix = camera_from_world[frame, :3].numpy()
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(matrix[:, :3]), matrix[:, 3])
        model.add_image_with_trivial_frame(image, pose)
    return model


def _triangulate(
    space: Workspace, model: pycolmap.Reconstruction, threshold_px: float
) -> pycolmap.Reconstruction:
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads, options.random_seed = 1, space.seed
    options.extract_colors = False
    options.mapper.filter_max_reproj_error = threshold_px
    options.mapper.filter_min_tri_angle = MIN_ANGLE_DEG
    triangulation = options.triangulation
    triangulation.min_angle = MIN_ANGLE_DEG
    triangulation.merge_max_reproj_error = threshold_px
    triangulation.complete_max_reproj_error = threshold_px
    # Two views always meet somewhere: only longer tracks tell, COLMAP's default.
    triangulation.create_max_angle_error = 0.5 * threshold_px
    triangulation.continue_max_angle_error = 0.5 * threshold_px
    triangulation.random_seed = space.seed
    return pycolmap.triangulate_points(
        model, space.database, space.images, space.models, clear_points=True, options=options
    )


def _solve(model: pycolmap.Reconstruction, known: bool) -> None:
    # Not pycolmap.bundle_adjustment, which turns COLMAP's log on for good.
    config = pycolmap.BundleAdjustmentConfig()
    for number in model.reg_image_ids():
        config.add_image(number)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    pycolmap.create_default_bundle_adjuster(_options(known), config, model).solve()


def _options(known: bool) -> pycolmap.BundleAdjustmentOptions:
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = not known
    options.refine_principal_point = options.refine_extra_params = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = 1.0
    options.ceres.solver_options.function_tolerance = 1e-6
    # One thread: sums in another order end in other last digits.
    options.ceres.solver_options.num_threads = 1
    return options
