from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from clips import CORNERS, HEIGHT, WIDTH, numbered, numbers

from posepipe.errors import OutputError
from posepipe.io import writer
from posepipe.io.video import VideoWriter, open_video


def write(path, times, size=(WIDTH, HEIGHT)):
    with VideoWriter(path, *size) as video:
        for number, pts in enumerate(times):
            video.write(numbered(number, *size), pts)
    return path


def test_times_are_kept_to_a_millisecond(tmp_path):
    times = [0.0, 0.04, 0.0811, 0.5, 0.533333, 2.000123, 2.1, 3601.7]
    path = write(tmp_path / "o.mp4", times)
    with open_video(path) as reader:
        frames = list(reader)
    assert numbers(frames) == list(range(8))
    assert np.abs(np.array([f.pts for f in frames]) - times).max() < 1e-3
    assert reader.status == "ok"


@pytest.mark.parametrize("start", [0.023, 2.0, 3600.5])
def test_a_late_start_is_kept_while_frames_come_and_after(tmp_path, start):
    times = [start + i / 25 for i in range(24)]
    with VideoWriter(tmp_path / "o.mp4", WIDTH, HEIGHT) as video:
        for number, pts in enumerate(times):
            video.write(numbered(number), pts)
        half = stored_times(tmp_path / "o.part.mp4")
    assert half == pytest.approx(times[: len(half)], abs=1e-4)
    assert len(half) >= 12
    assert stored_times(tmp_path / "o.mp4") == pytest.approx(times, abs=1e-4)


def stored_times(path):
    with av.open(str(path)) as plain:
        return [float(frame.pts * frame.time_base) for frame in plain.decode(video=0)]


def test_file_is_h264_that_plays_everywhere(tmp_path):
    path = write(tmp_path / "o.mp4", [i / 25 for i in range(10)])
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with open_video(path) as reader:
        assert (reader.info.fps, reader.info.duration_s) == (25.0, 0.4)
    with av.open(str(path)) as plain:
        stream = plain.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert not plain.streams.audio
    assert [p.name for p in tmp_path.iterdir()] == ["o.mp4"]


@pytest.mark.parametrize(("size", "matrix"), [((160, 96), 6), ((1280, 720), 1)])
def test_colours_are_tagged_and_come_back(tmp_path, size, matrix):
    path = write(tmp_path / "o.mp4", [0.0, 0.04], size)
    with av.open(str(path)) as plain:
        coder = plain.streams.video[0].codec_context
        assert (coder.colorspace, coder.color_primaries, coder.color_trc, coder.color_range) == (matrix, 1, 1, 1)
    with open_video(path) as reader:
        image = next(reader).image
    h, w = size[1] // 12, size[0] // 20
    corners = [image[:h, :w], image[:h, -w:], image[-h:, :w], image[-h:, -w:]]
    assert np.abs([c.reshape(-1, 3).mean(0) for c in corners] - np.array(CORNERS)).max() < 6


@pytest.mark.parametrize("size", [(161, 97), (161, 96), (160, 97), (2, 2), (1, 1)])
def test_odd_sizes_are_made_even(tmp_path, size):
    with VideoWriter(tmp_path / "o.mp4", *size) as video:
        for i in range(3):
            video.write(np.full((size[1], size[0], 3), 200, np.uint8), i / 10)
    with open_video(tmp_path / "o.mp4") as reader:
        frames = list(reader)
    assert frames[0].image.shape == (size[1] + size[1] % 2, size[0] + size[0] % 2, 3)
    assert np.abs(frames[0].image.astype(int) - 200).max() < 8


def test_frame_of_another_size_is_fitted_in(tmp_path):
    with VideoWriter(tmp_path / "o.mp4", 160, 96) as video:
        video.write(np.full((96, 160, 3), 220, np.uint8), 0.0)
        video.write(np.full((96, 96, 3), 220, np.uint8), 0.1)
        video.write(np.full((192, 320, 3), 220, np.uint8), 0.2)
    with open_video(tmp_path / "o.mp4") as reader:
        images = [frame.image.mean(-1) for frame in reader]
    assert images[1][48, 80] > 200
    assert images[1][48, 8] < 30
    assert images[2].min() > 200


def test_times_that_do_not_grow_are_put_a_tick_later(tmp_path):
    path = write(tmp_path / "o.mp4", [0.0, 0.5, 0.5, 0.4, 1.0])
    with open_video(path) as reader:
        times = [f.pts for f in reader]
    assert times == pytest.approx([0, 0.5, 0.5, 0.5, 1.0], abs=1e-3)
    assert len(set(times)) == 5


def test_nothing_is_left_without_frames_and_twice_closed_is_closed(tmp_path):
    video = VideoWriter(tmp_path / "o.mp4", 64, 48)
    video.close()
    video.close()
    assert not list(tmp_path.iterdir())


def test_a_block_that_raises_leaves_a_whole_video(tmp_path):
    with pytest.raises(KeyError), VideoWriter(tmp_path / "o.mp4", WIDTH, HEIGHT) as video:  # noqa: PT012 - a torn run
        for i in range(5):
            video.write(numbered(i), i / 25)
        raise KeyError
    with open_video(tmp_path / "o.mp4") as reader:
        assert numbers(reader) == list(range(5))


def test_places_that_cannot_be_written_are_told(tmp_path, monkeypatch):
    with pytest.raises(OutputError, match=r"o\.mp4") as error:
        VideoWriter(tmp_path / "no" / "o.mp4", 64, 48)
    assert error.value.exit_code == 6
    monkeypatch.setattr(writer, "_ENCODERS", ("none_such",))
    with pytest.raises(OutputError, match="--no-video"):
        VideoWriter(tmp_path / "o.mp4", 64, 48)


FULL = """
import resource, signal, sys
import numpy as np
from posepipe.errors import OutputError
from posepipe.io.video import VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
noise = np.random.default_rng(0)
try:
    with VideoWriter(sys.argv[1], 320, 240) as video:
        for i in range(200):
            video.write(noise.integers(0, 255, (240, 320, 3), np.uint8), i / 25)
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_full_disk_is_an_output_error(tmp_path):
    run = [sys.executable, "-c", FULL, str(tmp_path / "o.mp4")]
    ended = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "cannot write" in ended.stdout
    assert "o.mp4" in ended.stdout


ENDLESS = """
import sys
sys.path.insert(0, sys.argv[2])
from clips import numbered
from posepipe.io.video import VideoWriter
video = VideoWriter(sys.argv[1], 160, 96)
for i in range(100_000):
    video.write(numbered(i), i / 25)
    print(i, flush=True)
"""


def test_pictures_too_large_for_encoders_are_made_smaller(tmp_path):
    images = [np.zeros((40, 17000, 3), np.uint8), np.zeros((40, 17000, 3), np.uint8)]
    images[1][:, 8500:] = 200
    with VideoWriter(tmp_path / "wide.mp4", 17000, 40) as video:
        for number, image in enumerate(images):
            video.write(image, number / 25)
    with open_video(tmp_path / "wide.mp4") as reader:
        shown = list(reader)
    assert [frame.image.shape for frame in shown] == [(40, 16384, 3)] * 2
    row = shown[1].image[20, :, 0].astype(int)
    assert (np.abs(row[:8180] - 0) < 8).all()
    assert (np.abs(row[8204:] - 200) < 8).all()


def kill_at(folder, frame: int) -> tuple[int, int]:
    """Kill a writer after it has acknowledged a frame; frames acknowledged, and frames that can be read."""
    path = folder / "o.mp4"
    here = str(Path(__file__).parents[1])
    run = [sys.executable, "-c", ENDLESS, str(path), here]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) == frame:
                time.sleep(0.001 * (frame % 7))
                process.send_signal(signal.SIGKILL)
                break
        written = frame + 1 + len(process.stdout.readlines())
    part = path.with_name("o.part.mp4")
    with open_video(part) as reader:
        shown = numbers(reader)
    assert shown == [i % 256 for i in range(len(shown))]
    part.unlink()
    assert not list(folder.iterdir())
    return written, len(shown)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("frame", [30, 61])
def test_killed_writer_leaves_a_readable_video(tmp_path, frame):
    written, readable = kill_at(tmp_path, frame)
    assert written - readable <= 12


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_video_survives_hundred_kills(tmp_path, capsys):
    lost = []
    for i in range(100):
        written, readable = kill_at(tmp_path, 13 + 2 * i)
        lost.append(written - readable)
    with capsys.disabled():
        print(f"\nreadable 100 of 100, frames lost at most {max(lost)}")
    assert max(lost) <= 12
