import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools import mask as coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from stemseg_jax import score
from stemseg_jax.evaluation import comparison, proposals

H, W = 120, 160


def rectangle(top, left, height, width):
    mask = np.zeros((H, W), np.uint8, order="F")
    mask[max(top, 0) : top + height, max(left, 0) : left + width] = 1
    found = coco.encode(mask)
    return {"size": found["size"], "counts": found["counts"].decode()}


def files(folder, rng, videos=3, frames=4):
    """Annotations and results of random rectangles, in YouTube-VIS form."""
    annotations, results = [], []
    for video in range(1, videos + 1):
        for _ in range(3):
            boxes = [
                (*rng.integers(0, 60, 2), *rng.integers(4, 110, 2))
                if rng.random() < 0.8
                else None
                for _ in range(frames)
            ]
            masks = [box and rectangle(*box) for box in boxes]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    video_id=video,
                    category_id=int(rng.integers(1, 3)),
                    iscrowd=0,
                    segmentations=masks,
                    areas=[m and float(coco.area(m)) for m in masks],
                    bboxes=[m and coco.toBbox(m).tolist() for m in masks],
                )
            )
            for frame, box in enumerate(boxes):
                if box is None and rng.random() < 0.5:
                    continue
                box = box or (10, 10, 20, 30)
                shaken = np.array(box) + rng.integers(-6, 7, 4)
                mask = rectangle(*shaken[:2], *np.maximum(shaken[2:], 2))
                results.append(
                    dict(
                        video_id=video,
                        category_id=0,
                        score=float(rng.random()),
                        segmentations=[
                            mask if k == frame else None for k in range(frames)
                        ],
                    )
                )
    content = dict(
        videos=[
            dict(
                id=v,
                height=H,
                width=W,
                length=frames,
                file_names=[f"video{v}/{k:05}.jpg" for k in range(frames)],
            )
            for v in range(1, videos + 1)
        ],
        categories=[dict(id=1, name="a"), dict(id=2, name="b")],
        annotations=annotations,
    )
    truth, found = folder / "truth.json", folder / "results.json"
    truth.write_text(json.dumps(content))
    found.write_text(json.dumps(results))
    return truth, found, content, results


def official(content, results, frames=4):
    """What COCO's own program says, each frame an image."""

    def split(entries, **more):
        for entry in entries:
            for frame, mask in enumerate(entry["segmentations"]):
                if mask:
                    yield dict(
                        image_id=entry["video_id"] * frames + frame,
                        category_id=1,
                        segmentation=mask,
                        area=float(coco.area(mask)),
                        bbox=coco.toBbox(mask).tolist(),
                        iscrowd=0,
                        **({"score": entry["score"]} if "score" in entry else {}),
                    )

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dict(
            images=[
                dict(id=v["id"] * frames + k, height=H, width=W)
                for v in content["videos"]
                for k in range(frames)
            ],
            categories=[dict(id=1, name="object")],
            annotations=[
                {**a, "id": k + 1} for k, a in enumerate(split(content["annotations"]))
            ],
        )
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(list(split(results))), "segm")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_official_program(tmp_path, seed):
    truth, found, content, results = files(tmp_path, np.random.default_rng(seed))
    scored = proposals.score(truth, found)
    report = scored.report()
    stats = official(content, results)
    names = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
    np.testing.assert_allclose([report[n] for n in names], stats[:6], atol=1e-9)
    names = ("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large")
    np.testing.assert_allclose([report[n] for n in names], stats[6:12], atol=1e-9)
    assert scored.videos == ("video1", "video2", "video3")


def test_a_video_that_counts_twice_is_there_twice(tmp_path):
    truth, found, *_ = files(tmp_path, np.random.default_rng(5))
    scored = proposals.score(truth, found)
    assert scored.figures() == scored.figures(np.ones(3, int))
    assert scored.figures(np.array([0, 3, 0])) == scored.figures(np.array([0, 1, 0]))
    other = comparison.compare(scored, scored)
    assert all(row.difference == 0 for row in other.values())


def test_nothing_found_and_the_command(tmp_path, capsys):
    truth, found, *_ = files(tmp_path, np.random.default_rng(6))
    found.write_text("[]")
    assert proposals.score(truth, found).report()["AP"] == 0
    target = tmp_path / "scores.json"
    assert not score.run(
        task="proposals",
        ground_truth=str(truth),
        results=[str(found)],
        json_file=str(target),
    )
    assert json.loads(target.read_text())["AP50"] == 0
    assert "AP75" in capsys.readouterr().out


def test_each_video_has_figures_of_its_own(tmp_path):
    truth, found, *_ = files(tmp_path, np.random.default_rng(3))
    scored = proposals.score(truth, found)
    own = scored.report()["per_video"]
    assert own.keys() == {"video1", "video2", "video3"}
    for place, one in enumerate(own.values()):
        assert one["video_id"] == place + 1
        weights = np.eye(3, dtype=int)[place]
        assert scored.figures(weights) == pytest.approx(
            {name: one[name] for name in scored.figures()}
        )
