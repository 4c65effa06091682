"""Print the SHA-256 of the state after ten steps, of the runs named: one process of two that agree.

python -m experiments.benchmarks.accelerator.digest STEPS NAME ...
"""

import json
import sys

import jax

from experiments.benchmarks.accelerator import methods


def main() -> None:
    steps, names = int(sys.argv[1]), sys.argv[2:]
    found = {}
    for name in names:
        run = methods.lowered(methods.start(name, steps), jax.devices()[0])()
        found[name] = [methods.digest(run()) for _ in range(2)]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
