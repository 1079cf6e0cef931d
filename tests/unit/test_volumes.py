"""Heatmap volumes against figures of mmaction2's own modules and a slow reference that draws cell by cell."""

from __future__ import annotations

from dataclasses import replace
from math import exp

import numpy as np
import pytest

from posepipe.geometry import affine_points
from posepipe.skeleton import COCO17, Skeleton
from posepipe.types import PoseStream
from posepipe.volumes.clips import HeatmapRecipe, heatmap_clips
from posepipe.volumes.maps import channel_mirror, keypoint_maps, limb_maps, limb_mirror, limb_names, mirror_maps
from posepipe.volumes.sampling import sample_test, sample_train
from posepipe.volumes.window import Window, compact_box, mirror_points, random_resized_crop

# Drawn by mmaction2's UniformSampleFrames in test mode, seed 255: (frames, length, clip) -> indices.
DRAWN = {
    (100, 8, 0): [3, 21, 34, 43, 55, 70, 80, 96],
    (100, 8, 1): [2, 16, 34, 37, 60, 69, 76, 99],
    (100, 32, 0): [1, 4, 8, 10, 12, 16, 19, 23, 25, 29, 31, 34, 39, 41, 43, 46,
                   51, 53, 58, 61, 64, 67, 68, 73, 75, 78, 81, 84, 88, 92, 93, 96],
    (10, 8, 0): [0, 1, 3, 4, 6, 7, 8, 9],
    (20, 8, 0): [1, 3, 6, 8, 10, 13, 16, 17],
    (5, 8, 0): [0, 1, 2, 3, 4, 0, 1, 2],
}  # fmt: skip


@pytest.mark.parametrize("case", DRAWN)
def test_test_frames_are_those_of_mmaction2(case):
    total, length, clip = case
    assert sample_test(total, length, 10)[clip].tolist() == DRAWN[case]
    assert sample_test(total, length)[0].tolist() == DRAWN[total, length, 0]


def test_short_videos_repeat_from_places_spread_over_them():
    assert sample_test(3, 5, 2).tolist() == [[0, 1, 2, 0, 1], [1, 2, 0, 1, 2]]
    assert sample_test(2, 3, 4)[:, 0].tolist() == [0, 1, 0, 1]
    assert [sample_test(6, 8, 3)[i, 0] for i in range(3)] == [0, 2, 4]


def test_training_frames_fall_into_every_bin_evenly():
    rng = np.random.default_rng(0)
    drawn = np.stack([sample_train(100, 8, rng) for _ in range(4000)])
    edges = [i * 100 // 8 for i in range(9)]
    for column, low, high in zip(drawn.T, edges[:-1], edges[1:], strict=True):
        counts = np.bincount(column, minlength=100)
        assert counts[low:high].sum() == 4000
        assert counts[low:high].min() > 4000 / (high - low) * 0.75
    starts = np.bincount([sample_train(5, 8, rng)[0] for _ in range(2000)], minlength=5)
    assert starts.min() > 300
    gaps = [sample_train(10, 8, rng) for _ in range(2000)]
    # Two of nine places are left out, one frame at each: 36 ways, all of which come up.
    assert len({tuple(g) for g in gaps}) == 36
    assert {g[0] for g in gaps} == {0, 1}
    assert {step for g in gaps for step in np.diff(g)} == {1, 2}


def test_no_frames_are_no_clip():
    with pytest.raises(ValueError, match="at least one"):
        sample_test(0, 8)
    with pytest.raises(ValueError, match="at least one"):
        sample_train(8, 0, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("point", "score", "side", "sigma", "scale", "peak", "total", "cells", "corner"),
    [
        ((100, 60), 0.9, 224, 0.7, 0.25, 0.9, 2.77126, 36, (22, 12)),
        ((101, 63), 0.9, 224, 0.7, 0.25, 0.79222, 2.76110, 25, (23, 13)),
        ((20.3, 30.7), 1.0, 56, 0.6, 1.0, 0.77880, 2.25862, 25, (18, 28)),
    ],
)
def test_gaussians_are_those_of_mmaction2(point, score, side, sigma, scale, peak, total, cells, corner):
    xy, scores = np.array(point, float).reshape(1, 1, 1, 2), np.full((1, 1, 1), score)
    (drawn,) = keypoint_maps(xy, scores, (side, side), sigma, scale)[:, 0]
    assert drawn.shape == (56, 56)
    assert drawn.dtype == np.float32
    assert (drawn.max(), drawn.sum()) == pytest.approx((peak, total), abs=6e-6)
    assert (drawn > 0).sum() == cells
    assert tuple(np.argwhere(drawn > 0).min(0)[::-1]) == corner


def slow_segment(canvas, a, b, peak, sigma):
    """Maximum of a map (rows of lists) and a gaussian of the distance to a segment, cell by cell."""
    height, width = len(canvas), len(canvas[0])
    reach = 3 * sigma
    for y in range(max(0, int(min(a[1], b[1]) - reach)), min(height, int(max(a[1], b[1]) + reach) + 1)):
        for x in range(max(0, int(min(a[0], b[0]) - reach)), min(width, int(max(a[0], b[0]) + reach) + 1)):
            length = (b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2
            share = 0.0
            if length > 0:
                share = ((x - a[0]) * (b[0] - a[0]) + (y - a[1]) * (b[1] - a[1])) / length
            share = min(1.0, max(0.0, share))
            near = (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]))
            distance = (x - near[0]) ** 2 + (y - near[1]) ** 2
            canvas[y][x] = max(canvas[y][x], peak * exp(-distance / (2 * sigma**2)))


def crowd(seed=0, people=3, frames=2, joints=5, reach=30.0):
    dice = np.random.default_rng(seed)
    xy = dice.uniform(-8, reach, (people, frames, joints, 2))
    xy[0, 0, 1] = xy[0, 0, 0] + 0.6  # shorter than a cell, but not by far
    xy[1, 0, 1] = xy[1, 0, 0]
    score = dice.random((people, frames, joints)) * (dice.random((people, frames, joints)) < 0.8)
    score[2, 1, 2] = 9e-5
    return xy, score


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("sigma", [0.6, 0.7, 2.0])
def test_maps_equal_the_slow_reference(sigma, scale):
    xy, score = crowd()
    edges = np.array([[0, 1], [1, 2], [4, 3], [2, 2]])
    points = keypoint_maps(xy, score, (20, 25), sigma, scale)
    limbs = limb_maps(xy, score, edges, (20, 25), sigma, scale)
    cells = (int(20 * scale + 0.5), int(25 * scale + 0.5))
    assert points.shape == (5, 2, *cells)
    assert limbs.shape == (4, 2, *cells)
    for frame in range(2):
        for k in range(5):
            canvas = np.zeros(cells).tolist()
            for person in range(3):
                if score[person, frame, k] >= 1e-4:
                    place = (xy[person, frame, k] * scale).tolist()
                    slow_segment(canvas, place, place, score[person, frame, k], sigma)
            np.testing.assert_allclose(points[k, frame], canvas, atol=2e-7)
        for e, (i, j) in enumerate(edges):
            canvas = np.zeros(cells).tolist()
            for person in range(3):
                a, b = (xy[person, frame, [i, j]] * scale).tolist()
                first, second = score[person, frame, [i, j]]
                if min(first, second) < 1e-4:
                    continue
                if (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 < 1:
                    slow_segment(canvas, a, a, first, sigma)
                else:
                    slow_segment(canvas, a, b, min(first, second), sigma)
            np.testing.assert_allclose(limbs[e, frame], canvas, atol=2e-7)


def test_work_in_pieces_is_seamless(monkeypatch):
    xy, score = crowd(people=6, frames=4, joints=17, reach=60)
    whole = limb_maps(xy, score, COCO17.edge_index, (56, 56))
    monkeypatch.setattr("posepipe.volumes.maps._CHUNK", 50)
    np.testing.assert_array_equal(limb_maps(xy, score, COCO17.edge_index, (56, 56)), whole)


def test_missing_and_senseless_points_draw_nothing():
    xy = np.array([[np.nan, 3], [5, 5], [1e300, -1e300], [3, np.inf]]).reshape(1, 1, 4, 2)
    score = np.array([1.0, 0.0, 1.0, 1.0]).reshape(1, 1, 4)
    assert not keypoint_maps(xy, score, (8, 8)).any()
    assert not limb_maps(xy, score, np.array([[0, 1], [2, 3]]), (8, 8)).any()
    with pytest.raises(ValueError, match="points are"):
        keypoint_maps(xy[0], score, (8, 8))
    with pytest.raises(ValueError, match="above 0"):
        keypoint_maps(xy, score, (8, 8), sigma=0)


def test_the_box_is_that_of_mmaction2():
    xy, score = np.array([[100, 50], [140, 150], [0, 0]], float), np.array([1, 1, 0])
    box = compact_box(xy, score)
    window = Window.of(box)
    assert window.size == (125, 125)
    np.testing.assert_array_equal(window.points(xy[:2]), [[43, 13], [83, 113]])


def test_the_box_follows_its_rules():
    xy, score = np.array([[10, 10], [50, 30], [np.nan, 2], [900, 900]], float), np.array([1, 1, 1, 0])
    np.testing.assert_array_equal(compact_box(xy, score), [5, -5, 55, 45])
    np.testing.assert_array_equal(compact_box(xy, score, 0.0, None), [10, 10, 50, 30])
    np.testing.assert_array_equal(compact_box(xy, score, 0.0, 2.0), [10, -20, 50, 60])
    # Edges lose what is behind the point towards zero, on either side of it.
    np.testing.assert_array_equal(compact_box([[-3.5, 0.9], [20.7, 20.8]], [1, 1], 0.0, None), [-3, 0, 20, 20])
    assert compact_box(xy, np.zeros(4)) is None
    assert compact_box([[0, 0], [9.9, 80]], [1, 1]) is None
    assert compact_box([[0, 0], [10, 80]], [1, 1]) is not None


def test_windows_resize_and_crop_as_steps_do():
    window = Window.of(np.array([57, 37, 182, 162]))
    points = np.array([[100.0, 50.0], [140.0, 150.0]])
    square = window.resized(256, 256)
    np.testing.assert_allclose(square.points(points), np.array([[43, 13], [83, 113]]) * 256 / 125)
    part = square.crop(16, 8, 200, 220).resized(224, 224)
    stepwise = (square.points(points) - [16, 8]) * [224 / 200, 224 / 220]
    np.testing.assert_allclose(part.points(points), stepwise)
    np.testing.assert_allclose(affine_points(part.affine(), points), part.points(points, "centre"))
    wide = Window.of(np.array([0, 0, 101, 50])).short_side(64)
    assert wide.size == (64, 129)
    np.testing.assert_allclose(wide.centre_crop(64).points([[0, 0]]), [[-(129 - 64) // 2 + 1, 0]])
    with pytest.raises(ValueError, match="area"):
        Window((0, 0, 0, 5), (4, 4))


def test_random_crops_keep_area_and_aspect():
    rng, window = np.random.default_rng(3), Window.of(np.array([0, 0, 256, 256]))
    crops = [random_resized_crop(window, rng) for _ in range(500)]
    boxes = np.array([crop.box for crop in crops])
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0
    assert boxes.max() <= 256
    area = wide * high / 256**2
    assert area.min() > 0.55
    assert area.max() <= 1
    assert (wide / high).min() > 0.73
    assert (wide / high).max() < 1.36
    flat = Window.of(np.array([0, 0, 400, 20]))
    assert random_resized_crop(flat, rng, area=(0.9, 1.0)).size == (20, 20)


@pytest.mark.parametrize("cells", ["corner", "centre"])
def test_mirrored_points_give_mirrored_maps(cells):
    dice = np.random.default_rng(1)
    xy, score = dice.uniform(5, 51, (2, 3, 17, 2)), dice.random((2, 3, 17))
    window = Window((0, 0, 56, 56), (56, 56))
    at = window.points(xy, cells)
    mirrored, scores = mirror_points(at, score, 56, COCO17)
    whole = keypoint_maps(at, score, (56, 56))
    swapped = mirror_maps(whole, COCO17.mirror)
    # The cut at whole cells is not the same on both sides, at most three deviations off: exp(-4.5).
    np.testing.assert_allclose(keypoint_maps(mirrored, scores, (56, 56)), swapped, atol=0.012)
    left, right = COCO17.index("left_wrist"), COCO17.index("right_wrist")
    np.testing.assert_array_equal(swapped[left], whole[right][..., ::-1])


def test_at_pixel_centres_mirrored_crops_and_maps_agree_at_every_scale():
    # A person in a picture 224 wide, seen on 56 cells; the mirrored picture has them at 223 - x.
    xy, window = np.array([[40.0, 90.0]]), Window((0, 0, 224, 224), (56, 56))
    there, mirrored = window.points(xy, "centre"), window.points([[223 - 40.0, 90.0]], "centre")
    np.testing.assert_allclose(mirrored, [[55 - there[0, 0], there[0, 1]]])


def test_limbs_mirror_into_limbs():
    mirror, names = limb_mirror(COCO17), limb_names(COCO17)
    assert names[mirror[names.index("left_knee-left_hip")]] == "right_knee-right_hip"
    assert names[mirror[names.index("left_hip-right_hip")]] == "left_hip-right_hip"
    assert mirror[mirror].tolist() == list(range(len(names)))
    both = channel_mirror(COCO17, True, True)
    assert both.tolist() == [*COCO17.mirror, *(17 + mirror)]
    lame = Skeleton("lame", ("left_a", "right_a", "b"), (("left_a", "b"),), (("left_a", "right_a"),), (0.1,) * 3)
    with pytest.raises(ValueError, match="left_a-b"):
        limb_mirror(lame)


def walker(track=1, frames=range(0, 60), shift=0.0, skeleton=COCO17):
    frames = np.array(frames)
    dice = np.random.default_rng(track)
    body = dice.uniform(0, 80, (len(skeleton), 2))
    xy = 100 + shift + body + 2.0 * frames[:, None, None]
    boxes = np.concatenate([xy.min(1), xy.max(1)], 1)
    score = np.full(xy.shape[:2], 0.8)
    return PoseStream(track, frames, frames / 25, xy, score, boxes, np.ones(len(frames), bool), skeleton)


def test_clips_show_the_drawn_frames_in_one_crop():
    stream = walker()
    clips = heatmap_clips([stream], HeatmapRecipe(frames=8, clips=10, size=32, limbs=True, flip=True))
    drawn = sample_test(60, 8, 10)
    np.testing.assert_array_equal(clips.frame_index, np.concatenate([drawn, drawn]))
    np.testing.assert_allclose(clips.pts, clips.frame_index / 25)
    assert clips.data.shape == (20, 17 + 18, 8, 32, 32)
    assert clips.flipped.tolist() == [False] * 10 + [True] * 10
    assert clips.channels == COCO17.keypoints + limb_names(COCO17)
    np.testing.assert_array_equal(clips.crop, compact_box(stream.xy[drawn], stream.score[drawn]))
    window = Window.of(clips.crop).resized(32, 32)
    for c in (0, 9):
        at = window.points(stream.xy[drawn[c]][None])
        expected = keypoint_maps(at, stream.score[drawn[c]][None], (32, 32))
        np.testing.assert_array_equal(clips.data[c, :17], expected)
        np.testing.assert_array_equal(clips.data[10 + c, :17], mirror_maps(expected, COCO17.mirror))
    assert clips.volumes[0].stride == pytest.approx((clips.crop[2] - clips.crop[0]) / 32)


def test_people_share_frames_and_maps():
    early, late = walker(1, range(0, 40)), walker(2, range(20, 60), 50)
    clips = heatmap_clips([early, late], HeatmapRecipe(frames=60))
    assert clips.available == 60
    assert clips.frame_index[0].tolist() == list(range(60))
    window = Window.of(clips.crop).resized(56, 56)
    alone = keypoint_maps(window.points(early.xy[None, :20]), early.score[None, :20], (56, 56))
    np.testing.assert_array_equal(clips.data[0][:, :20], alone)
    other = keypoint_maps(window.points(late.xy[None, 20:]), late.score[None, 20:], (56, 56))
    np.testing.assert_array_equal(clips.data[0][:, 40:], other)


def test_any_skeleton_has_a_channel_for_each_keypoint():
    seven = Skeleton("seven", tuple("abcdefg"), (("a", "b"),), (), (0.1,) * 7)
    clips = heatmap_clips([walker(skeleton=seven)], HeatmapRecipe(frames=8, keypoints=False, limbs=True))
    assert (clips.channels, clips.data.shape) == (("a-b",), (1, 1, 8, 56, 56))
    with pytest.raises(ValueError, match="one skeleton"):
        heatmap_clips([walker(), walker(2, skeleton=seven)], HeatmapRecipe())
    bare = replace(seven, edges=())
    with pytest.raises(ValueError, match="no limbs"):
        heatmap_clips([walker(skeleton=bare)], HeatmapRecipe(limbs=True))


def test_three_frames_are_repeated_and_nobody_is_refused():
    clips = heatmap_clips([walker(frames=[4, 5, 9])], HeatmapRecipe(frames=8))
    assert clips.available == 3
    assert clips.frame_index[0].tolist() == [4, 5, 9, 4, 5, 9, 4, 5]
    with pytest.raises(ValueError, match="nobody"):
        heatmap_clips([], HeatmapRecipe())
    with pytest.raises(ValueError, match="nobody"):
        heatmap_clips([walker(frames=[])], HeatmapRecipe())


def test_without_keypoints_the_crop_is_about_the_boxes_and_the_maps_are_empty():
    stream = walker(frames=range(20))
    clips = heatmap_clips([replace(stream, score=np.zeros_like(stream.score))], HeatmapRecipe(frames=8))
    assert not clips.data.any()
    x1, y1, x2, y2 = clips.crop
    assert x2 - x1 == y2 - y1
    weak = heatmap_clips([stream], HeatmapRecipe(frames=8, keypoint_score=0.81))
    assert not weak.data.any()


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"clips": 0}, {"sigma": 0.0}, {"keypoints": False}])
def test_recipes_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="maps"):
        HeatmapRecipe(**wrong)
