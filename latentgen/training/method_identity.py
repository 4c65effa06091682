"""Identity of a method that was made in Python, which its config does not describe."""

import hashlib
import re
from typing import Any

import jax
import numpy as np

from latentgen.core.errors import BadInput
from latentgen.core.types import Batch
from latentgen.storage import workdir
from latentgen.training.setup import Run

KEY = "method"  # in the description of the data in the workdir


def described(run: Run) -> dict[str, Any]:
    """Return what to keep in the workdir: nothing for a method that the config makes.

    Methods are told apart by their traced step. JAX's version is kept with it: another one may
    trace the same step otherwise.
    """
    method = run.config["method"]
    if method["name"] != "python" or method.get("factory"):
        return {}
    return {KEY: {"jax": jax.__version__, "sha256": _digest(run)}}


def check(run: Run) -> None:
    """Check that the folder's run, if any, is of this method.

    Raises:
        BadInput: it is a run of another method.
    """
    old, new = workdir.described(run.folder).get(KEY), described(run).get(KEY)
    if old and new and old["jax"] == new["jax"] and old != new:
        raise BadInput(
            f"workdir={str(run.folder)!r} holds a run of another method, whose steps differ. Name "
            "another workdir."
        )


def _digest(run: Run) -> str:
    """Return 16 hex digits of the SHA-256 of the traced step and its constants."""
    size = (run.method.draws, run.experiment.batch_size)
    x = jax.ShapeDtypeStruct((*size, *run.dataset.shape), np.float32)
    batches: Any = Batch(x, jax.ShapeDtypeStruct(size, np.int32))  # type: ignore[arg-type]
    step = jax.ShapeDtypeStruct((), np.int32)
    traced = jax.make_jaxpr(run.method.step)(run.state, step, batches, run.key)
    digest = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", str(traced.jaxpr)).encode())
    for constant in traced.consts:
        digest.update(np.asarray(constant).tobytes())
    return digest.hexdigest()[:16]
