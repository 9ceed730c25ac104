"""AP worked by hand, against COCO on stills, and annotations that cannot be scored."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from stemseg_jax.evaluation import ytvis
from stemseg_jax.formats import rle

HEIGHT, WIDTH = 20, 30


def box(left, width, top=0, height=10):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def json_of(masks):
    return [None if mask is None else rle.to_json(rle.encode(mask)) for mask in masks]


class Files:
    """An annotation file and a result file, built object by object."""

    def __init__(self, folder, num_videos=1, num_frames=2, categories=(1,)):
        self.folder = folder
        self.truth = {
            "videos": [
                {
                    "id": video,
                    "height": HEIGHT,
                    "width": WIDTH,
                    "file_names": [f"v{video}/{t:05d}.jpg" for t in range(num_frames)],
                }
                for video in range(1, num_videos + 1)
            ],
            "categories": [{"id": c, "name": f"class {c}"} for c in categories],
            "annotations": [],
        }
        self.results = []

    def add_object(self, masks, video=1, category=1, **more):
        self.truth["annotations"].append(
            {
                "id": len(self.truth["annotations"]) + 1,
                "video_id": video,
                "category_id": category,
                "iscrowd": 0,
                "segmentations": json_of(masks),
                "areas": [None if mask is None else int(mask.sum()) for mask in masks],
                **more,
            }
        )

    def add_prediction(self, masks, score, video=1, category=1):
        self.results.append(
            {
                "video_id": video,
                "category_id": category,
                "score": score,
                "segmentations": json_of(masks),
            }
        )

    def score(self, **options):
        truth, results = self.folder / "truth.json", self.folder / "results.json"
        truth.write_text(json.dumps(self.truth))
        results.write_text(json.dumps(self.results))
        return ytvis.score(truth, results, **options)


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def test_iou_is_over_all_frames_at_once(files):
    files.add_object([box(0, 10), None])
    files.add_prediction([box(0, 10), box(0, 5)], 0.5)
    report = files.score().report()
    # 100 pixels in common, 150 in either: right up to a threshold of 0.65.
    assert report["iou"] == {"1/1": [[100 / 150]]}
    assert report["AP"] == pytest.approx(4 / 10)
    assert report["AP50"] == pytest.approx(1) and report["AP75"] == 0
    assert report["AR1"] == pytest.approx(4 / 10)


def test_precision_is_read_at_101_recalls(files):
    for left in (0, 10, 20):
        files.add_object([box(left, 10)] * 2)
    files.add_prediction([box(0, 10)] * 2, 0.9)
    files.add_prediction([box(5, 10)] * 2, 0.8)  # an IoU of 1/3 with two objects
    files.add_prediction([box(20, 10)] * 2, 0.7)
    report = files.score().report()
    # Precision 1 up to a recall of 1/3 (0 .. 0.33), 2/3 up to 2/3 (0.34 .. 0.66).
    assert report["AP"] == pytest.approx((34 * 1 + 33 * 2 / 3) / 101)
    assert report["AR1"] == pytest.approx(1 / 3)
    assert report["AR10"] == pytest.approx(2 / 3)


def test_a_perfect_result(files):
    files.add_object([box(0, 10), box(3, 10)])
    files.add_prediction([box(0, 10), box(3, 10)], 0.1)
    figures = files.score().figures()
    assert all(value == pytest.approx(1) for value in figures.values())


def test_nothing_predicted_and_nothing_annotated(files):
    assert set(files.score().figures().values()) == {-1}
    files.add_object([box(0, 10)] * 2)
    assert set(files.score().figures().values()) == {0}


def test_the_object_of_best_iou_is_taken_once(files):
    files.add_object([box(0, 10)] * 2)
    files.add_prediction([box(0, 9)] * 2, 0.9)
    files.add_prediction([box(0, 10)] * 2, 0.8)  # better, but too late
    report = files.score().report()
    assert report["AP50"] == pytest.approx(1)  # the false alarm comes after the hit
    assert report["precision"][9][0][0][2] == pytest.approx(0.5)  # 0.95: it comes first


def test_a_crowd_can_be_taken_again_and_costs_nothing(files):
    files.add_object([box(0, 10)] * 2)
    files.add_object([box(15, 10)] * 2, iscrowd=1)
    for score in (0.9, 0.8):
        files.add_prediction([box(15, 10)] * 2, score)
    files.add_prediction([box(0, 10)] * 2, 0.1)
    assert files.score().figures()["AP"] == pytest.approx(1)


def test_sizes_are_those_of_the_file_and_share_their_limits(files):
    files.add_object([box(0, 10)] * 2, areas=[128**2, 128**2])
    files.add_prediction([box(0, 10)] * 2, 0.5)
    figures = files.score().report()
    assert figures["AP_small"] == figures["AP_medium"] == pytest.approx(1)
    assert figures["AP_large"] == -1


def test_only_the_first_hundred_predictions_count(files):
    files.add_object([box(0, 10)] * 2)
    for number in range(100):
        files.add_prediction([None, None], 1 - number / 1000)
    files.add_prediction([box(0, 10)] * 2, 0.5)
    assert files.score().figures()["AR100"] == 0
    files.results[-1]["score"] = 2.0  # before the others
    assert files.score().figures()["AR1"] == pytest.approx(1)


def test_categories_count_alike_and_unlisted_ones_not_at_all(tmp_path):
    files = Files(tmp_path, categories=(2, 1, 5))
    files.add_object([box(0, 10)] * 2, category=1)
    files.add_object([box(0, 10)] * 2, category=2)
    files.add_prediction([box(0, 10)] * 2, 0.5, category=2)
    files.add_prediction([box(0, 10)] * 2, 0.9, category=5)
    files.add_prediction([box(0, 10)] * 2, 0.9, category=77)
    report = files.score().report()
    assert report["AP"] == pytest.approx(0.5)
    own = {key: row["AP"] for key, row in report["per_category"].items()}
    assert own == {"1": 0, "2": pytest.approx(1), "5": -1}
    assert report["per_category"]["2"]["name"] == "class 2"


def test_occlusion_is_the_mean_of_the_larger_half(tmp_path):
    files = Files(tmp_path, num_frames=3)
    degrees = ["no_occlusion", "slight_occlusion", "severe_occlusion"]
    files.add_object([box(0, 10)] * 3, occlusion=degrees)  # (0.25 + 0.75) / 2
    files.add_object([box(15, 10)] * 3, occlusion=["no_occlusion", None, None])
    files.add_prediction([box(15, 10)] * 3, 0.5)
    report = files.score(occlusion=True).report()
    assert report["AP_light_occ"] == pytest.approx(1)
    assert report["AP_medium_occ"] == report["AP_heavy_occ"] == 0  # 0.5 is both
    with pytest.raises(ValueError, match="annotation 3: its occlusion is None"):
        files.add_object([box(0, 10)] * 3)
        files.score(occlusion=True)


def test_videos_without_frame_names_are_known_by_their_id(files):
    files.truth["videos"][0] = {"id": 1, "height": 20, "width": 30, "length": 2}
    files.add_object([box(0, 10)] * 2)
    files.add_prediction([box(0, 10)] * 2, 0.5)
    scored = files.score()
    assert scored.videos == ("1",) and scored.figures()["AP"] == pytest.approx(1)


def test_weights_count_videos(tmp_path):
    files = Files(tmp_path, num_videos=3)
    for video in (1, 2, 3):
        files.add_object([box(0, 10)] * 2, video=video)
    files.add_prediction([box(0, 10)] * 2, 0.5, video=2)
    files.add_prediction([box(9, 10)] * 2, 0.6, video=3)
    scored = files.score()
    assert scored.videos == ("v1", "v2", "v3")
    assert scored.figures(np.array([0, 1, 0]))["AP"] == pytest.approx(1)
    assert scored.figures(np.array([1, 0, 0]))["AP"] == 0
    assert scored.figures(np.array([1, 1, 1])) == scored.figures()

    # As often as the weight says is the same as that many videos.
    twice = Files(tmp_path, num_videos=4)
    for video, source in enumerate((2, 2, 3, 1), start=1):
        for of, to in ((files.truth, twice.truth), (files.results, twice.results)):
            entries = of["annotations"] if of is files.truth else of
            own = to["annotations"] if to is twice.truth else to
            own += [
                e | {"video_id": video, "id": len(own) + 1}
                for e in entries
                if e["video_id"] == source
            ]
    expected = twice.score().figures()
    for name, value in scored.figures(np.array([1, 2, 1])).items():
        assert value == pytest.approx(expected[name])


def test_on_stills_ap_is_that_of_coco(tmp_path):
    rng = np.random.default_rng(0)
    files = Files(tmp_path, num_videos=12, num_frames=1, categories=(1, 2, 3))
    for video in range(1, 13):
        for _ in range(rng.integers(0, 5)):
            mask = box(*rng.integers(1, 15, 2), *rng.integers(1, 10, 2))
            category = int(rng.integers(1, 4))
            files.add_object([mask], video=video, category=category)
            for _ in range(rng.integers(0, 3)):
                moved = np.roll(mask, rng.integers(-2, 3, 2), axis=(0, 1))
                score = float(rng.integers(0, 10) / 10)  # with ties
                files.add_prediction([moved], score, video=video, category=category)
    coco = COCO()
    coco.dataset = {
        "images": files.truth["videos"],
        "categories": files.truth["categories"],
        "annotations": [
            {
                "id": own["id"],
                "image_id": own["video_id"],
                "category_id": own["category_id"],
                "iscrowd": 0,
                "area": own["areas"][0],
                "segmentation": own["segmentations"][0],
            }
            for own in files.truth["annotations"]
        ],
    }
    coco.createIndex()
    coco.dataset["info"] = {}
    results = coco.loadRes(
        [
            {
                "image_id": own["video_id"],
                "category_id": own["category_id"],
                "score": own["score"],
                "segmentation": own["segmentations"][0],
            }
            for own in files.results
        ]
    )
    evaluation = COCOeval(coco, results, "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    figures = files.score().figures()
    for name, index in {"AP": 0, "AP50": 1, "AP75": 2, "AR1": 6, "AR10": 7}.items():
        assert figures[name] == pytest.approx(evaluation.stats[index], abs=1e-12)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.pop("annotations"), "truth.json: no annotations"),
        (lambda t: t["videos"][0].pop("width"), r"videos\[0\]: .* `width`"),
        (lambda t: t["annotations"][0].pop("areas"), "annotation 1: has no areas"),
        (lambda t: t["annotations"][0].update(video_id=9), "belongs to video 9"),
        (lambda t: t["annotations"][0].update(category_id=9), "has category 9"),
        (
            lambda t: t["annotations"][0]["segmentations"].pop(),
            "annotation 1: has 1 segmentations for 2 frames",
        ),
        (
            lambda t: t["annotations"][0]["segmentations"][1].update(size=[1, 2]),
            "annotation 1, video 1, frame 1: .* size",
        ),
        (
            lambda t: t["annotations"][0]["segmentations"][1].update(counts="0"),
            "truth.json: annotation 1, video 1, frame 1: ",
        ),
    ],
)
def test_annotations_that_cannot_be_scored(files, spoil, message):
    files.add_object([box(0, 10)] * 2)
    files.add_prediction([box(0, 10)] * 2, 0.5)
    spoil(files.truth)
    with pytest.raises(ValueError, match=message):
        files.score()


def test_a_result_file_in_place_of_the_annotations(files):
    files.add_object([box(0, 10)] * 2)
    files.score()
    results = files.folder / "results.json"
    with pytest.raises(ValueError, match="expected `object`, got `array`"):
        ytvis.score(results, results)
    truth = files.folder / "truth.json"
    with pytest.raises(ValueError, match="expected `array`, got `object`"):
        ytvis.score(truth, truth)


def test_each_video_has_figures_of_its_own(tmp_path):
    """Right in the first, wrong in the second, and nothing to be found in the third."""
    files = Files(tmp_path, num_videos=3)
    for video in (1, 2):
        files.add_object([box(0, 10)] * 2, video=video)
    files.add_prediction([box(0, 10)] * 2, 0.9, video=1)
    files.add_prediction([box(20, 10)] * 2, 0.8, video=2)
    files.add_prediction([box(20, 10)] * 2, 0.7, video=3)
    scored = files.score()
    own = scored.report()["per_video"]
    assert [*own] == ["v1", "v2", "v3"]
    assert [one["video_id"] for one in own.values()] == [1, 2, 3]
    assert [one["AP"] for one in own.values()] == [pytest.approx(1), 0, -1]
    for place, one in enumerate(own.values()):  # as if there were no other
        weights = np.eye(3, dtype=int)[place]
        assert scored.figures(weights) == {k: one[k] for k in scored.figures()}
