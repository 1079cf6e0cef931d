"""What breaks around a run: disks that fill, streams that hang, the network that must not be touched."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import pytest
from reliability import ENVIRONMENT, Case, lines_of, make_case

from posepipe.cli import main
from posepipe.io.records import read_records


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"), frames=30, people=2)


def limited(case: Case, out: Path, size: int, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run with files that cannot grow beyond ``size`` bytes, as on a disk that is full."""
    return subprocess.run(
        case.command(out, *flags),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=ENVIRONMENT,
    )


@pytest.mark.parametrize(("size", "flags"), [(500, ()), (20_000, ("--no-video",)), (20_000, ())])
def test_a_full_disk_ends_with_a_message_and_valid_records(
    size: int, flags: tuple[str, ...], case: Case, tmp_path: Path
) -> None:
    done = limited(case, tmp_path, size, *flags)
    assert done.returncode == 6
    assert done.stderr.startswith("posepipe: error: ")
    assert done.stderr.count("\n") == 1
    assert "Free some space" in done.stderr
    folder = tmp_path / "walk"
    if folder.exists():
        frames = [result.frame_index for result in read_records(folder / "records.jsonl")]
        assert frames == list(range(len(frames)))
        assert not list(folder.glob(".*"))
    # With space again, the run goes on.
    assert case.run(tmp_path, "--resume", *flags) == folder
    assert json.loads((folder / "run.json").read_text())["finished"]


class Stalls(socketserver.BaseRequestHandler):
    """An HTTP server that sends the first half of a video and then too little for a picture to come of it."""

    content = b""

    def handle(self) -> None:
        self.request.recv(4096)
        head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(self.content)}\r\nContent-Type: video/mp2t\r\n\r\n"
        half = len(self.content) // 2
        with suppress(OSError):  # the other side may hang up
            self.request.sendall(head.encode() + self.content[:half])
            while not self.server.over.wait(0.2):
                half += 1
                self.request.sendall(self.content[half - 1 : half])


@pytest.fixture
def stalled(case: Case) -> Iterator[str]:
    Stalls.content = as_transport_stream(case.clip)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Stalls) as server:
        server.over = threading.Event()
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/live.ts"
        server.over.set()
        server.shutdown()


def as_transport_stream(clip: Path) -> bytes:
    """The clip 15 times over: longer than what is read to find out what a stream holds."""
    import av

    target = clip.with_suffix(".ts")
    with av.open(str(clip)) as source, av.open(str(target), "w") as sink:
        stream = sink.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.bit_rate = 160, 120, 2_000_000
        for index, frame in enumerate(list(source.decode(video=0)) * 15):
            picture = frame.reformat(format="yuv420p")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            sink.mux(stream.encode(picture))
        sink.mux(stream.encode(None))
    return target.read_bytes()


def test_a_stream_that_hangs_can_be_stopped(stalled: str, case: Case, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "posepipe", "run", stalled, "-o", str(tmp_path), "--quiet", *case.flags],
        env=ENVIRONMENT,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (found := list(tmp_path.glob("*/records.jsonl"))) or lines_of(found[0]) < 4:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert time.monotonic() - start < 5
    summary = json.loads((found[0].parent / "run.json").read_text())
    assert summary["reason"] == "stopped by SIGTERM"
    assert summary["frames"] >= 3


def test_reading_a_large_file_for_its_checksum_can_be_stopped(case: Case, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(case.clip.read_bytes())
    with large.open("rb+") as file:
        file.truncate(16 << 30)  # takes no space
    process = subprocess.Popen(
        [sys.executable, "-m", "posepipe", "run", str(large), "-o", str(tmp_path / "out"), *case.flags],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert "reading 17.2 GB" in process.stderr.readline()
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert "stopped by SIGINT" in process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert time.monotonic() - start < 5
    assert not list((tmp_path / "out").glob("*"))


def test_no_run_touches_the_network(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a run asked for the network")

    for name in ("socket", "create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    assert main(["run", str(case.clip), "-o", str(tmp_path), "--quiet"]) == 0


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads and children through /proc")
def test_a_stopped_run_leaves_no_children(case: Case, tmp_path: Path) -> None:
    process = subprocess.Popen(
        case.command(tmp_path), env=ENVIRONMENT, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while lines_of(tmp_path / "walk/records.jsonl") < 5:
        assert process.poll() is None
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    process.terminate()
    process.wait(30)
    assert children == ""
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
