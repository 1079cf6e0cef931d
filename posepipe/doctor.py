"""What is installed, what the main job finds, and one line to mend each problem."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from posepipe import __version__
from posepipe.config import Config, cache_root, data_root
from posepipe.errors import PosepipeError, WeightsError

if TYPE_CHECKING:
    from posepipe.io.weights import WeightsEntry

__all__ = ["Finding", "examine", "models_table"]

# What pyproject.toml requires, by the name of its module.
_REQUIRED = {
    "numpy": "numpy",
    "cv2": "opencv-python-headless",  # the one without -headless fails on servers, for want of libGL
    "av": "av",
    "onnxruntime": "onnxruntime",
    "lap": "lap",
    "tqdm": "tqdm",
    **({"tomli": "tomli"} if sys.version_info < (3, 11) else {}),
}
# States of a weights file without a fault, as listed and as verified.
_SOUND = ("present", "verified")
_DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg")


@dataclass(frozen=True)
class Finding:
    """One thing looked at: its ``state``, how to ``mend`` it (None: sound), ``fatal`` where the main job needs it."""

    subject: str
    state: str
    mend: str | None = None
    fatal: bool = False

    def line(self) -> str:
        """One line for people."""
        mark = "ok  " if self.mend is None else "FAIL" if self.fatal else "note"
        return f"{mark}  {self.subject}: {self.state}" + (f" -> {self.mend}" if self.mend else "")


def examine() -> list[Finding]:
    """Look at everything the main job needs, and at last run it on an empty picture."""
    found = [
        Finding("posepipe", __version__),
        Finding("python", f"{platform.python_version()} ({platform.python_implementation()})"),
        Finding("platform", platform.platform()),
        Finding("cpu cores", str(os.cpu_count())),
    ]
    for look in (_packages, _engines, _torch, _codecs, _weights, _folders, _main_job):
        found.extend(_safely(look))
    return found


def _safely(look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """What could not be examined, because a package is missing or broken, is a finding too."""
    subject = look.__name__.replace("_", " ").strip()
    try:
        return list(look())
    except PosepipeError as error:
        return [Finding(subject, error.what, error.hint or "mend the findings above first", fatal=True)]
    # A broken wheel may raise anything when it is loaded, and a doctor does not die of the illness.
    except Exception as error:
        state = f"cannot be examined: {type(error).__name__}: {error}"
        return [Finding(subject, state, "mend the findings above first", fatal=look is _main_job)]


def _packages() -> Iterator[Finding]:
    for module, package in _REQUIRED.items():
        try:
            loaded = import_module(module)
        except ImportError as error:
            mend = f"pip install --force-reinstall {package}"
            yield Finding(package, f"cannot be imported: {error}", mend, fatal=True)
        else:
            yield Finding(package, str(getattr(loaded, "__version__", "installed")))


def _engines() -> Iterator[Finding]:
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    state = ", ".join(p.removesuffix("ExecutionProvider") for p in providers)
    if Path("/proc/driver/nvidia/version").exists() and "CUDAExecutionProvider" not in providers:
        mend = "pip uninstall onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]'"
        yield Finding("onnx runtime providers", f"{state} (an NVIDIA card is not used)", mend)
    else:
        yield Finding("onnx runtime providers", state)


def _torch() -> Iterator[Finding]:
    if find_spec("torch") is None:
        yield Finding("torch", "not installed; not needed to run, only to train and for torchvision and yolo")
        return
    import torch

    cuda = f"CUDA {torch.version.cuda}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "no CUDA"
    yield Finding("torch", f"{torch.__version__} ({cuda})")


def _codecs() -> Iterator[Finding]:
    from av.codec import Codec, codecs_available

    mend = "pip install --force-reinstall av"
    missing = [name for name in _DECODERS if name not in codecs_available]
    have = ", ".join(name for name in _DECODERS if name not in missing)
    absent = f" (missing: {', '.join(missing)})" if missing else ""
    yield Finding("video decoders", have + absent, mend if missing else None, fatal="h264" in missing)
    try:
        yield Finding("H.264 encoder", Codec("libx264", "w").long_name)
    except ValueError:
        yield Finding("H.264 encoder", "missing", f"{mend}, or run with --no-video", fatal=True)


def _weights() -> Iterator[Finding]:
    from posepipe.io.weights import list_weights, verify_weights
    from posepipe.io.zoo import problem_of, public_weights

    for entry in list_weights():
        problem = verify_weights(entry)
        mend = "pip install --force-reinstall posepipe" if problem else None
        yield Finding(f"weights {entry.name}", problem or "verified", mend, fatal=bool(problem))
    public = public_weights().values()
    fetched = [entry for entry in public if entry.path.is_file()]
    for other in fetched:
        problem = problem_of(other)
        mend = f"posepipe models fetch {other.name}" if problem else None
        yield Finding(f"weights {other.name}", problem or "verified", mend)
    yield Finding("public weights", f"{len(fetched)} of {len(public)} fetched (posepipe models list)")


def _folders() -> Iterator[Finding]:
    cache, data = cache_root().absolute(), data_root().resolve()
    parent = next(p for p in (cache, *cache.parents) if p.exists())
    writable = os.access(parent, os.W_OK)
    mend = None if writable else "name another folder in POSEPIPE_CACHE"
    yield Finding("cache folder", f"{cache}{'' if writable else ' (cannot be written)'}", mend)
    there = data.is_dir()
    yield Finding("data folder", f"{data}{'' if there else ' (absent; only training and measuring need it)'}")


def _main_job() -> Iterator[Finding]:
    import numpy as np

    from posepipe.pipeline import Pipeline

    blank = np.full((240, 320, 3), 127, np.uint8)
    pipeline = Pipeline(config=Config())
    results = list(pipeline.process([blank]))
    engine = getattr(pipeline.pose, "description", type(pipeline.pose).__name__)
    yield Finding("main job", f"runs ({len(results)} frame, {engine})")


def models_table(*, verify: bool) -> tuple[str, bool]:
    """A row for each weights file of the package, and for each that others published.

    Parameters
    ----------
    verify
        Compare the files at hand with their checksums; those that are not at hand are left out.

    Returns
    -------
    The table, and whether the package's files are all there, and whatever is at hand can be read and (where verified)
    is as published.
    """
    from posepipe.io.weights import list_weights
    from posepipe.io.zoo import problem_of, public_weights
    from posepipe.report import table

    rows, sound = [], True
    for entry in list_weights():
        version, state = _embedded_state(entry, verify=verify)
        rows.append((entry.name, entry.kind, version, _megabytes(entry.path), entry.licence, state))
        sound = sound and state in _SOUND
    for other in public_weights().values():
        there = other.path.is_file()
        if verify and not there:
            continue
        state = ((problem_of(other) if verify else None) or _SOUND[verify]) if there else "not fetched"
        sound = sound and (not there or state in _SOUND)
        rows.append((other.name, other.kind, "", _megabytes(other.path), other.licence, state))
    return table(("name", "kind", "version", "size", "licence", "state"), rows), sound


def _embedded_state(entry: WeightsEntry, *, verify: bool) -> tuple[str, str]:
    """Version and state of a file of the package."""
    from posepipe.io.weights import read_card, verify_weights

    problem = verify_weights(entry) if verify or not entry.path.is_file() else None
    try:
        return ("", problem) if problem else (read_card(entry.path).version, _SOUND[verify])
    except WeightsError as error:
        return "", error.what


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB" if path.is_file() else ""
