import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_nets import fixed_net, spot_net

from posepipe.errors import WeightsError
from posepipe.geometry import affine_points, crop_affine
from posepipe.heatmaps import CellGrid
from posepipe.stages import PoseEstimator
from posepipe.stages.pixels import cut_person
from posepipe.stages.pose import OnnxPose
from posepipe.types import Detections, Frame

SIZE = (64, 48)
POSTERIOR = {"decode": "posterior", "padding": 1.25, "skeleton": "coco17"}
PEAKS = {"decode": "peaks", "padding": 1.25}


@pytest.fixture(scope="module")
def poses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nets")
    return {
        "posterior": OnnxPose(spot_net(folder / "posterior.onnx", SIZE, **POSTERIOR), device="cpu"),
        "peaks": OnnxPose(spot_net(folder / "peaks.onnx", SIZE, **PEAKS), device="cpu"),
    }


def spot(height, width, x, y, radius):
    """A bright gaussian spot at pixel index (x, y)."""
    down, across = np.mgrid[:height, :width]
    grey = 255 * np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * radius**2))
    return np.repeat(grey.round().astype(np.uint8)[..., None], 3, 2)


def people(*boxes):
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9, np.float32))


@pytest.mark.parametrize("kind", ["posterior", "peaks"])
@given(
    scale=st.floats(0.4, 9),
    place=st.tuples(st.floats(0.25, 0.75), st.floats(0.25, 0.75)),
    shift=st.tuples(st.floats(-15, 15), st.floats(-15, 15)),
)
@settings(max_examples=25, deadline=None)
def test_a_spot_is_found_where_it_is_at_any_size(poses, kind, scale, place, shift):
    box = np.array([20, 15, 20 + 40 * scale, 15 + 52 * scale]) + np.tile(shift, 2)
    x, y = box[0] + place[0] * 40 * scale, box[1] + place[1] * 52 * scale
    image = spot(int(box[3]) + 25, int(box[2]) + 25, x, y, 8 * scale)
    pose = poses[kind].estimate([Frame(0, 0.0, image)], [people(box)])[0]
    # A cell of the map is four pixels of the crop; the answer is within an eighth of a cell.
    error = np.hypot(*(pose.xy[0] - [x, y]).T)
    assert error.max() <= 0.5 * 1.25 * scale + 0.3
    assert (pose.score[0] > 0.1).all()


def test_results_do_not_depend_on_how_frames_are_grouped(tmp_path):
    rng = np.random.default_rng(3)
    frames = [Frame(i, i / 25, rng.integers(0, 256, (120, 160, 3), np.uint8)) for i in range(7)]
    found = []
    for _ in frames:
        corners = rng.uniform(0, 60, (rng.integers(0, 4), 2))
        found.append(people(*np.concatenate([corners, corners + rng.uniform(20, 90, corners.shape)], 1)))
    path = spot_net(tmp_path / "net.onnx", SIZE, **POSTERIOR)
    together = OnnxPose(path, device="cpu", batch=8).estimate(frames, found)
    for batch in (1, 3):
        pose = OnnxPose(path, device="cpu", batch=batch)
        alone = [pose.estimate([f], [d])[0] for f, d in zip(frames, found, strict=True)]
        for one, all_ in zip(alone, together, strict=True):
            assert np.array_equal(one.xy, all_.xy)
            assert np.array_equal(one.score, all_.score)
    assert [len(p) for p in together] == [len(d) for d in found]


def test_empty_in_empty_out(poses):
    pose = poses["posterior"]
    assert pose.estimate([], []) == []
    nobody = pose.estimate([Frame(0, 0.0, np.zeros((9, 9, 3), np.uint8))], [Detections()])
    assert [len(p) for p in nobody] == [0]
    assert nobody[0].xy.shape == (0, 17, 2)


ABSURD = [
    [5, 5, 5, 5],
    [30, 40, 10, 10],
    [-1e6, -1e6, -9e5, -9e5],
    [1e6, 1e6, 2e6, 2e6],
    [-1e30, -1e30, 1e30, 1e30],
    [-3e38, -3e38, 3e38, 3e38],
    [0, 0, 1e-30, 1e-30],
    [0, 0, 1e9, 1],
    [0, 0, 1, 1e9],
]


@pytest.mark.parametrize("kind", ["posterior", "peaks"])
@pytest.mark.parametrize("shape", [(1, 1), (40, 60), (1, 4000)])
def test_absurd_boxes_give_finite_poses(poses, kind, shape):
    frame = Frame(0, 0.0, np.full((*shape, 3), 90, np.uint8))
    pose = poses[kind].estimate([frame], [people(*ABSURD)])[0]
    assert len(pose) == len(ABSURD)
    assert np.isfinite(pose.xy).all()
    assert ((pose.score >= 0) & (pose.score <= 1)).all()


def test_maps_that_are_not_finite_are_missing_keypoints(tmp_path):
    maps = np.zeros((17, 16, 12), np.float32)
    maps[:, 5, 6] = 1
    maps[3] = np.nan
    maps[4, 0, 0] = np.inf
    pose = OnnxPose(fixed_net(tmp_path / "net.onnx", {"maps": maps}, ["N", 3, *SIZE]), device="cpu")
    out = pose.estimate([Frame(0, 0.0, np.zeros((80, 60, 3), np.uint8))], [people([0, 0, 60, 80])])[0]
    assert np.flatnonzero(out.score[0] == 0).tolist() == [3, 4]
    assert np.isfinite(out.xy).all()


def test_scores_of_small_joints_allow_for_the_gaussians_of_the_training(tmp_path):
    """A map as sure as the training's targets: certain, where the card says how wide those were."""
    size, down, across = (256, 192), *np.mgrid[:64, :48]
    maps = np.exp(-((across - 24) ** 2 + (down - 30) ** 2) / (2 * 1.5**2)).astype(np.float32)
    maps = np.repeat(maps[None] / maps.sum(), 17, 0)
    frame, box = Frame(0, 0.0, np.zeros((256, 192, 3), np.uint8)), people([20, 25, 172, 231])
    scores = {}
    for sigma in (None, 1.5):
        card = POSTERIOR if sigma is None else POSTERIOR | {"sigma": sigma}
        about = {"posepipe": json.dumps(card)}
        path = fixed_net(tmp_path / f"{sigma}.onnx", {"heatmaps": maps}, ["N", 3, *size], about)
        scores[sigma] = OnnxPose(path, device="cpu").estimate([frame], [box])[0].score[0]
    eyes, hips = [1, 2], [11, 12]
    assert (scores[1.5] > 0.97).all()
    assert (scores[None][eyes] < 0.6).all()
    assert (scores[None][hips] > 0.9).all()


def test_a_network_without_a_card_gets_imagenet_pixels_and_peaks(tmp_path):
    from onnx import helper
    from tiny_nets import save

    nodes = [
        helper.make_node("ReduceMean", ["image"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("AveragePool", ["grey"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Concat", ["cells"] * 17, ["maps"], axis=1),
    ]
    bare = OnnxPose(save(tmp_path / "bare.onnx", nodes, {}, ["N", 3, *SIZE], {"maps": 4}), device="cpu")
    card = {"posepipe": json.dumps({"decode": "peaks"})}
    carded = OnnxPose(save(tmp_path / "card.onnx", nodes, {}, ["N", 3, *SIZE], {"maps": 4}, card), device="cpu")
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    for shade in (118, 124, 130):
        frame = Frame(0, 0.0, np.full((80, 60, 3), shade, np.uint8))
        want = ((shade - mean) / std).mean()
        score = bare.estimate([frame], [people([0, 0, 60, 80])])[0].score
        assert np.allclose(score.max(), np.clip(want, 0, 1), atol=1e-5)
        assert carded.estimate([frame], [people([0, 0, 60, 80])])[0].score.max() == 1


@pytest.mark.parametrize(
    ("outputs", "shape"),
    [
        ({"coords": np.zeros((17, 2))}, ["N", 3, 64, 48]),
        ({"maps": np.zeros((14, 16, 12))}, ["N", 3, 64, 48]),
        ({"maps": np.zeros((17, 16, 16))}, ["N", 3, 64, 48]),
        ({"maps": np.zeros((17, 2, 2))}, ["N", 3, 64, 64]),
        ({"maps": np.zeros((17, 16, 12))}, ["N", 3, "H", "W"]),
        ({"maps": np.zeros((17, 16, 12))}, ["N", 1, 64, 48]),
        ({"maps": np.zeros((17, 16, 12))}, ["N", 100]),
    ],
)
def test_networks_of_another_kind_are_refused(tmp_path, outputs, shape):
    with pytest.raises(WeightsError, match=r"net\.onnx"):
        OnnxPose(fixed_net(tmp_path / "net.onnx", outputs, shape), device="cpu")


@pytest.mark.parametrize("card", [{"decode": "simcc"}, {"skeleton": "halpe26"}, {"padding": "wide"}])
def test_cards_that_ask_for_the_unknown(tmp_path, card):
    with pytest.raises(WeightsError, match="card"):
        OnnxPose(spot_net(tmp_path / "net.onnx", SIZE, **card), device="cpu")


def test_it_is_a_pose_estimator(poses):
    assert isinstance(poses["peaks"], PoseEstimator)
    assert poses["peaks"].skeleton.name == "coco17"
    assert "ONNX Runtime" in poses["peaks"].description


def test_a_crop_shows_the_picture_at_the_places_of_the_affine_map():
    # A gradient in both directions: the crop's values say which place of the picture they came from.
    down, across = np.mgrid[:200, :220]
    image = np.stack([across, down, np.zeros_like(down)], -1).astype(np.uint8)
    for box in ([10, 20, 200, 190], [50, 60, 70, 95], [-40, -10, 60, 120], [0, 0, 220, 200]):
        matrix = crop_affine(np.array([box]), SIZE)[0]
        crop = cut_person(image, matrix, SIZE)
        v, u = np.mgrid[: SIZE[0], : SIZE[1]]
        back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
        place = affine_points(back, np.stack([u, v], -1).reshape(-1, 2)).reshape(*SIZE, 2)
        inside = ((place > 4) & (place < [214, 194])).all(-1)
        assert np.abs(crop[inside][:, :2] - place[inside]).max() <= 1.6


def test_outside_the_picture_is_black():
    white = np.full((50, 50, 3), 255, np.uint8)
    crop = cut_person(white, crop_affine(np.array([[0, 0, 50, 50]]), SIZE, 2.0)[0], SIZE)
    assert (crop[0] == 0).all()
    assert (crop[SIZE[0] // 2, SIZE[1] // 2] == 255).all()


def test_large_people_are_averaged_not_picked():
    stripes = np.zeros((1024, 768, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = cut_person(stripes, crop_affine(np.array([[0, 0, 768, 1024]]), SIZE, 1.0)[0], SIZE)
    assert np.abs(crop[4:-4, 4:-4].astype(int) - 127).max() <= 1


def test_pictures_wider_than_opencv_can_warp():
    image = np.zeros((20, 40_000, 3), np.uint8)
    image[:, 39_000:39_010] = 255
    crop = cut_person(image, crop_affine(np.array([[38_990, 0, 39_020, 20]]), SIZE)[0], SIZE)
    assert crop.max() == 255


def cell_net(path, size, cells, **card):
    """Every map is the red channel at the places of its cells: a network trained with that convention."""
    from onnx import helper
    from tiny_nets import save

    (height, width), h, w = size, size[0] // 4, size[1] // 4
    grid = CellGrid.of(cells, size, (h, w))
    columns = grid.to_crop(np.stack([np.arange(w), np.zeros(w)], -1))[:, 0]
    rows = grid.to_crop(np.stack([np.zeros(h), np.arange(h)], -1))[:, 1]

    def sampling(places, length):
        low = np.floor(places).astype(int)
        matrix = np.zeros((len(places), length), np.float32)
        matrix[np.arange(len(places)), low] = 1 - (places - low)
        matrix[np.arange(len(places)), np.minimum(low + 1, length - 1)] += places - low
        return matrix

    red = np.zeros((17, 3, 1, 1), np.float32)
    red[:, 0] = 1 / 255
    nodes = [
        helper.make_node("Conv", ["image", "red"], ["seventeen"]),
        helper.make_node("MatMul", ["down", "seventeen"], ["rows"]),
        helper.make_node("MatMul", ["rows", "across"], ["maps"]),
    ]
    constants = {"red": red, "down": sampling(rows, height), "across": sampling(columns, width).T.copy()}
    metadata = {"posepipe": json.dumps({"cells": cells, **card})}
    return save(path, nodes, constants, ["N", 3, *size], {"maps": 4}, metadata)


@pytest.mark.parametrize("decode", ["dark", "quarter", "peaks"])
@pytest.mark.parametrize("cells", ["centre", "corner", "aligned"])
def test_the_card_says_how_maps_are_read(tmp_path, cells, decode):
    path = cell_net(tmp_path / "net.onnx", (128, 96), cells, decode=decode, sigma=2.0)
    plain, flipped = (OnnxPose(path, device="cpu", flip=flip) for flip in (False, True))
    errors = {id(plain): [], id(flipped): []}
    for x, y in np.random.default_rng(5).uniform([30, 40], [60, 90], (40, 2)):
        frame = Frame(0, 0.0, spot(128, 96, x, y, 8))
        for pose in (plain, flipped):
            found = pose.estimate([frame], [people([0, 0, 96, 128])])[0]
            errors[id(pose)].append(found.xy[0, 0] - [x, y])
    # A cell shows 5 px of the picture: it is shrunk by the padding of 1.25, and then by 4.
    for pose in (plain, flipped):
        error = np.array(errors[id(pose)])
        assert np.abs(error).max() < (1.6 if decode == "quarter" else 0.25)
        assert np.abs(error.mean(0)).max() < (0.4 if decode == "quarter" else 0.1)
    assert "flip test" in flipped.description


def test_a_network_without_a_card_counts_from_the_corner(tmp_path):
    import onnx

    model = onnx.load(cell_net(tmp_path / "net.onnx", (128, 96), "corner"))
    assert json.loads(model.metadata_props[0].value)["cells"] == "corner"
    del model.metadata_props[:]
    (tmp_path / "bare.onnx").write_bytes(model.SerializeToString())
    pose = OnnxPose(tmp_path / "bare.onnx", device="cpu")
    found = pose.estimate([Frame(0, 0.0, spot(128, 96, 50.0, 70.0, 8))], [people([0, 0, 96, 128])])[0]
    np.testing.assert_allclose(found.xy[0, 0], [50, 70], atol=0.3)


def test_a_flip_test_swaps_left_and_right_and_averages(tmp_path):
    """A network that answers by halves of the picture: left keypoints see red, right ones see green."""
    from onnx import helper
    from tiny_nets import save

    colour = np.zeros((17, 3, 1, 1), np.float32)
    colour[1::2, 0], colour[0::2, 1] = 1 / 255, 1 / 255
    nodes = [
        helper.make_node("Conv", ["image", "colour"], ["seventeen"]),
        helper.make_node("AveragePool", ["seventeen"], ["maps"], kernel_shape=[4, 4], strides=[4, 4]),
    ]
    card = {"posepipe": json.dumps({"decode": "peaks"})}
    path = save(tmp_path / "net.onnx", nodes, {"colour": colour}, ["N", 3, *SIZE], {"maps": 4}, card)
    picture = np.zeros((64, 48, 3), np.uint8)
    picture[..., 0] = 200
    picture[..., 1] = 100
    frame, person = Frame(0, 0.0, picture), people([0, 0, 48, 64])
    plain = OnnxPose(path, device="cpu").estimate([frame], [person])[0].score[0]
    both = OnnxPose(path, device="cpu", flip=True).estimate([frame], [person])[0].score[0]
    assert plain[1] == pytest.approx(200 / 255, abs=0.01)
    assert plain[2] == pytest.approx(100 / 255, abs=0.01)
    # Mirrored, a left keypoint is a right one: each is the mean of both colours; the nose stays what it was.
    np.testing.assert_allclose(both[1:], 150 / 255, atol=0.01)
    assert both[0] == pytest.approx(plain[0], abs=1e-6)


@pytest.mark.parametrize(
    "card", [{"cells": "middle"}, {"sigma": 0}, {"sigma": "2"}, {"padding": True}, {"decode": ["dark"]}]
)
def test_bad_cards(tmp_path, card):
    with pytest.raises(WeightsError, match="card"):
        OnnxPose(spot_net(tmp_path / "net.onnx", SIZE, **card), device="cpu")


def test_flipped_results_do_not_depend_on_how_frames_are_grouped(tmp_path):
    rng = np.random.default_rng(4)
    frames = [Frame(i, i / 25, rng.integers(0, 256, (120, 160, 3), np.uint8)) for i in range(5)]
    found = [people([10, 10, 60 + i, 100], [40, 20, 90, 110 - i]) for i in range(5)]
    path = cell_net(tmp_path / "net.onnx", SIZE, "corner", decode="dark")
    together = OnnxPose(path, device="cpu", batch=8, flip=True).estimate(frames, found)
    alone = OnnxPose(path, device="cpu", batch=1, flip=True)
    for frame, people_here, want in zip(frames, found, together, strict=True):
        got = alone.estimate([frame], [people_here])[0]
        assert np.array_equal(got.xy, want.xy)
        assert np.array_equal(got.score, want.score)
