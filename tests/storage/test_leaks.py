"""Saving costs no memory that stays; and what Orbax is told in place of TensorStore's words."""

import gc
import os
import sys
from pathlib import Path

import jax.numpy as jnp
import tensorstore as ts

from latentgen.storage import leaks
from latentgen.storage.checkpoint import Checkpoints

SAVES, LEAVES = 20, 40


def test_a_save_leaves_no_objects_behind(tmp_path: Path) -> None:
    """Without the remedy, at least four of each array."""
    state = {f"leaf{i}": jnp.full((3, i + 1), i * 1.0) for i in range(LEAVES)}
    blocks = []
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in range(2 * SAVES):
            checkpoints.save(step, state, {})
            if step in (SAVES - 1, 2 * SAVES - 1):
                gc.collect()
                blocks.append(sys.getallocatedblocks())
    assert (blocks[1] - blocks[0]) / SAVES < LEAVES / 2


def test_a_folder_s_spec_comes_back_as_it_was_given(tmp_path: Path) -> None:
    given = {"driver": leaks.PLAIN, "path": f"{tmp_path}{os.sep}"}
    assert ts.KvStore.Spec(given).to_json() == given
    assert leaks.Given(given).to_json() == given


def test_other_words_are_tensorstore_s_own(tmp_path: Path) -> None:
    from orbax.checkpoint._src.serialization import tensorstore_utils as utils

    leaks.stop()
    once = utils.ts
    leaks.stop()
    assert utils.ts is once
    assert utils.ts.open is ts.open
    assert utils.ts.TensorStore is ts.TensorStore
    memory = utils.ts.KvStore.Spec({"driver": "memory", "path": "x"})
    assert isinstance(memory, ts.KvStore.Spec)
    folder = utils.ts.KvStore.Spec({"driver": "file", "path": f"{tmp_path}/"})
    assert isinstance(folder, leaks.Given)
    utils.ts.KvStore.open(folder).result().write("x", b"y").result()
    assert (tmp_path / "x").read_bytes() == b"y"
