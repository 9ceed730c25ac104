"""Videos to be labelled: files, frames in folders, cameras and streams.

base             what every source gives: frames in order, with their times
places           from paths, globs and addresses to sources
frame_choice     which frames: from when to when, how many a second, each n-th
video_file       any file that FFmpeg reads
late_start       a video file from the key frame before the first chosen frame
image_sequence   image files in order
arrays           images in memory
live             cameras and streams, while they run
addresses        how FFmpeg opens cameras and streams, and how they are shown
decoding         what FFmpeg decodes, as far as it is sound
timestamps       times that grow, of stamps that may be missing or wrong
naming           a name of its own for the results of each video

Unlike a dataset's records, a source has no annotations and is read from front to back;
one frame is held at a time.
"""

from stemseg_jax.data.inputs.arrays import Arrays
from stemseg_jax.data.inputs.base import BrokenVideoError, InputFrame, InputVideo
from stemseg_jax.data.inputs.frame_choice import FrameChoice, seconds
from stemseg_jax.data.inputs.image_sequence import ImageSequence
from stemseg_jax.data.inputs.live import LiveVideo
from stemseg_jax.data.inputs.places import Place, find, places
from stemseg_jax.data.inputs.video_file import VideoFile

__all__ = [
    "Arrays",
    "BrokenVideoError",
    "FrameChoice",
    "ImageSequence",
    "InputFrame",
    "InputVideo",
    "LiveVideo",
    "Place",
    "VideoFile",
    "find",
    "places",
    "seconds",
]
