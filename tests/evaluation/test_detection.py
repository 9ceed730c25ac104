"""AP of single frames: by hand, and beside pycocotools on random frames."""

import contextlib
import io
import math

import numpy as np
import pytest
from pycocotools import coco, cocoeval

from stemseg_jax.evaluation import detection, mots
from stemseg_jax.formats import mots_txt, rle


def detections(scores, hits, objects, ignored=()):
    hits = np.array(hits, bool)
    false = ~hits
    false[list(ignored)] = False
    return detection.Detections(np.array(scores, float), hits, false, objects)


def test_a_curve_by_hand():
    own = detections([0.9, 0.8, 0.7], [1, 0, 1], objects=2)
    # Precision 1 up to a recall of 1/2 (51 of 101), and 2/3 up to 1.
    expected = (51 + 50 * 2 / 3) / 101
    assert detection.average_precision([own]) == pytest.approx(expected, abs=1e-12)
    missed = own._replace(objects=4)  # recalls 1/4 and 1/2
    expected = (26 + 25 * 2 / 3) / 101
    assert detection.average_precision([missed]) == pytest.approx(expected, abs=1e-12)


def test_what_lies_in_ignore_regions_is_left_out():
    own = detections([0.9, 0.8, 0.7], [1, 0, 1], objects=2, ignored=[1])
    assert detection.average_precision([own]) == pytest.approx(1)


def test_sequences_are_ranked_together_and_weighed_by_repeating_them():
    one = detections([0.9, 0.2], [0, 1], objects=1)
    other = detections([0.8, 0.5, 0.1], [1, 0, 1], objects=3)
    together = detections([0.9, 0.2, 0.8, 0.5, 0.1], [0, 1, 1, 0, 1], objects=4)
    both = detection.average_precision([one, other])
    assert both == pytest.approx(detection.average_precision([together]), abs=1e-12)
    weighed = detection.average_precision([one, other], np.array([2, 1]))
    repeated = detection.average_precision([one, one, other])
    assert weighed == pytest.approx(repeated, abs=1e-12) and weighed != both
    alone = detection.average_precision([one, other], np.array([0, 1]))
    assert alone == pytest.approx(detection.average_precision([other]), abs=1e-12)


def test_order_within_a_sequence_matters_for_equal_scores_alone():
    rng = np.random.default_rng(0)
    scores, hits = rng.permutation(12), rng.random(12) < 0.5
    order = rng.permutation(12)
    same = [
        detection.average_precision([detections(s, h, objects=9)])
        for s, h in ((scores, hits), (scores[order], hits[order]))
    ]
    assert same[0] == same[1]
    first = detections([0.5, 0.5], [1, 0], objects=1)
    last = detections([0.5, 0.5], [0, 1], objects=1)
    assert detection.average_precision([first]) == pytest.approx(1)
    assert detection.average_precision([last]) == pytest.approx(1 / 2)


def test_nothing_to_be_found_and_nothing_found():
    nothing = detections([], [], objects=0)
    assert math.isnan(detection.average_precision([nothing]))
    assert math.isnan(detection.average_precision([detections([1], [0], objects=0)]))
    assert detection.average_precision([detections([], [], objects=3)]) == 0


# ------------------------------------------------------------------- beside pycocotools

SHAPE = (30, 50)


def random_frames(rng, num_frames):
    """Boxes that move a little from truth to prediction, and a region to ignore.

    No two masks of a side overlap: the later one has the pixel.
    """
    truth, predicted = [], []
    for frame in range(num_frames):
        sides = np.zeros((2, *SHAPE), int)
        for number in range(1, int(rng.integers(1, 7))):
            top, left = rng.integers(0, 20), rng.integers(0, 38)
            height, width = rng.integers(4, 10, 2)
            for side in sides[: 1 + int(rng.random() < 0.8)]:
                side[top : top + height, left : left + width] = 1000 + number
                top, left = np.maximum((top, left) + rng.integers(-1, 2, 2), 0)
        sides[1, 20:28, 3:9] = 1000 + int(rng.integers(7, 10))  # a false alarm
        ignored = np.zeros(SHAPE, bool)
        if rng.random() < 0.7:
            ignored[18:, : rng.integers(4, 20)] = True
        sides[0][ignored] = 10000
        for side, frames in zip(sides, (truth, predicted), strict=True):
            frames.append(
                [
                    mots_txt.Line(frame, n, n // 1000, rle.encode(side == n))
                    for n in np.unique(side[side > 0]).tolist()
                ]
            )
    return truth, predicted


def coco_ap(truth, predicted, scores):
    """COCOeval at one threshold, each frame an image, ignore regions as crowds."""
    images = [{"id": n, "height": 30, "width": 50} for n in range(1, 1 + len(truth))]
    annotations = [
        {
            "image_id": image,
            "category_id": 1,
            "segmentation": line.mask,
            "area": int(rle.areas([line.mask])[0]),
            "iscrowd": int(line.category == mots_txt.IGNORE),
            "bbox": rle.box(line.mask),
        }
        for image, lines in enumerate(truth, start=1)
        for line in lines
    ]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    found = [
        {
            "image_id": image,
            "category_id": 1,
            "segmentation": line.mask,
            "score": scores[line.id],
        }
        for image, lines in enumerate(predicted, start=1)
        for line in lines
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        own = coco.COCO()
        own.dataset = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 1}],
        }
        own.createIndex()
        program = cocoeval.COCOeval(own, own.loadRes(found), "segm")
        program.params.iouThrs = np.array([0.5 + 1e-9])  # it takes what reaches it
        program.params.maxDets = [1000]
        program.evaluate()
        program.accumulate()
    return program.eval["precision"][0, :, 0, 0, 0].mean()


@pytest.mark.parametrize("seed", range(8))
def test_random_frames_equal_the_official_program(seed):
    rng = np.random.default_rng(seed)
    truth, predicted = random_frames(rng, num_frames=12)
    scores = {1000 + n: float(rng.random()) for n in range(1, 10)}  # one of a track
    own = mots.overlapping(truth, predicted, mots_txt.CAR)
    of_masks = np.array([scores[line.id] for lines in predicted for line in lines])
    counted = detection.count(own, of_masks)
    assert counted.true.any() and counted.false.any()
    if seed == 0:
        assert (~counted.true & ~counted.false).any()  # ignored
    ours = detection.average_precision([counted])
    assert 0 < ours < 1
    assert ours == pytest.approx(coco_ap(truth, predicted, scores), abs=1e-12)
