"""The clips that an action recipe names, and which of them are held out."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from posepipe.datasets.action_formats import open_action_set
from posepipe.datasets.actions import ActionSample, ActionSet, join_sets
from posepipe.datasets.actions_own import clip_store
from posepipe.errors import ConfigError, InputError
from posepipe.skeleton import COCO17
from posepipe.training.action_recipe import ActionRecipe, ActionSource

if TYPE_CHECKING:
    from posepipe.datasets.video_frames import FrameStore

__all__ = ["hold_out", "open_store", "read_sources", "training_parts"]

_NAMED = 10


def read_sources(recipe: ActionRecipe, root: Path) -> ActionSet:
    """All clips of a recipe's sources, as one set.

    Raises
    ------
    ConfigError
        The recipe names no source.
    InputError
        A source cannot be read, or clips lack what the form of the network needs: they are named.
    """
    if not recipe.sources:
        raise ConfigError("the recipe names no clips", hint="Give it [[sources]]")
    clips = join_sets([_read(source, recipe, root) for source in recipe.sources])
    if "pose" in recipe.form:
        _refuse("have nobody in them", [s.name for s in clips.samples if not s.score.any()])
    if "rgb" in recipe.form:
        _refuse("have no video", [s.name for s in clips.samples if s.video is None or not s.video.exists()])
    return clips


def _read(source: ActionSource, recipe: ActionRecipe, root: Path) -> ActionSet:
    folders = [None if not text else root / text for text in (source.runs, source.videos)]
    clips = open_action_set(source.format, root / source.path, source.protocol, *folders)
    if source.classes:
        pairs = [text.partition("=") for text in source.classes]
        clips = clips.renamed({old.strip(): (new or old).strip() for old, _, new in pairs})
    return clips.mapped(COCO17) if recipe.skeleton == COCO17.name else clips


def _refuse(what: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise InputError(f"{len(names)} clips {what}: {', '.join(names[:_NAMED])}{more}")


def training_parts(
    recipe: ActionRecipe, clips: ActionSet, *, allow_leaks: bool = False
) -> tuple[ActionSet, ActionSet, tuple[str, ...]]:
    """Clips to learn from and to validate on, and notes on what leaks between them.

    Raises
    ------
    InputError
        A part is not there, or a subject of the set's train and validation parts is the same one, and leaks are not
        allowed. (Protocols over trials or cameras of the same people say so by their name and are left alone.)
    """
    training = clips.of_part(recipe.train_part)
    if recipe.validation_part:
        held = clips.of_part(recipe.validation_part)
    else:
        training, held = hold_out(training, recipe.held_out, recipe.held_by, recipe.engine.seed)
    own = any(source.format == "csv" for source in recipe.sources)
    both = {s.subject for s in training.samples if s.subject} & {s.subject for s in held.samples}
    if not own or not both:
        return training, held, ()
    text = f"subjects are in both parts of {clips.name}: {', '.join(sorted(both)[:_NAMED])}"
    if not allow_leaks:
        raise InputError(text, hint="Split by subject, or train all the same with --allow-leaks")
    return training, held, (f"Figures of validation are too good: {text}",)


def hold_out(clips: ActionSet, share: float, by: str, seed: int) -> tuple[ActionSet, ActionSet]:
    """Take whole groups of clips out of a set, class by class: (what stays, what is held out).

    Parameters
    ----------
    clips
        The set.
    share
        Of each class's clips that is held out, at most; 0 holds out none.
    by
        What a group is: ``clip``, ``subject``, ``trial`` or ``camera``.
    seed
        Of the draw.
    """
    rng = np.random.default_rng(seed)
    held: set[str] = set()
    if by == "clip":
        rows = defaultdict(list)
        for sample in clips.samples:
            rows[sample.label].append(sample.name)
        for names in rows.values():
            held.update(rng.permutation(names)[: int(share * len(names))].tolist())
    else:
        groups = rng.permutation(sorted({_group(s, by) for s in clips.samples}))
        chosen = set(groups[: int(share * len(groups))].tolist())
        held.update(s.name for s in clips.samples if _group(s, by) in chosen)
    mask = np.array([s.name in held for s in clips.samples], bool)
    return clips.select(~mask), clips.select(mask)


def _group(sample: ActionSample, by: str) -> str:
    return str(getattr(sample, by))


def open_store(recipe: ActionRecipe) -> FrameStore | None:
    """Where the pictures of clips come from; None for a network without pictures."""
    return clip_store() if "rgb" in recipe.form else None
