"""Trainings of action networks for the tables of `eval/action.py`: one at a time in each of several processes."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from multiprocessing import get_context, parent_process, set_start_method
from pathlib import Path
from queue import Empty
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.config import data_root
from posepipe.datasets.action_classes import JHMDB14, UPFALL, UTKINECT
from posepipe.datasets.actions import ActionSet
from posepipe.datasets.actions_jhmdb import read_jhmdb14
from posepipe.datasets.actions_npz import read_action_npz
from posepipe.datasets.actions_utkinect import read_utkinect
from posepipe.datasets.frame_pack import FramePack
from posepipe.io.atomic import atomic_path
from posepipe.report import write_json
from posepipe.training.action_recipe import ActionRecipe
from posepipe.training.plan import find_recipe, make_plan

__all__ = ["Job", "coarse_labels", "load", "read_result", "run_jobs"]


@dataclass(frozen=True)
class Job:
    """One training and its test.

    Attributes
    ----------
    name
        Of its files.
    recipe
        A shipped recipe.
    data
        Name of the set and its protocol.
    settings
        What differs from the recipe, by dotted names.
    views
        Of clips that are learnt from; 0: as many as the recipe says.
    seed
        Of everything.
    fold
        Draw of a fifth of the training clips on which it is tested instead of the test part; 0: the test part.
    """

    name: str
    recipe: str
    data: tuple[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)
    views: int = 0
    seed: int = 1
    fold: int = 0


@lru_cache
def load(name: str, protocol: str) -> ActionSet:
    """A set of the data folder, or any other that `posepipe.datasets.actions_npz` wrote, by folder and name."""
    root = data_root()
    if name == "jhmdb14":
        return read_jhmdb14(root / name, protocol)
    if name == "utkinect":
        return read_utkinect(root / name)
    return read_action_npz(Path(name) / f"{protocol}.npz")


def coarse_labels(name: str, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Coarse classes of labels, by the set that the job's name begins with."""
    classes = {"jhmdb": JHMDB14, "utkinect": UTKINECT, "upfall": UPFALL}[name.partition("-")[0]]
    return np.array(classes.coarse_of, np.int64)[labels]


def read_result(path: Path) -> dict[str, Any]:
    """What is known of a job that was done."""
    about: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return about


def run_jobs(jobs: list[Job], out: Path, processes: int, machine: Mapping[str, str]) -> list[str]:
    """Run jobs whose results are not there yet; names of those that failed.

    What a job gives: ``results/NAME.json`` with its settings, time and speed, and ``said/NAME.npz`` with the
    probabilities of the clips it was tested on, from one view (``one``) and from ten views and their mirror images
    (``many``).
    """
    waiting = [job for job in jobs if not (out / "results" / f"{job.name}.json").is_file()]
    context = get_context("spawn")
    queue, done = context.Queue(), context.Queue()
    for job in waiting:
        queue.put(job)
    workers = [
        context.Process(target=_work, args=(queue, done, out, dict(machine)), daemon=False)
        for _ in range(min(processes, len(waiting)))
    ]
    for worker in workers:
        worker.start()
    failed, open_jobs = [], {job.name for job in waiting}
    while open_jobs and any(w.is_alive() for w in workers):
        try:
            name, fault = done.get(timeout=1.0)
        except Empty:
            continue
        open_jobs.discard(name)
        print(f"{name}: {fault or 'done'}", flush=True)
        failed += [name] if fault else []
    for worker in workers:
        worker.join()
    return failed


def _work(queue: Any, done: Any, out: Path, machine: dict[str, str]) -> None:
    # What loads clips is forked from here: to spawn it would import torch for every training anew.
    set_start_method("fork", force=True)
    cv2.setNumThreads(0)
    while (parent := parent_process()) is not None and parent.is_alive():
        try:
            job = queue.get(timeout=0.5)
        except Empty:
            return
        try:
            _run(job, out, machine)
        except Exception as error:  # one that fails must not take the others with it; its name is printed
            done.put((job.name, f"{type(error).__name__}: {error}"[:300]))
        else:
            done.put((job.name, ""))


def recipe_of(job: Job, machine: Mapping[str, str]) -> ActionRecipe:
    """The recipe with the job's settings, and as many epochs as its views ask for."""
    overrides = {"engine.seed": str(job.seed), **job.settings, **machine}
    recipe: ActionRecipe = make_plan(find_recipe(job.recipe), overrides).phases[0]
    if not job.views:
        return recipe
    epochs = max(1, round(job.views / recipe.samples))
    overrides |= {"engine.epochs": str(epochs), "engine.warmup_epochs": str(min(2, max(1, epochs // 8)))}
    phase: ActionRecipe = make_plan(find_recipe(job.recipe), overrides).phases[0]
    return phase


def parts_of(job: Job) -> tuple[ActionSet, ActionSet]:
    """Clips to learn from and to test on."""
    from posepipe.training.action_sources import hold_out

    clips = load(*job.data)
    training, test = clips.of_part("train"), clips.of_part("test")
    if job.fold:
        training, test = hold_out(training, 0.2, "clip", job.fold)
    return training, test


def _run(job: Job, out: Path, machine: Mapping[str, str]) -> None:
    import torch

    from posepipe.training.action import fit_action
    from posepipe.training.action_card import load_action
    from posepipe.training.action_test import TestPlan, fused, predict

    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    recipe = recipe_of(job, machine)
    training, test = parts_of(job)
    folder = out / "runs" / job.name
    store = FramePack(Path(job.data[0]) / "frames.npz") if "rgb" in recipe.form else None
    began = time.monotonic()
    fit_action(recipe, training, training.select([]), folder, resume=False, store=store)
    seconds = time.monotonic() - began
    network, card = load_action(folder / "last.ckpt")
    device = "cuda" if torch.cuda.is_available() and recipe.engine.device != "cpu" else "cpu"
    looks = {"one": TestPlan(1, batch=64), "many": TestPlan(10, flip=True, batch=8)}
    arrays: dict[str, Any] = {"label": test.labels, "names": np.array([s.name for s in test.samples])}
    for look, plan in looks.items():
        said = predict(network, card, test, plan, store=store, device=device)
        for stream, one in {**said, "fused": fused(said)}.items():
            arrays[f"{look}_{stream}"] = one.fine.astype(np.float32)
            if one.coarse is not None:
                arrays[f"{look}_{stream}_coarse"] = one.coarse.astype(np.float32)
    (out / "said").mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "said" / f"{job.name}.npz") as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, **arrays)
    shutil.rmtree(folder)
    looked_at = recipe.engine.epochs * (recipe.samples // recipe.engine.batch) * recipe.engine.batch
    share = {look: float((arrays[f"{look}_fused"].argmax(1) == test.labels).mean()) for look in looks}
    about = {"seconds": seconds, "views": looked_at, "epochs": recipe.engine.epochs, "device": device, "right": share}
    (out / "results").mkdir(parents=True, exist_ok=True)
    write_json(out / "results" / f"{job.name}.json", {"job": asdict(job), **about})
