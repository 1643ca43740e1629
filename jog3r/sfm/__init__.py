"""Structure from motion through pycolmap: cameras refined, or found without any network."""

from jog3r.sfm.motion import structure_from_motion
from jog3r.sfm.refine import refine_bundle
from jog3r.sfm.termination import keep_python_handlers

__all__ = ["refine_bundle", "structure_from_motion"]

keep_python_handlers()
