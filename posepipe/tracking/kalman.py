"""Kalman filters of many tracks at once, and the box state of SORT.

The filter is the textbook one (Kalman 1960) with the Joseph form of the covariance update, which stays symmetric and
positive over long runs; filterpy's ``KalmanFilter`` computes the same numbers one track at a time.

SORT's state of a box (Bewley et al. 2016) is ``[cx, cy, s, r, vcx, vcy, vs]``: centre in px, area s in px^2, aspect
r = width / height, and velocities per frame; r is taken to be constant. Its measurement is ``[cx, cy, s, r]``.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "boxes_to_measurements",
    "first_states",
    "predict",
    "predict_boxes",
    "sound_boxes",
    "states_to_boxes",
    "update",
    "update_boxes",
]

Float = NDArray[np.floating]
Array = NDArray[np.float64]
States = tuple[Array, Array]

# Constant velocity over one frame, and the noise of SORT's published filter.
_TRANSITION = np.eye(7) + np.diag([1.0, 1.0, 1.0], k=4)
_OBSERVATION = np.eye(4, 7)
_PROCESS_NOISE = np.diag([1.0, 1.0, 1.0, 1.0, 0.01, 0.01, 0.0001])
_MEASUREMENT_NOISE = np.diag([1.0, 1.0, 10.0, 10.0])
_FIRST_COVARIANCE = np.diag([10.0, 10.0, 10.0, 10.0, 1e4, 1e4, 1e4])


def predict(mean: Float, covariance: Float, transition: Float, noise: Float) -> States:
    """Carry N states one step on.

    Parameters
    ----------
    mean, covariance
        (N,D) and (N,D,D) float64.
    transition
        (D,D).
    noise
        (D,D), or (N,D,D) for a noise of each track's own.

    Returns
    -------
    mean, covariance
        (N,D) and (N,D,D) float64.
    """
    return mean @ transition.T, transition @ covariance @ transition.T + noise


def update(mean: Float, covariance: Float, measurement: Float, observation: Float, noise: Float) -> States:
    """Correct N states by one measurement each.

    Parameters
    ----------
    mean, covariance
        (N,D) and (N,D,D) float64.
    measurement
        (N,M).
    observation
        (M,D), which maps a state to its measurement.
    noise
        (M,M), or (N,M,M) for a noise of each measurement's own.

    Returns
    -------
    mean, covariance
        (N,D) and (N,D,D) float64.
    """
    projected = observation @ covariance
    spread = projected @ observation.T + noise
    gain = np.swapaxes(np.linalg.solve(spread, projected), -1, -2)
    innovation = measurement - mean @ observation.T
    rest = np.eye(mean.shape[-1]) - gain @ observation
    corrected = mean + (gain @ innovation[..., None])[..., 0]
    return corrected, rest @ covariance @ np.swapaxes(rest, -1, -2) + gain @ noise @ np.swapaxes(gain, -1, -2)


def sound_boxes(boxes: Float) -> Array:
    """Boxes (N,4) xyxy px as float64 that a filter can follow, each at least 1 px wide and high.

    Inverted boxes are turned round and thin ones widened about their centre, with a warning: their aspect or area
    would make every later prediction meaningless.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    pad = np.clip(1.0 - (high - low), 0, None) / 2
    sound = np.concatenate([low - pad, high + pad], 1)
    broken = int((sound != boxes).any(1).sum())
    if broken:
        warnings.warn(f"{broken} boxes were inverted or thinner than 1 px and were repaired", stacklevel=3)
    return sound


def boxes_to_measurements(boxes: Float) -> Array:
    """Boxes (N,4) xyxy px with area -> (N,4) ``[cx, cy, area, aspect]``."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + size / 2
    return np.column_stack([centre, size[:, 0] * size[:, 1], size[:, 0] / size[:, 1]])


def states_to_boxes(mean: Float) -> Array:
    """States or measurements (N,>=4) ``[cx, cy, area, aspect, ...]`` -> boxes (N,4) xyxy px."""
    width = np.sqrt(mean[:, 2] * mean[:, 3])
    size = np.column_stack([width, mean[:, 2] / width])
    return np.concatenate([mean[:, :2] - size / 2, mean[:, :2] + size / 2], 1)


def first_states(boxes: Float) -> States:
    """States (N,7) and covariances (N,7,7) of tracks that begin with these boxes (N,4): at rest, speed unknown."""
    mean = np.concatenate([boxes_to_measurements(boxes), np.zeros((len(boxes), 3))], 1)
    return mean, np.repeat(_FIRST_COVARIANCE[None], len(boxes), 0)


def predict_boxes(mean: Float, covariance: Float) -> States:
    """:func:`predict` for SORT's box state; an area that would shrink to nothing stops shrinking."""
    mean = np.array(mean, np.float64)
    mean[mean[:, 2] + mean[:, 6] <= 0, 6] = 0.0
    return predict(mean, covariance, _TRANSITION, _PROCESS_NOISE)


def update_boxes(mean: Float, covariance: Float, boxes: Float) -> States:
    """:func:`update` for SORT's box state with measured boxes (N,4) xyxy px."""
    return update(mean, covariance, boxes_to_measurements(boxes), _OBSERVATION, _MEASUREMENT_NOISE)
