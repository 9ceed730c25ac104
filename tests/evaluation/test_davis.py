"""J, F and the assignment worked by hand, and the folders that cannot be scored."""

import pathlib

import numpy as np
import pytest

from stemseg_jax.evaluation import davis
from stemseg_jax.formats import images


def labels(*rows):
    return np.array([[int(label) for label in row] for row in rows], np.uint8)


def test_jaccard_by_hand():
    truth = labels("1100", "1120", "0022")
    proposals = labels("3300", "3000", "0033")
    j = davis.jaccard(truth, proposals, 3, 3)
    # Object 1: 4 pixels, proposal 3: 5 pixels, 3 in common; object 2: 3, 2 in common.
    np.testing.assert_array_equal(j, [[0, 0, 3 / 6], [0, 0, 2 / 6], [1, 1, 0]])


def test_statistics_by_hand():
    values = np.array([1.0, 0.9, 0.8, 0.5, 0.5, 0.2, 0.1, 0.0])
    # Quarters of 8 frames end at 1, 3, 4 (4.5), 6 and 8: the first is frames 1 to 3.
    found = davis.statistics(values)
    assert found["Mean"] == pytest.approx(0.5)
    assert found["Recall"] == 3 / 8  # strictly above 1/2
    assert found["Decay"] == pytest.approx(0.9 - 0.1)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 255, 256, 257, 300, 1000])
def test_decay_of_a_line_falling_from_one_to_zero(frames):
    # Quarters are of equal length, so their means are 3/4 of the length apart.
    decay = davis.statistics(np.linspace(1, 0, frames))["Decay"]
    assert decay == pytest.approx(0.75 if frames > 1 else 0, abs=1.5 / frames)


def test_objects_get_the_proposals_that_suit_all_best():
    # Proposal 2 suits both objects best; the sum decides.
    truth = labels("111000", "111000", "000222")
    proposals = labels("222000", "221000", "000220")
    score = davis.score_unsupervised([(truth, proposals)], on_j_alone=True)
    # J of 1 and 2 with proposal 1: 1/6 and 0, with proposal 2: 5/8 and 2/8.
    np.testing.assert_allclose(score.similarity, [[1 / 6, 0], [5 / 8, 2 / 8]])
    assert [(entry.id, entry.proposal) for entry in score.objects] == [(1, 2), (2, 1)]
    assert [entry.j.tolist() for entry in score.objects] == [[5 / 8], [0]]


def test_ids_do_not_matter():
    rng = np.random.default_rng(0)
    frames = [tuple(rng.integers(0, 5, (2, 20, 30), np.uint8)) for _ in range(6)]
    renamed = np.array([0, 3, 1, 4, 2], np.uint8)
    own = davis.score_unsupervised(frames)
    other = davis.score_unsupervised([(t, renamed[p]) for t, p in frames])
    assert [renamed[entry.proposal] for entry in own.objects] == [
        entry.proposal for entry in other.objects
    ]
    for one, two in zip(own.objects, other.objects, strict=True):
        np.testing.assert_array_equal(one.j, two.j)
        np.testing.assert_array_equal(one.f, two.f)


def test_objects_are_those_of_the_first_frame():
    first, second = labels("1000", "0300"), labels("1002", "0350")
    score = davis.score_unsupervised([(first, first), (second, first)])
    # 2 did not appear in the first frame but lies below its maximum; 5 does not count.
    assert [entry.id for entry in score.objects] == [1, 2, 3]
    assert score.objects[2].j.tolist() == [1, 1]


def test_more_objects_than_proposals():
    truth = labels("1020", "0003")
    score = davis.score_unsupervised([(truth, np.zeros_like(truth))])
    assert [entry.j.tolist() for entry in score.objects] == [[0], [0], [0]]
    assert score.num_proposals == 0 and score.similarity.shape == (3, 3)


def test_void_counts_for_neither():
    truth, proposals = labels("1100", "1100"), labels("1111", "1100")
    truth[0, 2:] = davis.VOID
    score = davis.score_unsupervised([(truth, proposals)])
    assert score.objects[0].j == [1] and score.objects[0].f == [1]
    # In the semi-supervised task it is background.
    frames = [(truth, proposals)] * 3
    assert davis.score_semi_supervised(frames).objects[0].j == [4 / 6]


def test_first_and_last_frame_do_not_count_semi_supervised():
    good, bad = labels("10", "00"), labels("00", "01")
    frames = [(good, bad), (good, good), (good, bad)]
    assert davis.score_semi_supervised(frames).objects[0].j.tolist() == [1]
    with pytest.raises(ValueError, match="fewer than three frames"):
        davis.score_semi_supervised(frames[:2])


def test_one_object_is_the_union_of_all_labels():
    truth, proposals = labels("1203"), labels("5550")
    proposals[0, 3] = 255
    score = davis.score_single_object([(truth, proposals)] * 3)
    assert score.objects[0].j == [3 / 4]


@pytest.mark.parametrize(
    ("label", "message"), [(21, "frame 1: label 21"), (255, "frame 1: pixels of 255")]
)
def test_labels_that_are_not_allowed(label, message):
    truth = labels("10")
    wrong = np.array([[label, 0]], np.uint8)
    with pytest.raises(ValueError, match=message):
        davis.score_unsupervised([(truth, truth), (truth, wrong)])
    with pytest.raises(ValueError, match="frame 1: label 2, but .* has 1 objects"):
        davis.score_semi_supervised([(truth, truth), (truth, 2 * truth)])


@pytest.fixture
def folders(tmp_path):
    """A root with two sequences of the split, one of another, and perfect results."""
    root, results = tmp_path / "DAVIS", tmp_path / "results"
    frame = labels("1100", "0022")
    for name in ("dog", "cat", "bear"):
        for kind in ("Annotations_unsupervised/480p", "Annotations/480p"):
            (root / kind / name).mkdir(parents=True)
            for number in range(3):
                file = root / kind / name / f"{number:05d}.png"
                images.write_labels(file, frame)
        (results / name).mkdir(parents=True)
        for number in range(3):
            images.write_labels(results / name / f"{number:05d}.png", frame)
    listing = root / "ImageSets/2017/val.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text("dog\ncat\n")
    return root, results


@pytest.mark.parametrize("task", davis.TASKS)
def test_perfect_folders(folders, task):
    scored = davis.score(*folders, task=task)
    assert scored.videos == ("dog", "cat")  # bear is of another split
    report = scored.report()
    for figure in ("J&F-Mean", "J-Mean", "J-Recall", "F-Mean", "F-Recall"):
        assert report[figure] == 1
        assert report["per_sequence"]["cat"][figure] == 1
    assert report["J-Decay"] == report["F-Decay"] == 0


def test_the_set_is_the_mean_over_objects_not_sequences(folders):
    root, results = folders
    for number in range(3):
        file = results / "cat" / f"{number:05d}.png"
        images.write_labels(file, labels("1100", "0000"))  # one of two is missing
    scored = davis.score(root, results)
    assert scored.figures()["J-Mean"] == 3 / 4
    assert scored.figures(np.array([1, 0]))["J-Mean"] == 1
    assert scored.figures(np.array([0, 3]))["J-Mean"] == 1 / 2


def test_lists_of_2016_give_paths(folders):
    root, results = folders
    listing = root / "ImageSets/480p/val.txt"
    listing.parent.mkdir()
    lines = [
        f"/JPEGImages/480p/bear/{n:05d}.jpg /Annotations/480p/bear/{n:05d}.png"
        for n in range(3)
    ]
    listing.write_text("\n".join(lines))
    assert davis.score(root, results, task="single-object").videos == ("bear",)


def rename(folder, old, new):
    (folder / old).rename(folder / new)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r, p: rename(p, "cat", "owl"), "owl: DAVIS has no sequence of this"),
        (lambda r, p: rename(p, "cat", ".cat"), "results: the sequence cat is missing"),
        (lambda r, p: (p / "cat/00001.png").unlink(), "sequence cat: .*cat/00001.png"),
        (
            lambda r, p: images.write_labels(p / "dog/00002.png", labels("10")),
            r"sequence dog: .*00002.png is 1 x 2 .*but the sequence is 2 x 4",
        ),
        (
            lambda r, p: images.write_labels(p / "dog/00002.png", 11 * labels("20")),
            "sequence dog: ",
        ),
        (
            lambda r, p: rename(r, "ImageSets/2017", "ImageSets/2018"),
            "2017/val.txt or .*none of them exists",
        ),
        (lambda r, p: rename(r, "Annotations_unsupervised", "A"), "no such folder"),
        (lambda r, p: (r / "ImageSets/2017/val.txt").write_text("\n"), "no sequence"),
    ],
)
def test_folders_that_cannot_be_scored(folders, spoil, message):
    root, results = folders
    spoil(root, results)
    with pytest.raises(ValueError, match=message):
        davis.score(root, results)


def test_an_empty_folder_of_results(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no sequences"):
        davis.score(folders[0], tmp_path / "empty")
    with pytest.raises(ValueError, match="none: no such folder of results"):
        davis.score(folders[0], tmp_path / "none")


def test_an_unknown_task():
    folder = pathlib.Path("DAVIS")
    with pytest.raises(ValueError, match="known are unsupervised"):
        davis.score(folder, folder, task="davis")
