from __future__ import annotations

import http.server
import itertools
import math
import shutil
import socket
import threading
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from clips import CORNERS, HEIGHT, WIDTH, lay, numbered, numbers, write_clip, write_sound
from hypothesis import given
from hypothesis import strategies as st

from posepipe.config import data_root
from posepipe.errors import InputError, UsageError
from posepipe.io import container
from posepipe.io.clock import Clock
from posepipe.io.pictures import natural_order
from posepipe.io.video import open_video

CLIPS = [*sorted((data_root() / "video").glob("*.*")), *sorted((data_root() / "upfall").glob("Activity1_*Trial1*.mp4"))]


def read(source, **settings):
    with open_video(source, **settings) as reader:
        frames = list(reader)
    return reader, frames


def corners(image):
    """Mean colours of the four corners, as far from their edges as compression smears."""
    h, w = image.shape[0] // 12, image.shape[1] // 20
    places = (image[:h, :w], image[:h, -w:], image[-h:, :w], image[-h:, -w:])
    return np.array([place.reshape(-1, 3).mean(0) for place in places])


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.mov", "clip.ts", "clip.webm"])
def test_variable_frame_rate_keeps_every_time(tmp_path, name):
    ticks = np.cumsum([0, 40, 40, 500, 33, 34, 33, 100, 20, 40, 1000, 40]).tolist()
    codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
    path = write_clip(tmp_path / name, 12, codec=codec, ticks=ticks, time_base=Fraction(1, 1000))
    reader, frames = read(path)
    assert numbers(frames) == list(range(12))
    assert [f.pts for f in frames] == pytest.approx([t / 1000 for t in ticks], abs=1e-4)
    assert [f.index for f in frames] == list(range(12))
    assert (reader.status, reader.reason) == ("ok", None)


def test_ntsc_rate_does_not_drift(tmp_path):
    path = write_clip(tmp_path / "ntsc.mp4", 120, rate=Fraction(30000, 1001), options={"preset": "ultrafast"})
    _, frames = read(path)
    assert [f.pts for f in frames] == pytest.approx([i * 1001 / 30000 for i in range(120)], abs=1e-9)


@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "b.avi", "b.mov", "b.ts"])
def test_b_frames_come_in_order_of_presentation(tmp_path, name):
    path = write_clip(tmp_path / name, 30, options={"bf": "3", "b_strategy": "0", "g": "30"})
    with av.open(str(path)) as plain:
        stored = [p.dts != p.pts for p in plain.demux(video=0) if p.size]
    assert any(stored)
    _, frames = read(path)
    assert numbers(frames) == list(range(30))
    assert [f.pts for f in frames] == pytest.approx([i / 25 for i in range(30)], abs=1e-4)


def test_edit_list_hides_frames_and_counts_as_whole(tmp_path):
    ticks = [i - 10 for i in range(30)]
    path = write_clip(tmp_path / "edit.mp4", 30, ticks=ticks, time_base=Fraction(1, 25), options={"bf": "2", "g": "30"})
    reader, frames = read(path)
    assert numbers(frames) == list(range(10, 30))
    assert [f.pts for f in frames] == pytest.approx([i / 25 for i in range(20)], abs=1e-6)
    assert (reader.info.frames_declared, reader.status) == (20, "ok")


LATE = {"ticks": range(2000, 3200, 40), "time_base": Fraction(1, 1000)}


@pytest.mark.parametrize(
    ("name", "codec", "settings"),
    [
        ("late.mkv", "libx264", LATE),
        ("late.webm", "libvpx-vp9", LATE),
        ("late.flv", "flv", LATE),
        ("b.flv", "libx264", {"options": {"bf": "3", "b_strategy": "0"}}),
    ],
)
def test_a_late_start_is_whole_and_a_cut_one_is_told(tmp_path, name, codec, settings):
    path = write_clip(tmp_path / name, 30, codec=codec, **settings)
    reader, frames = read(path)
    assert (len(frames), reader.status, reader.reason) == (30, "ok", None)
    whole = path.read_bytes()
    for lost in (60, len(whole) // 5):
        path.write_bytes(whole[:-lost])
        reader, frames = read(path)
        assert (reader.status, 0 < len(frames) <= 30) == ("truncated", True)


@pytest.mark.parametrize("ticks", [[0, 1, 2, 6, 7, 8, 12, 13], [0, 1, 2, 3, 4, 5, 6, 20], list(range(10, 18))])
def test_frames_that_an_avi_repeats_are_not_missing(tmp_path, ticks):
    path = write_clip(tmp_path / "a.avi", len(ticks), codec="mpeg4", ticks=ticks)
    reader, frames = read(path)
    assert (len(frames), reader.info.frames_declared) == (len(ticks), len(ticks))
    assert (reader.status, reader.reason) == ("ok", None)
    assert [f.pts for f in frames[1:]] == pytest.approx([t / 25 for t in ticks[1:]], abs=1e-4)
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 4])
    assert read(path)[0].status == "truncated"


def test_a_late_start_beside_sound_keeps_its_time(tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as output:
        video, sound = output.add_stream("libx264", rate=25), output.add_stream("aac", rate=44100)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = 50 + number, Fraction(1, 25)
            output.mux(video.encode(frame))
        quiet = av.AudioFrame.from_ndarray(np.zeros((1, 4 * 44100), np.float32), format="fltp", layout="mono")
        quiet.sample_rate, quiet.pts = 44100, 0
        output.mux(sound.encode(quiet))
        output.mux(video.encode(None))
        output.mux(sound.encode(None))
    reader, frames = read(path)
    assert frames[0].pts == pytest.approx(2, abs=1e-3)
    assert (len(frames), reader.status, reader.reason) == (20, "ok", None)


def test_fragmented_mp4_starts_at_zero(tmp_path):
    path = write_clip(tmp_path / "f.mp4", 30, options={"g": "10"}, container={"movflags": "frag_keyframe+empty_moov"})
    reader, frames = read(path)
    assert [f.pts for f in frames] == pytest.approx([i / 25 for i in range(30)], abs=1e-6)
    assert reader.status == "ok"


def test_time_grows_where_files_are_strung_together(tmp_path):
    one = write_clip(tmp_path / "one.ts", 60).read_bytes()
    (tmp_path / "two.ts").write_bytes(one + one)
    reader, frames = read(tmp_path / "two.ts")
    times = [f.pts for f in frames]
    assert len(frames) >= 118
    assert all(b > a for a, b in itertools.pairwise(times))
    assert times[-1] == pytest.approx(len(frames) / 25, abs=0.2)
    assert reader.status == "damaged"


def test_clock_puts_a_repeated_time_a_tick_later():
    clock = Clock(Fraction(1, 1000), Fraction(1, 25), Fraction(0))
    times = [clock.seconds(ticks) for ticks in (0, 1000, 1000, 2000, None, 1990)]
    assert times == pytest.approx([0, 1, 1.001, 2, 2.04, 2.041], abs=1e-12)
    assert (clock.mended, clock.leaps) == (2, 0)


def test_clock_goes_on_where_time_leaps_back_and_tells_where_it_leaps_ahead():
    clock = Clock(Fraction(1, 10), Fraction(1, 10), Fraction(0))
    times = [clock.seconds(ticks) for ticks in (0, 100, 0, 1, 2, 10**7)]
    assert times[:5] == pytest.approx([0, 10, 10.1, 10.2, 10.3], abs=1e-12)
    assert (clock.mended, clock.leaps) == (1, 1)


@given(ticks=st.lists(st.none() | st.integers(-(10**12), 10**12), max_size=30), base=st.fractions("1/1000000", 1))
def test_clock_always_grows(ticks, base):
    clock = Clock(base, Fraction(1, 25), Fraction(0))
    times = [clock.seconds(t) for t in ticks]
    assert all(b >= a for a, b in itertools.pairwise(times))
    exact = sorted({t for t in ticks if t is not None and t >= 0})
    steady = Clock(base, Fraction(1, 25), Fraction(0))
    assert [steady.seconds(t) for t in exact] == [float(t * base) for t in exact]
    assert steady.mended == 0


# --- the picture ------------------------------------------------------------------------------------------------------


def test_four_rotations_show_the_same_upright_picture(tmp_path):
    """The stored picture is turned the other way, the display matrix turns it back: all four must look the same."""
    upright = {}
    for turn, matrix in ((0, (1, 0, 0, 1)), (90, (0, 1, -1, 0)), (180, (-1, 0, 0, -1)), (270, (0, -1, 1, 0))):
        size = (WIDTH, HEIGHT) if turn % 180 == 0 else (HEIGHT, WIDTH)
        path = tmp_path / f"r{turn}.mp4"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=25, options={"crf": "10"})
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for number in range(6):
                stored = np.ascontiguousarray(np.rot90(numbered(number), turn // 90))
                output.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
            output.mux(stream.encode(None))
        lay(path, matrix)
        reader, frames = read(path)
        assert (reader.info.width, reader.info.height, reader.info.rotation) == (WIDTH, HEIGHT, turn)
        assert numbers(frames) == list(range(6))
        upright[turn] = frames[0].image.astype(int)
    for turn in (90, 180, 270):
        assert np.abs(upright[turn] - upright[0]).mean() < 3


def test_mirrored_matrix_is_mirrored_not_turned(tmp_path):
    path = write_clip(tmp_path / "m.mp4", 2)
    lay(path, (-1, 0, 0, 1))
    reader, frames = read(path)
    want = np.array(CORNERS)[[1, 0, 3, 2]]
    assert np.abs(corners(frames[0].image) - want).max() < 12
    assert reader.info.rotation == 0


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "name"),
    [
        ("libx264", "yuv420p", "a.mp4"),
        ("libx264", "yuv444p", "a.mp4"),
        ("libx264", "yuv420p10le", "a.mp4"),
        ("libx264", "nv12", "a.mp4"),
        ("libx264", "yuvj420p", "a.mp4"),
        ("libx265", "yuv420p10le", "a.mp4"),
        ("ffv1", "yuv422p10le", "a.mkv"),
        ("ffv1", "bgra", "a.mkv"),
        ("ffv1", "gbrp16le", "a.mkv"),
        ("png", "rgba", "a.mov"),
        ("mjpeg", "yuvj422p", "a.avi"),
        ("libvpx-vp9", "yuv420p", "a.webm"),
        ("rawvideo", "yuyv422", "a.avi"),
    ],
)
def test_pixel_formats_become_rgb(tmp_path, codec, pix_fmt, name):
    path = write_clip(tmp_path / name, 4, codec=codec, pix_fmt=pix_fmt)
    reader, frames = read(path)
    assert frames[0].image.shape == (HEIGHT, WIDTH, 3)
    assert frames[0].image.flags.c_contiguous
    assert np.abs(corners(frames[0].image) - CORNERS).max() < 12
    assert numbers(frames) == [0, 1, 2, 3]
    assert reader.status == "ok"


@pytest.mark.parametrize("pix_fmt", ["gray", "gray10le"])
def test_grey_becomes_three_equal_channels(tmp_path, pix_fmt):
    _, frames = read(write_clip(tmp_path / "g.mkv", 3, codec="ffv1", pix_fmt=pix_fmt))
    image = frames[1].image.astype(int)
    assert np.abs(image - image[..., :1]).max() <= 1
    assert numbers(frames) == [0, 1, 2]


def test_size_may_change_on_the_way(tmp_path):
    small = write_clip(tmp_path / "s.ts", 10).read_bytes()
    large = write_clip(tmp_path / "l.ts", 10, size=(2 * WIDTH, 2 * HEIGHT)).read_bytes()
    (tmp_path / "both.ts").write_bytes(small + large)
    _, frames = read(tmp_path / "both.ts")
    assert {f.image.shape for f in frames} == {(HEIGHT, WIDTH, 3), (2 * HEIGHT, 2 * WIDTH, 3)}


# --- what cannot be read ----------------------------------------------------------------------------------------------


def make(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.mp4"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("this is no video\n" * 50)
    elif kind == "sound":
        path = write_sound(folder / "sound.m4a")
    elif kind == "unfinished":
        data = write_clip(folder / "whole.mp4").read_bytes()
        path.write_bytes(data[: data.rindex(b"moov") - 4])
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "does not exist"),
        ("empty", "is empty"),
        ("text", "as a video"),
        ("sound", "no video"),
        ("unfinished", "never finished"),
        ("folder", "holds no pictures"),
        ("loop", "cannot read|does not exist"),
    ],
)
def test_each_unreadable_input_has_its_own_message(tmp_path, kind, says):
    path = make(kind, tmp_path)
    with pytest.raises(InputError, match=says) as error:
        open_video(path)
    assert path.name in str(error.value)
    assert error.value.hint
    assert error.value.exit_code == 3


def test_a_folder_of_folders_of_videos_is_refused_with_the_pattern_that_takes_them(tmp_path):
    (tmp_path / "nest/s1").mkdir(parents=True)
    write_clip(tmp_path / "nest/s1/a.mp4", 2)
    with pytest.raises(InputError, match=r"holds no pictures.*'.*nest/\*\*/\*\.mp4'"):
        open_video(tmp_path / "nest")


@pytest.mark.parametrize("source", ["nothing/*.jpg", "no\0body", "x" * 5000])
def test_strange_names_are_refused(source):
    with pytest.raises(InputError):
        open_video(source)


def test_pictures_larger_than_allowed_are_refused_before_decoding(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "c.mp4", 3)
    monkeypatch.setattr(container._Pass, "frames", lambda self: pytest.fail("decoded"))
    with pytest.raises(InputError, match=rf"{WIDTH}x{HEIGHT}.*max_pixels"):
        open_video(path, max_pixels=WIDTH * HEIGHT - 1)


def test_a_name_that_looks_like_a_protocol_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "c.mp4", 3).rename("take:1 %03d.mp4")
    assert len(read("take:1 %03d.mp4")[1]) == 3


def test_playlists_cannot_reach_the_network(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        lines = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n"
        (tmp_path / "list.m3u8").write_text(f"{lines}http://127.0.0.1:{server.getsockname()[1]}/a.ts\n#EXT-X-ENDLIST\n")
        with pytest.raises(InputError):
            open_video(tmp_path / "list.m3u8")
        with pytest.raises(TimeoutError):
            server.accept()


# --- pictures, cameras, addresses -------------------------------------------------------------------------------------


def save(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 and image.shape[2] == 3 else image)
    return path


def test_folder_of_pictures_is_read_in_natural_order(tmp_path):
    for number in (10, 2, 1, 33):
        save(tmp_path / f"shot{number}.{'png' if number % 2 else 'jpg'}", numbered(number))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._shot1.png").write_text("left behind by a Mac")
    reader, frames = read(tmp_path)
    assert numbers(frames) == [1, 2, 10, 33]
    assert [f.pts for f in frames] == [0.0, 0.04, 0.08, 0.12]
    assert (reader.info.frames_declared, reader.info.fps, reader.status) == (4, 25.0, "ok")
    assert reader.info.name == tmp_path.name
    assert [f.pts for f in read(f"{tmp_path}/*.png", fps=2)[1]] == [0.0, 0.5]


@pytest.mark.parametrize("fps", [0, -5.0, math.nan, math.inf])
def test_pictures_have_a_rate_above_0(tmp_path, fps):
    save(tmp_path / "shot1.png", numbered(1))
    for source in (tmp_path, tmp_path / "shot1.png", f"{tmp_path}/*.png"):
        with pytest.raises(UsageError, match="above 0"):
            open_video(source, fps=fps)


def test_natural_order_of_odd_names():
    names = ["b", "a10", "a2", "a02", "A1", "10", "9", "a\N{SUPERSCRIPT TWO}"]
    assert sorted(map(Path, names), key=natural_order)[:2] == [Path("9"), Path("10")]
    assert sorted(map(Path, ["a10", "a9"]), key=natural_order) == [Path("a9"), Path("a10")]


def test_pictures_may_differ_in_size_and_kind(tmp_path):
    grey16 = cv2.cvtColor(numbered(1), cv2.COLOR_RGB2GRAY).astype(np.uint16) * 257
    save(tmp_path / "1.png", grey16)
    alpha = np.dstack([numbered(2, 320, 192)[..., ::-1], np.full((192, 320), 128, np.uint8)])
    save(tmp_path / "2.webp", alpha)
    save(tmp_path / "3.tiff", numbered(3))
    save(tmp_path / "4.bmp", numbered(4))
    reader, frames = read(tmp_path)
    assert numbers(frames) == [1, 2, 3, 4]
    assert [f.image.shape[:2] for f in frames] == [(96, 160), (192, 320), (96, 160), (96, 160)]
    assert reader.status == "ok"
    assert np.abs(corners(frames[2].image) - CORNERS).max() < 2


@pytest.mark.parametrize("kind", ["cut", "text", "huge", "float", "float64", "folder"])
def test_unreadable_picture_is_left_out_and_told(tmp_path, kind):
    for number in range(4):
        save(tmp_path / f"{number}.jpg", numbered(number))
    bad = tmp_path / "1.jpg"
    if kind.startswith("float"):
        floats = numbered(1).astype(np.float64) / 255
        bad.write_bytes(cv2.imencode(".tif", floats if kind == "float64" else floats.astype(np.float32))[1].tobytes())
    elif kind == "folder":
        bad.unlink()
        bad.mkdir()
    elif kind == "cut":
        bad.write_bytes(bad.read_bytes()[:-400])
    elif kind == "text":
        bad.write_text("not a picture")
    else:
        save(bad, numbered(1, 320, 192))
    reader, frames = read(tmp_path, max_pixels=WIDTH * HEIGHT)
    assert numbers(frames) == [0, 2, 3]
    assert [f.pts for f in frames] == [0.0, 0.08, 0.12]
    assert reader.status == "damaged"
    assert "1 pictures were left out" in reader.reason
    assert "1.jpg" in reader.reason


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_as_the_camera_noted(tmp_path, orientation):
    data = save(tmp_path / "p.jpg", numbered(5, 320, 192)).read_bytes()
    tag = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + bytes((0, orientation)) + bytes(6)
    block = b"Exif\0\0" + tag
    (tmp_path / "p.jpg").write_bytes(data[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:])
    reader, (frame,) = read(tmp_path / "p.jpg")
    want = cv2.imread(str(tmp_path / "p.jpg"))[..., ::-1]
    assert frame.image.shape == want.shape
    assert (reader.info.width, reader.info.height) == (want.shape[1], want.shape[0])
    assert np.abs(corners(frame.image) - corners(want)).max() < 5


def test_camera_gives_growing_times_and_says_when_it_stops(monkeypatch):
    pictures = [numbered(i)[..., ::-1].copy() for i in range(5)]

    class Camera:
        def __init__(self, number):
            self.left = list(pictures)

        def read(self):
            return (True, self.left.pop(0)) if self.left else (False, None)

        def get(self, what):
            return 30.0

        def release(self):
            self.left = []

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr("posepipe.io.pictures._CAMERA_PATIENCE", 2)
    reader, frames = read(0)
    assert reader.live
    assert numbers(frames) == list(range(5))
    assert all(b.pts > a.pts for a, b in itertools.pairwise(frames))
    assert reader.status == "truncated"
    monkeypatch.setattr(Camera, "read", lambda self: (False, None))
    with pytest.raises(InputError, match="camera 7"):
        open_video(7)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_address_is_read_like_a_file(tmp_path):
    write_clip(tmp_path / "c.mp4", 10, container={"movflags": "faststart"})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        reader, frames = read(f"http://user:secret@127.0.0.1:{server.server_port}/c.mp4?token=1")
        with pytest.raises(InputError, match="address"):
            open_video(f"http://127.0.0.1:{server.server_port}/none.mp4")
        server.shutdown()
    assert numbers(frames) == list(range(10))
    assert reader.info.name == f"http://127.0.0.1:{reader.info.name.rpartition(':')[2]}"
    assert "secret" not in reader.info.name
    assert numbers(read((tmp_path / "c.mp4").as_uri())[1]) == list(range(10))


def test_silent_server_is_given_up(monkeypatch):
    monkeypatch.setattr(container, "_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(InputError, match=r"127\.0\.0\.1"):
        open_video(f"rtsp://127.0.0.1:{server.getsockname()[1]}/live")


# --- real clips -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not CLIPS, reason="no clips: set POSEPIPE_DATA")
@pytest.mark.parametrize("path", CLIPS, ids=lambda p: p.stem[:24])
def test_real_clips_give_every_declared_frame_in_time(path):
    with open_video(path) as reader:
        times = [frame.pts for frame in reader]
    assert len(times) == reader.info.frames_declared
    assert (reader.status, reader.reason) == ("ok", None)
    assert times[0] == 0
    assert all(b > a for a, b in itertools.pairwise(times))
    assert times[-1] + 1.5 / reader.info.fps >= reader.info.duration_s > times[-1]


def test_closing_early_lets_go_of_the_file(tmp_path):
    path = write_clip(tmp_path / "c.mp4", 30)
    with open_video(path) as reader:
        first = next(reader)
    assert list(reader) == []
    assert first.image.any()
    shutil.rmtree(tmp_path)
