"""Training from the command line: the same twice, killed and continued, stopped, refused."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from commands import COLD, run, start, tiny

from experiments import vae
from latentgen import configs
from latentgen.data import sources
from latentgen.data.preprocess import PREPROCESS
from latentgen.storage import log, status
from latentgen.storage.checkpoint import Checkpoints, describe
from latentgen.storage.workdir import lock
from latentgen.sweeps import plan
from latentgen.training import hooks, loop, setup, trainer

STEPS = 300
EVERY = {"validate": 100, "sample": 100, "checkpoint": 50}
ONE = pytest.mark.parametrize(
    "undisturbed", ["gan", pytest.param("vae", marks=pytest.mark.long)], indirect=True
)
"""What does not depend on the method is shown of one quickly, of both by the long tests."""


def flags_of(name: str) -> list[str]:
    """Flags of the run that most tests compare with: half of `tiny`'s steps."""
    return [*tiny(name), f"--config.steps={STEPS}"] + [
        f"--config.every.{what}={steps}" for what, steps in EVERY.items()
    ]


@pytest.fixture(scope="module", params=["vae", "gan"])
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """A finished tiny run."""
    workdir = tmp_path_factory.mktemp(request.param) / "run"
    done = run("run", *flags_of(request.param), f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return request.param, workdir


def state_of(workdir: Path) -> dict[str, dict]:
    """Every leaf of the final state: dtype, shape, SHA-256 of its bytes."""
    config = json.loads((workdir / "config.json").read_text())
    method = configs.experiment(config).plan.wire((8, 8, 1))
    like = jax.eval_shape(method.init, jax.random.key(0))
    with Checkpoints(workdir / "checkpoints", read_only=True) as saved:
        step, state, _ = saved.restore(None, like)
    assert step == STEPS
    return describe(state)


def metrics_of(workdir: Path) -> list[dict]:
    """The log without the clock."""
    rows = log.read(workdir / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def assert_same_run(a: Path, b: Path) -> None:
    assert state_of(a) == state_of(b)
    assert metrics_of(a) == metrics_of(b)
    pictures = sorted(p.relative_to(a) for p in a.glob("*/step_*.png"))
    assert pictures == sorted(p.relative_to(b) for p in b.glob("*/step_*.png"))
    assert len(pictures) >= 4
    for picture in pictures:
        assert (a / picture).read_bytes() == (b / picture).read_bytes()


def test_a_run_leaves_what_it_promises(undisturbed: tuple[str, Path]) -> None:
    name, workdir = undisturbed
    assert json.loads((workdir / "config.json").read_text())["steps"] == STEPS
    rows = metrics_of(workdir)
    assert [r["step"] for r in rows if r["split"] == "train"] == list(range(10, STEPS + 1, 10))
    assert [r["step"] for r in rows if r["split"] == "validation"] == list(
        range(100, STEPS + 1, 100)
    )
    assert list(workdir.glob("tensorboard/events*"))
    kinds = ["samples"] + ["reconstructions"] * (name == "vae")
    for kind in kinds:
        for step in (0, 100, 200, 300):
            picture = np.asarray(PIL.Image.open(workdir / kind / f"step_{step:08d}.png"))
            assert picture.std() > 1
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["data"]["splits"] == {"train": 1397, "validation": 200, "test": 200}
    assert summary["data"]["preprocess"] == "unit"
    assert summary["final"]["train"].items() <= rows[-2].items() | rows[-1].items()
    assert {"seed", "versions", "device", "seconds", "command"} <= summary.keys()


def test_training_learned_something(undisturbed: tuple[str, Path]) -> None:
    """A VAE's bound falls on validation images; a GAN's samples become as dark as the digits."""
    name, workdir = undisturbed
    if name == "vae":
        rows = metrics_of(workdir)
        bounds = [r["negative_elbo"] for r in rows if r["split"] == "validation"]
        assert bounds[-1] < bounds[0] < 64 * np.log(2)  # the bound of a coin per pixel
    else:
        digits = sources.load("digits").splits["train"]
        x = jnp.asarray(digits.x[:64] / np.float32(255))
        real = hooks.draw(x, PREPROCESS["unit"], digits).mean()
        first, last = (
            np.asarray(PIL.Image.open(workdir / "samples" / f"step_{step:08d}.png")).mean()
            for step in (0, STEPS)
        )
        assert abs(last - real) < abs(first - real) / 2


@ONE
def test_the_same_run_twice_is_the_same_bitwise(
    undisturbed: tuple[str, Path], tmp_path: Path
) -> None:
    name, workdir = undisturbed
    done = run("run", *flags_of(name), f"--workdir={tmp_path}/again")
    assert done.returncode == 0, done.stderr
    assert_same_run(workdir, tmp_path / "again")


@pytest.mark.long
def test_compiled_anew_it_is_the_same_bitwise(
    undisturbed: tuple[str, Path], tmp_path: Path
) -> None:
    """Compile in a new interpreter, without the cache of compiled programs."""
    name, workdir = undisturbed
    done = run("run", *flags_of(name), f"--workdir={tmp_path}/again", **COLD)
    assert done.returncode == 0, done.stderr
    assert_same_run(workdir, tmp_path / "again")


def signalled(
    flags: list[str], workdir: Path, signum: int, least: int = 1, wait: float = 0.0
) -> subprocess.CompletedProcess:
    """A run that gets the signal after `least` lines of its log; -1: as soon as it has begun."""
    before, file = status.read(workdir), workdir / log.METRICS
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, "run", *flags, f"--workdir={workdir}")
        while not running.done():
            now = status.read(workdir)
            lines = file.read_bytes().count(b"\n") if file.exists() else -1
            if now is not None and now != before and lines >= least:
                time.sleep(wait)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(now.pid, signum)
                break
            time.sleep(0.002)
        return running.result()


@pytest.mark.parametrize(
    ("undisturbed", "moments"),
    [
        ("gan", (-1, 1, 12)),
        pytest.param("gan", (-1, 1, 8, 15, 22), marks=pytest.mark.long),
        pytest.param("vae", (-1, 1, 8, 15, 22), marks=pytest.mark.long),
    ],
    indirect=["undisturbed"],
)
def test_killed_at_random_moments_and_continued_is_the_same_bitwise(
    undisturbed: tuple[str, Path], tmp_path: Path, moments: tuple[int, ...]
) -> None:
    """Kill before the first line, before the first checkpoint, then at any of 33 log lines."""
    name, reference = undisturbed
    workdir, flags, chance = tmp_path / "killed", flags_of(name), random.Random(name)
    codes = []
    for least in moments:
        late, wait = chance.randrange(6) * (least > 1), chance.uniform(0, 0.05)
        codes.append(signalled(flags, workdir, signal.SIGKILL, least + late, wait).returncode)
    assert codes.count(-signal.SIGKILL) >= 2  # the machine may be fast, but not that fast
    done = run("run", *flags, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    assert_same_run(reference, workdir)


@ONE
def test_other_data_are_refused(undisturbed: tuple[str, Path], tmp_path: Path) -> None:
    name, reference = undisturbed
    workdir = tmp_path / "run"
    shutil.copytree(reference, workdir)
    (workdir / "summary.json").unlink()
    data = json.loads((workdir / "data.json").read_text())
    (workdir / "data.json").write_text(json.dumps(data | {"sha256": "0123456789abcdef"}))
    for command, flags in (
        ("run", flags_of(name)),
        ("evaluate", []),
    ):
        assert_refused(
            run(command, *flags, f"--workdir={workdir}"), "other data", "0123456789abcdef"
        )
    done = run("sample", f"--out={tmp_path}/x.png", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr  # a picture of samples needs no data
    assert "data:" not in done.stderr


@ONE
def test_sigterm_saves_and_exits_with_143(undisturbed: tuple[str, Path], tmp_path: Path) -> None:
    name, reference = undisturbed
    workdir = tmp_path / "stopped"
    # Checkpoints only at the end, so that what is found came from the signal.
    flags = [*flags_of(name), f"--config.every.checkpoint={STEPS}"]
    done = signalled(flags, workdir, signal.SIGTERM)
    assert done.returncode == 143, done.stderr
    assert "continues" in done.stderr
    with Checkpoints(workdir / "checkpoints", read_only=True) as saved:
        assert 0 < saved.latest() < STEPS
        assert saved.latest() % 10 == 0
    assert run("run", *flags, f"--workdir={workdir}").returncode == 0
    assert state_of(workdir) == state_of(reference)
    assert metrics_of(workdir) == metrics_of(reference)


@ONE
def test_a_finished_run_says_so_and_changes_nothing(undisturbed: tuple[str, Path]) -> None:
    name, workdir = undisturbed
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.name != "lock"}
    done = run("run", *flags_of(name), f"--workdir={workdir}")
    assert done.returncode == 0
    assert "finished" in done.stdout
    after = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.name != "lock"}
    assert {p: t for p, t in after.items() if p.is_file()} == {
        p: t for p, t in before.items() if p.is_file()
    }


@ONE
def test_a_changed_config_is_refused_with_the_keys_that_differ(
    undisturbed: tuple[str, Path],
) -> None:
    name, workdir = undisturbed
    flags = [
        *flags_of(name),
        "--config.batch_size=33",
        f"--config.{'encoder' if name == 'vae' else 'generator'}.dropout=0.25",
    ]
    done = run("run", *flags, f"--workdir={workdir}")
    assert_refused(done, "batch_size: 32 in the workdir, 33 now", "dropout: 0.0 in the workdir")


def assert_refused(done, *words: str) -> None:
    assert done.returncode == 2, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    for word in words:
        assert word in line
    assert "Traceback" not in done.stderr
    assert sum(row.startswith("error:") for row in done.stderr.splitlines()) == 1


BAD = {
    "unknown key": (["--config.method.cod_dim=3"], ["method.cod_dim", "'method.code_dim'"]),
    "wrong type": (["--config.steps=many"], ["config.steps", "many"]),
    "fraction for a whole number": (["--config.batch_size=1.5"], ["config.batch_size", "1.5"]),
    "section": (["--config.encoder=3"], ["config.encoder"]),
    "unknown data": (["--config.data.name=digit"], ["digit", "'digits'", "fashion_mnist", "ring"]),
    "unknown network": (["--config.encoder.network=mpl"], ["'mlp'", "conv"]),
    "unknown likelihood": (["--config.method.likelihood=x"], ["bernoulli", "normal"]),
    "unknown optimizer": (["--config.optimizer.name=adm"], ["'adam'", "sgd"]),
    "unknown method": (["--config.method.name=vea"], ["'vae'", "gan"]),
    "batch larger than the split": (["--config.batch_size=1398"], ["batch_size=1398", "1397"]),
    "no steps": (["--config.steps=0"], ["config.steps=0", "at least 1"]),
    "negative size": (["--config.method.code_dim=-2"], ["code_dim=-2", "at least 1"]),
    "zero width": (["--config.encoder.hidden=(8,0)"], ["encoder.hidden", "from 1 to"]),
    "dropout": (["--config.encoder.dropout=1.5"], ["encoder.dropout=1.5"]),
    "learning rate": (["--config.optimizer.lr=-1"], ["optimizer.lr=-1.0", "above 0"]),
    "nan": (["--config.optimizer.lr=nan"], ["optimizer.lr=nan"]),
    "range of the data": (["--config.data.preprocess=signed"], ["bernoulli", "signed"]),
    "kind of the data": (["--config.data.name=ring"], ["preprocess='unit'", "none"]),
    "validation": (["--config.data.validation=1597"], ["data.validation=1597"]),
    "intervals": (["--config.every.sample=15"], ["every.sample=15", "every.log"]),
    "image too odd": (
        ["--config.decoder.network=conv", "--config.decoder.channels=4,4,4,4"],
        ["config.decoder.channels", "8x8", "16"],
    ),
    "image too odd to encode": (
        ["--config.encoder.network=conv", "--config.encoder.channels=4,4,4,4"],
        ["config.encoder.channels", "8x8", "16"],
    ),
    "too large for a device": (["--config.method.warmup_steps=3000000000"], ["2147483647"]),
    "unknown flag": (["--wrkdir=x"], ["wrkdir", "workdir"]),
    "stray word": (["epochs"], ["epochs"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(case: str, tmp_path: Path) -> None:
    flags, words = BAD[case]
    done = run("run", *tiny("vae"), *flags, f"--workdir={tmp_path}/run", f"--data_dir={tmp_path}/d")
    assert_refused(done, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("experiments/vae.py:fashoin", ["'fashion'", "digits"]),
        ("experiments/nothing.py", ["experiments/nothing.py"]),
        (None, ["--config", "experiments/vae.py"]),
    ],
)
def test_bad_config_file_is_one_line(config: str | None, words: list[str], tmp_path: Path) -> None:
    flags = [] if config is None else [f"--config={config}"]
    assert_refused(run("run", *flags, f"--workdir={tmp_path}/run"), *words)
    assert list(tmp_path.iterdir()) == []


def test_a_workdir_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for workdir in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nothing")):
        assert_refused(run("run", *tiny("vae"), f"--workdir={workdir}"), str(workdir))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_locked_workdir_is_refused_with_its_holder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with lock(tmp_path / "run"):
        done = run("run", *tiny("gan"), f"--workdir={tmp_path}/run")
    assert_refused(done, f"pid {os.getpid()}")


@pytest.mark.long
def test_two_commands_do_not_train_in_one_folder(tmp_path: Path) -> None:
    flags = [*tiny("gan"), "--config.steps=1000000", f"--workdir={tmp_path}/run"]
    with start("run", *flags) as process:
        try:
            while not (tmp_path / "run" / "metrics.jsonl").exists():
                assert process.poll() is None
                time.sleep(0.01)
            assert_refused(run("run", *flags), f"pid {process.pid}")
        finally:
            process.kill()


def test_a_damaged_original_is_refused_and_nothing_is_prepared(tmp_path: Path) -> None:
    (tmp_path / "originals").mkdir()
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / "originals" / f"{name}-ubyte").write_bytes(b"\x00\x00\x08\x03 not these")
    flags = [f"--manual_dir={tmp_path}/originals", f"--data_dir={tmp_path}/data"]
    done = run("run", *tiny("vae"), "--config.data.name=mnist", *flags, f"--workdir={tmp_path}/run")
    assert_refused(done, "train-images-idx3-ubyte")
    assert [p.name for p in tmp_path.iterdir()] == ["originals"]


class Enough(Exception):
    """Ends a run before anything is compiled."""


def test_bfloat16_on_a_cpu_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def program(*_: object, **__: object) -> None:
        raise Enough

    monkeypatch.setattr(loop, "program", program)
    for compute, times in (("float32", 0), ("bfloat16", 1)):
        config = plan.changed(vae.get_config(), {"compute": compute})
        with pytest.raises(Enough):
            trainer.train(setup.load(tmp_path / "run", config, None, None))
        said = "config.compute='bfloat16' is slower than float32 on CPUs"
        assert capsys.readouterr().err.count(said) == times


@pytest.mark.long
def test_bfloat16_trains_through_the_door(tmp_path: Path) -> None:
    flags = [*tiny("vae"), "--config.steps=10", f"--workdir={tmp_path}/run"]
    done = run("run", *flags, "--config.compute=bfloat16")
    assert done.returncode == 0, done.stderr
    assert "config.compute='bfloat16' is slower than float32 on CPUs" in done.stderr


@ONE
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(
    undisturbed: tuple[str, Path], tmp_path: Path
) -> None:
    name, whole = undisturbed
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    (workdir / "summary.json").unlink()

    def harm(step: int) -> None:
        files = [p for p in (workdir / "checkpoints" / str(step)).rglob("*") if p.is_file()]
        largest = max(files, key=lambda p: p.stat().st_size)
        data = bytearray(largest.read_bytes())
        data[len(data) // 2] ^= 1
        largest.write_bytes(bytes(data))

    harm(300)
    done = run("run", *flags_of(name), f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    assert "checkpoint 300 is damaged: " in done.stderr
    assert "and is now 300.damaged; continuing from checkpoint 250" in done.stderr
    assert (workdir / "checkpoints" / "300.damaged").is_dir()
    assert_same_run(whole, workdir)

    (workdir / "summary.json").unlink()
    for step in (200, 250, 300):
        harm(step)
    files = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()}
    done = run("run", *flags_of(name), f"--workdir={workdir}")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("error: none of the checkpoints")
    own = {"lock", "status.json"}  # record the attempt
    assert {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file() and p.name not in own} == {
        p: content for p, content in files.items() if p.name not in own
    }
