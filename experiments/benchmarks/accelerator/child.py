"""One part in a process of its own: what it finds goes line by line into a file.

    python -m experiments.benchmarks.accelerator.child PART --rows FILE --json RESULTS [--dry]

Each line is a JSON object: {"items": ...} first, {"began": NAME} and {"name": NAME, "rows": ...} or
{"name": NAME, "error": TRACEBACK} for each item, {"end": true} last. The process may be killed at
any time: whoever reads the file has what was found until then.
"""

import argparse
import json
import os
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from experiments.benchmarks.accelerator.parts import PARTS, Context


def end_with_parent(parent: int) -> None:
    """End this process once its parent is gone, which cannot then end it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def done_already(results: dict[str, Any], part: str) -> set[str]:
    """The items that an earlier call has found; those with an error are tried again."""
    found = results["parts"].get(part, {"done": {}})["done"]
    return {name for name, item in found.items() if "error" not in item}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--skip", nargs="*", default=[])
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    end_with_parent(os.getppid())
    results = json.loads(options.json.read_text())
    skip = done_already(results, options.part) | set(options.skip)
    context = Context(options.dry, results, options.json.parent, options.seconds, skip)
    with options.rows.open("a", buffering=1) as file:

        def say(**line: Any) -> None:
            file.write(json.dumps(line) + "\n")

        items = PARTS[options.part].items(context)
        say(items=[{"name": item.name, "checks": item.checks} for item in items])
        for item in items:
            if item.name in skip:
                continue
            say(began=item.name)
            began = time.monotonic()
            try:
                found: dict[str, Any] = {"rows": item.call()}
            except Exception:
                found = {"error": traceback.format_exc()}
            say(name=item.name, seconds=round(time.monotonic() - began, 2), **found)
        say(end=True)
    # Threads and processes of a library may not let go; all that was found is in the file.
    os._exit(0)


if __name__ == "__main__":
    main()
