"""``posepipe models``: the weights at hand, and those that can be fetched."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from posepipe.cli.parser import Commands

if TYPE_CHECKING:
    from posepipe.io.zoo import PublicWeights

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Put the commands on the command line."""
    models = commands.add_parser("models", help="the weights at hand, and those to fetch", allow_abbrev=False)
    actions = models.add_subparsers(title="actions", metavar="ACTION", required=True)

    listed = actions.add_parser("list", help="list all weights and say which are at hand", allow_abbrev=False)
    listed.set_defaults(command=_table, verify=False)
    verified = actions.add_parser("verify", help="compare those at hand with their checksums", allow_abbrev=False)
    verified.set_defaults(command=_table, verify=True)

    shown = actions.add_parser("show", help="what one file is, and its terms", allow_abbrev=False)
    shown.add_argument("name", metavar="NAME", help="as `posepipe models list` shows it")
    shown.set_defaults(command=_show)

    fetched = actions.add_parser("fetch", help="download published weights, checked", allow_abbrev=False)
    fetched.add_argument("name", metavar="NAME", help="as `posepipe models list` shows it")
    source = "take it from this file, or from another address"
    fetched.add_argument("--from", dest="source", metavar="FILE|URL", help=source)
    fetched.add_argument("--offline", action="store_true", help="touch no network (as POSEPIPE_OFFLINE=1)")
    pin = "keep what --from gives under this name although it is not the published file"
    fetched.add_argument("--pin", action="store_true", help=pin)
    fetched.add_argument("--quiet", action="store_true", help="print errors only")
    fetched.set_defaults(command=_fetch)


def _table(arguments: argparse.Namespace) -> int:
    from posepipe.doctor import models_table

    table, sound = models_table(verify=arguments.verify)
    print(table)
    return 0 if sound else 5


def _entry(name: str) -> PublicWeights | None:
    """The published weights of that name, None for those of the package; raises `UsageError` for neither."""
    import difflib

    from posepipe.errors import UsageError
    from posepipe.io.weights import list_weights
    from posepipe.io.zoo import public_weights

    public, own = public_weights(), [entry.name for entry in list_weights()]
    if name in own:
        return None
    if name not in public:
        near = difflib.get_close_matches(name, [*own, *public], n=1, cutoff=0.5)
        raise UsageError(
            f"there are no weights called {name!r}",
            hint=(f"Did you mean {near[0]!r}? " if near else "") + "All names: posepipe models list",
        )
    return public[name]


def _show(arguments: argparse.Namespace) -> int:
    from posepipe.io.weights import list_weights, read_card, verify_weights
    from posepipe.io.zoo import problem_of, read_receipt, terms_of

    entry = _entry(arguments.name)
    if entry is None:
        own = next(row for row in list_weights() if row.name == arguments.name)
        terms, problem = terms_of(own.path), verify_weights(own)
        card = {} if problem else read_card(own.path).values
        rows = {"name": own.name, "version": str(card.get("version", "")), "kind": own.kind, "licence": own.licence}
        rows["trained on"] = terms.trained_on or ""
        rows |= {name: ", ".join(card[name]) for name in ("labels", "keypoints") if name in card}
        rows |= {"sha256": own.sha256, "file": str(own.path), "state": problem or "comes with the package"}
    else:
        size = "x".join(map(str, entry.input_size)) if entry.input_size else "any size"
        receipt = read_receipt(entry)
        pinned = receipt is not None and receipt.pinned
        good = "fetched, as it was pinned by hand" if pinned else "fetched, verified"
        state = (problem_of(entry) or good) if entry.path.is_file() else "not fetched"
        rows = {"name": entry.name, "kind": f"{entry.kind} ({entry.adapter}, {size})"}
        rows |= {"use": _use(entry), "licence": entry.licence, "trained on": entry.trained_on, "note": entry.note}
        sha256 = receipt.sha256 if receipt is not None and pinned else entry.sha256
        rows |= {"sha256": sha256 or "not published", "bytes": str(entry.size or "not published")}
        rows |= {f"address {number}": url for number, url in enumerate(entry.urls, 1)}
        rows |= {"file": str(entry.path), "state": state}
        if receipt is not None:
            rows["came from"] = receipt.source
    for key, value in rows.items():
        print(f"{key + ':':<12} {value}")
    return 0


def _use(entry: PublicWeights) -> str:
    extra = f" (needs posepipe[{entry.extra}])" if entry.extra else ""
    flag = "--detector" if entry.kind == "detector" else "--pose"
    both = " --pose detector" if entry.name.startswith("keypointrcnn") else ""
    return f"posepipe run VIDEO -o OUT {flag} {entry.name}{both}{extra}"


def _fetch(arguments: argparse.Namespace) -> int:
    from posepipe.cli.parser import say
    from posepipe.io.download import fetch
    from posepipe.io.zoo import read_receipt

    tell = say(arguments.quiet)
    entry = _entry(arguments.name)
    if entry is None:
        tell(f"{arguments.name} comes with the package; there is nothing to fetch")
        return 0
    tell(f"{entry.name}: licence {entry.licence}; trained on {entry.trained_on}")
    if entry.note:
        tell(f"{entry.name}: {entry.note}")
    with _bar(entry.name, quiet=arguments.quiet) as progress:
        path = fetch(entry, arguments.source, no_network=arguments.offline, pin=arguments.pin, progress=progress)
    receipt = read_receipt(entry)
    if receipt is not None and receipt.pinned:
        tell(f"{path}: pinned by hand at sha256 {receipt.sha256}; it is not checked against what was published")
    elif receipt is not None and receipt.sha256 != entry.sha256:
        tell(f"{path}: pinned at sha256 {receipt.sha256}, as no whole checksum is published")
    else:
        tell(f"{path}: sha256 as published")
    tell(_use(entry))
    return 0


@contextmanager
def _bar(name: str, *, quiet: bool) -> Iterator[Callable[[int, int | None], None]]:
    """What to tell of bytes done and of all bytes: a bar on a terminal, nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from tqdm import tqdm

    with tqdm(desc=name, unit="B", unit_scale=True, file=sys.stderr, leave=False) as bar:

        def update(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update
