"""Measures a run: `python -m latentgen.evaluate --workdir DIR --metrics=terms,is,active`.

| --metrics | what |
|---|---|
| terms | the objective's terms over the split |
| is | log p(x) by importance sampling with --k codes of each image, and how many count |
| ais | log p(x) by annealing from the prior: --chains, --temperatures, --leapfrogs |
| bdmc | annealing on images drawn from the model: lower and upper bound of log p(x) |
| active | units of the code that say something |
| surgery | the rate in two parts: mutual information, KL(q(z) || p(z)) |
| parzen | the kernel density estimate of the first papers on GANs |
| exact | log p(x) itself, for a decoder that is affine |
| frechet | the Frechet distance of --features, of real from --samples synthetic examples |
| kernel | the kernel distance of the same |
| prdc | precision and recall, density and coverage of the same |
| score | the Inception score, of a classifier |
| modes | modes of the data that samples reach |

Each result is printed and added to DIR/evaluations.jsonl with all that it depends on. Where DIR is
a sweep's, each of its runs that are done is measured, and the sweep's tables are written anew.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from absl import flags

from latentgen import door, runner
from latentgen.errors import BadInput, choose
from latentgen.launchers import folder, results
from latentgen.launchers.plan import Member
from latentgen.measures import MEASURES, named
from latentgen.measures.results import EVALUATIONS, shown
from latentgen.measures.subject import Measure, Options, Result, Subject
from latentgen.training import provenance, status, workdir
from latentgen.training.pictures import save_png

FLAGS = flags.FLAGS
PICTURES = "evaluations"


def main() -> None:
    """Evaluates what the flags say."""
    names = FLAGS.metrics or ["terms"]
    chosen = {name: named("--metrics", name) for name in names}
    options = Options(**{name: getattr(FLAGS, name) for name in Options._fields})
    std = options.observation_std
    if std is not None and not 1e-6 <= std <= 1e6:
        raise BadInput(f"--observation_std={std} must be in 1e-06 .. 1e+06.")
    place = Path(FLAGS.workdir or "")
    if not (place / folder.SWEEP).exists():
        measure(chosen, options, None)
        return
    sweep = folder.load(place)
    done = [member.run for member in sweep.members if standing(sweep, member) == status.DONE]
    for name in done:
        print(name)
        measure(chosen, options, sweep.place(name))
    results.write(sweep)
    print(f"{len(done)} of {len(sweep.members)} runs measured; {place / results.RESULTS}")


def standing(sweep: folder.Sweep, member: Member) -> str:
    """Where a member of a sweep stands, in a word."""
    return folder.standing(sweep.place(member.run)).status


def measure(chosen: Mapping[str, Measure], options: Options, place: Path | None) -> None:
    """Takes the chosen measures of one run; see `door.trained` for `place`."""
    run, step, state = door.trained(place)
    workdir.own(workdir.check(run.folder))  # before the work, not after it
    choose("--split", FLAGS.split, run.dataset.splits)
    subject = Subject(run, step, state, FLAGS.split, {})
    for each in chosen.values():
        each.check(subject, options)
    for name, each in chosen.items():
        began = time.perf_counter()
        result = each.take(subject, options)
        line = {
            "metric": name,
            "split": FLAGS.split,
            "step": step,
            "values": result.values,
            "protocol": {**result.protocol, "dtype": run.experiment.plan.compute},
            "method": run.config["method"],
            "seed": FLAGS.seed,
            "seconds": round(time.perf_counter() - began, 3),
            **provenance.stamp(run.config, runner.identity(run), "latentgen.evaluate"),
        }
        workdir.append_json(run.folder / EVALUATIONS, line)
        show(name, subject, result)
        if result.picture is not None:
            picture = run.folder / PICTURES / f"{name}_step_{step:08d}.png"
            workdir.prepare(picture.parent)
            save_png(picture, result.picture)
            print(f"  {picture}")
    print(f"added to {run.folder / EVALUATIONS}")


def show(name: str, subject: Subject, result: Result) -> None:
    """Prints a result: how it was come by, then a line for each figure."""
    how = ", ".join(f"{key}={value}" for key, value in result.protocol.items())
    print(f"{name} on {subject.split} after step {subject.step}: {how}")
    for key, value in result.values.items():
        print(f"  {key:28} {shown(value)}")


if __name__ == "__main__":
    door.define_trained_flags()
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
        "pixels, inception, digits, fashion_mnist, or an exported classifier's folder (default: "
        "what fits the data).",
    )
    flags.DEFINE_string("inception_weights", None, "A file that latentgen.export wrote.")
    flags.adopt_module_key_flags(door)
    door.run(main)
