import numpy as np
import pytest

from posepipe.heatmaps import (
    cells_to_crop,
    crop_to_cells,
    decode_peaks,
    decode_posterior,
    encode_gaussian,
    oks_kernel_sigmas,
)

KERNEL = np.full(17, 3.0)


def posterior(xy: np.ndarray, sigma: float = 1.5) -> np.ndarray:
    maps = encode_gaussian(xy, (64, 48), sigma)
    return maps / maps.sum((-1, -2), keepdims=True)


def test_cells_lie_in_the_middle_of_their_pixels() -> None:
    np.testing.assert_allclose(cells_to_crop(np.array([0.0, 47.0]), 4), [1.5, 189.5])
    np.testing.assert_allclose(crop_to_cells(cells_to_crop(np.array([3.3, 4.4]), 4), 4), [3.3, 4.4])


def test_mirrored_crop_and_mirrored_map_agree() -> None:
    u = np.array([17.25])
    np.testing.assert_allclose(47 - crop_to_cells(u, 4), crop_to_cells(191 - u, 4))


def test_a_gaussian_has_its_peak_where_it_was_put() -> None:
    maps = encode_gaussian(np.array([[20.0, 30.0]]), (64, 48), 2.0)[0]
    assert maps[30, 20] == 1
    assert maps[30, 22] == pytest.approx(np.exp(-0.5))


@pytest.mark.parametrize("xy", [(20.3, 30.7), (5.5, 5.5), (40.01, 50.2)])
def test_both_decoders_find_the_place_between_cells(xy: tuple[float, float]) -> None:
    points = np.tile(np.array(xy), (1, 17, 1))
    np.testing.assert_allclose(decode_peaks(encode_gaussian(points, (64, 48), 2.0))[0], points, atol=0.02)
    np.testing.assert_allclose(decode_posterior(posterior(points), KERNEL)[0], points, atol=0.02)


def test_a_sharp_posterior_scores_more_than_a_vague_one() -> None:
    points = np.full((1, 17, 2), 24.0)
    sharp = decode_posterior(posterior(points, 0.5), KERNEL)[1]
    vague = decode_posterior(posterior(points, 6.0), KERNEL)[1]
    flat = decode_posterior(np.full((1, 17, 64, 48), 1 / 3072), KERNEL)[1]
    assert (sharp > 0.95).all()
    assert (vague < sharp - 0.4).all()
    assert (flat < 0.03).all()


def test_the_score_is_the_expected_oks_of_the_answer() -> None:
    points = np.full((1, 17, 2), 24.0)
    maps = posterior(points, 2.0)
    y, x = np.mgrid[:64, :48]
    expected = (maps[0, 0] * np.exp(-((x - 24) ** 2 + (y - 24) ** 2) / (2 * 3.0**2))).sum()
    assert decode_posterior(maps, KERNEL)[1][0, 0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kernel", [1.61, 2.26, 5.1])
@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0])
def test_what_the_network_learned_as_a_place_is_not_doubt(kernel: float, spread: float) -> None:
    """A joint that is `spread` cells unsure scores as it does without the gaussian that was learned in its place."""
    points, kernels = np.full((1, 17, 2), 24.0), np.full(17, kernel)
    blurred, sharp = posterior(points, np.hypot(1.5, spread)), posterior(points, max(spread, 0.05))
    xy, score = decode_posterior(blurred, kernels, 1.5)
    np.testing.assert_allclose(xy, points, atol=0.02)
    np.testing.assert_allclose(score, decode_posterior(sharp, kernels)[1], atol=0.04)
    assert (score >= decode_posterior(blurred, kernels)[1]).all()


def test_of_two_places_the_one_with_more_mass_around_it_wins() -> None:
    broad, narrow = posterior(np.full((1, 1, 2), 12.0), 2.0), posterior(np.full((1, 1, 2), 40.0), 0.4)
    xy, _ = decode_posterior(0.6 * broad + 0.4 * narrow, np.array([5.0]))
    np.testing.assert_allclose(xy[0, 0], [12, 12], atol=0.1)


def test_nobody_in_nobody_out() -> None:
    xy, score = decode_posterior(np.zeros((0, 17, 64, 48)), KERNEL)
    assert xy.shape == (0, 17, 2)
    assert score.shape == (0, 17)
    xy, score = decode_peaks(np.zeros((0, 17, 64, 48)))
    assert xy.shape == (0, 17, 2)


def test_peaks_at_the_border_stay_inside() -> None:
    maps = np.zeros((4, 64, 48))
    maps[0, 0, 0] = maps[1, 63, 47] = maps[2, 0, 47] = 1
    xy, score = decode_peaks(maps)
    np.testing.assert_allclose(xy[:3], [[0, 0], [47, 63], [47, 0]], atol=1)
    assert score.tolist() == [1, 1, 1, 0]


def test_the_oks_kernel_scales_with_the_person() -> None:
    small = oks_kernel_sigmas(np.array([0.1]), (128, 96), 4, 1.25)
    large = oks_kernel_sigmas(np.array([0.1]), (256, 192), 4, 1.25)
    np.testing.assert_allclose(large, 2 * small)
    np.testing.assert_allclose(large, 2 * 0.1 * np.sqrt(0.53 * 204.8 * 153.6) / 4)
