from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from posepipe.errors import WeightsError
from posepipe.io import weights, zoo
from posepipe.io.weights import list_weights, pin_weights
from posepipe.io.zoo import fetched, problem_of, public_weights, read_receipt, terms_of


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache/weights").mkdir(parents=True)


def receipt(entry, data, *, pinned=False):
    """What a fetch of those bytes leaves."""
    entry.path.write_bytes(data)
    values = {"sha256": hashlib.sha256(data).hexdigest(), "source": "somewhere", "pinned": pinned}
    entry.receipt.write_text(json.dumps(values))


@pytest.mark.parametrize("name", public_weights())
def test_every_entry_says_what_users_must_know(name):
    entry = public_weights()[name]
    adapters = {"detector": {"yolox", "rtmdet", "torchvision"}, "sppe": {"simcc", "heatmap", "checkpoint"}}
    assert entry.adapter in adapters[entry.kind]
    assert entry.urls
    assert all(re.fullmatch(r"https://[^\s]+\.(onnx|zip|pth|safetensors)", url) for url in entry.urls)
    assert entry.licence in ("Apache-2.0", "BSD-3-Clause")
    assert entry.trained_on
    assert re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{8}|", entry.sha256)
    assert len(entry.sha256) == 64 or "pinned at the first download" in entry.note
    assert len(entry.urls) > 1 or "No mirror" in entry.note
    assert (entry.member != "") == entry.urls[0].endswith(".zip")
    assert entry.path.suffix in (".onnx", ".pth", ".safetensors")
    assert entry.size >= 0


def test_the_families_that_are_promised_are_listed():
    names = set(public_weights())
    assert {f"yolox-{size}" for size in ("nano", "tiny", "s")} <= names
    assert {f"rtmpose-{size}" for size in "tsml"} <= names
    assert {"rtmdet-nano", "tinypose-256x192", "tinypose-128x96", "vitpose-base", "keypointrcnn_resnet50_fpn"} <= names
    assert not names & {entry.name for entry in list_weights()}
    shas = [entry.sha256 for entry in public_weights().values() if entry.sha256]
    assert len(set(shas)) == len(shas)


def test_torchvision_entries_are_those_of_torchvision():
    torchvision = pytest.importorskip("torchvision")
    for name in torchvision.models.list_models(module=torchvision.models.detection):
        entry = public_weights()[name]
        assert entry.urls == (torchvision.models.get_model_weights(name).DEFAULT.url,)
        assert Path(entry.urls[0]).stem.endswith(entry.sha256)


def test_pinning_the_package_leaves_the_published_entries_alone(tmp_path, monkeypatch):
    copy = tmp_path / "zoo.toml"
    before = weights._ZOO.read_text("utf-8")
    copy.write_text(before.replace(list_weights()[0].sha256, "0" * 64), "utf-8")
    monkeypatch.setattr(weights, "_ZOO", copy)
    pin_weights()
    assert copy.read_text("utf-8") == before


def test_what_was_not_fetched_is_told_with_the_command():
    with pytest.raises(WeightsError, match=r"posepipe models fetch rtmpose-m$") as caught:
        fetched("rtmpose-m")
    assert caught.value.exit_code == 5
    with pytest.raises(WeightsError, match="Did you mean 'rtmpose-m'"):
        fetched("rtmpos-m")


def test_another_file_under_the_name_is_refused_and_one_pinned_by_hand_is_not():
    entry = public_weights()["yolox-nano"]
    entry.path.write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"5 bytes, not 3659407.*posepipe models fetch yolox-nano"):
        fetched("yolox-nano")
    receipt(entry, b"other")
    assert problem_of(entry) is not None
    receipt(entry, b"other", pinned=True)
    assert fetched("yolox-nano") == entry.path
    assert terms_of(entry.path).licence == "not known: a file of the user's, pinned as yolox-nano (Apache-2.0)"
    entry.path.write_bytes(b"0ther")
    with pytest.raises(WeightsError, match=r"differs from what was pinned.*--from FILE --pin$"):
        fetched("yolox-nano")


def test_without_a_published_checksum_the_receipt_decides():
    entry = public_weights()["vitpose-base"]
    entry.path.write_bytes(b"tensors")
    assert "receipt" in (problem_of(entry) or "")
    receipt(entry, b"tensors")
    assert fetched("vitpose-base") == entry.path
    assert terms_of(entry.path).licence == entry.licence
    entry.path.write_bytes(b"tensor5")
    assert "differs from what was pinned" in (problem_of(entry) or "")


def test_the_first_digits_are_compared_where_no_more_is_published():
    entry = public_weights()["ssdlite320_mobilenet_v3_large"]
    receipt(entry, b"tensors")
    assert "differs from what was published" in (problem_of(entry) or "")


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 10**5, '{"sha256":1,"source":"x","pinned":true}', "{}"])
def test_a_broken_receipt_is_none(text):
    entry = public_weights()["vitpose-base"]
    entry.receipt.write_text(text)
    assert read_receipt(entry) is None
    assert read_receipt(public_weights()["yolox-s"]) is None


def test_terms_of_a_published_file_are_known_by_its_checksum(tmp_path):
    entry = public_weights()["rtmpose-t"]
    path = tmp_path / "renamed.onnx"
    path.write_bytes(b"anything")
    assert terms_of(path, entry.sha256) == zoo.Terms(entry.licence, entry.trained_on)
    assert terms_of(path) == zoo.Terms(None, None)
    assert terms_of(tmp_path / "none.onnx") == zoo.Terms(None, None)


def test_terms_of_the_packages_own_weights_are_on_their_cards():
    terms = terms_of(list_weights()[0].path)
    assert terms.licence is not None
    assert terms.licence.startswith("Apache-2.0")
    assert "COCO" in (terms.trained_on or "")


def test_the_page_about_weights_lists_every_entry():
    page = (Path(__file__).parents[2] / "docs/weights.md").read_text("utf-8")
    for entry in public_weights().values():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{entry.name}` |")]
        assert entry.licence in row
        assert entry.trained_on in row
