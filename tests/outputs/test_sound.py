"""The sound of a video comes with its pictures, when it did before."""

import re
from fractions import Fraction

import av
import numpy as np
import pytest

from stemseg_jax.outputs import sound, video

RATE = 48000
SECONDS = 4.0
BEEP = 2.0  # seconds, and 0.1 s long
KINDS = {
    "aac": ("aac", "mp4"),
    "aac in a transport stream": ("aac", "ts"),
    "mp3": ("libmp3lame", "mp3"),
    "opus": ("libopus", "mkv"),
    "flac": ("flac", "mkv"),
    "ac3": ("ac3", "mkv"),
    "pcm": ("pcm_s16le", "wav"),
}
COPIED = {"aac", "aac in a transport stream", "mp3", "opus", "flac"}


def beep():
    time = np.arange(int(SECONDS * RATE)) / RATE
    wave = 20000 * np.sin(2 * np.pi * 1000 * time)
    return (wave * ((time >= BEEP) & (time < BEEP + 0.1))).astype(np.int16)


def film(path, codec, *, pictures=0, layout="stereo"):
    """A file with a beep, and with `pictures` at 10 a second."""
    with av.open(str(path), "w") as container:
        if pictures:
            shown = container.add_stream("libx264", rate=10)
            shown.width = shown.height = 32
            shown.pix_fmt = "yuv420p"
        heard = container.add_stream(codec, rate=RATE, layout=layout)
        for _ in range(pictures):
            frame = av.VideoFrame.from_ndarray(
                np.zeros((32, 32, 3), np.uint8), format="rgb24"
            )
            container.mux(shown.encode(frame))
        if pictures:
            container.mux(shown.encode())
        channels = len(heard.codec_context.layout.channels)
        wave = np.repeat(beep(), channels)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        container.mux(heard.encode(frame))
        container.mux(heard.encode())
    return path


def overlay(path, source, *, count=30, start=0.0, timed=True):
    with video.Writer(path, fps=10, sound=source, sound_start=start) as writer:
        for number in range(count):
            image = np.zeros((32, 32, 3), np.uint8)
            writer.write(image, start + number / 10 if timed else None)
    return path


def heard(path):
    """(name of the codec, when the beep begins and ends, when the sound ends)."""
    resampler = av.AudioResampler("fltp", "mono", RATE)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        decoded = [*container.decode(stream), None]
        frames = [frame for part in decoded for frame in resampler.resample(part)]
        times = [frame.pts / RATE + np.arange(frame.samples) / RATE for frame in frames]
        loud = np.abs(np.concatenate([f.to_ndarray()[0] for f in frames])) > 0.1
        times = np.concatenate(times)
        return (
            stream.codec_context.name,
            times[loud].min(),
            times[loud].max(),
            times[-1],
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", [0.0, 1.234])
def test_sound_is_heard_when_it_was(tmp_path, kind, start):
    codec, ending = KINDS[kind]
    source = film(tmp_path / f"source.{ending}", codec)
    name, begin, end, last = heard(
        overlay(tmp_path / "out.mp4", source, start=start, count=20 if start else 30)
    )
    assert (name.removesuffix("float") in sound.COPIED) and (
        name == "aac" or kind in COPIED
    )
    # A film that begins at 0 has the beep 2 s later, one that begins later earlier.
    assert begin == pytest.approx(BEEP - start, abs=0.03)
    assert end == pytest.approx(BEEP + 0.1 - start, abs=0.03)
    assert last == pytest.approx(2.0 if start else 3.0, abs=0.15)


@pytest.mark.parametrize("ending", ["mp4", "ts", "mkv"])
def test_time_counts_from_the_first_picture(tmp_path, ending):
    # A transport stream begins at 1.4 s, say, and means nothing by it.
    source = film(tmp_path / f"source.{ending}", "aac", pictures=40)
    for start in (0.0, 1.5):
        path = overlay(tmp_path / "out.mp4", source, start=start, timed=False)
        assert heard(path)[1] == pytest.approx(BEEP - start, abs=0.03)


def test_copied_packets_stay_as_they_are(tmp_path):
    source = film(tmp_path / "source.mp4", "aac")
    path = overlay(tmp_path / "out.mp4", source, count=100)
    packets = []
    for file in (source, path):
        with av.open(str(file)) as container:
            packets.append([bytes(p) for p in container.demux(audio=0) if p.size])
    assert packets[0] == packets[1]


def test_sound_ends_with_the_pictures_and_before_them(tmp_path):
    source = film(tmp_path / "source.mp4", "aac")
    assert heard(overlay(tmp_path / "a.mp4", source, count=25))[3] < 2.55
    assert heard(overlay(tmp_path / "b.mp4", source, count=80))[3] < SECONDS + 0.05
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 80


def test_surround_becomes_stereo_where_it_is_encoded_anew(tmp_path):
    source = film(tmp_path / "source.mkv", "ac3", layout="5.1")
    path = overlay(tmp_path / "out.mp4", source)
    assert heard(path)[1] == pytest.approx(BEEP, abs=0.03)
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.layout.name == "stereo"


def without_sound(path):
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 30
        return not container.streams.audio


def test_without_usable_sound_there_is_a_video(tmp_path, caplog):
    (tmp_path / "text.mp4").write_text("no video")
    source = film(tmp_path / "source.mp4", "aac")
    for file, start, message in [
        (tmp_path / "text.mp4", 0.0, "text.mp4: no sound from it"),
        (tmp_path / "none.mp4", 0.0, "none.mp4: no sound from it"),
        (source, 60.0, "source.mp4: no sound from it .it ends before 60 s."),
    ]:
        caplog.clear()
        assert without_sound(overlay(tmp_path / "out.mp4", file, start=start))
        assert "out.mp4 is written without sound" in caplog.text
        assert re.search(message, caplog.text)


def test_a_silent_film_is_no_fault(tmp_path, caplog):
    silent = tmp_path / "silent.mp4"
    with video.Writer(silent, fps=10) as writer:
        writer.write(np.zeros((32, 32, 3), np.uint8))
    assert without_sound(overlay(tmp_path / "out.mp4", silent))
    assert not caplog.text


def test_a_fault_later_on_ends_the_sound(tmp_path, caplog, monkeypatch):
    source = film(tmp_path / "source.mp4", "aac")
    packets = sound.Sound._packets

    def broken(self):
        for packet in packets(self):
            if packet.pts > RATE:
                raise av.error.InvalidDataError(1, "broken")
            yield packet

    monkeypatch.setattr(sound.Sound, "_packets", broken)
    path = overlay(tmp_path / "out.mp4", source)
    assert "source.mp4: its sound ends early" in caplog.text
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 30
        heard_until = container.streams.audio[0].duration / RATE
    assert heard_until == pytest.approx(1.0, abs=0.05)
