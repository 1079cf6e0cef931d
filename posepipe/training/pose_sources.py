"""Which people a pose network learns from and is validated on: a recipe's sources, brought to one form and split."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.config import data_root
from posepipe.datasets.exclusions import read_exclusions
from posepipe.datasets.formats import read_set
from posepipe.datasets.frames import (
    extract_frames,
    frame_names,
    frames_cache,
    pictures_at_hand,
    video_frames,
    videos_of_set,
)
from posepipe.datasets.held_out import SHARE, held_out, in_share
from posepipe.datasets.labels import KeypointSet
from posepipe.datasets.leaks import refuse_leaks
from posepipe.datasets.people import Person, set_people, teacher_people
from posepipe.datasets.splits import of_part, read_split
from posepipe.datasets.yolo import set_parts
from posepipe.errors import ConfigError, InputError
from posepipe.training.pose_leaks import refuse_shared, without_copies
from posepipe.training.recipe import PoseRecipe, Source

__all__ = ["LabelledPeople", "Reader", "training_people"]


@dataclass(frozen=True)
class LabelledPeople:
    """P people, and (P,) how often each comes in a lap through the data."""

    people: tuple[Person, ...]
    repeat: NDArray[np.int64]


class Reader:
    """Reads sources; every label file once.

    Parameters
    ----------
    root
        Folder where relative paths begin.
    exclude
        Exclusion lists.
    allow_leaks
        Do not refuse splits that leak.

    Attributes
    ----------
    notes
        What was let pass.
    """

    def __init__(self, root: Path, exclude: Iterable[str] = (), *, allow_leaks: bool = False) -> None:
        self.root = root
        self.allow_leaks = allow_leaks
        self.notes: list[str] = []
        self._excluded = {name: read_exclusions(root / name) for name in exclude}
        self._names: set[str] = set()
        self._sets: dict[tuple[str, str, int], KeypointSet] = {}
        self._sound: set[tuple[str, str]] = set()

    def people(self, source: Source) -> list[Person]:
        """The people of one source: of its part, large enough, with a located joint, not excluded.

        Raises
        ------
        PosepipeError
            A file is missing or not of its form, or the source's split leaks.
        """
        if not source.path:
            raise ConfigError("a source has no path", hint='Give every [[sources]] a path = "..."')
        if source.path.endswith(".npz"):
            people = self._of_teacher(source)
        else:
            labels = self._part(source)
            if source.without:
                labels = labels.of_images(~self._left_out(labels, self._labels(source), source))
            people = set_people(labels, hidden_trust=source.hidden_trust, confidence=source.confidence)
        states = _states(self.root / source.states) if source.states else {}
        found = []
        for person in people:
            box, name = person.box, person.image.name
            if max(box[2] - box[0], box[3] - box[1]) < source.least_px:
                continue
            keys = ((person.video, name), (person.video, ""), ("", name))
            state = next((states[key] for key in keys if key in states), "")
            located = (person.located * source.trust).astype(np.float32)
            absent = np.where(person.absent > 0, source.absent, 0).astype(np.float32)
            found.append(dataclasses.replace(person, located=located, absent=absent, state=state))
        return found

    def _of_teacher(self, source: Source) -> list[Person]:
        path = self.root / source.path
        # Pictures of a teacher's file lie in one folder: they are known by their own names.
        left_out = {Path(name).name for name in self._without(source)}
        images = self.root / source.images if source.images else path.parent / "images"
        people = teacher_people(
            path, images, box_score=source.box_score, agreement=source.agreement, least_px=0.0,
            without=left_out, shift_x=source.shift_x,
        )  # fmt: skip
        self._names.update(person.image.name for person in people)
        excluded = {name for listed in self._excluded.values() for name in listed.images}
        return [person for person in people if person.image.name not in excluded]

    def _without(self, source: Source) -> set[str]:
        """Pictures that another set of the source's `without` holds; frames of videos by both their names."""
        others = [read_set(self.root / other) for other in source.without]
        return {name for other in others for name in (*other.images, *frame_names(other))}

    def _left_out(self, labels: KeypointSet, whole: KeypointSet, source: Source) -> NDArray[np.bool_]:
        """(I,) which images of `labels`, a part of `whole`, are left out. Raises `InputError` if none of `whole` is."""
        names = self._without(source)
        if names.isdisjoint(whole.images):
            raise InputError(
                f"no picture of {source.path} is left out by without = {list(source.without)}",
                got=f"names such as {min(names, default='nothing')!r}",
                expected=f"names such as {whole.images[0]!r}" if whole.images else "pictures",
                hint="Names must be the same, folders included; leave without out where the sets share nothing",
            )
        return np.array([name in names for name in labels.images], bool)

    def check_exclusions(self) -> None:
        """Refuse a list that names what no source read so far holds. Raises `InputError`."""
        for name, listed in self._excluded.items():
            strange = listed.unknown(self._names)
            if strange:
                what = f"{name} excludes {len(strange)} videos or images that no source holds: {', '.join(strange[:5])}"
                raise InputError(what, hint="Write the names as the labels do: a video without its folder and suffix")

    def _part(self, source: Source) -> KeypointSet:
        """The source's labels, or those of its part of its split."""
        parts = () if source.split else set_parts(self.root / source.path)
        if parts:
            what = f"{source.path} holds the parts {', '.join(parts)}, and the recipe names none"
            raise ConfigError(what, hint=f'Name one by its folder (path = "SET/{parts[0]}"), or give a split file')
        labels = self._labels(source)
        if not source.split:
            return labels
        split = read_split(self.root / source.split)
        if (source.path, source.split) not in self._sound:
            self._sound.add((source.path, source.split))
            found = refuse_leaks(labels, split, override=self.allow_leaks)
            if found:
                listed = "; ".join(leak.line() for leak in found[:5])
                self.notes.append(f"The split {source.split} leaks in {len(found)} places: {listed}")
        return of_part(labels, split, source.part)

    def _labels(self, source: Source) -> KeypointSet:
        key = (source.path, source.images, source.every)
        if key not in self._sets:
            path, images = self.root / source.path, self.root / source.images if source.images else None
            # Before their pictures are looked for too: what is excluded may be missing.
            labels, lost = _with_pictures(self._kept(read_set(path, images)), path, images, source.every)
            if lost:
                self.notes.append(f"{lost} labelled frames of {path} lie beyond the end of their video: left out")
            self._sets[key] = self._kept(labels)
        return self._sets[key]

    def _kept(self, labels: KeypointSet) -> KeypointSet:
        """The set without what is excluded; its names are remembered for `check_exclusions`."""
        self._names.update(labels.videos, labels.images)
        for listed in self._excluded.values():
            labels = listed.apply(labels)
        return labels


def _with_pictures(labels: KeypointSet, path: Path, images: Path | None, every: int) -> tuple[KeypointSet, int]:
    """A set read from `path`, with its pictures; and how many labelled frames the videos do not have.

    Frames of videos are written into the cache first.
    """
    if pictures_at_hand(labels):
        return labels.of_images((labels.frames < 0) | (labels.frames % every == 0)), 0
    videos = videos_of_set(path, images)
    if not videos:
        place = labels.root or images or path
        raise InputError(f"the pictures of {path} are not in {place}", hint='Name their folder: images = "..."')
    taken = extract_frames(labels, videos, frames_cache(path), every=every)
    return taken, int(video_frames(labels, every).sum()) - len(taken.images)


def _states(path: Path) -> dict[tuple[str, str], str]:
    """State by (video or "", picture or "") from a CSV file with a column state, and video, image_id or both."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        return {(row.get("video") or "", row.get("image_id") or ""): row["state"] for row in rows if row["state"]}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        hint = "Its first line names the columns: state, and video, image_id or both"
        raise InputError(f"cannot read states from {path}: {error!r}", hint=hint) from error


def _side(rows: list[tuple[Person, int]], what: str) -> LabelledPeople:
    if not rows:
        raise ConfigError(f"nobody is left {what}", hint="Check paths, parts of splits and thresholds")
    return LabelledPeople(tuple(p for p, _ in rows), np.array([times for _, times in rows], np.int64))


def training_people(
    recipe: PoseRecipe, *, allow_leaks: bool = False
) -> tuple[LabelledPeople, LabelledPeople, tuple[str, ...]]:
    """Everybody to train and to validate on, and notes for the summary.

    Validation are the recipe's own sources for it; without those, the part val of the sources' splits, and of sources
    without a split the pictures that `posepipe.datasets.held_out` names, less those that look like a training picture.

    Raises
    ------
    ConfigError
        No sources, nobody to train or to validate on.
    InputError
        A file cannot be read, or something stands on both sides of the split, and that was not allowed.
    """
    if not recipe.sources:
        raise ConfigError("the recipe names nothing to learn from", hint="Give it [[sources]] tables")
    reader = Reader(Path(recipe.data) if recipe.data else data_root(), recipe.exclude, allow_leaks=allow_leaks)
    train: list[tuple[Person, int]] = []
    held = [person for source in recipe.validation for person in reader.people(source)]
    aside: list[Person] = []
    for source in recipe.sources:
        people = reader.people(source)
        if not recipe.validation and source.split:
            held += reader.people(dataclasses.replace(source, part="val"))
        elif not recipe.validation:
            aside += [person for person in people if held_out(person.image, person.video)]
            people = [person for person in people if not held_out(person.image, person.video)]
        train += [(person, source.repeat) for person in people]
    reader.check_exclusions()
    if not (recipe.validation or held or aside):
        count = len({person.image for person, _ in train})
        raise ConfigError(
            "nobody is left to validate on",
            got=f"{SHARE:.0%} of {count} pictures, chosen by their names, are none",
            hint="Give [[validation]], or make a split with posepipe data split",
        )
    known = _side(train, "to train on")
    notes = (*reader.notes, *refuse_shared(known.people, held, allow=allow_leaks))
    kept = _side([(person, 1) for person in [*held, *without_copies(aside, known.people)]], "to validate on")
    # The share is taken last: trainings on more and on less are validated on the same people.
    part = [(person, times) for person, times in train if in_share(person.image, person.video, recipe.share)]
    return _side(part, "of the share to train on"), kept, notes
