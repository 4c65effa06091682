"""Check latentgen on a GPU, time it beside PyTorch, and say where the time goes.

    python -m experiments.benchmarks.accelerator [--parts correct speed ...] [--json FILE]

On a machine without a GPU every part runs in a dry form, on tiny shapes, whose figures say nothing.
Exits 0 if all that it checks holds, 1 if not, 2 for bad input. README.md in the folder above has
more.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.accelerator import results, supervisor, table, wheels
from experiments.benchmarks.accelerator.parts import PARTS, Part
from latentgen.core.errors import BadInput


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.accelerator", description=(__doc__ or "").strip()
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART")
    add("--json", type=Path, metavar="FILE", help="results; a second call goes on with them")
    add("--wheels", type=Path, metavar="DIR", help="packages to use where they are not installed")
    add("--dry", action="store_true", help="the dry form, also where there is a GPU")
    add("--fresh", action="store_true", help="begin anew instead of going on with FILE")
    add("--table", type=Path, metavar="DOCUMENT", help="only write the table of cards into it")
    add("--fill-wheels", type=Path, metavar="DIR", help="only download wheels for --wheels")
    return parser.parse_args(arguments)


def paths(options: argparse.Namespace, folder: Path) -> dict[str, str]:
    """The environment in which packages from --wheels are found, by this process too."""
    if options.wheels is None:
        return {}
    names = wheels.unpack(options.wheels, folder)
    print(f"from {options.wheels}: {', '.join(names) or 'nothing that is not installed'}")
    sys.path.insert(0, str(folder))
    said = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{said}" if said else str(folder)}


def verdict(found: results.Results, chosen: Sequence[str]) -> int:
    """Print what does not hold; returns the exit code."""
    lines = [
        line
        for name in chosen
        for line in results.problems(name, found["parts"].get(name, {"items": [], "done": {}}))
    ]
    for line in lines:
        print(f"FAILED {line}", file=sys.stderr)
    left = {name: found["parts"].get(name, {}).get("left", []) for name in chosen}
    if count := sum(map(len, left.values())):
        print(f"{count} items were not reached; the same command goes on with them.")
    return 1 if lines else 0


def limits(chosen: Sequence[str]) -> dict[str, Part]:
    """The chosen parts; one alone has all the time that there is."""
    alone = {"seconds": None} if len(chosen) == 1 else {}
    return {name: PARTS[name]._replace(**alone) for name in chosen}


def run(options: argparse.Namespace, environment: dict[str, str]) -> int:
    """Run the chosen parts."""
    here = results.identity(True if options.dry else None)
    path = options.json or results.default_path(here)
    found = results.opened(path, here, options.fresh)
    name = f"{found['card']['name']}{', a dry run' if found['dry'] else ''}"
    print(f"{name}; results: {path}", flush=True)
    chosen = [part for part in PARTS if part in options.parts]
    job = supervisor.Job(path.resolve(), found["dry"], limits(chosen), environment)

    def say(line: str) -> None:
        print(line, flush=True)

    supervisor.run(job, found, chosen, say)
    return verdict(found, chosen)


def ended(signum: int, _: Any) -> None:
    """Leave through every `finally`, which end the processes that this one started."""
    sys.exit(128 + signum)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    signal.signal(signal.SIGTERM, ended)
    try:
        if options.table:
            table.update(options.table)
            return 0
        if options.fill_wheels:
            size = wheels.download(options.fill_wheels)
            print(f"{options.fill_wheels}: {size / 2**20:.1f} MiB")
            return 0
        with tempfile.TemporaryDirectory() as folder:
            return run(options, paths(options, Path(folder)))
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
