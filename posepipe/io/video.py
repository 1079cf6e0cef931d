"""Video in and out: one way to open whatever holds frames, one way to write them."""

from __future__ import annotations

import glob
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from posepipe.config import Config
from posepipe.errors import InputError
from posepipe.io.container import ContainerReader
from posepipe.io.pictures import CameraReader, PictureReader, is_picture, natural_order
from posepipe.io.reader import VideoInfo, VideoReader
from posepipe.io.writer import VideoWriter

__all__ = ["VideoInfo", "VideoReader", "VideoWriter", "is_video", "open_video"]

_SUFFIXES = frozenset(
    """
    .264 .265 .3g2 .3gp .asf .avi .divx .dv .f4v .flv .gif .h264 .h265 .hevc .ivf .m1v .m2ts .m2v .m4v .mjpeg .mjpg .mkv
    .mov .mp4 .mpe .mpeg .mpg .mts .mxf .nut .ogv .qt .ts .vob .webm .wmv .y4m
    """.split()  # noqa: SIM905
)


def is_video(path: Path) -> bool:
    """Whether a file is a video by its name; hidden files are none."""
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


def open_video(source: str | Path | int, *, max_pixels: int = Config.max_pixels, fps: float = 25.0) -> VideoReader:
    """Open a source of frames.

    Parameters
    ----------
    source
        A video or picture file, a folder of pictures, a pattern of picture files (``shots/*.jpg``), the number of a
        camera, or the address of a stream (``rtsp://...``, ``https://...``).
    max_pixels
        Larger pictures are refused before they are decoded.
    fps
        Pictures a second of a folder or pattern, which have no times of their own.

    Returns
    -------
    An iterator of :class:`~posepipe.types.Frame` and a context manager; it has decoded one frame already.

    Raises
    ------
    InputError
        There is nothing of that name, or nothing in it that can be decoded.
    UsageError
        ``fps`` of pictures is not above 0 and finite.
    """
    if isinstance(source, int):
        return CameraReader(source, max_pixels)
    text = str(source)
    if text.startswith("file://"):
        source = text = url2pathname(urlsplit(text).path)
    elif isinstance(source, str) and "://" in text:
        return ContainerReader(text, max_pixels)
    path = Path(source)
    try:
        if path.is_dir():
            return _folder(path, max_pixels, fps)
        if path.is_file():
            return _file(path, max_pixels, fps)
        if path.exists():
            raise InputError(f"{path} is neither a file nor a folder", hint="Name a video file or a folder of pictures")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {text[:200]!r}: {error}", hint="Check the path") from error
    if glob.has_magic(text):
        return _pattern(text, max_pixels, fps)
    raise InputError(f"{path} does not exist", hint="Check the path; relative paths start at the current folder")


def _file(path: Path, max_pixels: int, fps: float) -> VideoReader:
    if not path.stat().st_size:
        raise InputError(f"{path} is empty", hint="Copy or download it again")
    with path.open("rb"):  # says by itself when it may not be read
        pass
    if is_picture(path):
        return PictureReader([path], path.name, max_pixels, fps)
    return ContainerReader(path, max_pixels)


def _folder(path: Path, max_pixels: int, fps: float) -> VideoReader:
    pictures = sorted((p for p in path.iterdir() if is_picture(p)), key=natural_order)
    if not pictures:
        raise InputError(
            f"the folder {path} holds no pictures",
            expected="JPEG, PNG, WebP, BMP or TIFF files",
            hint=f"Name its videos one by one, or those of its folders by a pattern such as '{path}/**/*.mp4'",
        )
    return PictureReader(pictures, path.resolve().name, max_pixels, fps)


def _pattern(text: str, max_pixels: int, fps: float) -> VideoReader:
    found = sorted((Path(p) for p in glob.glob(text, recursive=True)), key=natural_order)  # noqa: PTH207 - Path.glob has no absolute patterns
    pictures = [p for p in found if is_picture(p)]
    if not found:
        raise InputError(
            f"nothing matches {text}", hint="Check the pattern; quote it so that the shell leaves it alone"
        )
    if not pictures and len(found) == 1:
        return open_video(found[0], max_pixels=max_pixels, fps=fps)
    if not pictures:
        raise InputError(f"{text} matches {len(found)} files but no picture", hint="Open videos one by one")
    return PictureReader(pictures, Path(text).parent.name or "pictures", max_pixels, fps)
