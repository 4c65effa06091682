"""Papers' numbers, run again: `python -m latentgen.reproduce NAME --budget cpu`, or `--list`.

NAME is a module of experiments/baselines/. What is trained goes through a sweep's folder
(--workdir), so that the same command continues; then it is measured, held against the paper's
claims, and written to experiments/baselines/results/NAME.json.

| --budget | what |
|---|---|
| smoke | seconds: shows that the recipe runs; writes no result |
| cpu | what two cores can do; how it falls short of the paper is told |
| paper | the recipe in full |

`--cite` prints what to cite; `--recount` holds a kept result against claims that have changed
since; `--ledger PAGE.md` writes the table of all results into a page.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from latentgen.baselines import checks, running, store, table
from latentgen.baselines.claims import BUDGETS, REAL, Baseline, Exact
from latentgen.cli import app, jobs
from latentgen.core.errors import BadInput, choose
from latentgen.storage import workdir
from latentgen.sweeps.engines.registry import AUTO, ENGINES
from latentgen.sweeps.options import Options

FLAGS = flags.FLAGS


def main() -> None:
    """Do what the flags say."""
    if FLAGS.list:
        tell_all()
        return
    if FLAGS.ledger:
        write_ledger(Path(FLAGS.ledger))
        return
    if FLAGS.name is None:
        raise BadInput("NAME is missing: --list names what there is.")
    found = store.baseline(FLAGS.name)
    if FLAGS.cite:
        cite(found)
        return
    if FLAGS.recount:
        recount(FLAGS.name, found)
        return
    choose("--budget", FLAGS.budget, dict.fromkeys(BUDGETS))
    choose("--engine", FLAGS.engine, dict.fromkeys((AUTO, *ENGINES)))
    reproduce(FLAGS.name, found)


def reproduce(name: str, found: Baseline) -> None:
    """Run the baseline, print the verdicts, keep the result of a real budget.

    Raises:
        BadInput: before anything runs, where a claim is not sound or the result has no place.
    """
    budget = FLAGS.budget
    seeds = FLAGS.seeds or found.seeds[budget]
    checks.validate({name: found}, {}, store.entries())
    if budget in REAL:
        store.check(store.FOLDER, name, budget, seeds)
    running.check(found, budget, FLAGS.inception_weights)
    place = Path(FLAGS.workdir or Path("runs", "baselines", f"{name}-{budget}"))
    workdir.check(place)
    options = Options(FLAGS.data_dir, FLAGS.manual_dir, jobs=FLAGS.jobs, job=jobs.job())
    if FLAGS.engine == "slurm":
        ENGINES["slurm"].check([], options, False)
    how = running.How(options, FLAGS.engine, FLAGS.inception_weights)
    result = running.result(name, found, budget, seeds, place, how)
    if result["waiting"]:
        print(f"{result['waiting']} runs have not ended; the same command again tells of them.")
        return
    tell(found, result)
    if budget in REAL and result["measured"]:
        print(store.keep(store.FOLDER, result))
    if result["not_done"]:
        sys.exit(app.EXIT_MEMBERS)


def recount(name: str, found: Baseline) -> None:
    """Hold a kept result against the claims as they are today; train and measure nothing.

    Raises:
        BadInput: there is no result, or it is of another config than today's.
    """
    file = store.FOLDER / store.RESULTS / f"{name}.json"
    if not file.exists():
        raise BadInput(f"there is no {str(file)!r} to recount.")
    result = store.read(file)
    again = {**result, "claims": checks.again(found, result)}
    checks.validate({name: found}, {name: again}, store.entries())
    tell(found, again)
    workdir.write_json(file, again)
    print(file)


def tell(found: Baseline, result: Mapping[str, Any]) -> None:
    """Print each claim beside what was found; of a smoke run that was trained, that it ran."""
    print(f"{result['name']}: {found.title}")
    for line in result["not_done"]:
        print(f"  {line}")
    for deviation in found.recipe.deviations:
        print(f"  not the paper's: {deviation}")
    for claim, held in zip(found.claims, result["claims"], strict=True):
        what = claim.of if held["measured"] == claim.metric else f"{claim.of} ({held['measured']})"
        paper = "an order" if claim.value is None else table.number(claim.value)
        said = f"  {what}: {table.number(held['spread'] and held['spread']['mean'])}"
        if result["budget"] in REAL:
            print(f"{said}, claimed {paper}: {held['verdict']} ({held['why']})")
        elif isinstance(found.recipe, Exact):
            print(f"{said}, the margin is {table.within(claim)}")
        else:
            print(f"{said}: a smoke run says nothing of it")
    print(f"  {table.cost(result)}")


def tell_all() -> None:
    """Print the baselines, and how each stands; of a result that is not sound, why."""
    results, keys = store.results(), store.entries()
    for name, found in store.every().items():
        minutes = ", ".join(
            f"{budget} {'?' if m is None else f'{m:g}'} min" for budget, m in found.minutes.items()
        )
        result = results.get(name)
        words = table.NOT_RUN
        if wrong := checks.complaints(name, found, result, keys):
            words = f"NOT SOUND: {checks.few(wrong)}"
        elif result is not None:
            words = ", ".join(dict.fromkeys(claim["verdict"] for claim in result["claims"]))
        print(f"{name:20} {found.title} ({minutes}): {words}")


def cite(found: Baseline) -> None:
    """Print the BibTeX entries of what the baseline claims."""
    entries = store.entries()
    for key in dict.fromkeys(claim.key for claim in found.claims):
        if key not in entries:
            raise BadInput(f"{store.REFERENCES} lacks {key!r}.")
        print(f"{entries[key]}\n")


def write_ledger(page: Path) -> None:
    """Write the table into the page.

    Raises:
        BadInput: a baseline, a citation or a result is not as it must be.
    """
    baselines, results = store.every(), store.results()
    checks.validate(baselines, results, store.entries())
    try:
        before = page.read_text()
    except ValueError as error:
        raise BadInput(f"--ledger={str(page)!r} is no text: {error}.") from None
    text = table.placed(before, table.render(baselines, results))
    workdir.write_bytes(page, text.encode())
    print(page)


if __name__ == "__main__":
    flags.DEFINE_string("name", None, "Which baseline; the same as NAME.")
    flags.DEFINE_bool("list", False, "Print what there is and how it stands.")
    flags.DEFINE_bool("cite", False, "Print what to cite.")
    flags.DEFINE_bool("recount", False, "Hold the kept result against today's claims again.")
    flags.DEFINE_string("ledger", None, "A page to write the table of results into.")
    flags.DEFINE_string("budget", "smoke", f"{', '.join(BUDGETS)}.")
    flags.DEFINE_integer("seeds", None, "How many (default: the baseline's).", lower_bound=1)
    flags.DEFINE_string("workdir", None, "Where runs are kept (default: runs/baselines/...).")
    flags.DEFINE_string("engine", "auto", f"{', '.join((AUTO, *ENGINES))}.")
    flags.DEFINE_integer("jobs", None, "Processes at once, for --engine=local.", lower_bound=1)
    flags.DEFINE_string("inception_weights", None, "A file that latentgen.export wrote, for FID.")
    jobs.define_job_flags()
    app.define_data_flags()
    flags.adopt_module_key_flags(app)
    with app.command(positional="name"):
        main()
