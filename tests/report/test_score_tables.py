from stemseg_jax.report import score_tables

DAVIS = {
    "J&F-Mean": 0.5,
    "per_sequence": {
        "a": {"J&F-Mean": 0.75, "num_frames": 3, "num_proposals": 1, "matching": []},
        "b": {"J&F-Mean": 0.25, "num_frames": 2, "num_proposals": 0},
        "c": {"J&F-Mean": "NaN", "num_frames": 2, "num_proposals": 0},
    },
}
MOTS = {
    "car": {"sMOTSA": 0.5, "IDS": 2, "TP": 9, "mots_tools": {}},
    "pedestrian": {"sMOTSA": "-Infinity", "IDS": 0, "TP": 0},
    "at 4x4": {"car": {"sMOTSA": 0.1}},
}


def test_the_worst_first_and_what_is_not_known_last():
    videos = score_tables.of_videos(DAVIS)
    assert videos["a"] == {"J&F-Mean": 0.75, "frames": 3, "tracks": 1}
    assert videos["c"]["J&F-Mean"] is None
    assert score_tables.worst_first(videos) == ["b", "a", "c"]


def test_classes_have_a_mean_over_those_that_are_known():
    assert score_tables.of_set(MOTS) == {
        "mean sMOTSA": 0.5,
        "car sMOTSA": 0.5,
        "car IDS": 2,
        "pedestrian sMOTSA": None,
        "pedestrian IDS": 0,
    }
    assert score_tables.main_figure(score_tables.of_set(MOTS)) == 0.5
    assert score_tables.main_name(score_tables.of_set(MOTS)) == "mean sMOTSA"


def test_rows_are_sorted_by_the_column_that_is_marked():
    """Though only one video has both classes, or none has."""
    car, person = {"car": {"sMOTSA": 0.75}}, {"pedestrian": {"sMOTSA": 0.5}}
    both = {"car": {"sMOTSA": 0.25}, "pedestrian": {"sMOTSA": 0.875}}
    for videos, expected in (
        ({"a": car, "b": both, "c": person}, [0.5, 0.5625, 0.75]),
        ({"a": car, "c": person}, [0.5, 0.75]),
    ):
        (table,) = score_tables.tables({"per_sequence": videos}, {})
        assert table.sorted_by == table.columns[1] == "mean sMOTSA"
        assert [row["mean sMOTSA"] for row in table.rows] == expected
    (table,) = score_tables.tables({"per_sequence": {"a": car}}, {})
    assert table.sorted_by == "car sMOTSA" and "mean sMOTSA" not in table.columns


def test_minus_one_is_what_nobody_annotated():
    scores = {"AP": -1.0, "AR1": -1, "per_video": {"v": {"video_id": 4, "AP": 0.5}}}
    assert score_tables.of_set(scores) == {"AP": None, "AR1": None}
    assert score_tables.of_videos(scores) == {"v": {"AP": 0.5}}
    assert score_tables.names(scores) == {"4": "v"}
    assert score_tables.of_set({"J-Decay": -1.0}) == {"J-Decay": -1.0}


def test_two_kinds_of_figures_have_no_mean():
    """As the demo has them, whose main one comes first."""
    scores = {"J&F-Mean": 0.25, "AP": 0.75}
    assert score_tables.of_set(scores) == scores
    assert score_tables.main_figure(scores) == 0.25


def test_without_figures_there_is_no_table():
    assert score_tables.tables({}, {}) == []
    assert score_tables.main_figure({}) is None
