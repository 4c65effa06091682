"""Reproduce papers' numbers: `python -m latentgen.reproduce NAME --budget cpu`, or `--list`.

NAME is a module of experiments/baselines/. Train its runs in a sweep's folder (--workdir), measure
them, compare the values with the paper's claims, and write experiments/baselines/results/NAME.json.
The same command continues an interrupted one.

| --budget | recipe |
|---|---|
| smoke | a few seconds, to test that the recipe runs; writes no result |
| cpu | a recipe for two cores; its deviations from the paper are printed |
| paper | the paper's recipe |

`--cite` prints the references. `--recount` compares an existing result with the current claims.
`--ledger PAGE.md` writes the table of all results into a page.
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
    """Reproduce a baseline, or list, cite, recount or tabulate baselines."""
    if FLAGS.list:
        print_all()
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
    """Run the baseline, print its verdicts, and write the result unless the budget is smoke.

    Raises:
        BadInput: before training, if a claim is not valid or the result cannot be written.
    """
    budget = FLAGS.budget
    seeds = FLAGS.seeds or found.seeds[budget]
    checks.validate({name: found}, {}, store.entries())
    if budget in REAL:
        store.check(store.FOLDER, name, budget, seeds)
    running.check(found, budget, FLAGS.inception_weights)
    sweep_folder = Path(FLAGS.workdir or Path("runs", "baselines", f"{name}-{budget}"))
    workdir.check(sweep_folder)
    options = Options(FLAGS.data_dir, FLAGS.manual_dir, jobs=FLAGS.jobs, job=jobs.job())
    if FLAGS.engine == "slurm":
        ENGINES["slurm"].check([], options, False)
    how = running.How(options, FLAGS.engine, FLAGS.inception_weights)
    result = running.result(name, found, budget, seeds, sweep_folder, how)
    if result["waiting"]:
        print(f"{result['waiting']} runs have not ended; the same command again tells of them.")
        return
    print_claims(found, result)
    if budget in REAL and result["measured"]:
        print(store.keep(store.FOLDER, result))
    if result["not_done"]:
        sys.exit(app.EXIT_MEMBERS)


def recount(name: str, found: Baseline) -> None:
    """Compare an existing result with the current claims; train and measure nothing.

    Raises:
        BadInput: there is no result, or its config differs from the current one.
    """
    file = store.FOLDER / store.RESULTS / f"{name}.json"
    if not file.exists():
        raise BadInput(f"there is no {str(file)!r} to recount.")
    result = store.read(file)
    again = {**result, "claims": checks.again(found, result)}
    checks.validate({name: found}, {name: again}, store.entries())
    print_claims(found, again)
    workdir.write_json(file, again)
    print(file)


def print_claims(found: Baseline, result: Mapping[str, Any]) -> None:
    """Print each claim with its measured value and verdict; a smoke run has no verdicts."""
    print(f"{result['name']}: {found.title}")
    for line in result["not_done"]:
        print(f"  {line}")
    for deviation in found.recipe.deviations:
        print(f"  not the paper's: {deviation}")
    for claim, entry in zip(found.claims, result["claims"], strict=True):
        quantity = (
            claim.of if entry["measured"] == claim.metric else f"{claim.of} ({entry['measured']})"
        )
        paper = "an order" if claim.value is None else table.number(claim.value)
        line = f"  {quantity}: {table.number(entry['spread'] and entry['spread']['mean'])}"
        if result["budget"] in REAL:
            print(f"{line}, claimed {paper}: {entry['verdict']} ({entry['why']})")
        elif isinstance(found.recipe, Exact):
            print(f"{line}, the margin is {table.within(claim)}")
        else:
            print(f"{line}: a smoke run says nothing of it")
    print(f"  {table.cost(result)}")


def print_all() -> None:
    """Print the baselines with their verdicts; print why a result is not valid."""
    results, keys = store.results(), store.entries()
    for name, found in store.every().items():
        minutes = ", ".join(
            f"{budget} {'?' if m is None else f'{m:g}'} min" for budget, m in found.minutes.items()
        )
        result = results.get(name)
        verdicts = table.NOT_RUN
        if complaints := checks.complaints(name, found, result, keys):
            verdicts = f"NOT SOUND: {checks.few(complaints)}"
        elif result is not None:
            verdicts = ", ".join(dict.fromkeys(claim["verdict"] for claim in result["claims"]))
        print(f"{name:20} {found.title} ({minutes}): {verdicts}")


def cite(found: Baseline) -> None:
    """Print the BibTeX entries of the baseline's claims."""
    entries = store.entries()
    for key in dict.fromkeys(claim.key for claim in found.claims):
        if key not in entries:
            raise BadInput(f"{store.REFERENCES} lacks {key!r}.")
        print(f"{entries[key]}\n")


def write_ledger(page: Path) -> None:
    """Write the table of results into the page.

    Raises:
        BadInput: a baseline, a citation or a result is not valid.
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
