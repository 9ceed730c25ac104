"""Tracking worked by hand: one sequence a fact, then the files around it."""

import json
import math

import numpy as np
import pytest

from stemseg_jax.evaluation import clear, hota, identity, mots, pairing
from stemseg_jax.formats import rle

SHAPE = (20, 60)


def box(left, width=10, top=0, height=10):
    mask = np.zeros(SHAPE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def lines(frames, first_frame=0):
    """Text of frames of {id: mask} or {id: (class, mask)}."""
    text = []
    for frame, objects in enumerate(frames, start=first_frame):
        for key, value in objects.items():
            category, mask = value if isinstance(value, tuple) else (1, value)
            counts = rle.to_json(rle.encode(mask))["counts"]
            text.append(f"{frame} {key} {category} 20 60 {counts}")
    return "\n".join(text)


@pytest.fixture
def score(tmp_path):
    """Scores one KITTI sequence given frame by frame."""

    def run(truth, predicted, scores=None, **options):
        for folder, frames in (("gt", truth), ("results", predicted)):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / "0001.txt").write_text(lines(frames))
        seqmap = tmp_path / "gt/evaluate_mots.seqmap"
        seqmap.write_text(f"0001 empty 000000 {len(truth) - 1:06d}\n")
        if scores is not None:
            beside = tmp_path / "results/0001.scores.json"
            beside.write_text(json.dumps(scores))
        scored = mots.score(tmp_path / "gt", tmp_path / "results", **options)
        return scored.report()["car"]

    return run


def test_perfect_tracking(score):
    frames = [{1: box(t), 2: box(30 + t)} for t in range(4)]
    renamed = [{7: frame[2], 9: frame[1]} for frame in frames]
    car = score(frames, renamed)
    for figure in ("sMOTSA", "MOTSA", "MOTSP", "HOTA", "DetA", "AssA", "LocA", "IDF1"):
        assert car[figure] == pytest.approx(1)
    assert (car["TP"], car["FP"], car["FN"], car["IDS"], car["Frag"]) == (8, 0, 0, 0, 0)
    assert (car["MT"], car["PT"], car["ML"]) == (1, 0, 0)


def test_one_change_of_identity(score):
    truth = [{1: box(0)}] * 4
    predicted = [{1: box(0)}] * 2 + [{2: box(0)}] * 2
    car = score(truth, predicted)
    assert car["IDS"] == 1 and car["MOTSA"] == 3 / 4
    # c = 2 of 4 + 2 - 2 masks for each pair of tracks.
    assert car["AssA"] == pytest.approx(1 / 2)
    assert car["HOTA"] == pytest.approx(math.sqrt(1 / 2))
    assert car["IDF1"] == pytest.approx(1 / 2)  # 2 masks agree, 2 and 2 do not


def test_soft_figures_weigh_the_overlap(score):
    # 80 of 100 pixels, and 20 pixels beside: IoU 80 / 120; one false alarm.
    truth = [{1: box(0)}] * 3
    predicted = [{1: box(2)}, {1: box(2)}, {1: box(0), 2: box(40)}]
    car = score(truth, predicted)
    assert car["MOTSP"] == pytest.approx((2 * 2 / 3 + 1) / 3)
    assert car["sMOTSA"] == pytest.approx((2 * 2 / 3 + 1 - 1) / 3)
    assert car["MOTSA"] == pytest.approx((3 - 1) / 3)
    # Detections reach 13 of 19 alphas (to 0.65) with IoU 2/3, all 19 with IoU 1.
    assert car["DetA"] == pytest.approx((13 * 3 / 4 + 6 * 1 / (1 + 2 + 3)) / 19)


def test_an_overlap_of_exactly_one_half_counts_for_one_program_only(score):
    car = score([{1: box(0, width=20)}], [{1: box(0, width=10)}])
    assert car["TP"] == 0  # mots_tools: more than 1/2
    assert car["trackeval"]["CLEAR"]["CLR_TP"] == 1  # TrackEval: at least 1/2


def test_who_was_together_stays_together_where_masks_compete(score):
    # Two halves of the object, each with an IoU of exactly 1/2.
    halves = {5: box(0, width=10), 6: box(10, width=10)}
    whole = {1: box(0, width=20)}
    for first in (5, 6):
        truth = [whole] * 3
        predicted = [{first: box(0, width=20)}, halves, halves]
        figures = score(truth, predicted)["trackeval"]["CLEAR"]
        assert (figures["CLR_TP"], figures["IDSW"]) == (3, 0)


def test_what_lies_in_ignore_regions_is_no_false_alarm(score):
    truth = [{1: box(0), 10000: (10, box(20, width=10))}]
    half, more = box(25, width=10), box(24, width=10)
    assert score(truth, [{1: box(0), 2: half}])["FP"] == 1
    assert score(truth, [{1: box(0), 2: more}])["FP"] == 0
    assert score(truth, [{1: box(0), 2: more}])["HOTA"] == pytest.approx(1)


def test_the_wrong_class_is_a_miss_and_a_false_alarm(tmp_path, score):
    car = score([{1: box(0)}], [{1: (2, box(0))}])
    assert (car["TP"], car["FN"], car["FP"]) == (0, 1, 0)
    report = mots.score(tmp_path / "gt", tmp_path / "results").report()
    assert (report["pedestrian"]["FP"], report["pedestrian"]["FN"]) == (1, 0)


def test_recall_precision_and_the_rate_of_switches(score):
    truth = [{1: box(0), 2: box(30)}] * 4
    predicted = [{1: box(0)}, {2: box(0)}, {3: box(0)}, {3: box(0), 4: box(15)}]
    car = score(truth, predicted)
    assert (car["TP"], car["FP"], car["FN"], car["IDS"]) == (4, 1, 4, 2)
    assert car["recall"] == 4 / 8 and car["precision"] == 4 / 5
    assert car["IDS rate"] == 2 / 8
    # The reference's relation of the figures that the paper prints.
    remainder = car["recall"] * (2 - 1 / car["precision"]) - car["MOTSA"]
    assert remainder == pytest.approx(car["IDS rate"])
    assert score([{}], [{}])["IDS rate"] == 0


def test_ap_needs_scores_of_tracks(tmp_path, score):
    truth = [{1: box(0), 2: box(30)}] * 2
    predicted = [{1001: box(0), 1002: box(15), 1003: box(30)}] * 2
    assert "AP50" not in score(truth, predicted)
    # The false alarm comes between the two: precision 1, then 4 of 6.
    car = score(truth, predicted, {"1001": 0.9, "1002": 0.8, "1003": 0.7, "1009": 1})
    assert car["AP50"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    scored = mots.score(tmp_path / "gt", tmp_path / "results")
    assert scored.figures()["car AP50"] == car["AP50"]
    assert scored.figures(np.array([3]))["car AP50"] == pytest.approx(car["AP50"])
    assert dict(scored.table())["all car"]["AP50"] == car["AP50"]
    assert math.isnan(scored.figures()["pedestrian AP50"])  # none is annotated
    with pytest.raises(
        ValueError, match=r"0001\.scores\.json: no score of the id 1003"
    ):
        score(truth, predicted, {"1001": 0.9, "1002": 0.8})


def test_ap_needs_the_scores_of_all_sequences(tmp_path, score):
    score([{1: box(0)}], [{1001: box(0)}], {"1001": 1})
    for folder in ("gt", "results"):
        text = (tmp_path / folder / "0001.txt").read_text()
        (tmp_path / folder / "0002.txt").write_text(text)
    seqmap = tmp_path / "gt/evaluate_mots.seqmap"
    seqmap.write_text("0001 empty 000000 000000\n0002 empty 000000 000000\n")
    with pytest.raises(ValueError, match=r"0002\.scores\.json is missing, but other"):
        mots.score(tmp_path / "gt", tmp_path / "results")


def test_cars_alone(tmp_path, score):
    """Neither pedestrians that are annotated nor those in the results count."""
    truth = [{1001: box(0), 2001: (2, box(30))}] * 3
    predicted = [{1001: box(0), 2001: (2, box(15))}] * 3
    car = score(truth, predicted, benchmark="kitti_mots_cars")
    assert (car["TP"], car["FP"], car["FN"]) == (3, 0, 0) and car["HOTA"] == 1
    assert car == score(truth, predicted)
    alone = mots.score(
        tmp_path / "gt", tmp_path / "results", benchmark="kitti_mots_cars"
    )
    assert {*alone.report()} == {"car", "per_sequence"}
    assert [name for name, _ in alone.table()] == ["0001 car", "all car"]


def test_a_second_size(tmp_path, score):
    """As if files of that size had been scored; the first size is not touched."""
    rng = np.random.default_rng(4)

    def frames(shift):
        for t in range(6):
            lefts = [15 * k + t + int(rng.integers(shift)) for k in range(3)]
            yield {
                **{
                    1001 + k: box(left, 2 * k + 5, k, 9) for k, left in enumerate(lefts)
                },
                1009: box(58, width=1, height=1),  # vanishes
            }

    truth, predicted = list(frames(1)), list(frames(4))
    truth = [{**f, 10000: (10, box(0, 60, 15, 5))} for f in truth]
    scores = {"1001": 0.7, "1002": 0.2, "1003": 0.4, "1009": 0.9}
    alone = score(truth, predicted, scores)
    beside = mots.score(tmp_path / "gt", tmp_path / "results", also_at=(8, 30))
    assert beside.report()["car"] == alone
    small = beside.report()["at 8x30"]["car"]
    assert beside.figures()["car IDS rate at 8x30"] == small["IDS rate"]
    names = [name for name, _ in beside.table()]
    assert names[-2:] == ["all car at 8x30", "all pedestrian at 8x30"]
    assert small["TP"] + small["FN"] == 3 * 6 < alone["TP"] + alone["FN"]

    def shrunk(value):
        category, mask = value if isinstance(value, tuple) else (1, value)
        rows = (np.arange(8) + 0.5) * 20 / 8 - 0.5
        columns = (np.arange(30) + 0.5) * 60 / 30 - 0.5
        y = np.maximum(1 - np.abs(rows[:, None] - np.arange(20)), 0)
        x = np.maximum(1 - np.abs(columns[:, None] - np.arange(60)), 0)
        return category, y @ mask @ x.T > 0.5

    for folder, side in (("gt", truth), ("results", predicted)):
        text = lines([{k: shrunk(v) for k, v in f.items() if k != 1009} for f in side])
        text = text.replace(" 20 60 ", " 8 30 ")
        (tmp_path / folder / "0001.txt").write_text(text)
    assert mots.score(tmp_path / "gt", tmp_path / "results").report()["car"] == small


def test_fragments_of_the_two_programs(score):
    seen, gone = {1: box(0)}, {}
    truth = [{1: box(0), 2: box(30)}] * 7
    other = {2: box(30)}  # keeps the frames from being empty
    pattern = [seen, gone, seen, seen, gone, seen, gone]
    car = score(truth, [frame | other for frame in pattern])
    # Back at frame 2 and seen again at 3; back at frame 5, but not seen again at 6.
    assert car["Frag"] == 1
    assert car["trackeval"]["CLEAR"]["Frag"] == 2  # three stretches
    assert car["IDS"] == 0


def test_sequences_without_objects_or_predictions(score):
    nothing = score([{}, {}], [{1: box(0)}, {}])
    assert nothing["sMOTSA"] == -math.inf and nothing["FP"] == 1
    assert nothing["trackeval"]["CLEAR"]["MOTA"] == -1  # over one object at least
    missed = score([{1: box(0)}, {}], [{}, {}])
    assert missed["MOTSA"] == 0 and missed["FN"] == 1 and missed["ML"] == 1
    assert missed["MOTSP"] == math.inf and missed["HOTA"] == 0


def test_predicting_more_tracks_renames_nothing(score):
    """Figures depend neither on ids nor on the order of lines."""
    rng = np.random.default_rng(0)
    truth = [
        {k: box(12 * k + int(rng.integers(3))) for k in range(4)} for _ in range(9)
    ]
    predicted = [
        {k: box(12 * k + int(rng.integers(6)), width=6) for k in rng.permutation(4)[:3]}
        for _ in truth
    ]
    names = {0: 31, 1: 8, 2: 15, 3: 4}
    renamed = [{names[k]: frame[k] for k in reversed([*frame])} for frame in predicted]
    own, other = score(truth, predicted), score(truth, renamed)
    for figure in ("sMOTSA", "HOTA", "AssA", "IDF1", "IDS", "Frag"):
        assert own[figure] == pytest.approx(other[figure])


def test_counts_of_sequences_add_up(tmp_path, score):
    truth, predicted = [{1: box(0)}] * 4, [{1: box(0)}, {2: box(3)}, {}, {2: box(0)}]
    one = score(truth, predicted)
    for folder in ("gt", "results"):
        text = (tmp_path / folder / "0001.txt").read_text()
        (tmp_path / folder / "0002.txt").write_text(text)
    seqmap = tmp_path / "gt/evaluate_mots.seqmap"
    seqmap.write_text("0001 empty 000000 000003\n0002 empty 000000 000003\n")
    scored = mots.score(tmp_path / "gt", tmp_path / "results")
    both = scored.report()["car"]
    for figure in ("sMOTSA", "MOTSA", "MOTSP", "HOTA", "AssA", "IDF1", "MT"):
        assert both[figure] == pytest.approx(one[figure])
    for figure in ("TP", "FN", "IDS", "Frag"):
        assert both[figure] == 2 * one[figure]
    twice_the_first = scored.figures(np.array([2, 0]))
    assert twice_the_first["car TP"] == both["TP"]
    assert twice_the_first["car HOTA"] == pytest.approx(both["HOTA"])


def test_nothing_at_all():
    empty = mots.overlapping([[], []], [[], []], category=1)
    assert len(empty.rows) == 0 and empty.num_frames == 2
    left = pairing.without_ignored(empty)
    assert clear.count_mots(empty, 2)["tp"] == 0
    assert clear.count_clear(left)["CLR_TP"] == 0
    assert hota.figures([hota.count(left)])["HOTA_mean"] == 0
    assert identity.count(left) == {"IDTP": 0, "IDFN": 0, "IDFP": 0}


@pytest.fixture
def challenge(tmp_path):
    """MOTSChallenge: two sequences of two frames, counted from 1, tracked perfectly."""
    frames = [{2001: (2, box(t))} for t in range(2)]
    for name in ("MOTS20-02", "MOTS20-05"):
        (tmp_path / "gt/MOTS-train" / name / "gt").mkdir(parents=True)
        folder = tmp_path / "gt/MOTS-train" / name
        (folder / "gt/gt.txt").write_text(lines(frames, first_frame=1))
        (folder / "seqinfo.ini").write_text("[Sequence]\nseqLength=2\n")
        (tmp_path / "results").mkdir(exist_ok=True)
        (tmp_path / "results" / f"{name}.txt").write_text(lines(frames, first_frame=1))
    return tmp_path


@pytest.mark.parametrize("inner", ["gt", "gt/MOTS-train"])
def test_motschallenge(challenge, inner):
    def run():
        return mots.score(
            challenge / inner, challenge / "results", benchmark="mots_challenge"
        )

    report = run().report()
    assert report["pedestrian"]["HOTA"] == pytest.approx(1) and "car" not in report
    # mots_tools begins at frame 0.
    assert report["pedestrian"]["mots_tools"]["total_num_frames"] == 6
    assert {*report["per_sequence"]} == {"MOTS20-02", "MOTS20-05"}
    (challenge / "gt/MOTS-train/seqmaps.txt").write_text("name\nMOTS20-05\n")
    assert run().videos == ("MOTS20-05",)
    (challenge / "gt/MOTS-train/MOTS20-05/seqinfo.ini").write_text("")
    with pytest.raises(ValueError, match="MOTS20-05/seqinfo.ini: no length"):
        run()


def test_the_seqmap_chooses_and_has_to_be_unique(tmp_path, score):
    score([{1: box(0)}], [{1: box(0)}])
    truth, results = tmp_path / "gt", tmp_path / "results"
    other = tmp_path / "gt/evaluate_mots.seqmap.train"
    other.write_text("0001 empty 000000 000001\n")
    with pytest.raises(ValueError, match="expected one seqmap .* give the one"):
        mots.score(truth, results)
    report = mots.score(other, results).report()
    assert report["car"]["mots_tools"]["total_num_frames"] == 2
    other.write_text("0001 empty 0\n")
    with pytest.raises(ValueError, match="seqmap.train:1: expected `sequence"):
        mots.score(other, results)
    other.write_text("0004 empty 000000 000001\n")
    with pytest.raises(ValueError, match="no annotations of sequence 0004"):
        mots.score(other, results)


@pytest.mark.parametrize("frames", [None, "images/0001", "instances/0001"])
def test_the_official_archive_has_no_seqmap(tmp_path, score, frames, caplog):
    """Sequences with results count; frames tell the length, or else the lines."""
    truth = [{1: box(t)} for t in range(3)]
    expected = score(truth, truth)
    root, gt = tmp_path / "KITTI_MOTS", tmp_path / "gt"
    (gt / "evaluate_mots.seqmap").unlink()
    (root / "training/image_02").mkdir(parents=True)
    gt.rename(root / "instances_txt")
    text = (root / "instances_txt/0001.txt").read_text()
    (root / "instances_txt/0000.txt").write_text(text)  # of another split
    for t in range(5 if frames else 0):
        folder = root / frames
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{t:06d}.png").write_bytes(b"")
    for folder in (root, root / "instances_txt"):
        scored = mots.score(folder, tmp_path / "results")
        assert scored.videos == ("0001",)
        car = scored.report()["car"]
        length = 5 if frames else 3
        assert car["mots_tools"]["total_num_frames"] == length
        for figure in ("sMOTSA", "MOTSA", "HOTA", "IDF1", "TP", "FP", "FN", "IDS"):
            assert car[figure] == expected[figure]
    assert "not scored, without results: 0000" in caplog.text
    # A result may speak of a frame that the annotations leave empty.
    more = tmp_path / "results/0001.txt"
    more.write_text(lines([*truth, {1: box(0)}]))
    assert mots.score(root, tmp_path / "results").report()["car"]["FP"] == 1
    more.rename(tmp_path / "results/0005.txt")
    with pytest.raises(ValueError, match="0005.txt: no such sequence is annotated"):
        mots.score(root, tmp_path / "results")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: (r / "0001.txt").rename(r / "0007.txt"), "0007.txt: no such"),
        (lambda r: (r / "0001.txt").unlink(), "results: no result files"),
        (
            lambda r: (r / "0001.txt").write_text(lines([{1: (3, box(0))}])),
            "0001.txt: frame 0, id 1: class 3",
        ),
        (
            lambda r: (r / "0001.txt").write_text("0 1 1 60 20 0d0"),
            "0001.txt:1: frame 0: the runs of a mask cover",
        ),
        (
            lambda r: (r / "0001.txt").write_text(f"0 1 1 2 2 {'4'}"),
            "0001.txt: frame 0, id 1: a mask of size .2, 2.; the sequence has .20, 60.",
        ),
        (
            lambda r: (r / "0001.txt").write_text(lines([{}, {1: box(0)}])),
            "0001.txt:1: frame 1: the sequence has frames 0 to 0",
        ),
    ],
)
def test_results_that_cannot_be_scored(tmp_path, score, spoil, message):
    score([{1: box(0)}], [{1: box(0)}])
    spoil(tmp_path / "results")
    with pytest.raises(ValueError, match=message):
        mots.score(tmp_path / "gt", tmp_path / "results")


def test_annotations_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match="none: no such folder of annotations"):
        mots.score(tmp_path / "none", tmp_path)
    with pytest.raises(ValueError, match="no annotations, neither"):
        mots.score(tmp_path, tmp_path)
