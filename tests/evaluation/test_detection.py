"""Average precision of single frames, and cars as the causal embedding is scored."""

import numpy as np
import pytest

from stemseg_jax.evaluation import detection, mots, pairing
from stemseg_jax.formats import mots_txt, rle

HEIGHT, WIDTH = 48, 160


def box(left, width=20, top=0, height=30):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + height, left : left + width] = True
    return mask


@pytest.fixture
def score(tmp_path):
    """Scores two files given frame by frame as {id: mask}, and perhaps {id: score}."""

    def run(truth, predicted, scores=None):
        for folder, frames in (("gt", truth), ("results", predicted)):
            (tmp_path / folder).mkdir(exist_ok=True)
            lines = [
                str(mots_txt.Line(t, number, number // 1000, rle.encode(mask)))
                for t, frame in enumerate(frames)
                for number, mask in frame.items()
            ]
            (tmp_path / folder / "0001.txt").write_text("\n".join(lines))
        (tmp_path / "gt/all.seqmap").write_text(f"0001 empty 0 {len(truth) - 1}\n")
        if scores is not None:
            mots_txt.write_scores(tmp_path / "results", {"0001": scores})
        return mots.score(
            tmp_path / "gt", tmp_path / "results", benchmark="kitti_mots_cars"
        )

    return run


def test_by_hand(score):
    truth = [{1001: box(0), 1002: box(40), 2001: box(80)}] * 2
    predicted = [
        {1001: box(0), 1002: box(42), 1003: box(120)},
        {1001: box(0), 1005: box(40)},
    ]
    scores = {1001: 0.9, 1002: 0.5, 1003: 0.7, 1005: 0.6}
    found = score(truth, predicted, scores).report()
    assert {*found} == {"car", "car at 192 x 640", "per_sequence"}
    for size in ("car", "car at 192 x 640"):
        car = found[size]
        # In order: two hits at 0.9, a miss at 0.7, hits at 0.6 and 0.5.
        assert car["AP50"] == pytest.approx((2 + 2 * 4 / 5) / 4)
        assert (car["recall"], car["precision"]) == (1, 4 / 5)
        assert car["IDS"] == 1 and car["IDS rate"] == 1 / 4
        assert car["MOTSA"] == pytest.approx((4 - 1 - 1) / 4)
    assert found["car"]["MOTSP"] != found["car at 192 x 640"]["MOTSP"]


def test_without_scores_there_is_no_average_precision(score):
    truth = [{1001: box(0)}]
    car = score(truth, truth).report()["car"]
    assert "AP50" not in car and car["recall"] == 1
    assert score(truth, [{}], {}).report()["car"]["AP50"] == 0
    table = dict(score(truth, truth, {1001: 1.0}).table())
    assert table["all car"]["AP50"] == 1


def test_what_lies_in_ignored_regions_is_no_mistake(score):
    truth = [{1001: box(0), 10000: box(100, width=50)}]
    predicted = [{1001: box(0), 1002: box(110), 1003: box(70)}]
    car = score(truth, predicted, {1001: 0.5, 1002: 0.9, 1003: 0.8}).report()["car"]
    assert car["precision"] == 1 / 2 and car["AP50"] == 1 / 2


def test_scores_that_cannot_be_read_are_named(score, tmp_path):
    truth = [{1001: box(0)}]
    score(truth, truth)
    (tmp_path / "results/scores.json").write_text('{"0001": {"car": 1}}')
    with pytest.raises(ValueError, match=r"scores\.json.*expected for each sequence"):
        score(truth, truth)


def plain(scores, hits, truths):
    """The area, threshold by threshold."""
    points = []
    for threshold in sorted(set(scores), reverse=True):
        kept = hits[scores >= threshold]
        points.append((kept.sum() / truths, kept.mean()))
    area, before = 0.0, 0.0
    for k, (recall, _) in enumerate(points):
        area += (recall - before) * max(p for _, p in points[k:])
        before = recall
    return area


@pytest.mark.parametrize("seed", range(4))
def test_the_area_is_that_of_the_plain_form_in_any_order(seed):
    rng = np.random.default_rng(seed)
    scores, hits = rng.integers(0, 9, 40) / 8, rng.random(40) < 0.6
    expected = plain(scores, hits, 50)
    assert detection.average_precision(scores, hits, 50) == pytest.approx(expected)
    order = rng.permutation(40)
    again = detection.average_precision(scores[order], hits[order], 50)
    assert again == pytest.approx(expected)
    assert detection.average_precision(scores[:0], hits[:0], 50) == 0
    assert detection.average_precision(scores, hits, 0) == 0


def test_sequences_count_as_often_as_they_are_drawn():
    own = detection.Counts(np.array([True, False]), np.array([0.2, 0.8]), 1)
    other = detection.Counts(np.array([True]), np.array([0.9]), 2)

    def recall(*weights):
        found = detection.figures([own, other], np.array(weights), switches=3)
        return found["recall"], found["IDS rate"]

    assert recall(1, 1) == (2 / 3, 1) and recall(2, 0) == (1, 3 / 2)
    nothing = detection.figures([own], np.array([0]), switches=0)
    assert nothing["recall"] == nothing["precision"] == nothing["IDS rate"] == 0
    empty = pairing.Masks(np.zeros(0, int), np.zeros(0, int))
    assert empty.num_tracks == 0


def test_masks_are_brought_to_another_size():
    line = mots_txt.Line(0, 1001, 1, rle.encode(box(40)))
    dot = line._replace(id=1002, mask=rle.encode(box(0, width=1, height=1)))
    (half,) = mots_txt.resized([[line, dot]], (24, 80))
    assert [x.id for x in half] == [1001]  # of the other one nothing is left
    mask = rle.decode(half[0].mask)
    np.testing.assert_array_equal(mask, box(40)[::2, ::2])
