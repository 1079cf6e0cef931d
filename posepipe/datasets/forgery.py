"""Videos that are real or manipulated: the folders and official splits of FaceForensics++.

FaceForensics++ (Roessler et al. 2019) has 1000 videos from YouTube. Its splits are of pairs of them, and each method
makes two videos of a pair: A_B shows person A with the face, or the expression, of B. So both belong where the pair
does, and no person of one part is ever seen in another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from posepipe.errors import InputError, UsageError

__all__ = [
    "COMPRESSIONS",
    "FAKE",
    "FFPP_METHODS",
    "PARTS",
    "REAL",
    "ForgeryVideo",
    "Pairs",
    "ffpp_videos",
    "person_leaks",
    "read_pairs",
]

REAL, FAKE = 0, 1
PARTS = ("train", "val", "test")
#: the four methods of the benchmark, by their folders
FFPP_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
#: raw, light and strong compression, by their folders
COMPRESSIONS = ("c0", "c23", "c40")
_SHOWN = 5

Pairs = Mapping[str, Sequence[tuple[str, str]]]


@dataclass(frozen=True)
class ForgeryVideo:
    """A video and what is known of it.

    Attributes
    ----------
    path
        The file.
    name
        What it is called in results, such as ``Deepfakes/519_515``.
    label
        `REAL` or `FAKE`; None where it is not known.
    part
        ``train``, ``val``, ``test``, or empty.
    method
        How it was made; ``original`` for a real one, empty where it is not known.
    """

    path: Path
    name: str
    label: int | None = None
    part: str = ""
    method: str = ""


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
        rows = content if isinstance(content, list) else [None]
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


def ffpp_videos(
    root: Path,
    pairs: Pairs,
    *,
    compression: str = "c23",
    methods: Sequence[str] = FFPP_METHODS,
    partial: bool = False,
) -> list[ForgeryVideo]:
    """The videos of FaceForensics++ as its download script lays them out.

    Real ones lie in ``original_sequences/youtube/COMPRESSION/videos/ID.mp4``, manipulated ones in
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
        Take what is there; else a missing video is an error.

    Returns
    -------
    Part by part: the real ones, then method by method.

    Raises
    ------
    InputError
        Videos are missing (the first ones are named), or none is there.
    UsageError
        The compression is unknown, or a person is in two parts.
    """
    if compression not in COMPRESSIONS:
        raise UsageError(f"unknown compression {compression!r}", expected=" or ".join(COMPRESSIONS))
    leaks = person_leaks(pairs)
    if leaks:
        told = ", ".join(f"{name} ({' and '.join(parts)})" for name, parts in list(leaks.items())[:_SHOWN])
        raise UsageError(f"{len(leaks)} people stand more than once in the splits: {told}", hint="Mend the split files")
    wanted = [video for part in PARTS for video in _expected(root, part, pairs.get(part, ()), compression, methods)]
    found = [video for video in wanted if video.path.is_file()]
    if not found or (len(found) < len(wanted) and not partial):
        missing = [str(video.path) for video in wanted if not video.path.is_file()]
        raise InputError(
            f"{len(missing)} of {len(wanted)} videos are missing below {root}",
            got=f"first {', '.join(missing[:_SHOWN])}",
            hint="Complete the set; a part of it must be asked for (partial)" if found else "Check the folder",
        )
    return found


def _expected(
    root: Path, part: str, pairs: Sequence[tuple[str, str]], compression: str, methods: Sequence[str]
) -> list[ForgeryVideo]:
    """Every video that a part has when the set is whole."""
    folder = root / "original_sequences/youtube" / compression / "videos"
    names = [name for pair in pairs for name in pair]
    videos = [ForgeryVideo(folder / f"{n}.mp4", f"original/{n}", REAL, part, "original") for n in names]
    for method in methods:
        folder = root / "manipulated_sequences" / method / compression / "videos"
        both = [f"{a}_{b}" for pair in pairs for a, b in (pair, pair[::-1])]
        videos += [ForgeryVideo(folder / f"{n}.mp4", f"{method}/{n}", FAKE, part, method) for n in both]
    return videos
