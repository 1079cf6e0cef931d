"""Whether an object can stand in for a stage, and whether what it gave is what the pipeline takes."""

from __future__ import annotations

from posepipe.errors import UsageError

__all__ = ["check_result", "check_stage"]

_NEEDED = {
    "detector": ("detect",),
    "pose": ("skeleton", "estimate"),
    "tracker": ("update", "reset"),
    "actions": ("labels", "recognise"),
}


def check_stage(name: str, stage: object) -> None:
    """Refuse an object that lacks what the stage ``name`` must have; raises :class:`UsageError`."""
    needed = _NEEDED[name]
    if all(hasattr(stage, attribute) for attribute in needed):
        return
    got = f"{type(stage).__name__} {stage!r}"[:80]
    hint = f"Config({name}={stage!r}) names a built-in one" if isinstance(stage, str) else "See posepipe.stages"
    raise UsageError(f"{name} must be an object with {' and '.join(needed)}", got=got, hint=hint)


def check_result(stage: str, result: object, *expected: type) -> None:
    """Blame a stage for a result of another type; raises `TypeError`."""
    if not isinstance(result, expected):
        names = " or ".join(kind.__name__ for kind in expected)
        raise TypeError(f"the {stage} returned {type(result).__name__}, expected {names}")
