"""Papers' numbers, run again: `python -m latentgen.reproduce NAME --budget cpu`, or `--list`.

NAME is a module of experiments/baselines/. What is trained goes through a sweep's folder
(--workdir), so that the same command continues; then it is measured, held against the paper's
claims, and written to experiments/baselines/results/NAME.json.

| --budget | what |
|---|---|
| smoke | seconds: shows that the recipe runs; writes no result |
| cpu | what two cores can do; how it falls short of the paper is told |
| paper | the recipe in full |

`--cite` prints what to cite; `--ledger README.md` writes the table of all results into a page.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from latentgen import door, sweep
from latentgen.errors import BadInput, choose
from latentgen.launchers import slurm
from latentgen.launchers.options import Options
from latentgen.ledger import accounts, books, running, table
from latentgen.ledger.types import BUDGETS, REAL, Baseline
from latentgen.training import workdir

FLAGS = flags.FLAGS


def main() -> None:
    """Does what the flags say."""
    if FLAGS.list:
        tell_all()
        return
    if FLAGS.ledger:
        write_ledger(Path(FLAGS.ledger))
        return
    if FLAGS.name is None:
        raise BadInput("NAME is missing: --list names what there is.")
    found = books.baseline(FLAGS.name)
    if FLAGS.cite:
        cite(found)
        return
    choose("--budget", FLAGS.budget, dict.fromkeys(BUDGETS))
    choose("--engine", FLAGS.engine, dict.fromkeys(running.ENGINES))
    reproduce(found)


def reproduce(found: Baseline) -> None:
    """Runs the baseline, prints the verdicts, keeps the result of a real budget."""
    budget = FLAGS.budget
    place = Path(FLAGS.workdir or Path("runs", "baselines", f"{FLAGS.name}-{budget}"))
    workdir.check(place)
    options = Options(FLAGS.data_dir, FLAGS.manual_dir, jobs=FLAGS.jobs)
    job = sweep.job() if FLAGS.engine == "slurm" else None
    if job is not None:
        slurm.check(job)
    how = running.How(options, FLAGS.engine, FLAGS.inception_weights, job)
    seeds = FLAGS.seeds or (1 if budget == "smoke" else found.seeds)
    result = running.result(FLAGS.name, found, budget, seeds, place, how)
    if result["waiting"]:
        print(f"{result['waiting']} runs have not ended; the same command again tells of them.")
        return
    tell(found, result)
    if budget in REAL and result["measured"]:
        print(books.keep(books.FOLDER, FLAGS.name, result))
    if result["not_done"]:
        sys.exit(door.EXIT_MEMBERS)


def tell(found: Baseline, result: Mapping[str, Any]) -> None:
    """Prints each claim beside what was found; of a smoke run, only that it ran."""
    print(f"{result['name']}: {found.title}")
    for line in result["not_done"]:
        print(f"  {line}")
    for deviation in found.recipe.deviations:
        print(f"  not the paper's: {deviation}")
    for claim in result["claims"]:
        mean = table.number(claim["spread"] and claim["spread"]["mean"])
        said = f"  {claim['of']}: {mean}, claimed {table.number(claim['value'])}"
        if result["budget"] in REAL:
            print(f"{said}: {claim['verdict']} ({claim['why']})")
        else:
            print(f"{said}: a smoke run says nothing of it")
    print(f"  {table.cpu(result['cpu_seconds'])} of CPU time")


def tell_all() -> None:
    """Prints the baselines, and how each stands."""
    results = books.results()
    for name, found in books.every().items():
        minutes = ", ".join(
            f"{budget} {'?' if m is None else f'{m:g}'} min" for budget, m in found.minutes.items()
        )
        result = results.get(name)
        words = table.NOT_RUN
        if result is not None:
            words = ", ".join(dict.fromkeys(claim["verdict"] for claim in result["claims"]))
        print(f"{name:20} {found.title} ({minutes}): {words}")


def cite(found: Baseline) -> None:
    """Prints the BibTeX entries of what the baseline claims."""
    entries = books.entries()
    for key in dict.fromkeys(claim.key for claim in found.claims):
        if key not in entries:
            raise BadInput(f"{books.REFERENCES} lacks {key!r}.")
        print(f"{entries[key]}\n")


def write_ledger(page: Path) -> None:
    """Writes the table into the page.

    Raises:
        BadInput: a baseline, a citation or a result is not as it must be.
    """
    baselines, results = books.every(), books.results()
    accounts.refuse(baselines, results, books.entries())
    text = table.placed(page.read_text(), table.render(baselines, results))
    workdir.write_bytes(page, text.encode())
    print(page)


if __name__ == "__main__":
    flags.DEFINE_string("name", None, "Which baseline; the same as NAME.")
    flags.DEFINE_bool("list", False, "Print what there is and how it stands.")
    flags.DEFINE_bool("cite", False, "Print what to cite.")
    flags.DEFINE_string("ledger", None, "A page to write the table of results into.")
    flags.DEFINE_string("budget", "smoke", f"{', '.join(BUDGETS)}.")
    flags.DEFINE_integer("seeds", None, "How many (default: the baseline's).", lower_bound=1)
    flags.DEFINE_string("workdir", None, "Where runs are kept (default: runs/baselines/...).")
    flags.DEFINE_string("engine", "auto", f"{', '.join(running.ENGINES)}.")
    flags.DEFINE_integer("jobs", None, "Processes at once, for --engine=local.", lower_bound=1)
    flags.DEFINE_string("inception_weights", None, "A file that latentgen.export wrote, for FID.")
    sweep.define_job_flags()
    door.define_data_flags()
    flags.adopt_module_key_flags(door)
    door.run(main, word="name")
