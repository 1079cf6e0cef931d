"""The audit of labels: every sign answers to its fault and to nothing else, and the planted videos come first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from walkers import FRAMES, VIDEOS, rows_of, sound, with_fault

from posepipe.datasets.audit import ALARM, Sign, audit
from posepipe.errors import InputError
from posepipe.skeleton import named_skeleton


def test_a_sound_set_raises_no_alarm() -> None:
    cards = audit(sound(), second=sound())
    assert [card.reasons for card in cards] == [()] * VIDEOS
    assert {card.people for card in cards} == {FRAMES}


@pytest.mark.parametrize(
    "sign", [sign for sign in Sign if sign not in (Sign.SECOND, Sign.NO_LABELS)], ids=lambda sign: sign.code
)
def test_a_fault_is_first_in_the_queue_and_has_its_name(sign: Sign) -> None:
    first, *others = audit(with_fault(sign))
    assert first.video == "v07"
    assert sign.code in first.reasons
    assert not any(card.reasons for card in others)


@pytest.mark.parametrize("sign", [Sign.BONE, Sign.SWAP, Sign.FACING])
def test_limbs_are_known_by_the_usual_names_of_joints(sign: Sign) -> None:
    labels = with_fault(sign)
    names = [name.title().replace("_", "") for name in labels.skeleton.keypoints]  # LeftShoulder
    assert sign.code in audit(replace(labels, skeleton=named_skeleton("own", names)))[0].reasons


def test_a_set_without_any_limb_is_audited_by_the_other_signs() -> None:
    labels = with_fault(Sign.JUMP)
    first = audit(replace(labels, skeleton=named_skeleton("tail", [f"tail{i}" for i in range(17)])))[0]
    assert (first.video, set(first.reasons)) == ("v07", {Sign.JUMP.code, Sign.JITTER.code})
    assert not {Sign.BONE, Sign.SWAP} & set(first.signs)


def test_only_a_second_opinion_sees_labels_beside_the_person() -> None:
    labels = sound()
    rows = rows_of(labels, "v03")
    xy, boxes = labels.xy.copy(), labels.boxes.copy()
    xy[rows] += 60
    boxes[rows] += 60
    moved = replace(labels, xy=xy, boxes=boxes)
    assert not any(card.reasons for card in audit(moved))
    first, *others = audit(moved, second=labels)
    assert (first.video, first.reasons) == ("v03", (Sign.SECOND.code,))
    assert not any(card.reasons for card in others)


def test_only_frames_of_the_second_labels_are_compared() -> None:
    labels = sound()
    part = labels.of_videos([f"v{number:02d}" for number in range(5)])
    renamed = replace(part, images=tuple(image.replace(".jpg", ".png") for image in part.images))
    for second in (part, renamed):
        cards = {card.video: card for card in audit(labels, second)}
        assert [video for video in sorted(cards) if Sign.SECOND in cards[video].signs] == [
            f"v{i:02d}" for i in range(5)
        ]
        assert cards["v00"].signs[Sign.SECOND] == 0
    elsewhere = replace(part, videos=("x",) * 200, images=tuple(f"x{i}" for i in range(200)), frames=np.arange(200))
    with pytest.raises(InputError, match="of no frame of walkers"):
        audit(labels, elsewhere)
    names = ("tail", *labels.skeleton.keypoints[1:])
    with pytest.raises(InputError, match="another skeleton"):
        audit(labels, replace(part, skeleton=named_skeleton("tails", names)))


def test_nobody_in_a_frame_of_the_second_labels_is_a_disagreement() -> None:
    labels = sound()
    second = labels.select(np.setdiff1d(np.arange(len(labels)), rows_of(labels, "v03")))
    assert audit(labels, second)[0].video == "v03"


def test_the_worst_rows_are_the_spoilt_ones() -> None:
    labels = with_fault(Sign.BONE)
    first = audit(labels)[0]
    spoilt = set(rows_of(labels, "v07")[::3])
    assert set(first.worst[:10]) <= spoilt


def test_the_order_of_people_and_images_does_not_matter() -> None:
    labels = with_fault(Sign.SWAP)
    shuffled = labels.select(np.random.default_rng(1).permutation(len(labels)))
    ours, theirs = audit(labels), audit(shuffled)
    assert [(card.video, card.reasons) for card in ours] == [(card.video, card.reasons) for card in theirs]
    assert np.allclose([card.suspicion for card in ours], [card.suspicion for card in theirs])
    worst = [[set(labels.image[card.worst]) for card in ours], [set(shuffled.image[card.worst]) for card in theirs]]
    assert worst[0] == worst[1]


def test_videos_without_people_and_with_one_frame_are_counted() -> None:
    labels = sound()
    few = labels.select(np.setdiff1d(np.arange(len(labels)), rows_of(labels, "v00")))
    one = few.select(np.setdiff1d(np.arange(len(few)), rows_of(few, "v01")[1:]))
    cards = {card.video: card for card in audit(one)}
    assert (cards["v00"].people, cards["v00"].suspicion) == (0, 0.0)
    assert cards["v01"].frames == 1
    assert all(np.isfinite(card.suspicion) for card in cards.values())
    assert max(card.z.get(Sign.GAPS, 0.0) for card in cards.values()) < ALARM


def test_still_pictures_cannot_be_audited() -> None:
    labels = sound()
    with pytest.raises(InputError, match="no videos"):
        audit(replace(labels, videos=("",) * len(labels.images)))
