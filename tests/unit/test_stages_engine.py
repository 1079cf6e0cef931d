import numpy as np
import onnxruntime
import pytest
from tiny_nets import box_net, fixed_net, save, spot_net

from posepipe.errors import UsageError, WeightsError
from posepipe.stages.engine import Engine


@pytest.fixture
def images():
    return np.random.default_rng(5).integers(0, 256, (8, 3, 32, 24)).astype(np.float32)


def test_rows_do_not_depend_on_the_batch_they_are_in(tmp_path, images):
    path = spot_net(tmp_path / "net.onnx", (32, 24), decode="posterior")
    together = Engine(path, device="cpu", batch=8).run(images)[0]
    for batch in (1, 3):
        assert np.array_equal(Engine(path, device="cpu", batch=batch).run(images)[0], together)
    alone = np.concatenate([Engine(path, device="cpu").run(images[i : i + 1])[0] for i in range(8)])
    assert np.array_equal(alone, together)


def test_a_fixed_batch_is_filled_up_and_the_filling_is_not_seen(tmp_path, images):
    free = Engine(spot_net(tmp_path / "free.onnx", (32, 24), decode="peaks"), device="cpu")
    fixed = Engine(spot_net(tmp_path / "fixed.onnx", (32, 24), batch=5, decode="peaks"), device="cpu")
    assert np.array_equal(fixed.run(images)[0], free.run(images)[0])


def test_the_description_says_what_is_used(tmp_path):
    engine = Engine(spot_net(tmp_path / "net.onnx", (32, 24)), device="cpu", threads=2)
    assert engine.device == "cpu"
    assert engine.description == f"ONNX Runtime {onnxruntime.__version__} CPUExecutionProvider, 2 threads"


def test_cuda_that_is_not_there_is_an_error_when_asked_for_and_else_the_cpu(tmp_path):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this build of ONNX Runtime has CUDA")
    path = spot_net(tmp_path / "net.onnx", (32, 24))
    assert "CPUExecutionProvider" in Engine(path, device="auto").description
    with pytest.raises(UsageError, match="onnxruntime-gpu"):
        Engine(path, device="cuda")
    with pytest.raises(UsageError, match="auto, cpu or cuda"):
        Engine(path, device="tpu")


def test_a_missing_file_and_files_that_are_no_networks(tmp_path):
    with pytest.raises(WeightsError, match="no weights file"):
        Engine(tmp_path / "none.onnx")
    with pytest.raises(WeightsError, match="no weights file"):
        Engine(tmp_path)
    for name, content in (("empty", b""), ("text", b"hello"), ("noise", bytes(range(256)) * 40)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            Engine(tmp_path / name)


def test_a_network_cut_short(tmp_path):
    whole = spot_net(tmp_path / "net.onnx", (32, 24), decode="posterior").read_bytes()
    for part in range(1, 10):
        (tmp_path / "part.onnx").write_bytes(whole[: len(whole) * part // 10])
        with pytest.raises(WeightsError):
            Engine(tmp_path / "part.onnx").run(np.zeros((1, 3, 32, 24), np.float32))


def test_an_input_that_does_not_fit_names_the_file_and_the_shape(tmp_path):
    engine = Engine(spot_net(tmp_path / "net.onnx", (32, 24)), device="cpu")
    with pytest.raises(WeightsError, match=r"net\.onnx.*\(1, 3, 16, 16\)"):
        engine.run(np.zeros((1, 3, 16, 16), np.float32))


def test_a_network_of_two_inputs_is_refused(tmp_path):
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "abc"]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "two", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "two.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match="one batch"):
        Engine(tmp_path / "two.onnx")


@pytest.mark.parametrize("card", ["{", "[1]", '"text"'])
def test_a_card_that_is_no_object(tmp_path, card):
    path = fixed_net(tmp_path / "net.onnx", {"a": np.zeros(2)}, ["N", 3, 4, 4], {"posepipe": card})
    with pytest.raises(WeightsError, match="card"):
        Engine(path, device="cpu")


@pytest.mark.parametrize("value", ["1.25", None, -1, 0, 1e9, True and [1]])
def test_numbers_of_a_card_are_checked(tmp_path, value):
    engine = Engine(box_net(tmp_path / "net.onnx", (8, 8), padding=value), device="cpu")
    with pytest.raises(WeightsError, match="padding"):
        engine.number("padding", 1.25)
    assert engine.number("absent", 0.5) == 0.5


def test_half_precision_inputs_are_cast(tmp_path):
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Cast", ["image"], ["out"], to=TensorProto.FLOAT)],
        "half",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT16, ["N", 2])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "half.onnx").write_bytes(model.SerializeToString())
    out = Engine(tmp_path / "half.onnx", device="cpu").run(np.array([[1.5, 2.0]], np.float32))[0]
    assert out.tolist() == [[1.5, 2.0]]


def test_save_makes_networks_that_load(tmp_path):
    from onnx import helper

    path = save(tmp_path / "n.onnx", [helper.make_node("Identity", ["image"], ["o"])], {}, ["N", 2], {"o": 2})
    assert Engine(path, device="cpu").shape == (2,)
