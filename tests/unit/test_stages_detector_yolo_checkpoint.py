"""The .pt files of ultralytics: the same answers as ultralytics' own predict, and nothing run from a hostile file."""

import importlib.util
import logging
import os
import signal
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from posepipe.errors import UsageError, WeightsError
from posepipe.stages.detector_yolo import open_yolo
from posepipe.types import Frame

torch = pytest.importorskip("torch")
if importlib.util.find_spec("ultralytics") is None:  # not by importing it: that would change this process
    pytest.skip("the extra posepipe[yolo] is not installed", allow_module_level=True)

from posepipe.stages.detector_yolo_checkpoint import contained

PICTURE = np.random.default_rng(1).integers(0, 256, (27, 40, 3), np.uint8)


def picture(height, width):
    """Blurred noise, BGR."""
    return cv2.resize(PICTURE, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSEPIPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Makes a .pt file of a network with random weights whose scores spread over [0,1]."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("pt") / f"{name}.pt"
            with contained():
                from ultralytics import YOLO

                torch.manual_seed(0)
                model = YOLO(f"{name}.yaml")
                network = model.model
                _spread(network)
                network.names = {i: "person" if i == 0 else f"class{i}" for i in range(len(network.names))}
                model.ckpt = {"model": network}
                model.save(made[name])
        return made[name]

    return make


def _spread(network):
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    pixels = torch.from_numpy(picture(256, 256)[None].transpose(0, 3, 1, 2).copy()).float() / 255
    with torch.no_grad():
        network.train()
        network(torch.cat([pixels, pixels.flip(3)]))
        network.eval()
    for part in ("cv2", "one2one_cv2", "cv4", "one2one_cv4"):  # boxes the right way round, keypoints near them
        for branch in getattr(network.model[-1], part, None) or []:
            if isinstance(branch[-1], torch.nn.Conv2d):
                branch[-1].weight.data.mul_(0.1)
    for part in ("cv3", "one2one_cv3"):
        for branch in getattr(network.model[-1], part, None) or []:
            branch[-1].bias.data.fill_(-5.0)
            branch[-1].bias.data[0] = -1.5
            branch[-1].weight.data.mul_(0.1)


def predict(path, image, least, **settings):
    """Boxes, scores and keypoints by ultralytics itself, without what lies outside the picture."""
    with contained():
        from ultralytics import YOLO

        found = YOLO(path, task="pose" if "pose" in str(path) else "detect").predict(
            image, conf=least, classes=[0], max_det=300, device="cpu", verbose=False, **settings
        )[0]
    boxes = found.boxes.xyxy.numpy()
    solid = (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
    points = found.keypoints.data.numpy()[solid] if found.keypoints is not None else None
    return boxes[solid], found.boxes.conf.numpy()[solid], points


def agree(detector, want, image):
    """The detector says what ``want`` says; returns the number of people."""
    boxes, score, points = want
    frame = Frame(0, 0.0, np.ascontiguousarray(image[..., ::-1]))
    found = detector.detect(frame)
    assert len(found) == len(boxes)
    if len(boxes) == 0:
        return 0
    # People of nearly the same score may change places.
    distance = np.abs(found.boxes[:, None] - boxes[None]).max(-1)
    order = distance.argmin(1)
    assert len(set(order)) == len(boxes)
    assert distance.min(1).max() < 0.05
    assert np.allclose(found.score, score[order], atol=1e-3)
    if points is not None:
        pose = detector.estimate([frame], [found])[0]
        inside = np.clip(pose.xy, 0, [image.shape[1], image.shape[0]])  # ultralytics clips keypoints to the picture
        assert np.allclose(inside, points[order, :, :2], atol=0.05)
        assert np.allclose(pose.score, points[order, :, 2], atol=1e-3)
    return len(boxes)


@pytest.mark.parametrize(("name", "least"), [("yolo11n", 0.4), ("yolo11n-pose", 0.4), ("yolo26n-pose", 0.6)])
def test_people_are_those_of_ultralytics_own_predict(checkpoint, name, least):
    path = checkpoint(name)
    detector = open_yolo(path, score=least, max_people=300, device="cpu")
    assert "ultralytics" in detector.description
    assert detector.weights == path
    shapes = [(270, 400), (333, 1001), (333, 40)]
    assert sum(agree(detector, predict(path, picture(*shape), least), picture(*shape)) for shape in shapes) > 0


@pytest.mark.parametrize("settings", [{}, {"dynamic": True}, {"nms": True}])
def test_onnx_exports_give_the_same_people_too(checkpoint, settings):
    pytest.importorskip("onnx")
    with contained():
        from ultralytics import YOLO

        model = YOLO(checkpoint("yolo11n-pose"))
        path = model.export(format="onnx", imgsz=320, simplify=False, device="cpu", verbose=False, **settings)
    detector = open_yolo(path, score=0.4, max_people=300, device="cpu")
    assert "ONNX Runtime" in detector.description
    people = [agree(detector, predict(path, picture(*s), 0.4, imgsz=320), picture(*s)) for s in ((270, 400), (333, 40))]
    assert sum(people) > 0


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *values):
        self.function, self.values = function, values

    def __reduce__(self):
        return self.function, self.values


def _hostile(mark: Path):
    from ultralytics.cfg import get_cfg  # noqa: F401 - a function of ultralytics that is no layer
    from ultralytics.nn.tasks import DetectionModel, yaml_model_load

    write = f"open({str(mark)!r}, 'w').close()"
    layers = yaml_model_load("yolo11n.yaml")
    return {
        "system": Call(os.system, f"touch {mark}"),
        "eval": Call(eval, write),
        "exec": Call(exec, write),
        "import": Call(__import__, "this"),
        "getattr": Call(getattr, Call(__import__, "os"), "getcwd"),
        "hub": Call(torch.hub.load, "owner/repository", "network"),
        "function": Call(yaml_model_load, "yolo11n.yaml"),
        "activation": Call(DetectionModel, {**layers, "activation": write}),
        "layer": Call(DetectionModel, {**layers, "head": [[-1, 1, "check_requirements", ["colorama"]]]}),
        "arguments": Call(DetectionModel, {**layers, "head": [[-1, 1, "Conv", [write]]]}),
    }


@pytest.mark.parametrize(
    "name", ["system", "eval", "exec", "import", "getattr", "hub", "function", "activation", "layer", "arguments"]
)
@pytest.mark.parametrize("place", ["model", "ema", "train_args"])
def test_a_hostile_file_runs_nothing(tmp_path, name, place):
    mark = tmp_path / "ran"
    with contained():
        payload = _hostile(mark)[name]
    torch.save({"model": None, place: payload}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match=r"evil\.pt.*yolo export"):
        open_yolo(tmp_path / "evil.pt", device="cpu")
    assert not mark.exists()


def test_files_that_hold_no_network(tmp_path, checkpoint):
    files = {
        "empty.pt": b"",
        "text.pt": b"hello",
        "cut.pt": checkpoint("yolo11n").read_bytes()[:50_000],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"weights": torch.zeros(3)}, tmp_path / "state.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "linear.pt")
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "wrapped.pt")
    for name in (*files, "state.pt", "linear.pt", "wrapped.pt"):
        with pytest.raises(WeightsError, match=name):
            open_yolo(tmp_path / name, device="cpu")


def test_networks_without_boxes_are_refused(checkpoint):
    with pytest.raises(WeightsError, match="Classify"):
        open_yolo(checkpoint("yolo11n-cls"), device="cpu")


def test_cuda_that_is_not_there(checkpoint):
    if torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    with pytest.raises(UsageError, match="cuda"):
        open_yolo(checkpoint("yolo11n"), device="cuda")


def test_threads_are_set_for_the_call_only(checkpoint):
    before = torch.get_num_threads()
    open_yolo(checkpoint("yolo11n"), device="cpu", threads=1).detect(Frame(0, 0.0, picture(64, 64)))
    assert torch.get_num_threads() == before


def state():
    from PIL import Image

    return {
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "cv2 threads": cv2.getNumThreads(),
        "cv2": (cv2.imread, cv2.imwrite, cv2.imshow),
        "numpy": np.get_printoptions(),
        "torch print": vars(torch._tensor_str.PRINT_OPTS).copy(),
        "torch": (torch.save, torch.load, torch.get_num_threads()),
        "pillow": Image.open,
        "warnings": list(warnings.filters),
        "loggers": [logging.getLogger(n).level for n in ("", "coremltools", "sentry_sdk")],
        "handlers": list(logging.getLogger().handlers),
        "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
    }


def test_the_first_import_leaves_the_process_as_it_was(tmp_path):
    """In a process of its own, where nothing has imported ultralytics yet."""
    import subprocess
    import sys

    program = f"""
import sys, pathlib, cv2
sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
cv2.setNumThreads(3)
import test_stages_detector_yolo_checkpoint as tests
for name in [n for n in sys.modules if n.split(".")[0] == "ultralytics"]:
    raise SystemExit(f"{{name}} is imported already")
before = tests.state()
pathlib.Path("evil.pt").write_bytes(b"x")
try:
    tests.open_yolo("evil.pt", device="cpu")
except tests.WeightsError:
    pass
assert "ultralytics.nn.tasks" in sys.modules
after = tests.state()
changed = {{k: (before[k], after[k]) for k in before if before[k] != after[k]}}
assert not changed, changed
from ultralytics.utils import ONLINE, SETTINGS
assert not ONLINE and str(SETTINGS.file).startswith({str(tmp_path)!r}), SETTINGS.file
print("unchanged")
"""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("YOLO_", "OMP_"))},
        "POSEPIPE_CACHE": str(tmp_path / "cache"),
        "HOME": str(tmp_path / "home"),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith("unchanged"), done.stdout
    assert not (tmp_path / "home").exists(), "nothing is written into the user's folders"
