"""The order of training samples: every sample once a lap, no video in a row, the same on every run and split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from posepipe.datasets.held_out import held_out, in_share
from posepipe.datasets.order import MixedOrder, interleave

GROUPS = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def drawn(order: MixedOrder, epochs: int) -> list[tuple[int, int]]:
    found = []
    for epoch in range(epochs):
        order.set_epoch(epoch)
        found += list(order)
    return found


@settings(max_examples=60)
@given(sizes=GROUPS, window=st.integers(1, 64), seed=st.integers(0, 2**31))
def test_no_window_holds_more_of_a_group_than_its_share(sizes: list[int], window: int, seed: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    order = interleave(groups, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(groups)))
    for group, size in enumerate(sizes):
        counts = np.convolve(groups[order] == group, np.ones(min(window, len(groups))), "valid")
        assert counts.max() <= size * (window + len(sizes)) / len(groups) + 1


def test_batches_mix_videos_that_come_in_a_row_in_the_data() -> None:
    videos = [f"video{n // 100}" for n in range(2000)]  # 20 videos of 100 frames
    order = MixedOrder(2000, seed=3, groups=videos)
    rows = [index for index, _ in drawn(order, 1)]
    for start in range(0, 2000, 40):
        of_batch = [videos[i] for i in rows[start : start + 40]]
        assert max(of_batch.count(v) for v in set(of_batch)) <= 4
        assert len(set(of_batch)) >= 15
    assert rows != sorted(rows)


def test_states_are_mixed_like_videos() -> None:
    groups = [(f"video{n % 4}", "sits" if n < 1600 else "stands") for n in range(2000)]
    rows = [index for index, _ in drawn(MixedOrder(2000, seed=1, groups=groups), 1)]
    for start in range(0, 2000, 50):
        standing = sum(groups[i][1] == "stands" for i in rows[start : start + 50])
        assert 5 <= standing <= 16  # 10 by share


def test_the_order_is_a_permutation_that_goes_on_over_epochs() -> None:
    found = drawn(MixedOrder(10, seed=1, per_epoch=4), 5)
    assert sorted(i for i, _ in found[:10]) == sorted(i for i, _ in found[10:]) == list(range(10))
    assert [i for i, _ in found[:10]] != [i for i, _ in found[10:]]
    assert len({seed for _, seed in found}) == 20
    again = MixedOrder(10, seed=1, per_epoch=4)
    again.set_epoch(3)
    assert list(again) == found[12:16]


def test_small_sets_come_more_often() -> None:
    repeat = np.array([1, 3, 1])
    rows = [index for index, _ in drawn(MixedOrder(3, seed=1, repeat=repeat), 2)]
    assert [rows.count(i) for i in range(3)] == [2, 6, 2]


@settings(max_examples=30)
@given(world=st.integers(1, 4), length=st.integers(4, 50), seed=st.integers(0, 1000))
def test_processes_share_an_epoch_without_overlap(world: int, length: int, seed: int) -> None:
    whole = MixedOrder(length, seed)
    parts = []
    for rank in range(world):
        part = MixedOrder(length, seed)
        part.share_out(rank, world)
        assert len(list(part)) == len(part) == length // world
        parts.append(list(part))
    together = [sample for group in zip(*parts, strict=True) for sample in group]
    assert together == list(whole)[: len(together)]


def test_a_picture_or_video_has_one_side_whoever_asks() -> None:
    paths = [Path(f"set/images/{n}.webp") for n in range(4000)]
    aside = [held_out(path) for path in paths]
    assert 100 < sum(aside) < 220  # 4 %
    assert aside == [held_out(Path("/elsewhere") / path) for path in paths]
    assert 250 < sum(held_out(Path(f"coco-mini/images/{n}.webp")) for n in range(2000)) < 550  # 20 %
    frames = {held_out(Path(f"set/v7/{n}.jpg"), "v7") for n in range(200)}
    assert len(frames) == 1


def test_shares_lie_in_one_another_and_keep_videos_whole() -> None:
    paths = [Path(f"people/images/work_{n}.webp") for n in range(2000)]
    parts = {share: {path for path in paths if in_share(path, "", share)} for share in (0.1, 0.5, 1.0)}
    assert parts[0.1] < parts[0.5] < parts[1.0] == set(paths)
    assert [abs(len(parts[share]) / 2000 - share) < 0.04 for share in parts] == [True] * 3
    assert len({in_share(Path(f"set/v7/{n}.jpg"), "v7", 0.5) for n in range(100)}) == 1


def test_near_copies_are_never_held_out() -> None:
    assert not any(held_out(Path(f"people/images/mixed_{n}.webp")) for n in range(1000))
    assert any(held_out(Path(f"people/images/work_{n}.webp")) for n in range(1000))


@settings(max_examples=60)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4), seed=st.integers(0, 2**31))
def test_balanced_classes_come_equally_often_and_so_do_their_samples(sizes: list[int], seed: int) -> None:
    classes = np.repeat(np.arange(len(sizes)), sizes).tolist()
    order = MixedOrder(len(classes), seed, classes=classes)
    assert order.per_epoch == len(sizes) * max(sizes)
    rows = np.array([index for index, _ in drawn(order, 3)])
    for few in np.array(classes)[rows].reshape(-1, len(sizes)):
        assert sorted(few) == list(range(len(sizes)))
    counts = np.bincount(rows, minlength=len(classes))
    for label, size in enumerate(sizes):
        of_class = counts[np.array(classes) == label]
        assert of_class.sum() == 3 * max(sizes)
        assert of_class.max() - of_class.min() <= 1, size  # none is drawn twice more than another


def test_a_balanced_order_is_the_same_in_parts_and_keeps_videos_apart() -> None:
    classes = ["real"] * 40 + ["fake"] * 200
    videos = [n // 20 for n in range(240)]
    whole = drawn(MixedOrder(240, 5, 400, groups=videos, classes=classes), 4)
    parts = drawn(MixedOrder(240, 5, 50, groups=videos, classes=classes), 32)
    assert whole == parts
    fakes = [index for index, _ in whole if index >= 40]
    for start in range(0, 200, 10):
        assert len({videos[i] for i in fakes[start : start + 10]}) >= 5  # of ten videos
    shared = [MixedOrder(240, 5, 400, groups=videos, classes=classes) for _ in range(2)]
    for rank, order in enumerate(shared):
        order.share_out(rank, 2)
    assert sorted(drawn(shared[0], 4) + drawn(shared[1], 4)) == sorted(whole)
