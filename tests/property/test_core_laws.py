"""Laws of boxes, crops, maps and poses that hold for any input."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from posepipe.geometry import affine_points, crop_affine, invert_affine, iou, nms, oks
from posepipe.heatmaps import decode_peaks, decode_posterior, encode_gaussian
from posepipe.skeleton import COCO17

coordinate = st.floats(-1e3, 1e3, allow_nan=False, width=32)
side = st.floats(0.5, 500, width=32)
box = st.tuples(coordinate, coordinate, side, side).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
boxes = st.lists(box, max_size=12).map(lambda rows: np.array(rows, np.float64).reshape(-1, 4))
seeds = st.integers(0, 2**32 - 1)


@given(boxes, boxes)
def test_iou_is_symmetric_and_bounded(a: np.ndarray, b: np.ndarray) -> None:
    table = iou(a, b)
    np.testing.assert_allclose(table, iou(b, a).T)
    assert ((table >= 0) & (table <= 1 + 1e-12)).all()


@given(boxes)
def test_iou_with_itself_is_one(a: np.ndarray) -> None:
    np.testing.assert_allclose(np.diag(iou(a, a)), 1)


@given(boxes, st.tuples(coordinate, coordinate), st.floats(0.1, 10))
def test_iou_does_not_change_when_all_moves_and_grows(a: np.ndarray, shift: tuple[float, float], scale: float) -> None:
    moved = a * scale + np.tile(shift, 2)
    np.testing.assert_allclose(iou(moved, moved), iou(a, a), atol=1e-6)


@given(boxes, seeds, st.floats(0.1, 0.9))
def test_nms_leaves_no_pair_above_the_threshold_and_drops_none_without_reason(
    a: np.ndarray, seed: int, threshold: float
) -> None:
    score = np.random.default_rng(seed).permutation(len(a)).astype(float)
    kept = nms(a, score, threshold)
    overlap = iou(a, a)
    for i in range(len(a)):
        better = [j for j in kept if score[j] > score[i] and overlap[i, j] > threshold]
        assert (i in kept) == (not better)


@given(boxes, seeds, st.floats(1, 2))
def test_crop_and_back_is_the_identity(a: np.ndarray, seed: int, padding: float) -> None:
    matrix = crop_affine(a, (256, 192), padding)
    points = np.random.default_rng(seed).uniform(-2e3, 2e3, (len(a), 5, 2))
    np.testing.assert_allclose(affine_points(invert_affine(matrix), affine_points(matrix, points)), points, atol=1e-6)


@given(box, st.floats(1, 2))
def test_a_crop_holds_its_whole_box(row: list[float], padding: float) -> None:
    corners = np.array([[row[:2], row[2:]]]) - 0.5
    inside = affine_points(crop_affine(np.array([row]), (256, 192), padding), corners)[0] + 0.5
    # A side shorter than a pixel counts as one pixel, so only larger boxes fill the crop.
    assert (inside > -1e-6).all()
    assert (inside < np.array([192, 256]) + 1e-6).all()


@given(st.floats(3, 44), st.floats(3, 60), st.floats(1, 3))
def test_peaks_come_back_from_a_gaussian(x: float, y: float, sigma: float) -> None:
    xy, score = decode_peaks(encode_gaussian(np.array([[x, y]]), (64, 48), sigma))
    np.testing.assert_allclose(xy[0], [x, y], atol=0.1)
    assert score[0] > 0.75


@given(st.floats(8, 39), st.floats(8, 55), st.floats(0.6, 2), st.floats(1, 4))
def test_posteriors_give_back_their_mean(x: float, y: float, sigma: float, kernel: float) -> None:
    maps = encode_gaussian(np.array([[[x, y]]]), (64, 48), sigma)
    xy, score = decode_posterior(maps / maps.sum(), np.array([kernel]))
    np.testing.assert_allclose(xy[0, 0], [x, y], atol=0.1)
    assert 0 < score[0, 0] <= 1


@given(st.floats(4, 43), st.floats(4, 59))
def test_decoding_a_mirrored_map_mirrors_the_answer(x: float, y: float) -> None:
    maps = encode_gaussian(np.array([[[x, y]]]), (64, 48), 1.5)
    maps = maps / maps.sum()
    xy, _ = decode_posterior(maps, np.array([2.0]))
    mirrored, _ = decode_posterior(maps[..., ::-1], np.array([2.0]))
    np.testing.assert_allclose([47 - mirrored[0, 0, 0], mirrored[0, 0, 1]], xy[0, 0], atol=1e-3)


@given(seeds, st.floats(0.1, 10))
def test_oks_is_one_for_the_truth_and_falls_with_distance(seed: int, step: float) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 200, (1, 17, 2))
    visible, area, sigmas = np.ones((1, 17)), np.array([5e3]), np.array(COCO17.sigmas)
    values = [oks(truth, visible, area, truth + step * k, sigmas)[0, 0] for k in range(4)]
    assert abs(values[0] - 1) < 1e-9
    assert all(a > b for a, b in pairwise(values) if a > 1e-6)
