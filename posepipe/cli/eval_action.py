"""``posepipe eval action``: action networks on a set of labelled clips, or the streams of a two-stream network."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posepipe.cli import eval_two_stream
from posepipe.cli.parser import Commands
from posepipe.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from posepipe.datasets.actions import ActionClasses, ActionSet
    from posepipe.training.action_test import Said, TestPlan

__all__ = ["add"]

_SET = """\
SET is FORM:PATH or FORM:PATH:PROTOCOL, where FORM is one of those that docs/datasets.md describes: csv, jhmdb, jhmdb14,
ma52, npz, ntu, pickle, upfall, utkinect. Classes go by their names: the network's are scored, and every clip is of one
of them (--classes). Several networks are averaged, with --weights; top-1 and top-5, mean class accuracy and F1 are in
per cent. Two-stream networks (a checkpoint of the spatial stream, the temporal one, or both) are scored on whole
videos: SET is ucf101:FOLDER[:SPLIT], upfall:FOLDER or csv:LIST, or any videos, which are named; without it the list of
their training."""
#: what a file of a network is called; all other words say what is looked at
_NETWORKS = (".ckpt", ".onnx", ".pt", ".pth", ".safetensors")
_NAMED = 12  # classes in a message at most
#: flags about views of poses and pictures, with what they are where they are not given
_VIEWS = {"runs": None, "classes": None, "clips": 10, "flip": False, "scales": "1", "weights": None, "confusion": None}


def add(kinds: Commands) -> None:
    """Put the command below ``posepipe eval``."""
    action = kinds.add_parser(
        "action",
        help="action networks on labelled clips: top-1, top-5, F1; two-stream networks: Prec@1, Prec@5, fusion",
        description="Score action networks on labelled clips, each stream alone and together, at both levels.",
        epilog=_SET,
        usage="%(prog)s [options] NETWORK... SET",
        allow_abbrev=False,
    )
    action.add_argument(
        "words",
        nargs="+",
        metavar="NETWORK... SET",
        help=f"files of trainings ({', '.join(_NETWORKS)}), then the clips",
    )
    action.add_argument(
        "--part", default="test", metavar="PART", help="part of the set (default test; all: every clip)"
    )
    action.add_argument("--runs", type=Path, metavar="DIR", help="folder of results of `posepipe run` (csv, upfall)")
    action.add_argument("--videos", type=Path, metavar="DIR", help="folder of the videos, where the set does not say")
    text = "only clips of this class of the set, AS the network calls it; may be given again (default: every class)"
    action.add_argument("--classes", action="append", metavar="CLASS[=AS]", help=text)
    action.add_argument("--clips", type=int, metavar="N", help="views in time of each clip (default 10)")
    action.add_argument("--flip", action="store_true", help="look at every view mirrored too")
    action.add_argument("--scales", metavar="A,B", help="sizes relative to that of training (default 1)")
    action.add_argument("--weights", metavar="A,B", help="weights of the networks (default: equal ones)")
    action.add_argument("--json", type=Path, metavar="FILE", help="write the scores as JSON as well")
    action.add_argument("--csv", type=Path, metavar="FILE", help="write what is said of each clip as well")
    action.add_argument("--confusion", type=Path, metavar="FILE", help="draw the confusion matrix (.png, .pdf, .svg)")
    action.set_defaults(command=_action, **_VIEWS)


def _action(arguments: argparse.Namespace) -> int:
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in ("torch", "matplotlib")):
        raise MissingExtraError("posepipe eval action", "train")
    networks = [Path(word) for word in arguments.words if Path(word).suffix.lower() in _NETWORKS]
    named = [word for word in arguments.words if Path(word) not in networks]
    if not networks:
        raise UsageError("no network is named", got=" ".join(named), expected=f"a file {', '.join(_NETWORKS)}")
    if not eval_two_stream.is_stream(networks[0]):
        if len(named) != 1:
            raise UsageError("one set is scored at a time", got=" ".join(named) or "none", expected="FORM:PATH")
        return _clips_scored(arguments, networks, named[0])
    given = [f"--{name}" for name, value in _VIEWS.items() if getattr(arguments, name) != value]
    if given:
        raise UsageError(f"two-stream networks do not take {', '.join(given)}", hint="They look at 19 samples a video")
    eval_two_stream.score(networks, named, arguments)
    return 0


def _clips_scored(arguments: argparse.Namespace, networks: list[Path], named: str) -> int:
    """Networks that look at poses and pictures of people."""
    from posepipe.evaluation.action import score_actions
    from posepipe.report import table
    from posepipe.training.action_test import TestPlan

    scales = _numbers(arguments.scales, "--scales")
    if arguments.clips < 1 or min(scales) <= 0:
        raise UsageError("--clips and --scales are above 0", got=f"{arguments.clips} and {arguments.scales}")
    plan = TestPlan(arguments.clips, arguments.flip, scales)
    weights = _numbers(arguments.weights, "--weights") if arguments.weights else None
    clips, said = _say(arguments, networks, named, plan, weights)
    figures: dict[str, dict[str, Any]] = {}
    levels = clips.classes.coarse_of
    for stream, one in said.items():
        figures[f"{stream} fine"] = vars(score_actions(one.fine, clips.labels))
        if one.coarse is not None and levels:
            coarse = clips.labels.copy()
            coarse[:] = [levels[label] for label in clips.labels]
            figures[f"{stream} coarse"] = vars(score_actions(one.coarse, coarse))
    names = ("clips", "top1", "top5", "mean_class", "f1_macro", "f1_micro")
    rows = [(what, *(_cell(row[name]) for name in names)) for what, row in figures.items()]
    print(table(("stream and level", *names), rows))
    _write(arguments, networks, clips, said, figures)
    return 0


def _say(
    arguments: argparse.Namespace, networks: list[Path], named: str, plan: TestPlan, weights: tuple[float, ...] | None
) -> tuple[ActionSet, dict[str, Said]]:
    """The clips, and what every stream, and all of them together, say of them."""
    from posepipe.training.action_test import average, fused, predict, predict_onnx

    clips: ActionSet | None = None
    spoken: list[dict[str, Said]] = []
    for path in networks:
        network, card = _load(path)
        clips = clips or _clips(arguments, named, path, card)
        order = _order(path, card, networks[0], clips.classes)
        if network is None:
            said = predict_onnx(path, card, clips, plan)
        else:
            store = None
            if "rgb" in card["form"]:
                from posepipe.datasets.actions_own import clip_store

                store = clip_store()
            said = predict(network, card, clips, plan, store=store, device=_device())
        spoken.append({name: _in_order(one, *order) for name, one in said.items()})
    if clips is None:
        raise UsageError("there is no network to score")
    streams = [name for name in spoken[0] if all(name in said for said in spoken)]
    found = {name: average([said[name] for said in spoken], weights) for name in streams} if len(streams) > 1 else {}
    found["fused" if len(spoken[0]) > 1 else streams[0]] = average([fused(said) for said in spoken], weights)
    return clips, found


def _load(path: Path) -> tuple[Any, dict[str, Any]]:
    """A network and its card; of an ONNX file the card alone."""
    from posepipe.training.action_card import load_action, onnx_card

    return (None, onnx_card(path)) if path.suffix.lower() == ".onnx" else load_action(path)


def _clips(arguments: argparse.Namespace, named: str, network: Path, card: dict[str, Any]) -> ActionSet:
    """The part of the set, with the keypoints that a network takes and the classes that it names."""
    from posepipe.datasets.action_formats import open_action_set
    from posepipe.training.action_card import card_classes, card_skeleton

    form, path, protocol = eval_two_stream.parted(named)
    clips = open_action_set(form, path, protocol, arguments.runs, arguments.videos)
    if arguments.classes:
        pairs = [text.partition("=") for text in arguments.classes]
        clips = clips.renamed({old.strip(): (new or old).strip() for old, _, new in pairs})
    clips = clips if arguments.part == "all" else clips.of_part(arguments.part)
    names, classes = clips.classes.names, card_classes(card)
    strange = [names[label] for label in sorted(set(clips.labels.tolist())) if names[label] not in classes.names]
    if strange:
        raise UsageError(
            f"{network} does not name {len(strange)} classes of the set: {_some(strange)}",
            expected=f"some of {_some(classes.names)}",
            hint="--classes CLASS=AS takes clips of some classes, under the network's names for them",
        )
    samples = tuple(replace(s, label=classes.names.index(names[s.label])) for s in clips.samples)
    return replace(clips, classes=classes, samples=samples).mapped(card_skeleton(card))


def _order(path: Path, card: dict[str, Any], first: Path, classes: ActionClasses) -> tuple[list[int], list[int]]:
    """Where the classes of the first network stand in another one's output, and its coarse ones if they are the same.

    Raises `UsageError` where that names other classes.
    """
    from posepipe.training.action_card import card_classes

    own = card_classes(card)
    if set(own.names) != set(classes.names):
        got, expected = (sorted(set(a) - set(b)) for a, b in ((own.names, classes.names), (classes.names, own.names)))
        raise UsageError(
            f"{path} names other classes than {first}", got=_some(got) or "fewer", expected=_some(expected) or "fewer"
        )
    same = set(own.coarse) == set(classes.coarse)
    coarse = [own.coarse.index(name) for name in classes.coarse] if same else []
    return [own.names.index(name) for name in classes.names], coarse


def _in_order(said: Said, fine: list[int], coarse: list[int]) -> Said:
    """The same, its classes in another order."""
    return replace(
        said,
        fine=said.fine[:, fine],
        coarse=said.coarse[:, coarse] if said.coarse is not None and coarse else None,
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _numbers(text: str, flag: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{flag} takes numbers and commas", got=repr(text)) from None


def _cell(value: float | int) -> str:
    return f"{100 * value:.2f}" if isinstance(value, float) else str(value)


def _write(
    arguments: argparse.Namespace,
    networks: list[Path],
    clips: ActionSet,
    said: dict[str, Said],
    figures: dict[str, dict[str, Any]],
) -> None:
    """The scores, what is said of each clip, and the picture, where asked for."""
    from posepipe.evaluation.action import confusion
    from posepipe.report import write_json, write_rows

    names, last = clips.classes.names, list(said)[-1]
    fine = said[last].fine
    matrix = confusion(fine.argmax(1), clips.labels, len(names))
    if arguments.json:
        about = {"schema": "posepipe.eval.action", "version": 1, "set": clips.name, "labels": names}
        files = [str(path) for path in networks]
        write_json(arguments.json, {**about, "networks": files, "scores": figures, "confusion": matrix.tolist()})
    if arguments.csv:
        rows = [
            (sample.name, names[sample.label], names[int(shares.argmax())], f"{shares.max():.4f}")
            for sample, shares in zip(clips.samples, fine, strict=True)
        ]
        write_rows(arguments.csv, ("clip", "label", "said", "score"), rows)
    if arguments.confusion:
        from posepipe.training.action_picture import draw_confusion

        draw_confusion(arguments.confusion, matrix, names)
