"""Measure a run: `python -m latentgen.evaluate --workdir DIR --metrics=terms,is,active`.

| --metrics | measure |
|---|---|
| terms | the objective's terms over the split |
| is | log p(x) by importance sampling with --k codes of each image; effective sample size |
| ais | log p(x) by annealing from the prior: --chains, --temperatures, --leapfrogs |
| bdmc | annealing on images drawn from the model: lower and upper bound of log p(x) |
| active | active units of the code |
| surgery | the rate as mutual information plus KL(q(z) || p(z)) |
| parzen | the kernel density estimate of the first papers on GANs |
| exact | exact log p(x), for an affine decoder |
| lpips | LPIPS between images and their reconstructions |
| frechet | the Frechet distance between --features of real and --samples synthetic examples |
| kernel | the kernel distance of these features |
| prdc | precision, recall, density and coverage of these features |
| score | the Inception score, by a classifier |
| modes | modes of the data that the samples cover |

Each result is printed and appended to DIR/evaluations.jsonl with its protocol. If a measure fails,
the others are kept and the exit code is 2. If DIR is a sweep, its finished runs are measured and
its tables are updated.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from absl import flags

from latentgen.cli import app
from latentgen.core.errors import BadInput, choose
from latentgen.evaluation.features import FEATURES
from latentgen.evaluation.measures import MEASURES, named
from latentgen.evaluation.measures import measure as take
from latentgen.evaluation.measures.results import EVALUATIONS, lines
from latentgen.evaluation.measures.subject import Measure, Options, Result, Subject
from latentgen.storage import provenance, status, workdir
from latentgen.sweeps import folder, results
from latentgen.sweeps.plan import Member
from latentgen.system import plugins
from latentgen.training import choice, setup
from latentgen.training.pictures import save_png

FLAGS = flags.FLAGS
T = TypeVar("T")
PICTURES = "evaluations"
SHARING = {"kernel", "prdc"}
"""Measures that need the features of all examples at once, so that they are kept."""


def main() -> None:
    """Evaluate the run or the sweep that the flags name."""
    names = FLAGS.metrics or ["terms"]
    path = Path(FLAGS.workdir or "")
    load_plugins(path)
    chosen = {name: named("--metrics", name) for name in names}
    options = Options(**{name: getattr(FLAGS, name) for name in Options._fields})
    std = options.observation_std
    if std is not None and not 1e-6 <= std <= 1e6:
        raise BadInput(f"--observation_std={std} must be in 1e-06 .. 1e+06.")
    if not (path / folder.SWEEP).exists():
        validate(measure(chosen, options, None))
        return
    sweep = folder.load(path)
    done = [member.run for member in sweep.members if standing(sweep, member) == status.DONE]
    refused = []
    for name in done:
        print(name)
        refused += [
            f"{name}: {reason}" for reason in measure(chosen, options, sweep.run_folder(name))
        ]
    results.write(sweep)
    print(f"{len(done)} of {len(sweep.members)} runs measured; {path / results.RESULTS}")
    validate(refused)


def load_plugins(path: Path) -> None:
    """Import the plugins of the run or the sweep, which may define measures."""
    if (path / folder.SWEEP).exists():
        plugins.load(folder.modules_of(folder.load(path)))
    elif FLAGS.workdir is not None:
        plugins.load(plugins.names(setup.config(path)))


def validate(reasons: list[str]) -> None:
    """Raise BadInput if a measure failed; results of the others are kept."""
    for reason in reasons[:-1]:
        print(f"error: {reason}", file=sys.stderr)
    if reasons:
        raise BadInput(reasons[-1])


def standing(sweep: folder.Sweep, member: Member) -> str:
    """Return the status of a member of a sweep."""
    return folder.standing(sweep.run_folder(member.run)).status


def measure(chosen: Mapping[str, Measure], options: Options, path: Path | None) -> list[str]:
    """Take the chosen measures of one run; see `app.restore_trained` for `path`.

    Returns:
        The reasons why measures failed, a line each.
    """
    run, step, state = app.restore_trained(path)
    workdir.own(workdir.check(run.folder))  # before the work, not after it
    choose("--split", FLAGS.split, run.dataset.splits)
    weights, state = choice.with_weights(run, state, FLAGS.weights, "--weights")
    subject = Subject(run, step, state, FLAGS.split, {}, bool(chosen.keys() & SHARING))
    reasons = []
    for name, found, seconds in take(chosen, subject, options):
        if isinstance(found, BadInput):
            reasons.append(f"{name}: {found}" if len(chosen) > 1 else str(found))
        else:
            write(name, subject, weights, found, seconds)
    if len(reasons) < len(chosen):
        print(f"added to {run.folder / EVALUATIONS}")
    return reasons


def write(name: str, subject: Subject, weights: str, result: Result, seconds: float) -> None:
    """Append a result with its protocol to the run's file, and print it."""
    run, step = subject.run, subject.step
    line = {
        "metric": name,
        "split": subject.split,
        "step": step,
        "weights": weights,
        "values": result.values,
        "protocol": {**result.protocol, "dtype": run.experiment.plan.compute},
        "method": run.config["method"],
        "seed": FLAGS.seed,
        "seconds": round(seconds, 3),
        **({"warning": result.warning} if result.warning else {}),
        **provenance.stamp(run.config, run.identity(), "latentgen.evaluate"),
    }
    workdir.append_json(run.folder / EVALUATIONS, line)
    show(name, subject, weights, result)
    if result.picture is not None:
        picture = run.folder / PICTURES / f"{name}_step_{step:08d}.png"
        workdir.prepare(picture.parent)
        save_png(picture, result.picture)
        print(f"  {picture}")


def show(name: str, subject: Subject, weights: str, result: Result) -> None:
    """Print a result: its protocol, then a line for each value."""
    protocol = ", ".join(f"{key}={value}" for key, value in result.protocol.items())
    print(f"{name} on {subject.split} after step {subject.step}, {weights} weights: {protocol}")
    for line in lines(result.values):
        print(f"  {line}")
    if result.warning:
        print(f"warning: {result.warning}", file=sys.stderr)


if __name__ == "__main__":
    app.define_trained_flags()
    app.define_weights_flag()
    flags.DEFINE_list("metrics", ["terms"], f"What to measure: {', '.join(MEASURES)}.")
    flags.DEFINE_string("split", "test", "train, validation or test.")
    flags.DEFINE_integer("images", None, "The first N of the split.", lower_bound=1)
    flags.DEFINE_integer("k", 5_000, "Importance samples of each image.", 1, 10**8)
    flags.DEFINE_integer("chains", 16, "Annealed chains of each image.", 1, 10**5)
    flags.DEFINE_integer("temperatures", 1_000, "Of annealing.", 2, 10**7)
    flags.DEFINE_integer("leapfrogs", 10, "Steps of a transition of annealing.", 1, 10**5)
    flags.DEFINE_float(
        "observation_std", None, "Of a normal p(x|z) around the images, instead of the method's."
    )
    flags.DEFINE_integer(
        "samples", None, "Synthetic examples (default: as many as real ones).", 10, 10**7
    )
    flags.DEFINE_string(
        "features",
        None,
        f"{', '.join(FEATURES)}, or an exported classifier's folder (default: what fits the data).",
    )
    flags.DEFINE_string("inception_weights", None, "A file that latentgen.export wrote.")
    flags.DEFINE_integer(
        "jackknife",
        10,
        "Groups of examples, left out in turn, from which frechet, kernel, prdc and score get "
        "standard errors; takes about as many times as long; 0: none.",
        0,
        1_000,
    )
    flags.DEFINE_integer(
        "subsets", 0, "Of --subset_size examples, for kernel: KID as published has 100.", 0, 10**6
    )
    flags.DEFINE_integer("subset_size", 1_000, "See --subsets.", 2, 10**6)
    flags.adopt_module_key_flags(app)
    with app.command():
        main()
