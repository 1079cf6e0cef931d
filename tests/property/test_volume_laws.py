"""What holds of heatmap volumes whatever the people do."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from posepipe.skeleton import COCO17
from posepipe.volumes.maps import keypoint_maps, limb_maps, limb_mirror, mirror_maps
from posepipe.volumes.sampling import sample_test, sample_train
from posepipe.volumes.window import Window, compact_box, mirror_points

MANY = settings(max_examples=60, deadline=None)
EDGES = COCO17.edge_index


@st.composite
def crowds(draw: st.DrawFn):
    """People (M,T,17,2) and scores (M,T,17): near, far and out of the picture, some joints missing."""
    dice = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(0, 4)), draw(st.integers(1, 4)), 17)
    reach = draw(st.sampled_from([0.5, 24.0, 200.0, 1e6]))
    score = dice.random(shape) * (dice.random(shape) < draw(st.sampled_from([0.2, 1.0])))
    return dice.uniform(-reach / 4, reach, (*shape, 2)), score * draw(st.sampled_from([1.0, 3.0]))


def both(xy, score, size=(24, 20), sigma=0.6):
    return keypoint_maps(xy, score, size, sigma), limb_maps(xy, score, EDGES, size, sigma)


@MANY
@given(crowds(), st.sampled_from([0.3, 0.6, 0.7, 4.0]))
def test_values_lie_between_0_and_the_best_score(crowd, sigma):
    xy, score = crowd
    for maps in both(xy, score, sigma=sigma):
        assert maps.dtype == np.float32
        assert maps.shape[1:] == (xy.shape[1], 24, 20)
        assert maps.min() >= 0
        assert maps.max() <= np.float32(np.clip(score, 0, 1).max(initial=0))


@MANY
@given(crowds(), st.randoms(use_true_random=False))
def test_the_order_of_people_does_not_matter_and_maps_are_their_maximum(crowd, random):
    xy, score = crowd
    order = random.sample(range(len(xy)), len(xy))
    for together, shuffled, alone in zip(
        both(xy, score),
        both(xy[order], score[order]),
        zip(*[both(xy[i : i + 1], score[i : i + 1]) for i in range(len(xy))], strict=True) if len(xy) else [[]] * 2,
        strict=True,
    ):
        np.testing.assert_array_equal(together, shuffled)
        np.testing.assert_array_equal(together, np.max([np.zeros_like(together), *alone], axis=0))


@MANY
@given(crowds())
def test_who_has_no_score_leaves_no_mark(crowd):
    xy, score = crowd
    for maps in both(xy, np.zeros_like(score)):
        assert not maps.any()
    elsewhere = np.where((score > 0)[..., None], xy, 7.0)
    for maps, moved in zip(both(xy, score), both(elsewhere, score), strict=True):
        np.testing.assert_array_equal(maps, moved)
    first, second = compact_box(xy, score), compact_box(elsewhere, score)
    assert (first is None) == (second is None)
    if first is not None:
        np.testing.assert_array_equal(first, second)


@MANY
@given(crowds())
def test_mirrored_twice_is_as_before(crowd):
    xy, score = crowd
    there, scores = mirror_points(xy, score, 20, COCO17)
    back, again = mirror_points(there, scores, 20, COCO17)
    np.testing.assert_allclose(back, xy, rtol=1e-12, atol=1e-9)
    np.testing.assert_array_equal(again, score.astype(np.float32))
    for maps, swap in zip(both(xy, score), (COCO17.mirror, limb_mirror(COCO17)), strict=True):
        np.testing.assert_array_equal(mirror_maps(mirror_maps(maps, swap), swap), maps)


@MANY
@given(crowds())
def test_the_crop_holds_everybody_and_is_square_to_two_pixels(crowd):
    xy, score = crowd
    box = compact_box(xy, score)
    if box is None:
        return
    found = xy[score > 0]
    span = box[2:] - box[:2]
    # Each edge loses less than a pixel, towards zero: two edges on either side of it both do.
    assert abs(span[0] - span[1]) <= max(2, 1e-6 * span.max())
    assert (found > box[:2] - 1e-6 * span.max()).all()
    assert (found < box[2:] + 1e-6 * span.max()).all()
    at = Window.of(box).resized(56, 56).points(found)
    assert at.min() > -0.1
    assert at.max() < 56.1


@MANY
@given(st.integers(1, 300), st.integers(1, 60), st.integers(1, 10), st.integers(0, 2**32 - 1))
def test_drawn_frames_exist_and_grow_unless_repeated(total, length, clips, seed):
    drawn = sample_test(total, length, clips)
    trained = sample_train(total, length, np.random.default_rng(seed))
    assert drawn.shape == (clips, length)
    for row in (*drawn, trained):
        assert row.min() >= 0
        assert row.max() < total
        assert (np.diff(row) > 0).all() or total < length
        if total < length:
            assert set(row) == set(range(total))
    np.testing.assert_array_equal(drawn, sample_test(total, length, clips))
