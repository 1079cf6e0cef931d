"""``posepipe data audit``: which labelled videos should a person look at first."""

from __future__ import annotations

import argparse
from pathlib import Path

from posepipe.cli.labels import add_command, near_videos, read_labels
from posepipe.cli.parser import Commands, number

__all__ = ["add_audit"]


def add_audit(kinds: Commands) -> None:
    """Put the command among those of ``posepipe data``."""
    text = "rank the videos of a set by the signs of bad labels, with pictures to look at and an exclusion list"
    audit = add_command(kinds, "audit", text)
    audit.add_argument("-o", "--out", required=True, metavar="DIR", type=Path, help="folder for the page and the lists")
    text = "labels of the same frames by a second model, or a pose network (small, FILE.onnx) to make them with"
    audit.add_argument("--second", metavar="PATH|MODEL", help=text)
    count = number(int, 0, 10**6)
    text = "videos that get a contact sheet (default 60)"
    audit.add_argument("--sheets", type=count, default=60, metavar="N", help=text)
    text = "put the first N videos on the exclusion list (default: those with a reason)"
    audit.add_argument("--exclude", type=count, metavar="N", help=text)
    audit.add_argument("--overwrite", action="store_true", help="replace the results that DIR holds")
    audit.set_defaults(command=_audit)


def _audit(arguments: argparse.Namespace) -> int:
    import numpy as np

    from posepipe.datasets.audit import audit
    from posepipe.datasets.exclusions import write_exclusions
    from posepipe.datasets.formats import label_videos
    from posepipe.datasets.frames import frames_cache, pictures_at_hand
    from posepipe.datasets.second_opinion import same_images
    from posepipe.errors import OutputError
    from posepipe.review import second_labels, with_frames, write_review, write_scorecard

    out = arguments.out
    if (out / "scorecard.json").exists() and not arguments.overwrite:
        raise OutputError(f"{out} holds an audit already", hint="--overwrite replaces it, or name another one")
    people = read_labels(arguments, keep_duplicates=True)
    videos, cache = near_videos(arguments, people), frames_cache(arguments.path)
    second = None
    if arguments.second:
        first = arguments.first_frame
        second = second_labels(people, arguments.second, first_frame=first, videos=videos, cache=cache)
        shared = same_images(people, second) >= 0
        if shared.any() and not shared.all():
            print(f"the second labels are of {int(shared.sum())} of {len(shared)} frames; the others are not compared")
    cards = audit(people, second, without=set(label_videos(arguments.path)) - set(people.videos))
    shown = np.zeros(len(people.images), bool)
    for card in cards[: arguments.sheets]:
        shown[people.image[card.worst]] = True
    if videos:
        people, lost = with_frames(people, shown, videos, cache)
        for line in lost:
            print(line)
    elif shown.any() and not pictures_at_hand(people):
        print("neither pictures nor videos are at hand (--images DIR): the sheets show people on grey")
    page = write_review(out, cards, people, arguments.sheets)
    write_scorecard(out / "scorecard.json", cards)
    # What has no labels is in no training anyway.
    labelled = [card for card in cards if card.people]
    chosen = [card for card in labelled if card.reasons] if arguments.exclude is None else labelled[: arguments.exclude]
    write_exclusions(out / "exclusions.json", {card.video: card.reasons for card in chosen}, {})
    for number_, card in enumerate(cards[:20], start=1):
        print(f"{number_:3d}. {card.video}: {card.suspicion:.1f} {', '.join(card.reasons)}".rstrip())
    where = f"{page} shows the first {min(arguments.sheets, len(cards))}"
    print(f"{len(cards)} videos; {where}; exclusions.json beside it names {len(chosen)}: look, then edit it")
    return 0
