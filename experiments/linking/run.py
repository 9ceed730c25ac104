"""How often a cue mistakes one object for another, by its threshold. See README.md."""

import argparse
import pathlib

from stemseg_jax import studies, track_masks
from stemseg_jax.data.datasets import moving_shapes
from stemseg_jax.data.found_masks import FoundMask, FoundVideo
from stemseg_jax.formats import rle
from stemseg_jax.tracking import linking

LEAST = {
    "overlap": (0.0, 0.1, 0.3),
    "flow": (0.0, 0.1, 0.3),
    "looks": (0.1, 0.3, 0.5, 0.7),
}
PATIENCE = (0, 5, 20)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--stride", type=int, default=1, help="each n-th frame alone")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    videos = moving_shapes.load(num_videos=options.videos).videos
    look = track_masks.looks_of("real")
    lines = []
    for cue, thresholds in LEAST.items():
        for least in thresholds:
            line = {"": cue, "similarity from": least}
            for patience in PATIENCE:
                settings = linking.Linking(
                    by=cue, min_similarity=least, patience=patience
                )
                found = [
                    track_masks.tracked(
                        true_masks(video, options.stride),
                        map(video.frame, range(0, video.num_frames, options.stride)),
                        settings,
                        look=look,
                    )
                    for video in videos
                ]
                counts = studies.identities(
                    [Strided(video, options.stride) for video in videos], found
                )
                line[f"patience {patience}"] = int(counts["id switches"])
            lines.append(line)
    studies.write(lines, options.output)


class Strided:
    """Each n-th frame of a video; what `studies.identities` asks for."""

    def __init__(self, video, stride: int):
        self._video, self._stride = video, stride
        self.num_frames = -(-video.num_frames // stride)

    def clip(self, indices):
        return self._video.clip([t * self._stride for t in indices])


def true_masks(video, stride: int) -> FoundVideo:
    """As if a detector had found all without knowing which is which."""

    def masks(index: int) -> list[FoundMask]:
        clip = video.clip([index * stride])
        return [FoundMask(rle.encode(mask)) for mask in clip.masks[:, 0]]

    frames = [f"{t:05d}" for t in range(0, video.num_frames, stride)]
    return FoundVideo(video.name, video.height, video.width, frames, masks)


if __name__ == "__main__":
    main()
