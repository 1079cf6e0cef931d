from __future__ import annotations

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from numpy.typing import NDArray

from posepipe.tracking import kalman


def sort_filter(box: NDArray[np.float64]) -> KalmanFilter:
    """SORT's filter as published, one filterpy object a track."""
    f = KalmanFilter(dim_x=7, dim_z=4)
    f.F = np.eye(7) + np.diag([1.0, 1.0, 1.0], 4)
    f.H = np.eye(4, 7)
    f.R[2:, 2:] *= 10.0
    f.P[4:, 4:] *= 1000.0
    f.P *= 10.0
    f.Q[-1, -1] *= 0.01
    f.Q[4:, 4:] *= 0.01
    f.x[:4] = kalman.boxes_to_measurements(box[None]).T
    return f


def full(covariance: NDArray[np.float64], size: int = 8) -> NDArray[np.float64]:
    """Covariances (N,4,3) as matrices (N,size,size)."""
    matrix = np.zeros((len(covariance), 8, 8))
    place, velocity = np.arange(4), np.arange(4) + 4
    matrix[:, place, place], matrix[:, velocity, velocity] = covariance[..., 0], covariance[..., 2]
    matrix[:, place, velocity] = matrix[:, velocity, place] = covariance[..., 1]
    return matrix[:, :size, :size]


def random_walk(rng: np.random.Generator, frames: int, people: int) -> NDArray[np.float64]:
    """Boxes (frames, people, 4) of people that wander and change their size."""
    centre = rng.uniform(100, 1800, (people, 2)) + np.cumsum(rng.normal(0, 4, (frames, people, 2)), 0)
    height = rng.uniform(60, 400, people) * np.exp(np.cumsum(rng.normal(0, 0.01, (frames, people)), 0))
    size = np.stack([height * rng.uniform(0.3, 0.6, people), height], -1)
    return np.concatenate([centre - size / 2, centre + size / 2], -1)


def test_batched_filter_equals_filterpy_over_long_sequences_with_gaps() -> None:
    rng = np.random.default_rng(0)
    walk = random_walk(rng, frames=400, people=6)
    references = [sort_filter(box) for box in walk[0]]
    mean, covariance = kalman.first_states(walk[0])
    for boxes in walk[1:]:
        mean, covariance = kalman.predict_boxes(mean, covariance)
        seen = rng.random(len(boxes)) > 0.3
        mean[seen], covariance[seen] = kalman.update_boxes(mean[seen], covariance[seen], boxes[seen])
        for i, reference in enumerate(references):
            if reference.x[2, 0] + reference.x[6, 0] <= 0:
                reference.x[6] = 0.0
            reference.predict()
            if seen[i]:
                reference.update(kalman.boxes_to_measurements(boxes[i : i + 1])[0])
        np.testing.assert_allclose(mean[:, :7], np.stack([r.x[:, 0] for r in references]), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(full(covariance, 7), np.stack([r.P for r in references]), rtol=1e-9, atol=1e-9)
        assert not mean[:, 7].any()


def test_noise_may_differ_from_track_to_track() -> None:
    rng = np.random.default_rng(1)
    z, first, process, measured = (rng.uniform(1, 2, shape) for shape in ((3, 4), (3, 4, 2), (3, 4, 2), (3, 4)))
    mean, covariance = kalman.begin(rng.normal(size=(3, 4)), first)
    mean[:, 4:] = rng.normal(size=(3, 4))
    together = kalman.update(*kalman.predict(mean, covariance, process), z, measured)
    for i in range(3):
        f = KalmanFilter(dim_x=8, dim_z=4)
        f.F, f.H = np.eye(8) + np.diag(np.ones(4), 4), np.eye(4, 8)
        f.x, f.P, f.Q, f.R = mean[i, :, None], full(covariance)[i], np.diag(process[i].T.ravel()), np.diag(measured[i])
        f.predict()
        f.update(z[i])
        np.testing.assert_allclose(together[0][i], f.x[:, 0], atol=1e-12)
        np.testing.assert_allclose(full(together[1])[i], f.P, atol=1e-12)


def test_no_tracks_are_a_batch_of_none() -> None:
    mean, covariance = kalman.first_states(np.zeros((0, 4)))
    mean, covariance = kalman.update_boxes(*kalman.predict_boxes(mean, covariance), np.zeros((0, 4)))
    assert mean.shape == (0, 8)
    assert covariance.shape == (0, 4, 3)
    assert kalman.states_to_boxes(mean).shape == (0, 4)


def test_boxes_survive_the_way_to_states_and_back() -> None:
    boxes = random_walk(np.random.default_rng(2), 5, 20).reshape(-1, 4)
    np.testing.assert_allclose(kalman.states_to_boxes(kalman.first_states(boxes)[0]), boxes, atol=1e-9)


def test_an_area_never_shrinks_to_nothing() -> None:
    mean, covariance = kalman.first_states(np.array([[0.0, 0.0, 10.0, 20.0]]))
    mean[0, 6] = -500.0
    for _ in range(5):
        mean, covariance = kalman.predict_boxes(mean, covariance)
    assert mean[0, 2] == pytest.approx(200.0)
    assert np.isfinite(kalman.states_to_boxes(mean)).all()


def test_inverted_and_empty_boxes_are_repaired_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="2 boxes were inverted"):
        boxes = kalman.sound_boxes(np.array([[10.0, 40.0, 0.0, 20.0], [5.0, 5.0, 5.0, 9.0], [0.0, 0.0, 3.0, 3.0]]))
    np.testing.assert_array_equal(boxes, [[0, 20, 10, 40], [4.5, 5, 5.5, 9], [0, 0, 3, 3]])
