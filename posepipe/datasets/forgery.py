"""Videos that are real or manipulated: the folders and official splits of FaceForensics++, and own lists.

FaceForensics++ (Roessler et al. 2019) has 1000 videos from YouTube. Its splits are of pairs of them, and each method
makes two videos of a pair: A_B shows person A with the face, or the expression, of B. So all of these belong where the
pair does, and no person of one part is ever seen in another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from posepipe.datasets.video_lists import PARTS, LabelledVideo, VideoList, read_video_list
from posepipe.errors import InputError, UsageError

__all__ = [
    "COMPRESSIONS",
    "FAKE",
    "FFPP_METHODS",
    "FORGERY_CLASSES",
    "REAL",
    "Pairs",
    "both_classes",
    "person_leaks",
    "read_ffpp",
    "read_forgery_list",
    "read_pairs",
]

REAL, FAKE = 0, 1
#: names of the classes, by number
FORGERY_CLASSES = ("real", "fake")
#: the four methods of the benchmark, by their folders
FFPP_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
#: none, light and strong, by their folders
COMPRESSIONS = ("c0", "c23", "c40")
_SHOWN = 5

Pairs = Mapping[str, Sequence[tuple[str, str]]]


def read_pairs(folder: Path) -> dict[str, tuple[tuple[str, str], ...]]:
    """The pairs of ids of each part, from ``train.json``, ``val.json`` and ``test.json`` as the benchmark has them.

    Raises
    ------
    InputError
        A file is missing or holds something else than pairs of ids.
    """
    pairs = {}
    for part in PARTS:
        path = folder / f"{part}.json"
        try:
            content = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            hint = "Give the folder of the benchmark's train.json, val.json and test.json"
            raise InputError(f"cannot read the split {path}: {error}", hint=hint) from error
        rows: list[Any] = content if isinstance(content, list) else [None]
        bad = next((r for r in rows if not (isinstance(r, list) and len(r) == 2 and all(_is_id(i) for i in r))), ())
        if bad != () or not rows:
            raise InputError(f"{path} is no list of pairs of video ids", got=repr(bad)[:60], expected='["071", "054"]')
        pairs[part] = tuple((first, second) for first, second in rows)
    return pairs


def _is_id(value: object) -> bool:
    return isinstance(value, str) and value.isalnum()


def person_leaks(pairs: Pairs) -> dict[str, tuple[str, ...]]:
    """Ids that stand in more than one part, or in two pairs of one, and the parts: none in a sound split."""
    seen: dict[str, list[str]] = {}
    for part, members in pairs.items():
        for pair in members:
            for name in pair:
                seen.setdefault(name, []).append(part)
    return {name: tuple(parts) for name, parts in sorted(seen.items()) if len(parts) > 1}


def read_ffpp(
    root: Path,
    pairs: Pairs,
    *,
    compression: str = "c23",
    methods: Sequence[str] = FFPP_METHODS,
    partial: bool = False,
) -> VideoList:
    """FaceForensics++ as its download script lays it out.

    Real videos lie in ``original_sequences/youtube/COMPRESSION/videos/ID.mp4``, manipulated ones in
    ``manipulated_sequences/METHOD/COMPRESSION/videos/A_B.mp4``.

    Parameters
    ----------
    root
        Folder of the two.
    pairs
        From `read_pairs`. A file whose pair is in no part is not used.
    compression
        One of `COMPRESSIONS`.
    methods
        Folders of manipulated videos.
    partial
        List only what is there. Else all that should be is listed, for `check_videos` to name what is missing.

    Returns
    -------
    Classes `FORGERY_CLASSES`; a group is a pair of people.

    Raises
    ------
    UsageError
        The compression is unknown, or a person stands more than once in the pairs.
    InputError
        Nothing is there.
    """
    if compression not in COMPRESSIONS:
        raise UsageError(f"unknown compression {compression!r}", expected=" or ".join(COMPRESSIONS))
    leaks = person_leaks(pairs)
    if leaks:
        told = ", ".join(f"{name} ({' and '.join(parts)})" for name, parts in list(leaks.items())[:_SHOWN])
        raise UsageError(f"{len(leaks)} people stand more than once in the splits: {told}", hint="Mend the split files")
    parts = {part: _expected(root, pairs.get(part, ()), compression, methods) for part in PARTS}
    there = {part: tuple(video for video in videos if video.path.is_file()) for part, videos in parts.items()}
    if not any(there.values()):
        example = next((video.path for videos in parts.values() for video in videos), root)
        raise InputError(f"{root} holds no video of FaceForensics++", expected=f"for example {example}")
    return VideoList(f"FaceForensics++ {compression}", FORGERY_CLASSES, there if partial else parts)


def _expected(
    root: Path, pairs: Sequence[tuple[str, str]], compression: str, methods: Sequence[str]
) -> tuple[LabelledVideo, ...]:
    """Every video that a part has when the set is whole: the real ones, then method by method."""
    real = root / "original_sequences/youtube" / compression / "videos"
    videos = [LabelledVideo(real / f"{n}.mp4", REAL, f"people {a} and {b}") for a, b in pairs for n in (a, b)]
    for method in methods:
        fake = root / "manipulated_sequences" / method / compression / "videos"
        videos += [
            LabelledVideo(fake / f"{n}.mp4", FAKE, f"people {a} and {b}")
            for a, b in pairs
            for n in (f"{a}_{b}", f"{b}_{a}")
        ]
    return tuple(videos)


def read_forgery_list(path: Path) -> VideoList:
    """An own list (`read_video_list`) whose labels are ``real`` and ``fake``, numbered as `FORGERY_CLASSES`.

    Raises
    ------
    InputError
        As `read_video_list`, or there are other labels.
    """
    listed = read_video_list(path)
    if not set(listed.classes) <= set(FORGERY_CLASSES):
        raise InputError(f"the labels of {path} are not {' and '.join(FORGERY_CLASSES)}", got=", ".join(listed.classes))
    number = [FORGERY_CLASSES.index(name) for name in listed.classes]
    parts = {part: tuple(replace(v, label=number[v.label]) for v in listed[part]) for part in PARTS}
    return VideoList(listed.source, FORGERY_CLASSES, parts)


def both_classes(listed: VideoList, parts: Sequence[str]) -> None:
    """Make sure that parts hold real and manipulated videos; raises `InputError` naming the part and what it lacks."""
    for part in parts:
        for label, name in enumerate(FORGERY_CLASSES):
            if all(video.label != label for video in listed[part]):
                raise InputError(
                    f"the part {part} of {listed.source} has no {name} video",
                    got=f"{len(listed[part])} videos",
                    expected="real and manipulated ones",
                )
