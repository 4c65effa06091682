import errno
import gc
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from latentgen.core.errors import BadInput
from latentgen.core.types import State
from latentgen.storage.checkpoint import MANIFEST, Checkpoints, Damaged, by_path, describe
from latentgen.storage.workdir import read_json
from tests.studies import damage


class Pair(NamedTuple):
    first: object
    second: object


def state(seed=0):
    keys = jax.random.split(jax.random.key(seed), 4)
    params = {
        "encoder": {
            "Dense_0": {"kernel": jax.random.normal(keys[0], (30, 20)), "bias": jnp.zeros(20)},
            "half": jax.random.normal(keys[1], (7,), jnp.bfloat16),
        },
        "prior": {},
    }
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3), optax.scale(-1.0))
    odd = Pair(
        first=(jnp.uint32(2**32 - 1), jnp.int32(-5), (), {"flags": jnp.array([True, False])}),
        second=Pair(jnp.float32(jnp.nan), jnp.zeros((0, 3))),
    )
    return State(
        params=params,
        stats={"encoder": {"mean": jax.random.normal(keys[2], (5,)) * 1e-42}},  # subnormal
        opt=(tx.init(params), odd, optax.adam(1.0).init(params)),
    )


def like(tree):
    return jax.eval_shape(lambda: tree)


def assert_bitwise_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert isinstance(x, jax.Array)
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def flip(path, byte=None):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if byte is None else byte] ^= 1
    path.write_bytes(bytes(data))


def arrays(folder):
    """The file that holds most of a checkpoint's bytes."""
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def test_other_writes_of_a_failed_save_are_not_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio reports each task that nobody awaits; the save has already reported the first."""
    refused = OSError(errno.EFBIG, "File too large")
    with Checkpoints(tmp_path / "checkpoints"):
        for said, error in (
            ("Task exception was never retrieved", refused),
            ("Task exception was never retrieved", KeyError("another fault")),
            ("socket.send() raised exception.", refused),
        ):
            logging.getLogger("asyncio").error(said, exc_info=error)
    found = [(record.getMessage(), record.exc_info[1]) for record in caplog.records]
    assert [type(error) for _, error in found] == [KeyError, OSError]


def test_round_trip_is_bitwise(tmp_path):
    saved = state()
    meta = {"seed": 3, "words": ["a", "b"], "nested": {"x": 0.1}}
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.latest() is None
        checkpoints.save(12, saved, meta)
        checkpoints.save(20, state(1), {})
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.steps() == [12, 20]
        assert checkpoints.latest() == 20
        step, restored, found = checkpoints.restore(12, like(saved))
        assert (step, found) == (12, meta)
        assert_bitwise_equal(restored, saved)
        step, restored, _ = checkpoints.restore(None, like(saved))
        assert step == 20
        assert_bitwise_equal(restored, state(1))


def test_a_restored_state_can_be_donated_and_trained_on(tmp_path):
    """Saving and restoring in the middle of donated steps changes no bit."""
    tx = optax.adam(1e-2)
    params = {"w": jnp.arange(6.0)}
    step = jax.jit(
        lambda s: (lambda u, o: (optax.apply_updates(s[0], u), o))(*tx.update(s[0], s[1], s[0])),
        donate_argnums=0,
    )
    with Checkpoints(tmp_path / "c") as checkpoints:
        run = step((params, tx.init(params)))
        shape = like(run)
        checkpoints.save(1, run, {})
        run = step(run)
        _, resumed, _ = checkpoints.restore(1, shape)
        assert_bitwise_equal(step(resumed), run)


def test_only_the_newest_are_kept_and_none_is_overwritten(tmp_path):
    small = {"a": jnp.ones(3)}
    with Checkpoints(tmp_path / "c", keep=2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, small, {})
        assert checkpoints.steps() == [2, 3]
        with pytest.raises(Exception, match="already exists"):
            checkpoints.save(3, small, {})


def test_a_description_sees_every_bit_dtype_shape_and_name():
    base = {"a": jnp.zeros((2, 3)), "b": jnp.int32(1)}
    flipped = {"a": base["a"].at[1, 2].set(-0.0), "b": base["b"]}
    others = [
        flipped,
        {"a": jnp.zeros((3, 2)), "b": base["b"]},
        {"a": jnp.zeros((2, 3), jnp.int32), "b": base["b"]},
        {"a": base["a"], "c": base["b"]},
    ]
    assert describe(base) == describe(jax.tree.map(np.asarray, base))
    assert len({repr(describe(x)) for x in [base, *others]}) == 5


def test_key_paths_name_leaves():
    tree = State(params={"encoder": {"bias": 1}}, stats={}, opt=((2,), ()))
    assert by_path(tree) == {"params.encoder.bias": 1, "opt.0.0": 2}
    with pytest.raises(ValueError, match="dot"):
        by_path({"a.b": 1, "a": {"b": 2}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p | {"half": jnp.zeros(7)}, r"params\.half is bfloat16\(7,\) .* float32\(7,\)"),
        (lambda p: p | {"w": jnp.zeros((4, 3))}, r"params\.w is float32\(3, 4\) .*float32\(4, 3\)"),
        (lambda p: p | {"new": jnp.zeros(1)}, r"params\.new is missing in it"),
        (lambda p: {"w": p["w"]}, r"params\.half is bfloat16\(7,\) in it and missing in this run"),
    ],
)
def test_another_tree_dtype_or_shape_is_refused(tmp_path, change, message):
    params = {"w": jnp.ones((3, 4)), "half": jnp.ones(7, jnp.bfloat16)}
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, {"params": params}, {})
        with pytest.raises(BadInput, match=message):
            checkpoints.restore(None, like({"params": change(params)}))


def test_a_link_out_of_the_run_is_not_read(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "theirs")
    with pytest.raises(BadInput, match="checkpoints' is a link out of the run's folder"):
        Checkpoints(tmp_path / "run" / "checkpoints", read_only=True)


@pytest.mark.parametrize("read_only", [False, True])
def test_an_absent_checkpoint_is_refused(tmp_path, read_only):
    with Checkpoints(tmp_path / "c", read_only=read_only) as checkpoints:
        assert checkpoints.steps() == []
        with pytest.raises(BadInput, match="there is none"):
            checkpoints.restore(None, {})
    assert (tmp_path / "c").exists() is not read_only
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(4, {"a": jnp.ones(2)}, {})
        with pytest.raises(BadInput, match=r"no checkpoint 5: there are \[4\]"):
            checkpoints.restore(5, {"a": jnp.ones(2)})


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_flipped_bit_is_found(tmp_path, place):
    saved = {"w": jax.random.normal(jax.random.key(0), (100, 100)), "b": jnp.ones(3)}
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, saved, {})
        checkpoints.save(2, saved, {})
        file = arrays(tmp_path / "c" / "2")
        flip(file, int(place * file.stat().st_size))
        name = file.relative_to(tmp_path / "c" / "2")
        with pytest.raises(Damaged, match=f"checkpoint 2 is damaged: {name} is not what was saved"):
            checkpoints.restore(None, like(saved))
        (tmp_path / "c" / "2" / MANIFEST).unlink()
        with pytest.raises(Damaged, match=r"checkpoint 2 is damaged: w is not what was saved"):
            checkpoints.restore(None, like(saved))
        _, restored, _ = checkpoints.restore(1, like(saved))
        assert_bitwise_equal(restored, saved)


def test_a_changed_record_is_found(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(2, {"a": jnp.ones(2)}, {"seed": 1234})
        (file,) = (tmp_path / "c" / "2" / "record").glob("metadata")
        file.write_bytes(file.read_bytes().replace(b"1234", b"1235"))
        (tmp_path / "c" / "2" / MANIFEST).unlink()
        with pytest.raises(Damaged, match="its record is not what was saved"):
            checkpoints.restore(None, like({"a": jnp.ones(2)}))


@pytest.mark.parametrize("harm", ["truncate", "delete", "empty"])
def test_an_unreadable_checkpoint_is_damaged_not_absent(tmp_path, harm):
    saved = {"w": jax.random.normal(jax.random.key(0), (100, 100))}
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, saved, {})
        checkpoints.save(2, saved, {})
        file = arrays(tmp_path / "c" / "2")
        if harm == "truncate":
            os.truncate(file, file.stat().st_size // 2)
        elif harm == "delete":
            file.unlink()
        else:
            shutil.rmtree(tmp_path / "c" / "2")
            (tmp_path / "c" / "2").mkdir()
        told = {"truncate": "is not what was saved", "delete": "is missing", "empty": "cannot be"}
        with pytest.raises(Damaged, match=f"checkpoint 2 .*{told[harm]}"):
            checkpoints.restore(None, like(saved))


def test_without_a_manifest_a_checkpoint_is_good(tmp_path):
    """Older versions wrote no manifest, nor does a writer that is killed before it."""
    saved = {"w": jnp.arange(5.0)}
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, saved, {"of": 1})
        names = read_json(tmp_path / "c" / "1" / MANIFEST)
        assert "record/metadata" in names
        assert any(name.startswith("state/d/") for name in names)
        (tmp_path / "c" / "1" / MANIFEST).unlink()
        step, restored, meta = checkpoints.restore(None, like(saved))
    assert (step, meta) == (1, {"of": 1})
    assert_bitwise_equal(restored, saved)


@pytest.mark.parametrize("content", ["{", "3", "[1, 2]"])
def test_a_manifest_that_is_none_is_told(content, tmp_path):
    saved = {"w": jnp.arange(5.0)}
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, saved, {})
        (tmp_path / "c" / "1" / MANIFEST).write_text(content)
        with pytest.raises(Damaged, match="manifest"):
            checkpoints.restore(None, like(saved))


def test_whatever_happens_to_a_checkpoint_is_told_and_the_one_before_is_used(tmp_path):
    """The restored state is bitwise the one saved at the reported step."""
    states = {step: {"w": jax.random.normal(jax.random.key(step), (40, 40))} for step in (1, 2)}
    with Checkpoints(tmp_path / "c") as checkpoints:
        for step, state in states.items():
            checkpoints.save(step, state, {"of": step})
    saved = {step: describe(state) for step, state in states.items()}
    found = list(damage.study(tmp_path / "c", like(states[1]), saved, flips=0))
    gc.collect()  # so that errors of dropped Orbax objects show in this test
    assert {outcome for *_, outcome in found} == {"told", "as saved"}, found
    assert found[-1] == (".", "older", "told")
    harms = {what.split()[0] for _, what, _ in found}
    assert harms == {"bit", "cut", "zeros", "gone", "older"}


def test_the_study_of_damage_sees_a_wrong_restore(tmp_path, monkeypatch):
    """Without the leaves' digests a flipped bit is not noticed."""
    states = {step: {"w": jnp.full((40, 40), float(step))} for step in (1, 2)}
    with Checkpoints(tmp_path / "c") as checkpoints:
        for step, state in states.items():
            checkpoints.save(step, state, {})
    saved = {step: describe(state) for step, state in states.items()}
    saved[2]["w"]["sha256"] = "of something else"
    assert damage.outcome(tmp_path / "c", like(states[1]), saved).startswith("WRONG")


def test_where_none_is_sound_nothing_is_touched_and_nothing_begun(tmp_path):
    saved = {"w": jax.random.normal(jax.random.key(0), (100, 100))}
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.newest(like(saved), pytest.fail) is None
        for step in (1, 2):
            checkpoints.save(step, saved, {})
            arrays(tmp_path / "c" / str(step)).unlink()
        with pytest.raises(Damaged, match=r"none of the checkpoints .* can be used: checkpoint 2"):
            checkpoints.newest(like(saved), pytest.fail)
        assert checkpoints.steps() == [1, 2]
        checkpoints.save(3, saved, {})
        with pytest.raises(BadInput, match="does not fit"):
            checkpoints.newest({"other": jnp.ones(2)}, pytest.fail)


def test_a_reader_uses_the_one_before_and_renames_nothing(tmp_path):
    saved = {"w": jax.random.normal(jax.random.key(0), (100, 100))}
    with Checkpoints(tmp_path / "c") as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, saved, {})
    arrays(tmp_path / "c" / "2").unlink()
    said: list[str] = []
    with Checkpoints(tmp_path / "c", read_only=True) as checkpoints:
        step, restored, _ = checkpoints.newest(like(saved), said.append)
        assert step == 1
        assert_bitwise_equal(restored, saved)
        assert checkpoints.steps() == [1, 2]
    assert "continuing from checkpoint 1" in said[0]


def test_a_folder_that_only_looks_like_a_checkpoint_is_none(tmp_path):
    saved = {"a": jnp.ones(2)}
    (tmp_path / "c" / "00000005").mkdir(parents=True)
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(3, saved, {})
        assert checkpoints.steps() == [3]
        assert checkpoints.restore(None, like(saved))[0] == 3
        checkpoints.save(5, saved, {})
        assert checkpoints.steps() == [3, 5]


def test_a_writer_cleans_up_and_a_reader_touches_nothing(tmp_path):
    saved = {"a": jnp.ones(2)}
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, saved, {})
    half = tmp_path / "c" / "2.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "c" / "1", half)

    def files():
        return sorted((str(p), p.stat().st_mtime_ns) for p in (tmp_path / "c").rglob("*"))

    before = files()
    with Checkpoints(tmp_path / "c", read_only=True) as checkpoints:
        assert checkpoints.steps() == [1]
        checkpoints.restore(None, like(saved))
        with pytest.raises(RuntimeError, match="reading only"):
            checkpoints.save(3, saved, {})
    assert files() == before
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.steps() == [1]
        checkpoints.save(3, saved, {})  # Orbax cleans in the background, at the latest by now
        assert not half.exists()


def test_a_reader_survives_the_retention_of_a_writer(tmp_path, monkeypatch):
    """The newest checkpoint is retired, and newer ones written, just as it is being read."""
    saved = {"a": jnp.ones(2)}
    with (
        Checkpoints(tmp_path / "c", keep=1) as writer,
        Checkpoints(tmp_path / "c", read_only=True) as reader,
    ):
        writer.save(1, saved, {})
        read, hits = reader._read, []

        def slow(step, shape):
            if len(hits) < 2:
                hits.append(step)
                writer.save(step + 1, saved, {})
            return read(step, shape)

        monkeypatch.setattr(reader, "_read", slow)
        step, restored, _ = reader.restore(None, like(saved))
        assert (step, hits) == (3, [1, 2])
        assert_bitwise_equal(restored, saved)
        with pytest.raises(BadInput, match=r"no checkpoint 1: there are \[3\]"):
            reader.restore(1, like(saved))


WRITE = """
import sys, jax.numpy as jnp
from latentgen.storage.checkpoint import Checkpoints
with Checkpoints(sys.argv[1], keep=2) as checkpoints:
    step = checkpoints.latest() or 0
    print("open", flush=True)
    while True:
        step += 1
        checkpoints.save(step, {"w": jnp.full((400, 400), step), "n": jnp.int32(step)}, {"n": step})
"""


def test_a_reader_beside_a_writer_and_after_its_kill(tmp_path):
    """The newest checkpoint is complete at any moment, and the next writer goes on."""
    shape = like({"w": jnp.full((400, 400), 1), "n": jnp.int32(1)})
    last = 0
    for pause in (0.05, 0.31):
        command = [sys.executable, "-c", WRITE, str(tmp_path / "c")]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as writer,
            Checkpoints(tmp_path / "c", read_only=True) as reader,
        ):
            try:
                assert writer.stdout is not None
                assert writer.stdout.readline() == "open\n"
                while reader.latest() in (None, last):
                    time.sleep(0.01)
                for _ in range(8):
                    step, found, meta = reader.restore(None, shape)
                    assert (int(found["n"]), meta) == (step, {"n": step})
                    assert (found["w"] == step).all()
                time.sleep(pause)
            finally:
                writer.kill()
        with Checkpoints(tmp_path / "c", keep=2) as after:
            step, found, _ = after.restore(None, shape)
            assert step > last
            assert (found["w"] == step).all()
            last = step


QUIET = """
import sys
from absl import app, logging
def main(_):
    logging.set_verbosity(logging.INFO)
    import jax, logging as standard
    standard.getLogger("jax").setLevel("ERROR")
    from latentgen.storage.checkpoint import Checkpoints
    import jax.numpy as jnp
    with Checkpoints(sys.argv[1]) as checkpoints:
        checkpoints.save(1, {"a": jnp.ones(3)}, {})
        checkpoints.restore(None, {"a": jax.ShapeDtypeStruct((3,), jnp.float32)})
    logging.warning("ours is heard")
app.run(main)
"""


def test_orbax_says_nothing_on_the_terminal(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", QUIET, str(tmp_path / "c")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"},
        check=True,
    )
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert line.endswith("ours is heard")
