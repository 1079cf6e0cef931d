"""The labelled frames of videos as pictures in a cache folder, for labs that have videos and no frames."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.config import cache_root
from posepipe.datasets.labels import KeypointSet
from posepipe.errors import InputError, OutputError
from posepipe.io.atomic import file_state, output_errors
from posepipe.io.video import is_video, open_video

__all__ = [
    "extract_frames",
    "find_videos",
    "frame_names",
    "frames_cache",
    "pictures_at_hand",
    "video_frames",
    "videos_of_set",
]

#: beside a video's frames: `file_state` of the file they were taken from
_RECEIPT = ".video"


def find_videos(folder: Path) -> dict[str, Path]:
    """Video files of a folder and of its ``videos`` folder by their name without suffix, in order of the names.

    A name with accents counts in both its forms: Macs write u and two dots where labels may have one letter.
    """
    folders = [f for f in (folder, folder / "videos") if f.is_dir()]
    files = sorted(p for f in folders for p in f.iterdir() if is_video(p))
    return {name: p for p in files for name in (p.stem, normalize("NFC", p.stem), normalize("NFD", p.stem))}


def videos_of_set(path: Path, images: Path | None) -> dict[str, Path]:
    """`find_videos` of where a set's pictures are said to be, else of where its labels at `path` lie."""
    return find_videos(images or (path if path.is_dir() else path.parent))


def pictures_at_hand(people: KeypointSet) -> bool:
    """Whether a set's pictures lie in its root; where they do not, its frames are to be taken out of videos."""
    return people.root is not None and any((people.root / name).is_file() for name in people.images[:20])


def video_frames(people: KeypointSet, every: int = 1) -> NDArray[np.bool_]:
    """(I,) bool: the images that are frames of videos and whose number `every` divides."""
    of_video = np.array([bool(video) for video in people.videos], bool)
    return np.asarray(of_video & (people.frames >= 0) & (people.frames % every == 0))


def frame_names(people: KeypointSet) -> tuple[str, ...]:
    """What `extract_frames` calls the set's images; still pictures keep their names."""
    rows = zip(people.images, people.videos, people.frames.tolist(), strict=True)
    return tuple(f"{video}/{frame:06d}.jpg" if video and frame >= 0 else image for image, video, frame in rows)


def frames_cache(path: Path) -> Path:
    """The folder of the cache for frames of the set at a path."""
    whole = path.resolve()
    return cache_root() / "frames" / f"{whole.name}-{hashlib.sha256(str(whole).encode()).hexdigest()[:12]}"


def extract_frames(
    people: KeypointSet, videos: Path | Mapping[str, Path], cache: Path, *, every: int = 1, quality: int = 92
) -> KeypointSet:
    """Write the labelled frames of a set's videos as ``CACHE/VIDEO/000123.jpg``; pictures that are there already stay.

    Every video is decoded once and only as far as its last labelled frame. A run that broke off goes on where it was.
    Frames of a video whose file has changed since (size, or time of change) are taken anew.

    Parameters
    ----------
    people
        Labels of videos; their frames are counted from 0 in decoding order.
    videos
        Folder of the video files (or of a folder ``videos``), or paths by name of the video.
    cache
        The folder to fill.
    every
        Take every n-th frame of a video: those whose number it divides.
    quality
        JPEG quality, 0 to 100.

    Returns
    -------
    The set of the frames that were taken, with its root at ``cache`` and the sizes of the pictures. Labelled frames
    beyond the end of their video are left out.

    Raises
    ------
    InputError
        A video is missing or cannot be read, or the set holds no frames of videos.
    OutputError
        A picture cannot be written.
    """
    files = videos if isinstance(videos, Mapping) else find_videos(Path(videos))
    wanted = video_frames(people, every)
    if not wanted.any():
        labelled = np.unique(people.frames[video_frames(people)]).tolist()
        if not labelled:
            raise InputError(f"{people.name} has no frames of videos", hint="Its pictures can be read where they lie")
        raise InputError(
            f"every {every}-th frame of the videos of {people.name}: none is labelled",
            got=f"labels of the frames {', '.join(map(str, labelled[:4]))} ...",
            hint="Frames count from 0, labelled or not; every 1 takes all that are labelled",
        )
    taken = people.of_images(wanted)
    taken = replace(taken, images=frame_names(taken), root=Path(cache))
    sizes = np.zeros((len(taken.images), 2), np.int32)
    of_video = np.array(taken.videos)
    for video in taken.video_names():
        rows = np.flatnonzero(of_video == video)
        sizes[rows] = _fill(taken, rows, files.get(video), quality)
    there = sizes.all(1)
    return replace(taken, sizes=sizes).of_images(there)


def _fill(people: KeypointSet, rows: NDArray[np.int64], video: Path | None, quality: int) -> NDArray[np.int32]:
    """Write the frames of one video that are not there; (n,2) int32 sizes, 0 for those that the video does not have."""
    paths = {int(people.frames[row]): people.path(int(row)) for row in rows}
    if video is not None:
        _forget_others(video, Path(people.root or "") / people.videos[int(rows[0])])
    missing = {frame: path for frame, path in paths.items() if path is not None and not _whole(path)}
    size = (0, 0)
    if missing:
        if video is None:
            name = people.videos[int(rows[0])]
            raise InputError(f"no file of the video {name!r}", hint="Name the folder in which VIDEO.mp4 lies")
        size = _write(video, missing, quality)
    first = next((path for path in paths.values() if path is not None and _whole(path)), None)
    if first is not None and not size[0]:
        picture = cv2.imread(str(first))
        size = (0, 0) if picture is None else (picture.shape[1], picture.shape[0])
    sizes = np.tile(np.array(size, np.int32), (len(rows), 1))
    for i, row in enumerate(rows):
        path = people.path(int(row))
        if path is None or not _whole(path):
            sizes[i] = 0
    return sizes


def _forget_others(video: Path, folder: Path) -> None:
    """Remove the frames in `folder` that were taken from another file, or from this one before it changed.

    Pictures without a receipt are somebody else's and stay.
    """
    receipt, state = folder / _RECEIPT, f"{file_state(video)}\n"
    pictures = list(folder.glob("*.jpg"))
    known = receipt.read_text("utf-8") if receipt.is_file() else None
    if known == state or (known is None and pictures):
        return
    with output_errors(receipt):
        folder.mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            picture.unlink()
        receipt.write_text(state, "utf-8")


def _whole(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _write(video: Path, missing: Mapping[int, Path], quality: int) -> tuple[int, int]:
    last, size = max(missing), (0, 0)
    with open_video(video) as reader:
        for frame in reader:
            size = (frame.image.shape[1], frame.image.shape[0])
            if frame.index in missing:
                _save(frame.image, missing[frame.index], quality)
            if frame.index >= last:
                break
    return size


def _save(image: NDArray[np.uint8], path: Path, quality: int) -> None:
    """Write a picture under a passing name first: a cache of many small files is not worth a sync for each."""
    unfinished = path.with_name(f".{path.name}.tmp.jpg")
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(unfinished), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality]):
            raise OutputError(f"cannot write {path}", hint="Free some space, or name another folder")
        unfinished.replace(path)
