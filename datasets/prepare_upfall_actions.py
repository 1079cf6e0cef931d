"""UP-Fall for ``eval/action.py --upfall OUT``: ``python datasets/prepare_upfall_actions.py RUNS OUT``.

RUNS is the folder of the results of ``posepipe run DATA/upfall/*.mp4 -o RUNS --no-video``. OUT gets the clips of both
protocols with the poses found there, ``trial.npz`` and ``camera.npz``, and 24 frames of each clip, ``frames.npz``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from posepipe.config import data_root
from posepipe.datasets.actions_npz import write_action_npz
from posepipe.datasets.actions_upfall import read_upfall
from posepipe.datasets.frame_pack import write_frame_pack

FRAMES, SIDE, QUALITY = 24, 192, 75


def main() -> None:
    """Read, write, say what was written."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("runs", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    folder = data_root() / "upfall"
    arguments.out.mkdir(parents=True, exist_ok=True)
    for protocol in ("trial", "camera"):
        clips = read_upfall(folder, protocol, arguments.runs)
        write_action_npz(arguments.out / f"{protocol}.npz", clips)
        print(f"{clips.name}: {len(clips.of_part('train'))} clips to train on, {len(clips.of_part('test'))} to test on")
    videos = [sample.video for sample in clips.samples if sample.video is not None]
    write_frame_pack(arguments.out / "frames.npz", videos, FRAMES, SIDE, quality=QUALITY)


if __name__ == "__main__":
    main()
