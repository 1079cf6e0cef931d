"""DARK, the quarter offset and the conventions of cells, each against a slow reference of its own."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posepipe.heatmaps import CellGrid, decode_dark, decode_quarter, encode_gaussian

CROP, MAP = (256, 192), (64, 48)


def noisy_maps(count, seed, sigma=2.0, noise=0.02):
    """Gaussians at random places with smooth noise on them, as networks give; some near the border."""
    rng = np.random.default_rng(seed)
    places = rng.uniform([-1, -1], [MAP[1], MAP[0]], (count, 2))
    maps = encode_gaussian(places, MAP, sigma) * rng.uniform(0.2, 1, (count, 1, 1))
    for one in maps:
        one += noise * cv2.GaussianBlur(rng.normal(0, 1, MAP), (5, 5), 1)
    return maps.astype(np.float32)


def dark_of_one(original, sigma, kernel):
    """Zhang et al. 2020, section 3.2, with OpenCV's blur on the whole map and a general solver of equations.

    Returns the place, and whether the smoothed map has a maximum near it (else the step leads nowhere sensible).
    """
    row, column = np.unravel_index(original.argmax(), original.shape)
    border = kernel // 2
    padded = np.pad(original.astype(np.float64), border)
    blurred = cv2.GaussianBlur(padded, (kernel, kernel), sigma)[border:-border, border:-border]
    log = np.log(np.maximum(blurred, 1e-10))
    place = np.array([column, row], float)
    if not (1 < column < original.shape[1] - 2 and 1 < row < original.shape[0] - 2):
        return place, True
    gradient = np.array([log[row, column + 1] - log[row, column - 1], log[row + 1, column] - log[row - 1, column]]) / 2
    xx = (log[row, column + 2] - 2 * log[row, column] + log[row, column - 2]) / 4
    yy = (log[row + 2, column] - 2 * log[row, column] + log[row - 2, column]) / 4
    diagonal = log[row + 1, column + 1] + log[row - 1, column - 1]
    xy = (diagonal - log[row - 1, column + 1] - log[row + 1, column - 1]) / 4
    curvature = np.array([[xx, xy], [xy, yy]])
    return place - np.linalg.solve(curvature, gradient), bool((np.linalg.eigvalsh(curvature) < 0).all())


def quarter_of_one(one):
    row, column = np.unravel_index(one.argmax(), one.shape)
    x, y = float(column), float(row)
    if 1 < column < one.shape[1] - 1 and 1 < row < one.shape[0] - 1:
        x += 0.25 * np.sign(float(one[row, column + 1]) - float(one[row, column - 1]))
        y += 0.25 * np.sign(float(one[row + 1, column]) - float(one[row - 1, column]))
    return x, y


@pytest.mark.parametrize(("sigma", "kernel"), [(2.0, 11), (3.0, 17)])
def test_dark_is_the_published_method(sigma, kernel):
    maps = noisy_maps(200, 1, sigma)
    xy, score = decode_dark(maps, sigma)
    places, peaked = zip(*(dark_of_one(one, sigma, kernel) for one in maps), strict=True)
    want, peaked = np.array(places), np.array(peaked)
    assert np.abs(want - np.round(want)).max() > 0.3
    assert peaked.mean() > 0.98
    # A step is a cell at most, which near the border of the smoothed map it may exceed by a little.
    np.testing.assert_allclose(xy[peaked], want[peaked], atol=2e-2)
    assert np.median(np.abs(xy[peaked] - want[peaked])) < 1e-5
    np.testing.assert_allclose(score, maps.max((1, 2)).clip(0, 1))


@given(st.floats(6, 41), st.floats(6, 57), st.sampled_from([1.5, 2.0, 3.0]))
@settings(max_examples=60, deadline=None)
def test_dark_finds_the_centre_of_a_gaussian(x, y, sigma):
    xy, _ = decode_dark(encode_gaussian(np.array([[x, y]]), MAP, sigma), sigma)
    np.testing.assert_allclose(xy[0], [x, y], atol=0.05)


def test_the_quarter_is_added_as_published():
    maps = noisy_maps(300, 2)
    maps[0], maps[1] = 0, 0
    maps[0, 5, 1], maps[0, 5, 2] = 1, 0.5  # second column: no quarter
    maps[1, 5, 2], maps[1, 5, 3], maps[1, 6, 2] = 1, 0.5, 0.25  # third column: a quarter right and down
    xy, score = decode_quarter(maps)
    np.testing.assert_array_equal(xy, np.array([quarter_of_one(one) for one in maps], np.float32))
    assert xy[0].tolist() == [1, 5]
    assert xy[1].tolist() == [2.25, 5.25]
    np.testing.assert_allclose(score, maps.max((1, 2)).clip(0, 1))


@pytest.mark.parametrize("decode", [decode_dark, decode_quarter])
def test_shapes_are_kept_and_nobody_gives_nobody(decode):
    xy, score = decode(np.zeros((2, 17, *MAP), np.float32))
    assert xy.shape == (2, 17, 2)
    assert score.shape == (2, 17)
    assert np.isfinite(xy).all()
    assert decode(np.zeros((0, 17, *MAP)))[0].shape == (0, 17, 2)
    one = noisy_maps(34, 5).reshape(2, 17, *MAP)
    np.testing.assert_array_equal(decode(one)[0][1, 3], decode(one[1, 3])[0])
    assert decode(one)[0].dtype == decode(one)[1].dtype == np.float32


def test_where_the_cells_lie():
    ends = np.array([[0.0, 0.0], [47.0, 63.0]])
    np.testing.assert_allclose(CellGrid.of("centre", CROP, MAP).to_crop(ends), [[1.5, 1.5], [189.5, 253.5]])
    np.testing.assert_allclose(CellGrid.of("corner", CROP, MAP).to_crop(ends), [[0, 0], [188, 252]])
    # UDP: the first and last cells lie on the first and last pixels.
    np.testing.assert_allclose(CellGrid.of("aligned", CROP, MAP).to_crop(ends), [[0, 0], [191, 255]])


@pytest.mark.parametrize(("cells", "shift"), [("centre", 0), ("corner", 3), ("aligned", 0)])
@given(x=st.floats(0, 47))
def test_a_point_of_the_mirrored_crop_lies_in_the_mirrored_cell(cells, shift, x):
    grid = CellGrid.of(cells, CROP, MAP)
    assert grid.mirror_shift == pytest.approx(shift, abs=1e-9)
    seen = 191 - (grid.to_crop(np.array([x, 0.0]))[0] + grid.mirror_shift)
    assert grid.to_crop(np.array([47 - x, 0.0]))[0] == pytest.approx(seen)
