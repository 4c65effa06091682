"""Any override of any config is refused in one line, or the run takes its first steps.

    python -m tests.studies.any_config [--cases 10000] [--run 50] [--seed N] [--json FILE]

Draws a variant of experiments/{vae,gan,hybrids,classifier}.py and one to three overrides for it:
neighbours of its values, limits, words where numbers belong, names right and misspelt. Each goes
the way that it goes on the command line, through the flags, the builder and what is checked before
a run begins (shapes of all functions included). It must end in one line of `BadInput`, or pass;
of those that pass, one of every `--run` trains its first two chunks in a folder of its own, and
must end well or report divergence. Anything else is printed with the overrides that cause it.

Data sets that would be downloaded are stood in for by noise of their shape; networks are narrow
unless an override widens them. 10,000 cases take three quarters of an hour of a core's time.
tests/test_any_config.py does 120 of them in another way: always the same.
"""

import argparse
import contextlib
import functools
import io
import json
import re
import runpy
import secrets
import shutil
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from latentgen import configs
from latentgen.cli import app
from latentgen.configs import components
from latentgen.configs import vae as vae_config
from latentgen.core.errors import BadInput, Diverged, Stopped
from latentgen.core.schedules import is_schedule
from latentgen.core.types import Batch
from latentgen.data import originals, published, sources
from latentgen.data.dataset import DataSet, Examples
from latentgen.data.pictures.convert import Options, check
from latentgen.data.preprocess import PREPROCESS
from latentgen.data.sources.base import Request, Source
from latentgen.data.sources.folder import SIZE
from latentgen.evaluation import in_training
from latentgen.evaluation.measures import MEASURES
from latentgen.methods.gan import CONDITIONS, FIRST
from latentgen.networks import DECODERS, ENCODERS
from latentgen.networks.mlp import ACTIVATIONS, INITS
from latentgen.networks.net import OUTPUTS
from latentgen.networks.norms import NORMS
from latentgen.networks.stylegan2.generator import ARCHITECTURES
from latentgen.objectives.adversarial import LOSSES
from latentgen.objectives.bounds import BOUNDS
from latentgen.objectives.estimators import ESTIMATORS
from latentgen.objectives.penalties import PENALTIES
from latentgen.probability import posteriors, priors
from latentgen.storage.workdir import flatten
from latentgen.system import distributed, memory
from latentgen.training import loop, memory_check, setup, trainer

ROOT = Path(__file__).parents[2]
FILES = ("vae", "gan", "hybrids", "classifier")
LONGEST_CHUNK = 20  # most steps at a time in a case that is run
DEEPEST = 150  # most arrays in the state of a case that is run: others take minutes to compile

NAMES: dict[str, tuple[str, ...]] = {
    "method.name": tuple(configs.METHODS),
    "data.name": (*sources.BUILT_IN, "cifar", "folder:pictures", "folder:"),
    "preprocess": tuple(PREPROCESS),
    "color": configs.COLORS,
    "evaluate.features": ("pixels", "digits", "sprites"),
    "compute": tuple(components.DTYPES),
    "network": tuple(ENCODERS | DECODERS),
    "activation": tuple(ACTIVATIONS),
    "norm": tuple(NORMS),
    "init": tuple(INITS),
    "schedule": tuple(components.SCHEDULES),
    "name": tuple(components.OPTIMIZERS),
    "prior": (*priors.PRIORS, *vae_config.LEARNED_PRIORS),
    "posterior": ("flow", *posteriors.POSTERIORS),
    "likelihood": (
        *("bernoulli", "normal", "normal_learned", "normal_per_pixel"),
        *("discretized_logistic", "categorical"),
    ),
    "bound": tuple(BOUNDS),
    "estimator": tuple(ESTIMATORS),
    "kl": ("closed", "sampled"),
    "loss": tuple(LOSSES),
    "penalty": ("none", *PENALTIES),
    "condition": CONDITIONS,
    "encoder": ("deterministic", "stochastic"),
    "output": tuple(OUTPUTS),
    "metric": ("", *MEASURES),
    "first": FIRST,
    "architecture": ARCHITECTURES,
    "method.augment": (
        *("none", "diffaugment", "diffaugment:color", "ada", "ada:bgc", "ada:r3gan,noise", "ada:"),
    ),
}
"""What may stand at a key, by its last words."""

AUGMENTED = ("flip", "vflip", "rotate90", "crop:2", "color:0.2", "zoom:0.2", "crop:9", "zoom:2")

SCHEDULED = ("cosine(0.1, 0.01, images=100)", "linear(0, 0.5, images=1e3)", "cosine(1, 2)", "0.5")
SCHEDULED += ("cosine(1, nan, images=1)", "cosine(-1, 1e30, images=9)", "linear(0, 1, images=0)")

NARROW = {"hidden": "4,", "components": "3", "features": "4", "groups": "2,"}

NOISE = ("", " ", "abc", "None", "none", "true", "nan", "-", "()", "(1,)", "[]", "{}", "é☃", "0x10")
NOISE += (
    "\uff11\uff12",
    "1_000",
    " 3 ",
    "1e3",
    "1.5",
    "\n",
    "\x00",
    "\udc80",
    "'",
    "(" * 300,
    "-" * 9_999,
)
WHOLE = ("0", "-1", "1", "2", "3", "5", "8", "64", "1000", str(2**20), str(2**20 + 1), str(10**9))
WHOLE += (str(2**31 - 1), str(2**31), str(2**32 - 1), str(2**32), str(10**12), str(2**63))
WHOLE += (str(10**30), f"-{10**30}", "9" * 5_000, "0x" + "f" * 5_000)
REAL = ("0", "-0.0", "1", "-1", "0.5", "0.9999", "0.99999", "0.999999999", "2", "1e-30", "1e30")
REAL += ("1e-300", "5e-324", "1e300", "3.4e38", "3.5e38", "nan", "inf", "-inf", "1e400", "1e-8")
REAL += (str(10**40), "1e8", "1e-45", "1.7e38")
SIZES = ("()", "4,", "4,4", "0,", "-1,", "4,0", "1.5,", "4,abc", "'4',", "4,(4,)", "{4}", "{4: 4}")
SIZES += ("True,", "None,", "1e3,", "1e999,", "1j,", "b'4',", "...", "[4, 4]", "4", "1,2,3,4,5")
SIZES += (*(f"{size}," for size in WHOLE), f"{10**6},{10**6}", "4," * 101, "4," * 99)
SECTIONS = ("{}", "{'hidden': 3}", "{'name': 'gan'}", "3", "", "None", "{", "{1: 2}", "[]")


class Case(NamedTuple):
    """A config, as `--config` names it, and the overrides on its command line."""

    config: str
    words: tuple[str, ...]


class Found(NamedTuple):
    """The end of a case, in a word, and its message."""

    end: str
    said: str


@functools.cache
def variants() -> dict[str, dict[str, Any]]:
    """'vae.py:iwae' -> its values by key, sections among them."""
    found = {}
    for file in FILES:
        module = runpy.run_path(str(ROOT / "experiments" / f"{file}.py"))
        for name in module["VARIANTS"]:
            config = module["get_config"](name).to_dict()
            sections = {key: value for key, value in config.items() if isinstance(value, dict)}
            found[f"{file}.py:{name}"] = flatten(config) | sections
    return found


def misspelt(word: str) -> st.SearchStrategy[str]:
    """The word with a letter lost, doubled or in the wrong case."""
    places = st.integers(0, max(len(word) - 1, 0))
    lost = places.map(lambda i: word[:i] + word[i + 1 :])
    twice = places.map(lambda i: word[: i + 1] + word[i:])
    return st.one_of(lost, twice, st.just(word.upper()), st.just(f"{word} "))


def texts(key: str, value: Any) -> st.SearchStrategy[str]:
    """Texts for `--config.KEY=`, most often of the value's own kind."""
    noise = st.sampled_from(NOISE)
    if isinstance(value, dict):
        return st.sampled_from(SECTIONS)

    def mostly(near: st.SearchStrategy[str], *others: st.SearchStrategy[str]) -> Any:
        return st.one_of(near, near, *others)

    if isinstance(value, str) and is_schedule(value):
        right = st.sampled_from(SCHEDULED)
        return mostly(right, right.flatmap(misspelt), st.sampled_from(REAL), noise)
    if isinstance(value, str):
        *_, last = key.split(".")
        known = NAMES.get(key) or NAMES[last]
        right = st.sampled_from(known)
        return mostly(right, right.flatmap(misspelt), noise)
    if isinstance(value, bool):
        return mostly(st.sampled_from(["True", "False", "1", "0"]), st.sampled_from(WHOLE), noise)
    if key.endswith("augment"):
        right = st.lists(st.sampled_from(AUGMENTED), max_size=3).map(
            lambda names: f"{tuple(names)}"
        )
        return mostly(right, right.flatmap(misspelt), st.sampled_from(SIZES), noise)
    if isinstance(value, tuple | list):
        near = st.lists(st.integers(1, 6), max_size=3).map(lambda sizes: f"{tuple(sizes)}")
        return mostly(near, st.sampled_from(SIZES), st.sampled_from(SIZES), noise)
    if isinstance(value, float):
        near = st.sampled_from([value * 2, value / 2, value * 1.01]).map(str)
        drawn = st.floats(allow_nan=True, allow_infinity=True).map(str)
        return mostly(near, st.sampled_from(REAL), st.sampled_from(REAL), drawn, noise)
    near = st.integers(max((value or 0) - 3, 0), (value or 10) + 3).map(str)
    if key.startswith("every."):  # multiples of every.log, most of the time
        near = st.sampled_from(["1", "2"] if key == "every.log" else ["2", "4", "6"])
    drawn = st.integers(-(2**70), 2**70).map(str)
    return mostly(near, st.sampled_from(WHOLE), st.sampled_from(WHOLE), drawn, noise)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any variant with one to three overrides of any of its keys."""
    name = draw(st.sampled_from(sorted(variants())))
    values = variants()[name]
    keys = draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=3, unique=True))
    said = {key: draw(texts(key, values[key])) for key in keys}
    if draw(st.sampled_from([False] * 29 + [True])):
        key = draw(st.sampled_from(sorted(values)).flatmap(misspelt))
        said[key] = "1"
    narrow = {"batch_size": "8", "method.code_dim": "4", "method.samples": "8", "method.group": "4"}
    narrow |= {"steps": "4", **{key: "2" for key in values if key.startswith("every.")}}
    for key, value in values.items():
        last = key.rpartition(".")[2]
        if last == "channels":  # as many as R3GAN's stages
            narrow[key] = "2," * len(value) if f"{key[:-8]}groups" in values else "2,"
        elif last in NARROW and value:
            narrow[key] = NARROW[last]
    replaced = {key.partition(".")[0] for key in said if isinstance(values.get(key), dict)}
    rest = {
        key: text
        for key, text in narrow.items()
        if key in values and key not in said and key.partition(".")[0] not in replaced
    }
    words = [f"--config.{key}={text}" for key, text in (rest | said).items()]
    return Case(name, tuple(words))


def config_of(case: Case) -> dict[str, Any]:
    """Parse a case's command line as `latentgen.run` does.

    Raises:
        BadInput: it cannot be parsed.
    """
    argv = ["run", f"--config={ROOT}/experiments/{case.config}", *case.words]
    values = flags.FlagValues()
    app.define_config_flag(values)
    app.parsed(argv, app.check_config, values)
    return dict(json.loads(json.dumps(values.config.to_dict())))


def structure(config: dict[str, Any]) -> str:
    """Key of a run's shapes: its config without the values of nonzero floats."""
    flat = {k: v for k, v in flatten(config).items() if k not in memory_check.COUNTS}
    chunk = min(config["every"]["log"], config["steps"])
    plain = {k: v != 0 if isinstance(v, float) else v for k, v in flat.items()}
    return json.dumps(plain | {"every.log": chunk}, sort_keys=True)


def arrays(run: setup.Run) -> int:
    """Number of arrays in its state."""
    return len(jax.tree.leaves(run.state))


def checked(config: dict[str, Any], known: set[str], deepest: int = 2**20) -> setup.Run:
    """The run that a config describes: all that is checked before it begins, from shapes alone.

    Args:
        known: structures of runs whose shapes have been found to be right; this one is added.
        deepest: the most arrays in a state whose shapes are checked; 0: none are.
    """
    run = in_training.attached(setup.load(Path("nowhere"), config, None, None))
    if not deepest or (key := structure(config)) in known or arrays(run) > deepest:
        return run
    feed = setup.feed_of(run)
    shapes = memory_check.arguments(run, feed)
    traced = loop.program(run.method, feed, donate=True).trace(*shapes)
    memory_check.check_traced(run, shapes, traced)
    if run.eval_fns.reconstruct is not None:
        state = run.state
        batch = Batch(jnp.zeros((4, *run.dataset.shape)), jnp.zeros(4, jnp.int32))
        jax.eval_shape(run.eval_fns.reconstruct, state, batch)
    known.add(key)
    return run


def short(run: setup.Run) -> bool:
    """True if the first chunks of a run are fast."""
    chunk = min(run.experiment.every.log, run.experiment.steps)
    values = memory.tree_bytes(run.state) / 4
    evaluated = run.experiment.evaluate.samples if run.experiment.evaluate.every else 0
    steps = chunk <= LONGEST_CHUNK and run.method.draws <= LONGEST_CHUNK
    return steps and values < 2**22 and evaluated <= 2_000 and arrays(run) <= DEEPEST


def begun(run: setup.Run) -> None:
    """Trains the first two chunks in a folder of its own.

    Raises:
        Diverged: they are not finite.
    """
    polls = iter([None, None])

    @contextlib.contextmanager
    def signals() -> Iterator[Any]:
        yield lambda: next(polls, 15)

    watch, distributed.signals = distributed.signals, signals
    folder = Path(tempfile.mkdtemp())
    try:
        trainer.train(run._replace(folder=folder / "run"))
    except Stopped:
        pass
    finally:
        distributed.signals = watch
        shutil.rmtree(folder)


def ended(case: Case, known: set[str], train: bool = False, deepest: int = 2**20) -> Found:
    """Run a case; return how it ended.

    Args:
        known, deepest: see `checked`.
        train: also its first two chunks, if it passes and they are short.
    """
    quiet = io.StringIO()
    try:
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            config = config_of(case)
            run = checked(config, known, deepest)
            if not train or not short(run):
                return Found("fits", "")
            begun(run)
            return Found("begun", "")
    except BadInput as error:
        line = " ".join(str(error).split())
        named = re.search(r"config\b|--", line) is not None
        return Found("refused" if named else "refused, no key named", line)
    except Diverged as error:
        return Found("diverged", str(error))
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "latentgen/" in f.filename]
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else last.filename
        return Found(f"{type(error).__name__} at {place}", " ".join(str(error).split())[:200])


def _noise(request: Request) -> DataSet:
    """A set of noise with few examples, in place of one from files."""
    random = np.random.default_rng(0)
    found = published.PUBLISHED.get(request.name)
    shape, size = (found.shape, 600) if found else ((28, 28, 1), 6_000)

    def split(n: int) -> Examples:
        x = random.integers(0, 256, (n, *shape), np.uint8)
        return Examples(x, np.arange(n, dtype=np.int32) % 10)

    return DataSet(request.name, "0.0.0", "noise", {"train": split(size), "test": split(size // 6)})


def _pictures(request: Request) -> DataSet:
    """A few pictures of the requested size and colour, in place of a folder's."""
    options = Options(size=request.size or SIZE, color=request.color)
    check(options)
    channels = 1 if options.color == "grey" else 3
    one = np.random.default_rng(0).integers(
        0, 256, (options.size, options.size, channels), np.uint8
    )

    def split(n: int) -> Examples:
        return Examples(np.broadcast_to(one, (n, *one.shape)), np.arange(n, dtype=np.int32) % 10)

    return DataSet("folder", "0.0.0", "noise", {"train": split(60), "test": split(20)})


_source, _load = sources._source, sources.load


def _of_noise(name: str) -> Source | None:
    if name == "folder":
        return Source(_pictures, sized=True, argument="PATH")
    return (
        Source(_noise)
        if name in {*originals.ORIGINALS, *published.PUBLISHED, "celeba"}
        else _source(name)
    )


@contextlib.contextmanager
def stand_ins() -> Iterator[None]:
    """Replace the data sets by noise: each is made once, and none is downloaded."""
    stacked, kept = sources.TRAIN, functools.lru_cache(maxsize=32)(_load)
    sources._source, sources.TRAIN, sources.load = _of_noise, 6_000, kept
    try:
        yield
    finally:
        sources._source, sources.TRAIN, sources.load = _source, stacked, _load


def study(number: int, every: int, start: int) -> tuple[Counter[str], list[tuple[Case, Found]]]:
    """Count the cases by their end; also return those that ended badly."""
    counts: Counter[str] = Counter()
    known: set[str] = set()
    bad: list[tuple[Case, Found]] = []

    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @seed(start)
    @given(cases())
    def each(case: Case) -> None:
        found = ended(case, known)
        counts[found.end] += 1
        if found.end == "fits" and counts["fits"] % every == 0:
            found = ended(case, known, train=True)
            counts[f"of which run: {found.end}"] += 1
        if found.end not in ("refused", "fits", "begun", "diverged"):
            bad.append((case, found))
            print(json.dumps({"config": case.config, "words": case.words, **found._asdict()}))
        if counts.total() % 200 == 0:
            jax.clear_caches()  # thousands of programs, none of which comes again
            print(dict(counts), len(known), flush=True)

    each()
    return counts, bad


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--cases", type=int, default=10_000)
    options.add_argument("--run", type=int, default=50, help="of those that pass, one of so many")
    options.add_argument("--seed", type=int, default=None)
    options.add_argument("--json", type=Path)
    asked = options.parse_args()
    start = secrets.randbits(32) if asked.seed is None else asked.seed
    warnings.filterwarnings("error", category=RuntimeWarning)
    with stand_ins(), tempfile.TemporaryDirectory() as place:
        set_hypothesis_home_dir(place)  # otherwise a folder is left in the current one
        counts, bad = study(asked.cases, asked.run, start)
    print(f"seed {start}")
    for end, count in counts.most_common():
        print(f"{count:7,} {end}")
    if asked.json:
        lines = [{"case": case._asdict(), **found._asdict()} for case, found in bad]
        told = {"seed": start, "counts": counts, "bad": lines}
        asked.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
