"""Scores of multi-object tracking: CLEAR (MOTA), identity (IDF1) and HOTA, by the rules of the MOTChallenge.

The definitions are those of Bernardin and Stiefelhagen 2008, Ristani et al. 2016 and Luiten et al. 2021; where these
leave a choice (which matches are kept, how sequences are combined) this follows TrackEval, whose figures it equals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import MissingExtraError
from posepipe.evaluation.mot_files import Benchmark, MotRows
from posepipe.geometry import iou

__all__ = ["ALPHAS", "MotScore", "score_sequence"]

Int = NDArray[np.int64]
Float = NDArray[np.float64]

#: IoU thresholds over which HOTA is averaged.
ALPHAS: Float = np.arange(1, 20) / 20

# A pair at exactly the threshold counts.
_EPSILON = float(np.finfo(np.float64).eps)
_MATCH = 0.5
_PEDESTRIAN = 1
# Person on vehicle, static person, distractor, reflection; MOT20 adds vehicles that are not motorised.
_DISTRACTORS = (2, 7, 8, 12)
_DISTRACTORS_MOT20 = (*_DISTRACTORS, 6)


def _zeros() -> Float:
    return np.zeros(len(ALPHAS))


@dataclass(frozen=True)
class MotScore:
    """Counts of one sequence, or of several added with ``+``, and the scores that follow from them.

    Attributes
    ----------
    truth, people
        Rows and identities of the ground truth that count.
    fp, fn, switches
        False positives, misses and identity switches at IoU 0.5; ``similarity`` is the summed IoU of the matches.
    results, id_matches
        Rows of the results that count, and those matched under one global pairing of identities.
    hota_tp, hota_fp, hota_fn, association
        (19,) counts at each of :data:`ALPHAS`, and the summed association accuracy of the matches.
    """

    truth: int = 0
    people: int = 0
    results: int = 0
    fp: int = 0
    fn: int = 0
    switches: int = 0
    similarity: float = 0.0
    id_matches: int = 0
    hota_tp: Float = field(default_factory=_zeros)
    hota_fp: Float = field(default_factory=_zeros)
    hota_fn: Float = field(default_factory=_zeros)
    association: Float = field(default_factory=_zeros)

    def __add__(self, other: MotScore) -> MotScore:
        return MotScore(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def mota(self) -> float:
        """1 - (misses + false positives + switches) / truth; may be negative."""
        return 1 - (self.fn + self.fp + self.switches) / max(self.truth, 1)

    @property
    def motp(self) -> float:
        """Mean IoU of the matches."""
        return self.similarity / max(self.truth - self.fn, 1)

    @property
    def recall(self) -> float:
        """Share of the truth that was matched."""
        return (self.truth - self.fn) / max(self.truth, 1)

    @property
    def precision(self) -> float:
        """Share of the results that were matched."""
        return (self.truth - self.fn) / max(self.results, 1)

    @property
    def idf1(self) -> float:
        """F1 of rows that keep their identity."""
        return 2 * self.id_matches / max(self.truth + self.results, 1)

    @property
    def deta(self) -> float:
        """Detection accuracy, mean over :data:`ALPHAS`."""
        return float(self._deta.mean())

    @property
    def assa(self) -> float:
        """Association accuracy, mean over :data:`ALPHAS`."""
        return float(self._assa.mean())

    @property
    def hota(self) -> float:
        """Geometric mean of detection and association accuracy, mean over :data:`ALPHAS`."""
        return float(np.sqrt(self._deta * self._assa).mean())

    @property
    def _deta(self) -> Float:
        return self.hota_tp / np.maximum(self.hota_tp + self.hota_fp + self.hota_fn, 1)

    @property
    def _assa(self) -> Float:
        return self.association / np.maximum(self.hota_tp, 1)


@dataclass(frozen=True)
class _Sequence:
    """What counts: in each frame the identities (numbered from 0) of truth and results, and their IoU (G,R)."""

    truth: list[Int]
    results: list[Int]
    overlap: list[Float]

    @property
    def sizes(self) -> tuple[Int, Int]:
        """Rows of each identity in truth and results."""
        truth, results = (np.concatenate([np.zeros(0, np.int64), *ids]) for ids in (self.truth, self.results))
        return np.bincount(truth).astype(np.int64), np.bincount(results).astype(np.int64)

    def frames(self) -> Iterator[tuple[Int, Int, Float]]:
        """Frames in which there are both truth and results."""
        for truth, results, overlap in zip(self.truth, self.results, self.overlap, strict=True):
            if overlap.size:
                yield truth, results, overlap


def score_sequence(truth: MotRows, results: MotRows, benchmark: Benchmark = "MOT17") -> MotScore:
    """Score the results of one sequence.

    Parameters
    ----------
    truth
        Ground truth with flags and classes.
    results
        What a tracker wrote.
    benchmark
        MOT15 drops truth whose flag is 0. The later ones first drop the results that match a distractor (a person on a
        vehicle, a static person, a reflection), then all truth but pedestrians whose flag is not 0.

    Raises
    ------
    MissingExtraError
        scipy is not installed.
    """
    sequence = _prepare(truth, results, benchmark)
    truth_sizes, result_sizes = sequence.sizes
    fn, fp, switches, similarity = _clear(sequence, truth_sizes, result_sizes)
    shared = np.zeros((len(truth_sizes), len(result_sizes)))
    for t, r, overlap in sequence.frames():
        shared[np.ix_(t, r)] += overlap >= _MATCH - _EPSILON
    rows, columns = _hungarian(shared)
    tp, association = _hota(sequence, truth_sizes, result_sizes)
    return MotScore(
        truth=int(truth_sizes.sum()),
        people=len(truth_sizes),
        results=int(result_sizes.sum()),
        fp=fp,
        fn=fn,
        switches=switches,
        similarity=similarity,
        id_matches=int(shared[rows, columns].sum()),
        hota_tp=tp,
        hota_fp=result_sizes.sum() - tp,
        hota_fn=truth_sizes.sum() - tp,
        association=association,
    )


def _hungarian(gain: Float) -> tuple[Int, Int]:
    """Rows and columns of the assignment of greatest gain."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingExtraError("scoring tracks", "bench") from error
    rows, columns = linear_sum_assignment(gain, maximize=True)
    return rows, columns


def _prepare(truth: MotRows, results: MotRows, benchmark: Benchmark) -> _Sequence:
    """Apply the benchmark's rules and number the identities that are left from 0."""
    distractors = _DISTRACTORS_MOT20 if benchmark == "MOT20" else _DISTRACTORS
    truth_in, results_in = truth.by_frame(), results.by_frame()
    pairs = []
    for frame in sorted(truth_in.keys() | results_in.keys()):
        t, r = truth_in.get(frame, truth[:0]), results_in.get(frame, results[:0])
        overlap = iou(t.boxes, r.boxes)
        counts = t.flag != 0
        if benchmark != "MOT15":
            rows, columns = _hungarian(np.where(overlap >= _MATCH - _EPSILON, overlap, 0.0))
            matched = overlap[rows, columns] >= _MATCH - _EPSILON
            removed = columns[matched & np.isin(t.category[rows], distractors)]
            r, overlap = r[np.delete(np.arange(len(r)), removed)], np.delete(overlap, removed, 1)
            counts &= t.category == _PEDESTRIAN
        pairs.append((t.track_id[counts], r.track_id, overlap[counts]))
    truth_ids, result_ids, overlaps = (list(column) for column in zip(*pairs, strict=True)) if pairs else ([], [], [])
    return _Sequence(_renumber(truth_ids), _renumber(result_ids), overlaps)


def _renumber(ids: list[Int]) -> list[Int]:
    known = np.unique(np.concatenate([np.zeros(0, np.int64), *ids]))
    return [np.searchsorted(known, i).astype(np.int64) for i in ids]


def _clear(sequence: _Sequence, truth_sizes: Int, result_sizes: Int) -> tuple[int, int, int, float]:
    """Misses, false positives, switches and summed IoU of the matches of the CLEAR metrics."""
    last = np.full(len(truth_sizes), -1)  # identity that each person was last matched with
    kept = np.full(len(truth_sizes), -1)  # the same, if that was in the frame before
    matches, switches, similarity = 0, 0, 0.0
    for truth, results, overlap in sequence.frames():
        # A pair that goes on outweighs any gain in overlap.
        gain = overlap + 1000 * (kept[truth][:, None] == results)
        rows, columns = _hungarian(np.where(overlap >= _MATCH - _EPSILON, gain, 0.0))
        good = overlap[rows, columns] >= _MATCH - _EPSILON
        rows, columns = rows[good], columns[good]
        person, identity = truth[rows], results[columns]
        switches += int(((last[person] >= 0) & (last[person] != identity)).sum())
        last[person] = identity
        kept[:] = -1
        kept[person] = identity
        matches += len(rows)
        similarity += float(overlap[rows, columns].sum())
    return int(truth_sizes.sum()) - matches, int(result_sizes.sum()) - matches, switches, similarity


def _hota(sequence: _Sequence, truth_sizes: Int, result_sizes: Int) -> tuple[Float, Float]:
    """Matches and summed association accuracy at each of :data:`ALPHAS`, both (19,)."""
    shape = (len(truth_sizes), len(result_sizes))
    sizes = truth_sizes[:, None] + result_sizes
    alike = np.zeros(shape)
    for truth, results, overlap in sequence.frames():
        rivals = overlap.sum(0) + overlap.sum(1)[:, None] - overlap
        alike[np.ix_(truth, results)] += np.divide(overlap, rivals, out=np.zeros_like(overlap), where=rivals > _EPSILON)
    alignment = alike / (sizes - alike)
    matches = np.zeros((len(ALPHAS), *shape))
    for truth, results, overlap in sequence.frames():
        rows, columns = _hungarian(alignment[np.ix_(truth, results)] * overlap)
        good = overlap[rows, columns] >= ALPHAS[:, None] - _EPSILON
        matches[:, truth[rows], results[columns]] += good
    accuracy = matches / np.maximum(sizes - matches, 1)
    return matches.sum((1, 2)), (matches * accuracy).sum((1, 2))
