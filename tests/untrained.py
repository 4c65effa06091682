"""Runs that have not been trained, as `latentgen.evaluation.measures` is given them."""

import json
import runpy
from pathlib import Path

import jax
import numpy as np

from latentgen.core.keys import run_key
from latentgen.evaluation.measures.subject import Options, Subject
from latentgen.training import setup

ROOT = Path(__file__).parents[1]
OPTIONS = Options(0, None, 1, 1, 2, 1, None)


def subject(config: str, variant: str, **changes: object) -> Subject:
    """The run of experiments/CONFIG.py:VARIANT before its first step, on the test split.

    Args:
        changes: of the config; `method__ema_decay` is config.method.ema_decay.
    """
    found = runpy.run_path(str(ROOT / "experiments" / f"{config}.py"))["get_config"](variant)
    flat = {key.replace("__", "."): value for key, value in changes.items()}
    found.update_from_flattened_dict(flat)
    run = setup.load(Path("nowhere"), json.loads(json.dumps(found.to_dict())), None, None)
    return Subject(run, 0, jax.jit(run.method.init)(run_key(0)), "test", {})


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """The published formula; the trace of (A B)^(1/2) by the eigenvalues of A B."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    a, b = np.cov(x.T), np.cov(y.T)
    roots = np.sqrt(np.maximum(np.linalg.eigvals(a @ b).real, 0))
    shift = x.mean(axis=0) - y.mean(axis=0)
    return float(shift @ shift + np.trace(a + b) - 2 * roots.sum())
