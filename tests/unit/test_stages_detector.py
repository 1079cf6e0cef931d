import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tiny_nets import box_net, fixed_net, spot_net

from posepipe.errors import WeightsError
from posepipe.stages import Detector
from posepipe.stages.detector import OnnxDetector, people_boxes
from posepipe.stages.pixels import fit_picture, letterbox
from posepipe.types import Frame

SIZE = (96, 128)


@pytest.fixture(scope="module")
def detectors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nets")
    return {
        how: OnnxDetector(box_net(folder / f"{how}.onnx", SIZE, resize=how, nms_iou=0.6), device="cpu")
        for how in ("letterbox", "stretch")
    }


def frame_with_box(height, width, box):
    image = np.zeros((height, width, 3), np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = 255
    return Frame(0, 0.0, image)


@given(
    height=st.integers(8, 700),
    width=st.integers(8, 700),
    corners=st.tuples(*[st.floats(0.05, 0.95)] * 4),
    how=st.sampled_from(["letterbox", "stretch"]),
)
@settings(max_examples=60, deadline=None)
def test_a_box_comes_back_where_it_was_whatever_the_size(detectors, height, width, corners, how):
    cell = max(height / SIZE[0], width / SIZE[1]) if how == "letterbox" else 0
    across, down = cell or width / SIZE[1], cell or height / SIZE[0]
    (x1, x2), (y1, y2) = (
        sorted((int(corners[i] * n), int(corners[i + 2] * n) + 1)) for i, n in ((0, width), (1, height))
    )
    assume(x2 - x1 >= 7 * max(across, 1) and y2 - y1 >= 7 * max(down, 1))
    found = detectors[how].detect(frame_with_box(height, width, (x1, y1, x2, y2)))
    assert len(found) == 1, "the second, nearly equal box is the same person"
    # Half-lit pixels at the edge may fall to either side: one input pixel and what a fallen-out row hides.
    error = np.abs(found.boxes[0] - [x1, y1, x2, y2])
    assert (error <= np.array([across, down, across, down]) * 1.5 + 1).all()
    assert found.score[0] == np.float32(0.9)
    assert found.boxes.dtype == found.score.dtype == np.float32


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 3), (4320, 7680), (10, 20000)])
@pytest.mark.parametrize("how", ["letterbox", "stretch"])
def test_any_picture_size_gives_boxes_inside_the_picture(detectors, shape, how):
    white = Frame(0, 0.0, np.full((*shape, 3), 255, np.uint8))
    found = detectors[how].detect(white)
    assert len(found) == 1
    height, width = shape
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [width, height, width, height]).all()
    assert (found.boxes[:, 2:] - found.boxes[:, :2] >= 1).all()
    assert len(detectors[how].detect(Frame(0, 0.0, np.zeros((*shape, 3), np.uint8)))) == 0


def test_the_card_says_how_to_resize(tmp_path):
    with pytest.raises(WeightsError, match="resizing"):
        OnnxDetector(box_net(tmp_path / "net.onnx", SIZE, resize="crop"), device="cpu")


def test_it_is_a_detector_and_says_what_it_runs_on(detectors):
    assert isinstance(detectors["stretch"], Detector)
    assert "CPUExecutionProvider" in detectors["stretch"].description
    assert detectors["stretch"].weights.name == "stretch.onnx"


def test_networks_of_another_kind_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="not a person detector"):
        OnnxDetector(spot_net(tmp_path / "pose.onnx", (32, 24)), device="cpu")
    path = fixed_net(tmp_path / "free.onnx", {"boxes": np.zeros((2, 4)), "score": np.zeros(2)}, ["N", 3, "H", "W"])
    with pytest.raises(WeightsError, match="not a person detector"):
        OnnxDetector(path, device="cpu")


def test_numbers_that_are_not_finite_are_nobody(tmp_path):
    boxes = np.array([[np.nan, 0, 9, 9], [0, 0, np.inf, 9], [10, 10, 30, 40], [10, 10, 30, 40]], np.float32)
    score = np.array([0.9, 0.9, np.nan, 0.8], np.float32)
    path = fixed_net(tmp_path / "net.onnx", {"boxes": boxes, "score": score}, ["N", 3, *SIZE])
    found = OnnxDetector(path, device="cpu").detect(Frame(0, 0.0, np.zeros((*SIZE, 3), np.uint8)))
    assert found.boxes.tolist() == [[10, 10, 30, 40]]


def test_only_the_best_people_are_kept_in_order():
    boxes = np.array([[20 * i, 0, 20 * i + 10, 10] for i in range(6)], np.float32)
    score = np.array([0.5, 0.9, 0.3, 0.7, 0.8, 0.39], np.float32)
    found, rows = people_boxes(boxes, score, (50, 200), least=0.4, overlap=0.5, most=3)
    assert rows.tolist() == [1, 4, 3]
    assert np.allclose(found.score, [0.9, 0.8, 0.7])


def test_boxes_are_clipped_and_empty_ones_dropped_after_suppression():
    boxes = np.array(
        [[-50, -50, 20, 20], [60, 60, 90, 90], [5, 5, 5, 30], [30, 30, 20, 10], [0, 0, 0.5, 40]], np.float32
    )
    found, rows = people_boxes(boxes, np.full(5, 0.9, np.float32), (40, 40), least=0.4, overlap=0.5, most=9)
    assert rows.tolist() == [0]
    assert found.boxes.tolist() == [[0, 0, 20, 20]]


def test_no_suppression_at_an_overlap_of_one():
    boxes = np.repeat(np.array([[0, 0, 20, 20]], np.float32), 3, 0)
    found, _ = people_boxes(boxes, np.full(3, 0.9, np.float32), (40, 40), least=0.4, overlap=1.0, most=9)
    assert len(found) == 3


@given(
    st.lists(st.tuples(*[st.floats(width=32, allow_nan=True, allow_infinity=True)] * 5), max_size=30),
    st.integers(1, 3000),
    st.integers(1, 3000),
)
def test_whatever_a_network_says_people_are_sound(rows, height, width):
    table = np.array(rows, np.float32).reshape(-1, 5)
    found, picks = people_boxes(table[:, :4], table[:, 4], (height, width), least=0.3, overlap=0.6, most=5)
    assert len(found) == len(picks) <= 5
    assert (np.diff(found.score) <= 0).all()
    assert ((found.boxes[:, 2:] - found.boxes[:, :2]) >= 1).all()
    assert ((found.boxes >= 0) & (found.boxes <= [width, height, width, height])).all()


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(1, 700), st.integers(1, 700))
def test_a_letterbox_fits_and_touches(height, width, box_height, box_width):
    inner = letterbox((height, width), (box_height, box_width))
    assert 1 <= inner[0] <= box_height
    assert 1 <= inner[1] <= box_width
    assert inner[0] == box_height or inner[1] == box_width


@given(
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.tuples(st.integers(1, 64), st.integers(1, 64)),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.booleans(),
)
@settings(deadline=None)
def test_the_way_back_of_a_view_undoes_it(shape, inner, corner, smooth):
    size = (inner[0] + corner[0] + 3, inner[1] + corner[1])
    picture, view = fit_picture(np.full((*shape, 3), 7, np.uint8), inner, size, corner, smooth=smooth)
    assert picture.shape == (*size, 3)
    assert (picture[corner[0] : corner[0] + inner[0], corner[1] : corner[1] + inner[1]] == 7).all()
    edges = view.to_picture(np.array([[corner[1], corner[0]], [corner[1] + inner[1], corner[0] + inner[0]]]))
    assert np.allclose(edges[0], 0)
    # Averaging drops at most what is left over by a power of two.
    lost = np.array(shape[::-1]) - edges[1]
    assert (lost >= -1e-6).all()
    assert (lost < np.maximum(1e-6, np.array(shape[::-1]) / np.array(inner[::-1]))).all()


def test_fine_structure_is_averaged_not_picked():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    fine, _ = fit_picture(stripes, (64, 64), (64, 64))
    assert np.abs(fine.astype(int) - 127).max() <= 1
