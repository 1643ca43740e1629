"""Features of all pictures and matches between them, verified by epipolar geometry, on the CPU."""

import pycolmap

from jog3r.sfm.lenses import Lenses, set_lenses
from jog3r.sfm.workspace import Workspace, picture_name

EXHAUSTIVE_FRAMES = 64
"""Up to so many frames every pair is matched: a camera that comes back closes its loop."""
OVERLAP = 10
"""Beyond, a frame is matched with so many after it, and with those 2, 4, ... 512 after it."""
MAX_FEATURES = 4096
PEAK_THRESHOLD = 0.001
"""A sixth of COLMAP's: small frames of rooms have few strong corners."""
EDGE_THRESHOLD = 15.0


def find_matches(space: Workspace, lenses: Lenses, threads: int) -> None:
    """Fill the database with features and verified matches.

    Args:
        space: with the pictures.
        lenses: used to verify matches; where the focal length is unknown, a guess of it.
        threads: CPU threads; the result does not depend on them.
    """
    reader = pycolmap.ImageReaderOptions(camera_model="PINHOLE")
    if space.masks.is_dir():
        reader.mask_path = space.masks
    mode = pycolmap.CameraMode.SINGLE if lenses.shared else pycolmap.CameraMode.PER_IMAGE
    names = [picture_name(frame) for frame in range(space.frames)]
    # First by itself: several threads that extract number the pictures as they come.
    with pycolmap.Database.open(space.database):
        pass  # opening creates it
    pycolmap.import_images(space.database, space.images, mode, names, reader)
    pycolmap.extract_features(
        space.database,
        space.images,
        image_names=names,
        camera_mode=mode,
        reader_options=reader,
        extraction_options=_extraction(threads),
        device=pycolmap.Device.cpu,
    )
    set_lenses(space, lenses)
    _match(space, threads)


def _extraction(threads: int) -> pycolmap.FeatureExtractionOptions:
    options = pycolmap.FeatureExtractionOptions()
    options.num_threads, options.use_gpu = threads, False
    options.sift.max_num_features = MAX_FEATURES
    options.sift.peak_threshold = PEAK_THRESHOLD
    options.sift.edge_threshold = EDGE_THRESHOLD
    return options


def _match(space: Workspace, threads: int) -> None:
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads, matching.use_gpu = threads, False
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = space.seed
    if space.frames <= EXHAUSTIVE_FRAMES:
        pycolmap.match_exhaustive(
            space.database,
            matching_options=matching,
            verification_options=verification,
            device=pycolmap.Device.cpu,
        )
        return
    pycolmap.match_sequential(
        space.database,
        matching_options=matching,
        pairing_options=pycolmap.SequentialPairingOptions(overlap=OVERLAP),
        verification_options=verification,
        device=pycolmap.Device.cpu,
    )
