from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import re
import socket
import stat
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request

import numpy as np
import pytest

from posepipe.cli import main
from posepipe.errors import OutputError, UsageError, WeightsError
from posepipe.io import zoo
from posepipe.io.download import _SameSafety, fetch
from posepipe.io.zoo import PublicWeights, fetched, problem_of, public_weights, read_receipt

DATA = np.random.default_rng(0).bytes(20_000)
SHA = hashlib.sha256(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    """Gives the bytes of ``files``; a path of ``cut`` says that there is more, one of ``moved`` leads elsewhere."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.cut: set[str] = set()
        self.asked: list[str] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        name = self.path[1:]
        self.server.asked.append(name)
        if name in self.server.moved:
            self.send_response(302)
            self.send_header("Location", self.server.moved[name])
            self.end_headers()
            return
        data = self.server.files.get(name)
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data) * (2 if name in self.server.cut else 1)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("POSEPIPE_OFFLINE", raising=False)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache/weights"


def entry(*urls, **changes) -> PublicWeights:
    return PublicWeights(
        "net", "sppe", "heatmap", urls, "MIT", "pictures", **{"sha256": SHA, "size": len(DATA)} | changes
    )


def zipped(*members: tuple[str, bytes], mode: int = stat.S_IFREG | 0o644) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def test_what_is_published_is_fetched_once(server, cache):
    server.files["net.onnx"] = DATA
    wanted, told = entry(server.url("net.onnx")), []
    assert fetch(wanted, progress=lambda done, total: told.append((done, total))) == cache / "net.onnx"
    assert wanted.path.read_bytes() == DATA
    assert told[-1] == (len(DATA), len(DATA))
    assert read_receipt(wanted) == zoo.Receipt(SHA, server.url("net.onnx"), pinned=False)
    fetch(wanted)
    assert server.asked == ["net.onnx"]
    wanted.path.write_bytes(DATA[:-1])
    fetch(wanted)
    assert wanted.path.read_bytes() == DATA


def test_a_hundred_bad_downloads_are_refused(server, cache):
    wanted = entry(server.url("net.onnx"), size=0)
    places = np.random.default_rng(1).integers(0, len(DATA), 100)
    bad = [DATA[:at] + bytes([DATA[at] ^ 1]) + DATA[at + 1 :] for at in places[:80]]
    bad += [DATA[: len(DATA) - 1 - at] for at in places[80:90]]
    bad += [DATA + bytes(1 + at) for at in range(5)]
    bad += [np.random.default_rng(at + 1).bytes(len(DATA)) for at in range(5)]
    for data in bad:
        server.files["net.onnx"] = data
        with pytest.raises(WeightsError, match=r"net could not be fetched.*sha256 is .*--from FILE"):
            fetch(wanted)
        assert list(cache.iterdir()) == []
    assert len(bad) == 100


@pytest.mark.parametrize("size", [0, len(DATA)])
def test_a_download_that_breaks_off_leaves_nothing(server, cache, size):
    server.files["net.onnx"], server.cut = DATA, {"net.onnx"}
    with pytest.raises(WeightsError, match=r"broke off|more than"):
        fetch(entry(server.url("net.onnx"), size=size))
    assert list(cache.iterdir()) == []


def test_a_file_larger_than_published_is_not_read_to_its_end(server):
    server.files["net.onnx"] = DATA * 50
    with pytest.raises(WeightsError, match="more than the 20000"):
        fetch(entry(server.url("net.onnx")))


def test_mirrors_are_tried_in_their_order(server):
    server.files |= {"bad.onnx": DATA[::-1], "good.onnx": DATA, "never.onnx": DATA}
    fetch(entry(*(server.url(f"{name}.onnx") for name in ("gone", "bad", "good", "never"))))
    assert server.asked == ["gone.onnx", "bad.onnx", "good.onnx"]
    with pytest.raises(WeightsError, match=r"gone\.onnx: HTTP Error 404.*bad\.onnx: its sha256"):
        fetch(entry(server.url("gone.onnx"), server.url("bad.onnx"), sha256="0" * 64))


def test_an_address_where_nobody_answers():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(WeightsError, match="Connection refused"):
            fetch(entry(f"http://127.0.0.1:{held.getsockname()[1]}/net.onnx"))


def test_redirections_are_followed_unless_they_leave_the_web(server, tmp_path):
    (tmp_path / "net.onnx").write_bytes(DATA)
    server.files["real.onnx"] = DATA
    server.moved |= {"net.onnx": server.url("real.onnx"), "out.onnx": (tmp_path / "net.onnx").as_uri()}
    with pytest.raises(WeightsError, match="not allowed"):
        fetch(entry(server.url("out.onnx")))
    with pytest.raises(OSError, match="less safe"):
        _SameSafety().redirect_request(Request("https://a.example/x"), None, 302, "", {}, "http://a.example/x")
    assert fetch(entry(server.url("net.onnx"))).read_bytes() == DATA


def test_the_first_download_is_pinned_where_no_checksum_is_published(server):
    server.files["net.onnx"] = DATA
    wanted = entry(server.url("net.onnx"), sha256="", size=0)
    fetch(wanted)
    assert problem_of(wanted) is None
    wanted.path.write_bytes(b"changed")
    server.files["net.onnx"] = DATA + b"!"
    with pytest.raises(WeightsError, match="as at the first download"):
        fetch(wanted)
    server.files["net.onnx"] = DATA
    fetch(wanted)
    assert wanted.path.read_bytes() == DATA


@pytest.mark.parametrize("page", [b"", b"\n <!DOCTYPE html><p>Sign in</p>"])
def test_a_web_page_is_not_pinned(server, page):
    server.files["net.onnx"] = page
    with pytest.raises(WeightsError, match="web page"):
        fetch(entry(server.url("net.onnx"), sha256="", size=0))


def test_a_file_at_hand_instead_of_the_network(tmp_path, server):
    wanted = entry(server.url("net.onnx"))
    (tmp_path / "other").write_bytes(DATA[::-1])
    with pytest.raises(WeightsError, match=r"sha256 is .*--pin"):
        fetch(wanted, str(tmp_path / "other"))
    with pytest.raises(WeightsError, match="cannot be read"):
        fetch(wanted, str(tmp_path / "none"))
    (tmp_path / "right").write_bytes(DATA)
    assert fetch(wanted, str(tmp_path / "right"), no_network=True).read_bytes() == DATA
    assert read_receipt(wanted) == zoo.Receipt(SHA, "right", pinned=False)
    assert server.asked == []


def test_a_file_pinned_by_hand_stays_until_the_published_one_is_fetched(tmp_path, server):
    wanted = entry(server.url("net.onnx"))
    (tmp_path / "other").write_bytes(DATA + b"longer than published")
    with pytest.raises(UsageError, match="--from"):
        fetch(wanted, pin=True)
    fetch(wanted, str(tmp_path / "other"), pin=True)
    assert problem_of(wanted) is None
    assert fetch(wanted, no_network=True) == wanted.path  # it is at hand
    assert wanted.path.read_bytes() == (tmp_path / "other").read_bytes()
    server.files["net.onnx"] = DATA
    fetch(wanted)
    assert wanted.path.read_bytes() == DATA


@pytest.mark.parametrize("way", ["flag", "environment"])
def test_no_network_where_it_is_forbidden(server, monkeypatch, way):
    server.files["net.onnx"] = DATA
    if way == "environment":
        monkeypatch.setenv("POSEPIPE_OFFLINE", "1")
    with pytest.raises(UsageError, match=r"not to be used.*--from FILE"):
        fetch(entry(server.url("net.onnx")), no_network=way == "flag")
    assert server.asked == []
    monkeypatch.setenv("POSEPIPE_OFFLINE", "0")
    fetch(entry(server.url("net.onnx")))


def _fetch_in_process(url: str, cache: str, go, results) -> None:
    os.environ["POSEPIPE_CACHE"] = cache
    go.wait()
    results.put(hashlib.sha256(fetch(entry(url)).read_bytes()).hexdigest())


def test_two_processes_at_once(server, tmp_path, cache):
    server.files["net.onnx"] = DATA
    context = multiprocessing.get_context("fork")
    go, results = context.Event(), context.Queue()
    arguments = (server.url("net.onnx"), str(tmp_path / "cache"), go, results)
    processes = [context.Process(target=_fetch_in_process, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    go.set()
    assert [results.get(timeout=20) for _ in processes] == [SHA, SHA]
    for process in processes:
        process.join()
    assert sorted(path.name for path in cache.iterdir()) == ["net.json", "net.onnx"]
    assert problem_of(entry("x.onnx")) is None


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch, server):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "file"))
    server.files["net.onnx"] = DATA
    with pytest.raises(OutputError, match="cannot write"):
        fetch(entry(server.url("net.onnx")))


def test_the_network_is_taken_out_of_its_archive(server):
    server.files["net.zip"] = zipped(("2023/end2end.onnx", DATA), ("2023/pipeline.json", b"{}"))
    wanted = entry(server.url("net.zip"), member="end2end.onnx")
    assert fetch(wanted).read_bytes() == DATA
    assert wanted.path.suffix == ".onnx"
    wanted.path.unlink()
    # A mirror may have it without the archive.
    server.files["net.onnx"] = DATA
    assert fetch(replace(wanted, urls=(server.url("gone.zip"), server.url("net.onnx")))).read_bytes() == DATA


def hostile(kind: str) -> bytes:
    name = "end2end.onnx"
    if kind == "bomb":
        return zipped((name, bytes(1 << 22)))
    if kind == "twice":
        return zipped((f"a/{name}", DATA), (f"b/{name}", DATA))
    if kind == "damaged":
        data = bytearray(zipped((name, DATA)))
        data[5000:5100] = bytes(100)
        return bytes(data)
    modes = {"link": stat.S_IFLNK | 0o777, "device": stat.S_IFCHR | 0o666}
    names = {"up": f"../../{name}", "absolute": f"/tmp/{name}", "drive": f"C:\\{name}"}  # noqa: S108 - never written
    return zipped((names.get(kind, name), DATA), mode=modes.get(kind, stat.S_IFREG | 0o644))


@pytest.mark.parametrize("kind", ["up", "absolute", "drive", "link", "device", "bomb", "twice", "damaged"])
@pytest.mark.parametrize("sha256", [SHA, ""])
def test_hostile_archives_stay_inside_and_are_refused(server, tmp_path, cache, kind, sha256):
    server.files["net.zip"] = hostile(kind)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    outside = {path: path.exists() for path in (Path("/tmp/end2end.onnx"), tmp_path.parent / "end2end.onnx")}  # noqa: S108
    with pytest.raises(WeightsError, match="archive"):
        fetch(entry(server.url("net.zip"), member="end2end.onnx", sha256=sha256))
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
    assert outside == {path: path.exists() for path in outside}
    assert list(cache.iterdir()) == []


@pytest.fixture
def listed(tmp_path, monkeypatch, server):
    """A list of one public network, of the server."""
    server.files["net.onnx"] = DATA
    text = f'[net]\nkind = "sppe"\nadapter = "heatmap"\nurls = ["{server.url("net.onnx")}"]\nsha256 = "{SHA}"\n'
    (tmp_path / "zoo.toml").write_text(text + 'licence = "MIT"\ntrained_on = "pictures of mine"\nnote = "A test."\n')
    monkeypatch.setattr(zoo, "_ZOO", tmp_path / "zoo.toml")
    public_weights.cache_clear()
    yield
    public_weights.cache_clear()


@pytest.mark.usefixtures("listed")
def test_the_command_line(capsys, server):
    assert main(["models", "show", "net"]) == 0
    assert "not fetched" in capsys.readouterr().out
    assert main(["models", "fetch", "net", "--offline"]) == 2
    assert server.asked == []
    capsys.readouterr()
    assert main(["models", "fetch", "net"]) == 0
    out = capsys.readouterr().out
    assert "licence MIT; trained on pictures of mine" in out
    assert "sha256 as published" in out
    assert "--pose net" in out
    assert main(["models", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[-2:] == ["MIT", "present"]
    assert main(["models", "verify"]) == 0
    capsys.readouterr()
    assert main(["models", "show", "net"]) == 0
    assert f"came from:   {server.url('net.onnx')}" in capsys.readouterr().out
    fetched("net").write_bytes(DATA[::-1])
    assert main(["models", "verify"]) == 5
    assert "differs from what was published" in capsys.readouterr().out
    assert main(["doctor"]) == 0
    assert "note  weights net: " in capsys.readouterr().out
    assert main(["models", "fetch", "net", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("listed")
def test_mistakes_on_the_command_line(capsys, tmp_path):
    assert main(["models", "fetch", "nett"]) == 2
    assert "Did you mean 'net'" in capsys.readouterr().err
    assert main(["models", "fetch"]) == 2
    assert "NAME" in capsys.readouterr().err
    assert main(["models", "fetch", "net", "--from", str(tmp_path / "none")]) == 5
    assert "cannot be read" in capsys.readouterr().err
    assert main(["models", "fetch", "sppe_small"]) == 0
    assert main(["models", "show", "sppe_small"]) == 0
    shown = capsys.readouterr().out
    assert "comes with the package" in shown
    assert re.search(r"^version: +\d+\.\d+\.\d+$", shown, re.MULTILINE)


@pytest.mark.usefixtures("listed")
def test_a_file_pinned_on_the_command_line_says_so(capsys, tmp_path):
    (tmp_path / "mine.onnx").write_bytes(b"mine")
    assert main(["models", "fetch", "net", "--from", str(tmp_path / "mine.onnx"), "--pin"]) == 0
    assert "not checked against what was published" in capsys.readouterr().out
    assert json.loads((fetched("net").with_suffix(".json")).read_text())["source"] == "mine.onnx"
    assert main(["models", "show", "net"]) == 0
    shown = capsys.readouterr().out
    assert "mine.onnx" in shown
    assert "fetched, as it was pinned by hand" in shown
