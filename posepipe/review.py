"""The page on which a person looks at what the audit of labels found, and second labels to audit with.

The page is one HTML file and JPEG contact sheets beside it; it needs no network and no script.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.config import Config
from posepipe.datasets.audit import Sign, VideoCard
from posepipe.datasets.formats import read_set
from posepipe.datasets.frames import extract_frames, frame_names, video_frames
from posepipe.datasets.labels import KeypointSet
from posepipe.errors import InputError
from posepipe.geometry import affine_points, crop_affine
from posepipe.io.atomic import atomic_path, output_errors
from posepipe.io.pictures import read_picture
from posepipe.render import draw
from posepipe.report import write_json
from posepipe.stages.build import build_pose
from posepipe.types import Detections, Frame, FrameResult, Poses, Tracks

__all__ = ["second_labels", "with_frames", "write_review", "write_scorecard"]

_MAX_PIXELS = 8192 * 8192
_NETWORKS = (".onnx", ".xml", ".safetensors", ".ckpt", ".pth", ".pt")
_TILE = (240, 180)
_COLUMNS = 6
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em;max-width:75em}table{border-collapse:collapse}"
    "td,th{padding:.15em .7em;border-bottom:1px solid #ccc;text-align:right}td:first-child,th:first-child{text-align:"
    "left}h2{margin-top:2em}.high{background:#fbd9d0}img{max-width:100%}"
)


def second_labels(
    labels: KeypointSet,
    name: str,
    *,
    first_frame: int = 0,
    videos: Mapping[str, Path] | None = None,
    cache: Path | None = None,
) -> KeypointSet:
    """Second labels of a set, to audit it with.

    Parameters
    ----------
    labels
        The set.
    name
        Path of labels of the same frames by a second model, or a pose network as `Config.pose` names it, which then
        labels the same people inside the boxes of the set, in the pictures that are there.
    first_frame
        As of `read_set`, for a path.
    videos, cache
        As of `extract_frames`, for a network where the set has videos and no pictures.

    Raises
    ------
    InputError
        A network is named and no pictures are at hand, or one cannot be read.
    UsageError, WeightsError
        `name` is neither.
    """
    path = Path(name)
    if path.exists() and path.suffix.lower() not in _NETWORKS:
        return read_set(path, first_frame=first_frame)
    pose = build_pose(Config(pose=name))
    if pose.skeleton != labels.skeleton:
        raise InputError("the network labels another skeleton", got=pose.skeleton.name, expected=labels.skeleton.name)
    if videos and cache is not None:
        labels = with_frames(labels, np.ones(len(labels.images), bool), videos, cache)[0]
    there = np.array([labels.root is not None and (labels.root / file).is_file() for file in labels.images], bool)
    if labels.root is None or not there.any():
        what = f"the pictures of {labels.name!r} are not at hand, so no network can label them"
        raise InputError(what, hint="Name the folder of the pictures or videos: --images DIR")
    labels = labels.of_images(there)
    xy, score = labels.xy.copy(), labels.score.copy()
    order = np.argsort(labels.image, kind="stable")
    for people in np.split(order, np.flatnonzero(np.diff(labels.image[order])) + 1) if len(order) else ():
        picture = read_picture(labels.root / labels.images[labels.image[people[0]]], _MAX_PIXELS)
        found = Detections(labels.boxes[people], np.ones(len(people), np.float32))
        (poses,) = pose.estimate([Frame(0, 0.0, picture)], [found])
        xy[people], score[people] = poses.xy, np.clip(poses.score, 0, 1)
    xy[score <= 0] = 0
    visibility = np.where(score > 0, 2, 0).astype(np.int8)
    return replace(labels, name=f"{labels.name} by {name}", xy=xy, score=score, visibility=visibility)


def with_frames(
    labels: KeypointSet, wanted: NDArray[np.bool_], videos: Mapping[str, Path], cache: Path
) -> tuple[KeypointSet, list[str]]:
    """Take frames of a set out of its videos.

    Parameters
    ----------
    labels
        The set.
    wanted
        (I,) bool: the images to take.
    videos, cache
        As of `extract_frames`.

    Returns
    -------
    The set with its root at `cache`, and a line for every video that cannot be read.
    """
    of_video, lost = np.array(labels.videos), []
    for video in labels.of_images(wanted & video_frames(labels)).video_names():
        try:
            extract_frames(labels.of_images(wanted & (of_video == video)), videos, cache)
        except InputError as error:
            lost.append(f"no pictures of {video}: {error.what}")
    return replace(labels, images=frame_names(labels), root=cache), lost


def write_scorecard(path: Path, cards: Sequence[VideoCard]) -> None:
    """The cards as JSON (``posepipe-audit/1``, see docs/datasets.md), most suspicious video first."""
    videos = [
        {
            "video": card.video,
            "suspicion": round(card.suspicion, 3),
            "reasons": list(card.reasons),
            "frames": card.frames,
            "people": card.people,
            "signs": {sign.code: round(value, 5) for sign, value in card.signs.items()},
            "z": {sign.code: round(value, 3) for sign, value in card.z.items()},
        }
        for card in cards
    ]
    write_json(path, {"format": "posepipe-audit/1", "videos": videos})


def write_review(folder: Path, cards: Sequence[VideoCard], labels: KeypointSet, sheets: int) -> Path:
    """Write ``index.html`` and the contact sheets of the first `sheets` videos; returns the page's path."""
    with output_errors(folder):
        (folder / "sheets").mkdir(parents=True, exist_ok=True)
        body = [_table(cards, sheets)]
        for number, card in enumerate(cards[:sheets]):
            name = f"sheets/{number:04d}.jpg"
            done, data = cv2.imencode(".jpg", contact_sheet(card, labels)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
            if done:
                with atomic_path(folder / name) as unfinished:
                    unfinished.write_bytes(data.tobytes())
            reasons = ", ".join(card.reasons) or "nothing stands out"
            body.append(f'<h2 id="v{number}">{number + 1}. {html.escape(card.video)}</h2><p>{reasons}</p>')
            body.append(f'<img src="{name}" alt="the most suspicious labels of {html.escape(card.video)}">')
        page = folder / "index.html"
        title = f"Audit of {html.escape(labels.name)}"
        head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        meaning = "".join(f"<li><b>{sign.code}</b>: {html.escape(sign.text)}</li>" for sign in Sign)
        intro = "<p>Videos in the order in which to look at them; marked: far from the other videos of this set.</p>"
        with atomic_path(page) as unfinished:
            text = f"{head}<h1>{title}</h1>{intro}<ul>{meaning}</ul>{''.join(body)}</html>\n"
            unfinished.write_text(text, "utf-8")
    return page


def _table(cards: Sequence[VideoCard], sheets: int) -> str:
    signs = [sign for sign in Sign if any(sign in card.signs for card in cards)]
    head = "".join(f"<th>{column}</th>" for column in ("video", "suspicion", *(sign.code for sign in signs)))
    rows = []
    for number, card in enumerate(cards):
        name = html.escape(card.video)
        cells = [f'<a href="#v{number}">{name}</a>' if number < sheets else name, f"{card.suspicion:.1f}"]
        row = "".join(f"<td>{cell}</td>" for cell in cells)
        for sign in signs:
            mark = ' class="high"' if sign.code in card.reasons else ""
            row += f"<td{mark}>{card.signs[sign]:.3f}</td>" if sign in card.signs else "<td></td>"
        rows.append(f"<tr>{row}</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def contact_sheet(card: VideoCard, labels: KeypointSet) -> NDArray[np.uint8]:
    """The most suspicious people of a video with their labels drawn: (H,W,3) uint8 RGB, on grey without pictures."""
    tiles = [_tile(labels, int(row)) for row in card.worst] or [np.full((*_TILE, 3), 90, np.uint8)]
    tiles += [np.full((*_TILE, 3), 255, np.uint8)] * (-len(tiles) % min(_COLUMNS, len(tiles)))
    wide = min(_COLUMNS, len(tiles))
    lines = [np.concatenate(tiles[start : start + wide], axis=1) for start in range(0, len(tiles), wide)]
    return np.concatenate(lines, axis=0)


def _tile(labels: KeypointSet, row: int) -> NDArray[np.uint8]:
    matrix = crop_affine(labels.boxes[row][None], _TILE, 1.4)[0]
    path = labels.path(int(labels.image[row]))
    height, width = _TILE
    if path is not None and path.is_file():
        picture = read_picture(path, _MAX_PIXELS)
        crop = np.asarray(cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR), np.uint8)
    else:
        crop = np.full((height, width, 3), 90, np.uint8)
    box = affine_points(matrix, labels.boxes[row].reshape(1, 2, 2)).reshape(1, 4).astype(np.float32)
    xy = affine_points(matrix, labels.xy[row][None]).astype(np.float32)
    poses = Poses(xy, labels.score[row][None], box, np.ones(1, np.float32), labels.skeleton)
    tracks = Tracks(poses, box, np.ones(1, np.int64), np.ones(1, bool), np.ones(1, np.int32))
    drawn = draw(crop, FrameResult(0, 0.0, tracks), labels.skeleton, 0.05)
    text = f"{int(labels.frames[labels.image[row]])}"
    cv2.putText(drawn, text, (4, height - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return drawn
