"""Names that tell videos apart."""

import pathlib

from stemseg_jax.data.inputs import naming


def names(*paths):
    return naming.apart([naming.of_file(pathlib.Path("/", path)) for path in paths])


def test_a_name_that_nobody_else_has_stays():
    assert names("a/clip.mp4", "a/other.mp4") == ["clip", "other"]
    assert names() == []


def test_the_folder_tells_them_apart_first():
    assert names("v/a/clip.mp4", "v/b/clip.mov") == ["a_clip", "b_clip"]


def test_then_the_ending_then_both():
    assert names("a/clip.mp4", "a/clip.mov") == ["clip_mp4", "clip_mov"]
    assert names("a/x.mp4", "a/x.mov", "b/x.mp4") == ["a_x_mp4", "a_x_mov", "b_x_mp4"]


def test_then_the_folders_above():
    found = names("p/same/clip.mp4", "q/same/clip.mp4")
    assert found == ["p_same_clip", "q_same_clip"]


def test_the_name_of_another_video_is_not_taken():
    found = names("a/clip.mp4", "b/clip.mp4", "a_clip.mp4")
    assert found == ["a_clip_mp4", "b_clip_mp4", "a_clip"]


def test_letters_of_both_sizes_are_one_name_on_many_disks():
    assert names("a/Clip.mp4", "b/clip.mp4") == ["a_Clip", "b_clip"]


def test_the_order_does_not_matter():
    paths = ["a/x.mp4", "b/x.mp4", "a/y.mp4", "a/y.mov", "z.mp4"]
    found = dict(zip(paths, names(*paths), strict=True))
    assert dict(zip(paths[::-1], names(*paths[::-1]), strict=True)) == found


def test_of_folders_the_dots_belong_to_the_name():
    titles = [naming.of_folder(f"/{path}") for path in ("p/v1.2", "q/v1.2", "v1.3")]
    assert naming.apart(titles) == ["p_v1.2", "q_v1.2", "v1.3"]


def test_streams_of_one_name_are_numbered():
    stream = naming.Title("10.0.0.5_live")
    assert naming.apart([stream, stream]) == ["10.0.0.5_live_1", "10.0.0.5_live_2"]


def test_no_name_leads_out_of_the_folder_of_results(caplog):
    assert names("a/...mp4", "b/...mp4", ". .mp4") == ["a_video", "b_video", "video"]
    assert "The video '..' goes by the name 'video'" in caplog.text
