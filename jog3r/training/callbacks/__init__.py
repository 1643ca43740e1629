"""What happens beside the training steps: stopping, measuring, drawing, publishing."""

from jog3r.training.callbacks.gradient_norm import GradientNorm
from jog3r.training.callbacks.pose_validation import PoseValidation
from jog3r.training.callbacks.publish_weights import PublishWeights
from jog3r.training.callbacks.sample_sheet import SampleSheet
from jog3r.training.callbacks.sample_videos import SampleVideos
from jog3r.training.callbacks.stop_on_non_finite import StopOnNonFinite
from jog3r.training.callbacks.throughput import Throughput

__all__ = [
    "GradientNorm",
    "PoseValidation",
    "PublishWeights",
    "SampleSheet",
    "SampleVideos",
    "StopOnNonFinite",
    "Throughput",
]
