"""Any override of any config is refused in one line that names a key, or the run begins well.

Here the same cases each time; `python -m tests.studies.any_config` draws thousands anew.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from absl import flags
from commands import ROOT
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.configuration import set_hypothesis_home_dir
from small import config
from test_config import config_of

from latentgen import configs
from latentgen.cli import app
from latentgen.core.errors import BadInput
from latentgen.data import pipeline
from latentgen.storage.checkpoint import Checkpoints
from latentgen.sweeps.plan import changed
from latentgen.system import machine, memory
from latentgen.system.machine import Memory
from latentgen.training import loop, memory_check, setup
from tests.studies.any_config import Case, cases, ended, stand_ins

set_hypothesis_home_dir(
    Path(tempfile.gettempdir(), "latentgen-hypothesis")
)  # not into the checkout

# ml_collections' own way to load a file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

KNOWN: set[str] = set()
TRACED = 3  # of all cases, one of so many has its functions traced, if it comes so far
RUN = 10  # of the cases that pass, one of so many is trained


@pytest.fixture(autouse=True, scope="module")
def _data_at_hand() -> Iterator[None]:
    with stand_ins():
        yield


@pytest.mark.parametrize(
    ("number", "deepest"), [(30, 50), pytest.param(120, 300, marks=pytest.mark.long)]
)
def test_any_override_is_refused_in_one_line_or_the_run_begins(number: int, deepest: int) -> None:
    ends: Counter[str] = Counter()

    @settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def begin(case: Case) -> None:
        found = ended(case, KNOWN, deepest=0 if ends.total() % TRACED else deepest)
        ends[found.end] += 1
        if found.end == "fits" and ends["fits"] % RUN == 0:
            found = ended(case, KNOWN, train=True)
            ends[f"of which run: {found.end}"] += 1
        assert found.end in ("refused", "fits", "begun", "diverged"), (case, found)

    begin()
    assert ends["refused"] >= number / 4
    assert ends["fits"] >= number / 5
    assert ends["of which run: begun"] >= 1


def flagged(*words: str) -> dict:
    argv = ["run", f"--config={ROOT}/experiments/vae.py", *words]
    values = flags.FlagValues()
    app.define_config_flag(values)
    app.parsed(argv, app.check_config, values)
    return values.config.to_dict()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--config.steps=abc", "config.steps=abc"),
        ("--config.steps=0x" + "f" * 5_000, "must be a whole number|too long to be written"),
        ("--config.encoder.hidden=" + "-" * 100_000 + "1", "cannot be parsed"),
        ("--config.encoder.hidden=b'a',", r"config.encoder.hidden=\(b'a',\) must be plain data"),
        ("--config.encoder.hidden=0x" + "f" * 5_000 + ",", "config.encoder.hidden"),
        ("--config.encoder.hidden=1e999,", r"config.encoder.hidden=\(inf,\) must be plain data"),
        ("--config.=3", "--config.=3 cannot be parsed|--config. is not a key"),
        ("--config.encoder=3", "config.encoder=3"),
    ],
    ids=range(8),
)
def test_what_the_flags_cannot_take_is_told(word: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as error:
        flagged(word)
    assert len(str(error.value)) < 110_000


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("vae", {"optimizer.lr": 1e39}, "optimizer.lr=1e\\+39 must be at most 1.7"),
        ("vae", {"optimizer.lr": 1e-39}, "optimizer.lr=1e-39 must be above 0"),
        ("vae", {"method.beta": 10**400}, "method.beta=10*0 must be at most"),
        ("vae", {"method.samples": 2**21}, "samples=2097152 must be at most 1048576"),
        ("vae", {"encoder.hidden": (2**63,)}, "must be a tuple of whole numbers from 1 to 1048576"),
        ("vae", {"encoder.hidden": (4,) * 101}, "encoder.hidden has 101 sizes; at most 100 fit"),
        ("vae", {"method.code_dim": 2**16, "method.posterior": "full"}, "code_dim=65536 .*1024"),
        ("gan", {"discriminator.network": "twin"}, "discriminator.network='twin' halves"),
        (
            "gan",
            {"steps": 2**30, "method.discriminator_steps": 4},
            "discriminator_steps=4 times config.steps=1073741824 must be at most 2147483647",
        ),
    ],
)
def test_a_size_or_number_out_of_bounds_is_named(file: str, changes: dict, said: str) -> None:
    found = config_of(file)
    for key, value in changes.items():
        *path, last = key.split(".")
        part = found
        for name in path:
            part = part[name]
        part[last] = value
    with pytest.raises(BadInput, match=said):
        configs.experiment(found).plan.wire((8, 8, 1))


def fits(run: setup.Run) -> Any:
    """Check a run's memory; return its traced chunk of steps."""
    feed = setup.feed_of(run)
    return traced(run, feed, loop.program(run.method, feed, donate=True))


def traced(run: setup.Run, feed: pipeline.Feed, chunk: Any) -> Any:
    shapes = memory_check.arguments(run, feed)
    found = chunk.trace(*shapes)
    memory_check.check_traced(run, shapes, found)
    return found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"generator.hidden": (2**20, 2**20)}, r"config.generator.hidden=\[1048576, 1048576\] is"),
        ({"steps": 2**31 - 1, "every.log": 2**31 - 1}, "config.every.log=2147483647 is"),
        ({"method.discriminator_steps": 2**20, "batch_size": 512}, "discriminator_steps=1048576 "),
        ({"data.pad_to": 4096}, r"config.data.pad_to=4096 would make .* of digits"),
    ],
)
def test_what_cannot_fit_into_memory_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict, said: str
) -> None:
    monkeypatch.setattr(machine, "memory", lambda: Memory(16 * 2**30, 0))
    every = {f"every.{name}": changes.get("every.log", 10) for name in configs.Every._fields}
    plain = changed(config(), {**every, **changes})

    def checked() -> None:
        run = setup.load(tmp_path / "run", plain, None, None)
        fits(run)

    with pytest.raises(BadInput, match=said):
        checked()
    assert list(tmp_path.iterdir()) == []


def test_an_array_of_a_step_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = setup.load(tmp_path / "run", changed(config(), {}), None, None)
    feed = setup.feed_of(run)
    state = memory.tree_bytes(run.state)
    data = memory.tree_bytes(feed.resident)
    monkeypatch.setattr(machine, "memory", lambda: Memory(8 * (state + data), 0))
    fits(run)
    monkeypatch.setattr(machine, "memory", lambda: Memory(state + data + 1_000, 0))
    with pytest.raises(BadInput, match=r"an array float32 \d+x\d+"):
        fits(run)


def test_an_array_of_a_reconstruction_counts(tmp_path: Path, monkeypatch) -> None:
    run = setup.load(tmp_path / "run", changed(config(), {}), None, None)
    large = lambda state, batch: batch.x.reshape(-1, 1) @ jnp.ones((1, 2**21))  # noqa: E731
    larger = run._replace(eval_fns=run.eval_fns._replace(reconstruct=large))
    monkeypatch.setattr(machine, "memory", lambda: Memory(2**33, 0))
    fits(run)
    with pytest.raises(BadInput, match="an array float32 2048x2097152"):
        fits(larger)


@pytest.mark.parametrize("restored", [False, True])
def test_what_is_checked_is_neither_traced_nor_compiled_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, restored: bool
) -> None:
    run = setup.load(tmp_path / "run", changed(config(), {}), None, None)
    feed, traces = setup.feed_of(run), []
    state, first = run.eval_fns.init(run.key), 0
    if restored:
        with Checkpoints(tmp_path / "checkpoints", keep=1) as checkpoints:
            checkpoints.save(10, state, {})
        with Checkpoints(tmp_path / "checkpoints", keep=1) as checkpoints:
            first, state, _ = checkpoints.restore(10, run.state)

    def step(*inputs):
        traces.append(1)
        return run.method.step(*inputs)

    def done() -> tuple[int, int]:
        compiled = "Finished XLA compilation of jit(checked_chunk)"
        return len(traces), sum(compiled in each for each in caplog.messages)

    chunk = loop.program(run.method._replace(step=step), feed, donate=True)
    with jax.log_compiles():
        memory_check.check_program(run, traced(run, feed, chunk))
        before = done()
        end = loop.train(
            chunk,
            feed,
            state,
            first=first,
            last=first + 10,
            chunk=10,
            key=run.key,
            log=lambda step, metrics: None,
            hooks=(),
        )
    assert jax.tree.leaves(end)
    assert before[0] > 0
    assert before[1] == 1
    assert done() == before


def test_the_compiled_steps_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = setup.load(tmp_path / "run", changed(config(), {}), None, None)
    feed = setup.feed_of(run)
    steps = fits(run)
    needed = memory.program_bytes(steps.lower().compile())
    assert needed > memory.tree_bytes(run.state) + memory.tree_bytes(feed.resident)
    monkeypatch.setattr(machine, "memory", lambda: Memory(needed, 0))
    memory_check.check_program(run, steps)
    monkeypatch.setattr(machine, "memory", lambda: Memory(needed - 1, 0))
    with pytest.raises(BadInput, match=r"is the largest size .* \(its compiled steps .*\)"):
        memory_check.check_program(run, steps)
