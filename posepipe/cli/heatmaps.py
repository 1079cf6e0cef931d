"""``posepipe heatmaps``: what an action model sees of the people of a run, as maps and as a picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from posepipe.cli.parser import Commands, number, say, warn_of_end

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from posepipe.types import PoseStream
    from posepipe.volumes.clips import HeatmapClips, HeatmapRecipe

__all__ = ["add"]

# A picture farther from the time of a map than this, in seconds, is not its frame.
_NEAR_S = 0.2
# Cells in a file at most, 4 GiB: what is far more would end for want of memory, and not at once.
_MOST_CELLS = 1 << 30


def add(commands: Commands) -> None:
    """Put the command on the command line."""
    parser = commands.add_parser("heatmaps", help="pose heatmap volumes, from pose streams", allow_abbrev=False)
    parser.add_argument("streams", metavar="STREAMS", help="streams.npz or records.jsonl of a run")
    parser.add_argument("-o", "--out", required=True, metavar="OUT.npz", help="file to write")
    ids = number(int, 1, 10**9)
    text = "only this person; may be given again (default: everybody, the maximum of their maps)"
    parser.add_argument("--track", type=ids, action="append", metavar="ID", help=text)
    count = number(int, 1, 10_000)
    parser.add_argument("--frames", type=count, default=48, metavar="N", help="frames of a clip (default 48)")
    parser.add_argument("--clips", type=number(int, 1, 100), default=1, metavar="N", help="clips (default 1)")
    side = number(int, 4, 512)
    parser.add_argument("--size", type=side, default=56, metavar="N", help="height and width of maps (default 56)")
    sigma = number(float, 0.1, 10)
    parser.add_argument("--sigma", type=sigma, default=0.6, metavar="X", help="of the gaussians, cells (default 0.6)")
    parser.add_argument("--limbs", action="store_true", help="add maps of limbs, in channels behind the keypoints'")
    parser.add_argument("--no-keypoints", action="store_true", help="leave out the maps of keypoints (with --limbs)")
    parser.add_argument("--flip", action="store_true", help="add every clip mirrored, left and right swapped")
    text = "corner: places as mmaction2 has them; centre: those of resized pixels (default corner)"
    parser.add_argument("--cells", choices=("corner", "centre"), default="corner", help=text)
    text = "keypoints of a lower score count as missing (default 0)"
    parser.add_argument("--keypoint-score", type=number(float, 0, 1), default=0.0, metavar="X", help=text)
    parser.add_argument("--picture", metavar="FILE", help="also draw the first clip: FILE.png or FILE.jpg")
    parser.add_argument("--video", metavar="FILE", help="lay the picture's maps over the frames of this video")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.set_defaults(command=_heatmaps)


def _heatmaps(arguments: argparse.Namespace) -> int:
    from posepipe.errors import UsageError
    from posepipe.io.volumes import write_heatmaps
    from posepipe.volumes.clips import heatmap_clips

    tell = say(arguments.quiet)
    _check_outputs(arguments)
    recipe = _recipe(arguments)
    streams = _people(Path(arguments.streams), arguments.track, arguments.quiet)
    skeleton = streams[0].skeleton
    most = len(skeleton) + len(skeleton.edges)
    if recipe.clips * recipe.frames * recipe.size**2 * most * (1 + recipe.flip) > _MOST_CELLS:
        raise UsageError(
            "so many and so large maps do not fit a file", hint="Fewer --clips or --frames, a smaller --size"
        )
    try:
        clips = heatmap_clips(streams, recipe)
    except ValueError as error:  # the people are there, so it is the skeleton that lacks what the flags ask for
        raise UsageError(str(error), hint="Leave out --limbs or --flip for this skeleton") from error
    # Before anything is written: the video may be another one, or none.
    pictures = _pictures(clips, arguments.video) if arguments.video is not None else {}
    write_heatmaps(arguments.out, clips, recipe, skeleton)
    tell(f"{arguments.streams} -> {arguments.out}: {_told(clips)}")
    if arguments.picture:
        _write_picture(Path(arguments.picture), clips, pictures)
        tell(f"{arguments.picture}")
    return 0


def _told(clips: HeatmapClips) -> str:
    shape = (len(clips), *clips.volumes[0].data.shape)
    told = f"maps {'x'.join(map(str, shape))}, {len(clips.track_id)} people, {clips.available} frames"
    told += f" repeated to {shape[2]}" if clips.available < shape[2] else ""
    return told + (", no keypoints found" if not any(volume.data.any() for volume in clips.volumes) else "")


def _check_outputs(arguments: argparse.Namespace) -> None:
    from posepipe.errors import OutputError, UsageError

    if Path(arguments.out).suffix.lower() != ".npz":
        raise UsageError(f"{arguments.out} is not the name of a file of maps", expected="OUT.npz")
    if arguments.picture and Path(arguments.picture).suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"{arguments.picture} is not the name of a picture", expected="FILE.png or FILE.jpg")
    if arguments.video and not arguments.picture:
        raise UsageError("--video without --picture", hint="The video's frames are drawn into the picture only")
    for out in filter(None, (arguments.out, arguments.picture)):
        source = Path(arguments.streams)
        if Path(out).exists() and (not arguments.overwrite or (source.exists() and Path(out).samefile(source))):
            raise OutputError(f"{out} already exists", hint="--overwrite replaces it, or name another file")


def _recipe(arguments: argparse.Namespace) -> HeatmapRecipe:
    from posepipe.errors import UsageError
    from posepipe.volumes.clips import HeatmapRecipe

    if arguments.no_keypoints and not arguments.limbs:
        raise UsageError("--no-keypoints without --limbs leaves no maps", hint="Add --limbs")
    return HeatmapRecipe(
        frames=arguments.frames,
        clips=arguments.clips,
        size=arguments.size,
        sigma=arguments.sigma,
        keypoints=not arguments.no_keypoints,
        limbs=arguments.limbs,
        flip=arguments.flip,
        cells=arguments.cells,
        keypoint_score=arguments.keypoint_score,
    )


def _people(source: Path, ids: Sequence[int] | None, quiet: bool) -> list[PoseStream]:
    """The streams of the wanted people."""
    from posepipe.errors import InputError, UsageError
    from posepipe.io.records import read_records
    from posepipe.io.streams import pose_streams, read_streams

    if source.suffix.lower() == ".npz":
        streams = read_streams(source)
    else:
        records = read_records(source)
        warn_of_end(records, quiet)
        streams = pose_streams(records, records.skeleton)
    streams = [stream for stream in streams if len(stream)]
    if not streams:
        raise InputError(f"{source} holds nobody, so there are no maps to draw", hint="Look at the run's overlay.mp4")
    known = [stream.track_id for stream in streams]
    unknown = sorted(set(ids or ()) - set(known))
    if unknown:
        some = ", ".join(map(str, known[:20])) + (" ..." if len(known) > 20 else "")
        raise UsageError(f"{source} holds no such person", got=", ".join(map(str, unknown)), expected=f"one of {some}")
    return [stream for stream in streams if ids is None or stream.track_id in ids]


def _write_picture(path: Path, clips: HeatmapClips, pictures: dict[int, NDArray[np.uint8]]) -> None:
    import cv2

    from posepipe.io.atomic import atomic_path
    from posepipe.volume_sheet import heatmap_sheet

    _, data = cv2.imencode(path.suffix.lower(), heatmap_sheet(clips, pictures)[..., ::-1])
    with atomic_path(path) as unfinished:
        unfinished.write_bytes(data.tobytes())


def _pictures(clips: HeatmapClips, video: str) -> dict[int, NDArray[np.uint8]]:
    """The frames of the video that are nearest in time to those on the sheet, by the index of these.

    By time, since streams at a fixed rate have indices of their own.
    """
    from posepipe.errors import InputError
    from posepipe.io.video import open_video
    from posepipe.volume_sheet import sheet_frames

    places = sheet_frames(clips)
    wanted = dict(zip(clips.frame_index[0, places].tolist(), clips.pts[0, places].tolist(), strict=True))
    distance, pictures = dict.fromkeys(wanted, _NEAR_S), {}
    with open_video(video) as reader:
        for frame in reader:
            for index, time in wanted.items():
                if abs(frame.pts - time) < distance[index]:
                    distance[index], pictures[index] = abs(frame.pts - time), frame.image
            if frame.pts > max(wanted.values()) + _NEAR_S:
                break
    if len(pictures) < len(wanted):
        have = f"{len(pictures)} of {len(wanted)}"
        hint = "Name the video that the streams were made from"
        raise InputError(f"{video} has no pictures at the times of the maps", got=have, hint=hint)
    return pictures
