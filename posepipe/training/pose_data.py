"""Which people the pose network is trained and validated on."""

from __future__ import annotations

from pathlib import Path

from posepipe.datasets.people import Person, coco_people, repeat, split_people, teacher_people

__all__ = ["HELD_OUT", "training_people"]

#: share of pictures held out for validation
HELD_OUT = 0.04


def training_people(root: Path) -> tuple[list[Person], list[Person]]:
    """Everybody to train and validate on, from the data folder: (training, validation). No test part is read."""
    lspet = coco_people(
        root / "lspet/person_keypoints_train.json", root / "lspet/images", guessed_trust=0.3, hidden_absent=False
    )
    fashion = coco_people(root / "people/fashion_keypoints.json", root / "people/images")
    everyday = teacher_people(
        root / "people/teacher.npz", root / "people/images", without={p.image.name for p in fashion}
    )
    streets = teacher_people(root / "streets/teacher.npz", root / "streets/images")
    coco = coco_people(root / "coco-mini/annotations/person_keypoints_train.json", root / "coco-mini/images")
    coco = [p for p in coco if (p.box[2:] - p.box[:2]).max() >= 48]
    unlabelled = teacher_people(root / "coco-mini/teacher_unlabelled.npz", root / "coco-mini/images")
    # Some mixed_* pictures are altered copies of one another, and their names do not tell which.
    train, held = split_people([*lspet, *fashion, *everyday, *streets, *coco, *unlabelled], HELD_OUT, keep=("mixed",))
    few = {p.image for p in coco}
    return [*train, *repeat([p for p in train if p.image in few], 2)], held
