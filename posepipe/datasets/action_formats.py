"""The sets of clips that can be read: one name a form of files."""

from __future__ import annotations

from pathlib import Path

from posepipe.datasets.actions import ActionSet
from posepipe.datasets.actions_jhmdb import read_jhmdb, read_jhmdb14
from posepipe.datasets.actions_npz import read_action_npz
from posepipe.datasets.actions_ntu import read_ntu
from posepipe.datasets.actions_own import read_own_actions
from posepipe.datasets.actions_pickle import read_action_pickle, read_ma52
from posepipe.datasets.actions_upfall import read_upfall
from posepipe.datasets.actions_utkinect import read_utkinect
from posepipe.errors import UsageError

__all__ = ["open_action_set"]


def open_action_set(
    form: str, path: Path, protocol: str = "", runs: Path | None = None, videos: Path | None = None
) -> ActionSet:
    """Read a set of clips.

    Parameters
    ----------
    form
        ``csv`` (own), ``jhmdb``, ``jhmdb14``, ``ma52``, ``ntu`` (.skeleton files), ``npz`` (posepipe's own),
        ``pickle`` (mmaction2 and pyskl), ``upfall`` or ``utkinect``.
    path
        File or folder of the set.
    protocol
        Which split, where the set has several; empty for the first one.
    runs
        Folder of the results of ``posepipe run`` on the set's videos (csv, upfall).
    videos
        Folder of the videos, where the set does not say where they are.

    Raises
    ------
    InputError
        A file is missing or is something else.
    UsageError
        The form is unknown, or has no such protocol.
    """
    match form:
        case "csv":
            return read_own_actions(path, runs, videos)
        case "jhmdb":
            return read_jhmdb(path, protocol or "1", videos)
        case "jhmdb14":
            return read_jhmdb14(path, protocol or "1")
        case "ma52":
            return read_ma52(path, videos)
        case "npz":
            return read_action_npz(path)
        case "ntu":
            return read_ntu(path, protocol or "xsub", videos)
        case "pickle":
            return read_action_pickle(path, protocol, videos=videos)
        case "upfall":
            return read_upfall(path, protocol or "trial", runs)
        case "utkinect":
            return read_utkinect(path)
    raise UsageError(f"there is no form of action sets {form!r}")
