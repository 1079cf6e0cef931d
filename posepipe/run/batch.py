"""One input after another, with an outcome for each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from posepipe.errors import PosepipeError, unexpected
from posepipe.pipeline import Pipeline
from posepipe.report import Outcome
from posepipe.run.feed import Stop
from posepipe.run.inputs import Job
from posepipe.run.video import Options, run_video

__all__ = ["run_batch"]


def run_batch(
    jobs: Sequence[Job], pipeline: Pipeline, options: Options, tell: Callable[[Outcome], None] = lambda outcome: None
) -> list[Outcome]:
    """Run every job; one that fails does not stop the others, a signal does.

    Parameters
    ----------
    jobs, pipeline, options
        What to run, by what, and how.
    tell
        Called with the outcome of each job as soon as it has ended.

    Returns
    -------
    One outcome for each job; after a signal, ``not begun`` for those that were left.
    """
    outcomes: list[Outcome] = []
    with Stop().on_signals() as stop:
        for job in jobs:
            folder = options.out / job.name
            if stop.signum is not None:
                outcomes.append(Outcome(job.label(folder), folder, "not begun", 128 + stop.signum))
                continue
            try:
                outcome = run_video(job, pipeline, options, stop)
            except PosepipeError as error:
                outcome = Outcome(job.label(folder), folder, "failed", error.exit_code, reason=str(error))
            except Exception as error:  # a mistake of ours in one video does not take the others along
                if os.environ.get("POSEPIPE_DEBUG") == "1":
                    raise
                outcome = Outcome(
                    job.label(folder), folder, "failed", PosepipeError.exit_code, reason=unexpected(error)
                )
            tell(outcome)
            outcomes.append(outcome)
    return outcomes
