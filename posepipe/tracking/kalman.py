"""Kalman filters of many tracks at once, and the box state of SORT.

A box is four numbers that move each for itself at constant velocity, with noise that no two of them share. The filter
of such a state (Kalman 1960) falls apart into four small ones, of a place and its velocity each, whose covariance is
three numbers; all of them are stepped together without a matrix. filterpy's ``KalmanFilter`` computes the same numbers
one track at a time from the full matrices.

A state (N,8) holds four places, then their velocities per frame; its covariance (N,4,3) holds for each place its
variance, its covariance with its velocity, and the velocity's variance.

SORT's state of a box (Bewley et al. 2016) is ``[cx, cy, s, r, vcx, vcy, vs, 0]``: centre in px, area s in px^2, aspect
r = width / height, which is taken to be constant. Its measurement is ``[cx, cy, s, r]``.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "begin",
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

# Noise of SORT's published filter: of the process for places and velocities, of what is measured, and at first.
_PROCESS_NOISE = np.array([[1.0, 0.01], [1.0, 0.01], [1.0, 0.0001], [1.0, 0.0]])
_MEASUREMENT_NOISE = np.array([1.0, 1.0, 10.0, 10.0])
_FIRST_NOISE = np.array([[10.0, 1e4], [10.0, 1e4], [10.0, 1e4], [10.0, 0.0]])


def begin(places: Float, noise: Float) -> States:
    """States (N,8) and covariances (N,4,3) of tracks at rest at ``places`` (N,4).

    ``noise`` (4,2) or (N,4,2) holds the variances of places and velocities.
    """
    count = len(places)
    covariance = np.zeros((count, 4, 3))
    covariance[..., 0], covariance[..., 2] = noise[..., 0], noise[..., 1]
    return np.concatenate([places, np.zeros((count, 4))], 1), covariance


def predict(mean: Float, covariance: Float, noise: Float) -> States:
    """Carry N states one step on.

    Parameters
    ----------
    mean, covariance
        (N,8) and (N,4,3) float64.
    noise
        (4,2) or (N,4,2): variances that a step adds to places and velocities.

    Returns
    -------
    mean, covariance
        (N,8) and (N,4,3) float64.
    """
    carried = np.array(mean, np.float64)
    carried[:, :4] += carried[:, 4:]
    grown = np.array(covariance, np.float64)
    grown[..., 0] += 2 * grown[..., 1] + grown[..., 2] + noise[..., 0]
    grown[..., 1] += grown[..., 2]
    grown[..., 2] += noise[..., 1]
    return carried, grown


def update(mean: Float, covariance: Float, measurement: Float, noise: Float) -> States:
    """Correct N states by one measurement each.

    Parameters
    ----------
    mean, covariance
        (N,8) and (N,4,3) float64.
    measurement
        (N,4) places.
    noise
        (4,) or (N,4): variances of the measurement.

    Returns
    -------
    mean, covariance
        (N,8) and (N,4,3) float64.
    """
    place, both, velocity = np.moveaxis(np.asarray(covariance, np.float64), -1, 0)
    spread = place + noise
    innovation = (measurement - mean[:, :4]) / spread
    corrected = mean + np.concatenate([place * innovation, both * innovation], 1)
    rest = noise / spread
    return corrected, np.stack([place * rest, both * rest, velocity - both * both / spread], -1)


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
    """States and covariances of tracks that begin with these boxes (N,4): at rest, speed unknown."""
    return begin(boxes_to_measurements(boxes), _FIRST_NOISE)


def predict_boxes(mean: Float, covariance: Float) -> States:
    """:func:`predict` for SORT's box state; an area that would shrink to nothing stops shrinking."""
    mean = np.array(mean, np.float64)
    mean[mean[:, 2] + mean[:, 6] <= 0, 6] = 0.0
    return predict(mean, covariance, _PROCESS_NOISE)


def update_boxes(mean: Float, covariance: Float, boxes: Float) -> States:
    """:func:`update` for SORT's box state with measured boxes (N,4) xyxy px."""
    return update(mean, covariance, boxes_to_measurements(boxes), _MEASUREMENT_NOISE)
