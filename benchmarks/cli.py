"""What the scripts of this folder share on the command line: options, progress, and a quiet end on Ctrl-C."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.engines import ENGINES, OURS, PEERS
from benchmarks.nets import NETS

RESULTS = Path(__file__).resolve().parent / "results"
QUICK = {"rounds": 2, "seconds": 0.3}


def parser(
    doc: str | None, engines: Sequence[str], rounds: int = 0, seconds: float = 0.0, others: bool = False
) -> argparse.ArgumentParser:
    """A parser with the options that the scripts share, and these defaults.

    Without ``rounds`` there are no such options; ``others`` allows engines beside minidl and PyTorch.
    """
    choices = list(ENGINES) if others else [*PEERS, *OURS]
    new = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    new.add_argument("--engines", nargs="+", choices=choices, metavar="ENGINE", help=f"of {', '.join(choices)}")
    new.add_argument("--out", type=Path, default=RESULTS, help="folder for the results (default: benchmarks/results)")
    quick = f"{QUICK['rounds']} rounds of {QUICK['seconds']} s" if rounds else "one seed, two epochs"
    new.add_argument("--quick", action="store_true", help=f"a rough look: {quick}")
    if rounds:
        new.add_argument("--rounds", type=positive, help=f"turns of every engine (default: {rounds})")
        new.add_argument("--seconds", type=duration, help=f"length of one turn (default: {seconds})")
    new.set_defaults(default_engines=list(engines), default_rounds=rounds, default_seconds=seconds)
    return new


def parse(the_parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line; what was not given is filled in. ``engines_named`` says whether ``--engines`` was given."""
    options = the_parser.parse_args()
    options.engines_named = options.engines is not None
    options.engines = options.engines or options.default_engines
    if options.default_rounds and options.rounds is None:
        options.rounds = int(QUICK["rounds"]) if options.quick else options.default_rounds
    if options.default_rounds and options.seconds is None:
        options.seconds = QUICK["seconds"] if options.quick else options.default_seconds
    return options


def net_name(text: str) -> str:
    """The net that is meant: case, spaces and hyphens do not matter, and a beginning is enough if it fits only one."""
    names = {_plain(name): name for name in NETS}
    if _plain(text) in names:
        return names[_plain(text)]
    found = [name for plain, name in names.items() if plain.startswith(_plain(text))]
    if len(found) != 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(NETS)}")
    return found[0]


class Progress:
    """A bar over the turns on a terminal, nothing elsewhere; lines of the table go above the bar."""

    def __init__(self, turns: int) -> None:
        from tqdm import tqdm

        self.bar = tqdm(total=turns, unit=" turns", leave=False, dynamic_ncols=True, disable=not sys.stderr.isatty())

    def tick(self) -> None:
        """A turn is over."""
        self.bar.update()

    def now(self, what: str) -> None:
        """Name what is being measured."""
        self.bar.set_description_str(what)

    def say(self, text: str) -> None:
        """Print a line."""
        if self.bar.disable:
            print(text, flush=True)
        else:
            self.bar.write(text)

    def close(self) -> None:
        """Take the bar away."""
        self.bar.close()


def run(main: Callable[[], None]) -> None:
    """Run a script's main function; Ctrl-C ends it without a traceback, and so does a reader who has seen enough (``| head``)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")  # a table has signs that some consoles lack
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # Python would try, and complain, once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nStopped. What was finished is kept in the results' folder.", file=sys.stderr)
        sys.exit(130)


def listing(names: Iterable[str]) -> str:
    """Names in quotes where they hold a space."""
    return ", ".join(f'"{name}"' if " " in name else name for name in names)


def _plain(text: str) -> str:
    return text.casefold().replace(" ", "").replace("-", "")


def positive(text: str) -> int:
    """A whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def duration(text: str) -> float:
    """Seconds, more than none."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {value}")
    return value
