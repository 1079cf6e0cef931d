from __future__ import annotations

import json
import pickle
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posepipe.errors import WeightsError
from posepipe.io import weights
from posepipe.io.weights import list_weights, pin_weights, read_card, verify_weights, weights_path

onnx = pytest.importorskip("onnx")


def net(path, card=None, more=()):
    """A network that gives its input back."""
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 3])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [out])
    model = onnx.helper.make_model(graph)
    for key, text in (*more, *([] if card is None else [("posepipe", card)])):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, text
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A zoo of its own, with one network."""
    net(tmp_path / "tiny.onnx", json.dumps({"name": "tiny"}))
    row = '# a comment\n\n[tiny]\nfile = "tiny.onnx"\nkind = "sppe"\nlicence = "MIT"\nsha256 = ""\n'
    (tmp_path / "zoo.toml").write_text(row)
    monkeypatch.setattr(weights, "_ZOO", tmp_path / "zoo.toml")
    monkeypatch.setattr(weights, "_FOLDER", tmp_path)
    weights_path.cache_clear()
    yield tmp_path
    weights_path.cache_clear()


def test_embedded_weights_are_what_was_published():
    entries = list_weights()
    assert {"detector_small", "sppe_small", "action_small", "action_tad"} <= {entry.name for entry in entries}
    for entry in entries:
        assert verify_weights(entry) is None
        assert weights_path(entry.name) == entry.path
        card = read_card(entry.path)
        assert (card.name, card.kind) == (entry.name, entry.kind)
        assert card.licence.startswith(entry.licence)
        assert (card.input_size is not None) == (entry.kind in ("detector", "sppe"))
        assert entry.path.stat().st_size < 15e6


def test_pinning_lets_weights_be_used(zoo):
    with pytest.raises(WeightsError, match="differs"):
        weights_path("tiny")
    pin_weights()
    assert weights_path("tiny") == zoo / "tiny.onnx"
    assert (zoo / "zoo.toml").read_text().startswith("# a comment\n\n[tiny]\n")
    assert list_weights()[0].licence == "MIT"


@pytest.mark.parametrize("how", ["flip", "cut", "longer", "swap", "missing", "folder"])
def test_changed_weights_are_refused(zoo, how):
    pin_weights()
    path = zoo / "tiny.onnx"
    data = bytearray(path.read_bytes())
    path.unlink()
    if how == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif how == "cut":
        path.write_bytes(data[:-1])
    elif how == "longer":
        path.write_bytes(data + b"\0")
    elif how == "swap":
        net(path, "{}")
    elif how == "folder":
        path.mkdir()
    with pytest.raises(WeightsError, match=r"tiny\.onnx.*pip install") as error:
        weights_path("tiny")
    assert error.value.exit_code == 5
    if path.is_dir():
        shutil.rmtree(path)


def test_every_flipped_byte_is_found(zoo):
    pin_weights()
    path, entry = zoo / "tiny.onnx", list_weights()[0]
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
        assert verify_weights(entry) is not None


def test_unknown_names_are_told():
    with pytest.raises(WeightsError, match="sppe_small"):
        weights_path("sppe_huge")


def test_card_is_read_without_the_network(tmp_path):
    card = {"name": "t", "kind": "sppe", "version": "1", "licence": "MIT", "input_size": [256, 192], "padding": 1.25}
    read = read_card(net(tmp_path / "t.onnx", json.dumps(card), more=[("author", "someone"), ("posepipe2", "{}")]))
    assert (read.name, read.kind, read.version, read.licence, read.input_size) == ("t", "sppe", "1", "MIT", (256, 192))
    assert dict(read.values) == card
    assert read_card(net(tmp_path / "u.onnx", "{}")).input_size is None


@pytest.mark.parametrize("card", [None, "", "{", "[]", "[" * 10**5, '{"input_size":[0,1]}', '{"input_size":"big"}'])
def test_wrong_cards_are_told(tmp_path, card):
    with pytest.raises(WeightsError, match=r"t\.onnx") as error:
        read_card(net(tmp_path / "t.onnx", card))
    assert len(str(error.value)) < 400


class Payload:
    def __reduce__(self):
        return print, ("code was run",)


@pytest.mark.parametrize("kind", ["pickle", "zip", "text", "empty", "zeros", "ones", "long", "missing", "folder"])
def test_hostile_files_are_refused_and_nothing_is_run(tmp_path, kind, capsys):
    path = tmp_path / "evil.onnx"
    contents = {
        "pickle": pickle.dumps(Payload()),
        "zip": b"PK\x03\x04" + bytes(100),
        "text": b"weights" * 99,
        "empty": b"",
        "zeros": bytes(1000),
        "ones": b"\xff" * 1000,
        "long": b"\x72\xff\xff\xff\xff\x7f" + bytes(50),
    }
    if kind == "folder":
        path.mkdir()
    elif kind in contents:
        path.write_bytes(contents[kind])
    with pytest.raises(WeightsError, match=r"evil\.onnx"):
        read_card(path)
    assert "code was run" not in capsys.readouterr().out


@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(data)
    with pytest.raises(WeightsError):
        read_card(path)
