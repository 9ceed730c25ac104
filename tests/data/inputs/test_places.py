"""What paths, globs and addresses stand for, and what it is called."""

from fractions import Fraction

import numpy as np
import pytest

from stemseg_jax.data import inputs
from tests.data.inputs.written import frame, values, write_images, write_video


def test_a_folder_is_read_in_natural_order_without_hidden_files(tmp_path):
    names = [f"f{i}.png" for i in range(12)]
    folder = write_images(tmp_path / "frames", names)
    (folder / "._f0.png").write_bytes(b"left by a file manager")
    (folder / "notes.txt").write_text("not an image")
    (source,) = inputs.find(folder)
    assert values(source) == list(range(0, 120, 10))
    assert (source.name, source.num_frames, source.fps) == ("frames", 12, 24)
    assert np.array_equal(next(iter(source))[1], frame(0))


def test_globs_of_images_videos_and_folders(tmp_path):
    write_images(tmp_path / "a", ["0.png", "1.png", "0.jpg"])
    write_images(tmp_path / "b", ["0.jpg"])
    (images,) = inputs.find(f"{tmp_path}/a/*.png", choice=inputs.FrameChoice(fps=5))
    assert (images.name, images.num_frames, images.fps) == ("a", 2, 5)
    (image,) = inputs.find(tmp_path / "a" / "0.jpg")
    assert (image.name, image.num_frames) == ("0", 1)
    (tmp_path / "a" / "0.jpg").unlink()
    assert [s.name for s in inputs.find(str(tmp_path / "*"))] == ["a", "b"]
    for name in ("v10.mp4", "v2.mp4"):
        write_video(tmp_path / name, 2)
    assert [s.name for s in inputs.find(str(tmp_path / "*.mp4"))] == ["v2", "v10"]


def test_frames_of_several_folders_are_several_videos(tmp_path):
    for name in ("b", "a"):
        write_images(tmp_path / name, ["0.jpg", "1.jpg"])
    found = inputs.find(str(tmp_path / "*" / "*.jpg"))
    assert [(s.name, s.num_frames) for s in found] == [("a", 2), ("b", 2)]


def test_a_folder_of_videos_and_several_patterns(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("v10.mp4", "v2.mp4"):
        write_video(tmp_path / "videos" / name, 2)
    frames = write_images(tmp_path / "frames", ["0.jpg"])
    everything = (tmp_path / "videos", frames, str(tmp_path / "videos" / "v2*"))
    names = [s.name for s in inputs.find(*everything)]
    assert names == ["v2", "v10", "frames"]  # each once
    by_another_way = tmp_path / "videos" / ".." / "frames"
    assert len(inputs.places(frames, by_another_way)) == 1
    assert inputs.places() == []


def test_what_is_no_video_takes_no_name_away(tmp_path):
    for folder in ("p", "q"):
        (tmp_path / folder / "empty").mkdir(parents=True)
    write_images(tmp_path / "p" / "frames", ["0.jpg"])
    found = inputs.places(str(tmp_path / "[pq]" / "*"))
    assert [place.name for place in found] == ["empty", "frames", "empty"]


def test_a_folder_of_frames_and_videos_is_refused(tmp_path):
    folder = write_images(tmp_path / "frames", ["0.jpg"])
    write_video(folder / "clip.mp4", 2)
    with pytest.raises(ValueError, match=r"images \(0.jpg\) and videos \(clip.mp4\)"):
        inputs.find(folder)


def test_what_cannot_be_opened_is_told_when_it_is(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"none")
    write_video(tmp_path / "sound.mp4", 2)
    broken, missing, sound = inputs.places(
        tmp_path / "broken.mp4", tmp_path / "missing", tmp_path / "sound.mp4"
    )
    assert broken.paths == (tmp_path / "broken.mp4",) and missing.paths == ()
    with pytest.raises(ValueError, match="broken.mp4: cannot be opened"):
        broken.open()
    with pytest.raises(ValueError, match="missing: no such file"):
        missing.open()
    assert sound.open().num_frames == 2


def test_a_name_with_brackets_is_no_glob(tmp_path):
    (source,) = inputs.find(write_video(tmp_path / "clip [1].mp4", 2))
    assert source.name == "clip [1]"


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(ValueError, match="no such file.*matches nothing"):
        inputs.find(tmp_path / "missing.mp4")
    with pytest.raises(ValueError, match="no such file.*matches nothing"):
        inputs.find(str(tmp_path / "*.jpg"))


def test_a_folder_without_images_lists_what_it_has(tmp_path):
    with pytest.raises(ValueError, match=r"no images.*but nothing"):
        inputs.find(tmp_path)
    (tmp_path / "one.txt").touch()
    with pytest.raises(ValueError, match=r"no images.*but one.txt.*\.jpg.*glob"):
        inputs.find(tmp_path)


def test_ambiguous_input_is_refused(tmp_path):
    folder = write_images(tmp_path / "x" / "a", ["0.jpg", "0.png"])
    with pytest.raises(ValueError, match=r"2 images are called '0'.*\*\.jpg"):
        inputs.find(folder)
    (folder / "clip.mp4").touch()
    with pytest.raises(ValueError, match=r"matches images \(0.jpg\) and .*clip.mp4"):
        inputs.find(str(folder / "*"))


def test_what_systems_leave_behind_is_no_frame(tmp_path):
    folder = write_images(tmp_path / "frames", ["0.png", "1.png"])
    for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / name).write_bytes(b"junk")
    (folder / "__MACOSX").mkdir()
    assert [v.num_frames for v in inputs.find(folder)] == [2]
    assert [v.num_frames for v in inputs.find(f"{folder}/*")] == [2]


def test_videos_of_one_name_are_told_apart(tmp_path):
    for place in ("p", "q"):
        write_images(tmp_path / place / "same", ["0.png"])
        write_video(tmp_path / place / "clip.mp4", 2)
    write_video(tmp_path / "p" / "clip.mkv", 2)
    found = inputs.find(f"{tmp_path}/[pq]/same", f"{tmp_path}/p/*.m*")
    names = ["p_same", "q_same", "clip_mkv", "clip_mp4"]
    assert [source.name for source in found] == names
    places = inputs.places(tmp_path / "p" / "clip.mp4", tmp_path / "q" / "clip.mp4")
    assert [place.name for place in places] == ["p_clip", "q_clip"]


def test_the_choice_is_handed_through(tmp_path):
    write_video(tmp_path / "clip.mp4", 10, fps=Fraction(10))
    write_images(tmp_path / "frames", ["0.png", "1.png", "2.png"])
    choice = inputs.FrameChoice(start=0.1, fps=10, stride=2)
    video, images = inputs.find(
        tmp_path / "clip.mp4", tmp_path / "frames", choice=choice
    )
    assert values(images) == [10] and video.num_frames == 5
    np.testing.assert_allclose(values(video), [10, 30, 50, 70, 90], atol=3)


def test_live_sources_are_known_before_they_are_opened():
    address = "rtsp://me:secret@10.0.0.5:554/garden?key=secret"
    camera, stream = inputs.places("camera:0", address, address, "camera:0")
    assert (camera.name, camera.paths, camera.live) == ("camera_0", (), True)
    assert (stream.name, stream.live) == ("10.0.0.5_554_garden", True)
    (video,) = inputs.places("clip.mp4")
    assert not video.live


def test_other_addresses_are_refused():
    with pytest.raises(ValueError, match=r"ftp://host/a: ftp:// is not .* rtsp, .*srt"):
        inputs.find("ftp://me:secret@host/a")
