import sys

import numpy as np
import pytest

from posepipe.errors import MissingExtraError, UsageError, WeightsError
from posepipe.stages import Detector, PoseEstimator
from posepipe.stages.detector_torchvision import KeypointRcnn, TorchvisionDetector, open_torchvision
from posepipe.types import Frame

SMALL = "ssdlite320_mobilenet_v3_large"


def grey(height=90, width=120):
    return Frame(0, 0.0, np.full((height, width, 3), 90, np.uint8))


class Says:
    """A network that says the same of every picture."""

    def __init__(self, **found):
        import torch

        self.found = {key: torch.tensor(value) for key, value in found.items()}
        self.weight = torch.zeros(1)

    def parameters(self):
        return iter([self.weight])

    def __call__(self, images):
        self.shape, self.largest = tuple(images[0].shape), float(images[0].max())
        return [self.found]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch, torchvision = pytest.importorskip("torch"), pytest.importorskip("torchvision")
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    network = torchvision.models.get_model(SMALL, weights=None, weights_backbone=None)
    torch.save(network.state_dict(), path)
    torch.save({"model": network.state_dict(), "epoch": 3}, path.with_name("training.pth"))
    return path


def test_weights_of_a_file_and_of_a_training_checkpoint(weights):
    detector = open_torchvision(f"{SMALL}:{weights}", device="cpu", score=0.0, max_people=4)
    assert isinstance(detector, Detector)
    assert detector.weights == weights
    assert detector.description.startswith("torchvision ")
    found = detector.detect(grey())
    assert len(found) <= 4
    other = open_torchvision(f"{SMALL}:{weights.with_name('training.pth')}", device="cpu", score=0.0, max_people=4)
    assert np.array_equal(other.detect(grey()).boxes, found.boxes)


def test_only_people_above_the_score_count():
    pytest.importorskip("torch")
    boxes = [[0.0, 0, 30, 80], [10, 0, 60, 80], [5, 5, 90, 70], [90, 5, 300, 70]]
    network = Says(boxes=boxes, labels=[1, 3, 1, 1], scores=[0.9, 0.8, 0.3, 0.7])
    detector = TorchvisionDetector(network, None, "", 0, 0.4, 9)
    assert detector.detect(grey()).boxes.tolist() == [[0, 0, 30, 80], [90, 5, 120, 70]]
    assert network.shape == (3, 90, 120)
    assert network.largest == pytest.approx(90 / 255)


def test_keypoint_rcnn_fills_both_stages():
    pytest.importorskip("torch")
    keypoints = np.stack([np.linspace(1, 20, 17), np.linspace(5, 70, 17), np.ones(17)], 1)[None].astype(np.float32)
    logits = np.full((1, 17), 2.0, np.float32)
    logits[0, 3:5] = -50, 9
    found = {"boxes": [[0.0, 0, 30, 80]], "labels": [1], "scores": [0.9], "keypoints": keypoints}
    both = KeypointRcnn(Says(**found, keypoints_scores=logits), None, "", 0, 0.4, 9)
    assert isinstance(both, PoseEstimator)
    frame = grey()
    pose = both.estimate([frame], [both.detect(frame)])[0]
    assert np.allclose(pose.xy[0], keypoints[0, :, :2])
    assert pose.score[0, 0] == 0.5
    assert pose.score[0, 3] < 1e-6
    assert pose.score[0, 4] > 0.99
    nobody = KeypointRcnn(Says(**{**found, "scores": [0.1]}, keypoints_scores=logits), None, "", 0, 0.4, 9)
    assert len(nobody.find(grey())) == 0


def test_unknown_names_list_the_known_ones():
    pytest.importorskip("torchvision")
    with pytest.raises(UsageError, match="Did you mean 'fasterrcnn_resnet50_fpn'"):
        open_torchvision("fasterrcnn_resnet50_fnp")
    with pytest.raises(UsageError, match="cpu or cuda"):
        open_torchvision(SMALL, device="tpu")


def test_weights_that_are_not_there(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    with pytest.raises(WeightsError, match=f"torchvision:{SMALL}:FILE"):
        open_torchvision(f"{SMALL}:{tmp_path / 'none.pth'}", device="cpu")

    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsError, match=f"not fetched.*posepipe models fetch {SMALL}"):
        open_torchvision(SMALL, device="cpu")
    # What torch has in its own cache counts only if it is what was published.
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / f"{SMALL}_coco-a79551df.pth").write_bytes(b"other")
    with pytest.raises(WeightsError, match=f"posepipe models fetch {SMALL}"):
        open_torchvision(SMALL, device="cpu")


def test_weights_that_were_fetched_are_used(tmp_path, monkeypatch, weights):
    from posepipe.io.download import fetch
    from posepipe.io.zoo import public_weights

    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path))
    entry = public_weights()[SMALL]
    fetch(entry, str(weights), pin=True)
    assert open_torchvision(SMALL, device="cpu").weights == entry.path


def test_files_of_something_else(tmp_path, weights):
    import torch

    class Evil:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    torch.save(Evil(), tmp_path / "evil.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "cut.pth").write_bytes(weights.read_bytes()[:9000])
    for name in ("other", "evil", "list", "text", "cut"):
        with pytest.raises(WeightsError, match=f"{name}.pth does not hold the weights"):
            open_torchvision(f"{SMALL}:{tmp_path / name}.pth", device="cpu")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("missing", ["torch", "torchvision"])
def test_without_the_extra(monkeypatch, missing):
    if missing == "torchvision":
        pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"posepipe\[torch\]"):
        open_torchvision(SMALL, device="cpu")
