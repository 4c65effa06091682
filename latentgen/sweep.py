"""Train the runs of a sweep: `python -m latentgen.sweep --config FILE --sweep FILE --workdir DIR`.

Describe a sweep by a file with `get_sweep(h)`, or by flags: `--grid 'config.a.b=1,2'`, `--zip`,
`--draw 'config.a.b=loguniform(1e-5,1e-2)' --draws 20`, `--seeds 0:10`. The sweep is their product;
seeds vary fastest. The same command continues a sweep: it trains runs that have not ended.

| --engine | |
|---|---|
| vmap | train runs that differ in seed and numbers as one program on one device |
| local | train each run in a process on this machine's devices |
| slurm | submit an array of jobs and return |
| auto | local if there are several devices, else vmap, one or several runs at once by speed |

Exit codes are those of `latentgen.run`, and 6 if a run failed, diverged or was killed.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from latentgen.cli import app, jobs
from latentgen.core.errors import BadInput, choose, printable
from latentgen.reporting import scores
from latentgen.storage import status, workdir
from latentgen.sweeps import folder, plan, results, vocabulary
from latentgen.sweeps.engines import inline
from latentgen.sweeps.engines.registry import AUTO, ENGINES, settled
from latentgen.sweeps.folder import Sweep
from latentgen.sweeps.options import Options
from latentgen.sweeps.plan import Member
from latentgen.system import signals

FLAGS = flags.FLAGS
RETRY = (status.FAILED, status.DIVERGED)


def main() -> None:
    """Train, continue or show the sweep that the flags describe."""
    if FLAGS.workdir is None:
        raise BadInput("--workdir is missing: name the folder of the sweep.")
    sweep_folder = Path(FLAGS.workdir)
    if FLAGS.status:
        write_and_print(folder.load(sweep_folder))
        return
    choose("--engine", FLAGS.engine, dict.fromkeys((AUTO, *ENGINES)))
    for retried in FLAGS.retry:
        choose("--retry", retried, dict.fromkeys(RETRY))
    members = plan.members(FLAGS.config, rows())
    name, options = settled(FLAGS.engine, _options(), members)
    engine = ENGINES[name]
    engine.check(members, options, FLAGS.dry_run)
    if FLAGS.dry_run:
        preview(sweep_folder, members, name, engine.describe(members, options))
        return
    workdir.check(sweep_folder)
    with folder.locked(sweep_folder), signals.note_signals() as stopped:
        sweep = folder.open_(sweep_folder, app.config(), members, _command())
        todo = folder.unfinished(sweep, FLAGS.retry)
        for member in todo:
            if folder.standing(sweep.run_folder(member.run)).status in FLAGS.retry:
                folder.forget(sweep.run_folder(member.run))
        print(f"{len(members)} runs, {len(todo)} to train: {name}", file=sys.stderr)
        try:
            if todo or not engine.waits:
                engine.train(sweep, todo, options, stopped)
        finally:
            results.write(sweep)
    if unended(write_and_print(sweep), engine.waits):
        sys.exit(app.EXIT_MEMBERS)


def unended(counts: Mapping[str, int], waits: bool) -> int:
    """Return the number of runs that failed, diverged or, where all have ended, were preempted.

    Args:
        counts: status -> runs.
        waits: see `Engine`.
    """
    lost = (*RETRY, status.PREEMPTED) if waits else RETRY
    return sum(counts[name] for name in lost)


def _command() -> str:
    from latentgen.storage import provenance

    return provenance.command("latentgen.sweep")


def rows() -> list[vocabulary.Row]:
    """Return the rows that the flags describe, one for each run.

    Raises:
        BadInput: the flags describe no sweep, or an invalid one.
    """
    asked = inline.series(FLAGS.grid, FLAGS.zip, FLAGS.draw, FLAGS.draws)
    if FLAGS.sweep:
        asked.insert(0, inline.described(FLAGS.sweep))
    if FLAGS.seeds:
        asked.append(inline.seeds(FLAGS.seeds))
    if not asked:
        raise BadInput("nothing is swept: give --sweep, --grid, --zip, --draw or --seeds.")
    return vocabulary.product(asked).rows(FLAGS.draw_seed)


def _options() -> Options:
    return Options(
        data_dir=FLAGS.data_dir,
        manual_dir=FLAGS.manual_dir,
        fail_fast=FLAGS.fail_fast,
        at_once=FLAGS.at_once,
        memory=FLAGS.memory and FLAGS.memory * 2**30,
        jobs=FLAGS.jobs,
        retries=FLAGS.retries,
        job=jobs.job(),
    )


def preview(sweep_folder: Path, members: Sequence[Member], engine: str, how: Sequence[str]) -> None:
    """Print what would be trained, and how; write nothing."""
    sweep = Sweep(sweep_folder, {}, tuple(members))
    for member in members:
        now = folder.standing(sweep.run_folder(member.run)).status
        print(f"{member.run}  {'' if now == status.PENDING else now}".rstrip())
    skipped = sum(folder.standing(sweep.run_folder(m.run)).status in folder.ENDED for m in members)
    print(f"{len(members)} runs, {skipped} of them ended; engine {engine}")
    for line in how:
        print(f"  {line}")


def write_and_print(sweep: Sweep) -> Counter[str]:
    """Write the tables and print the status of the runs; return the number of runs by status.

    If the tables cannot be written, the error is raised after printing.
    """
    found, unwritten = results.gathered(sweep), None
    try:
        results.write(sweep, found)
    except OSError as error:
        unwritten = error
    counts = Counter(row["status"] for row in found)
    for row in found:
        if row["status"] != status.DONE:
            reason = f": {printable(str(row['reason']))}" if row["reason"] else ""
            print(f"{row['run']}  {row['status']} after step {row['step']}{reason}")
    print(f"{len(found)} runs: {', '.join(f'{n} {name}' for name, n in sorted(counts.items()))}")
    if unwritten is not None:
        raise unwritten
    if line := best(results.settings(found)):
        print(line)
    print(f"figures: {sweep.folder / results.RESULTS}, {sweep.folder / results.SETTINGS}")
    return counts


def best(settings: Sequence[Mapping[str, Any]]) -> str | None:
    """Describe the setting with the best mean in a line; None if there is no choice or score.

    The metric is the first of `scores.PREFERRED` that all settings with finished runs have, else a
    validation metric that is not a player's loss.
    """
    done = [each for each in settings if each["metrics"]]
    if len(done) < 2:
        return None
    known = [name for name in done[0]["metrics"] if all(name in s["metrics"] for s in done)]
    validated = [
        n for n in known if n.startswith("validation/") and not scores.is_a_players_loss(n)
    ]
    name = next((n for n in (*scores.PREFERRED, *validated) if n in known), None)
    if name is None:
        return None
    lower = scores.lower_is_better(name)
    found = (min if lower else max)(done, key=lambda s: s["metrics"][name]["mean"])
    summary = found["metrics"][name]
    sd = "" if summary["sd"] is None else f", SD {summary['sd']:.4g}"
    return (
        f"best of {len(done)} settings by the mean of {name}, {'lower' if lower else 'higher'} "
        f"being better: {found['setting']} with {summary['mean']:.6g} ({summary['n']} runs{sd})"
    )


def parse(argv: list[str], values: flags.FlagValues) -> None:
    """Load --config as other commands do, unless --status is given."""
    if not any(argument.lstrip("-").startswith("status") for argument in argv[1:]):
        app.check_config(argv, values)


if __name__ == "__main__":
    app.define_config_flag()
    flags.DEFINE_string("workdir", None, "The folder of the sweep.")
    flags.DEFINE_string("sweep", None, "A file with get_sweep(h): experiments/sweeps/lucic.py.")
    flags.DEFINE_multi_string("grid", [], "'config.a.b=1,2': each value with each of the others.")
    flags.DEFINE_multi_string("zip", [], "'config.a.b=1,2': the first values of all, the second...")
    flags.DEFINE_multi_string("draw", [], "'config.a.b=loguniform(1e-5,1e-2)', uniform, discrete.")
    flags.DEFINE_integer("draws", None, "How many times --draw draws.", lower_bound=1)
    flags.DEFINE_integer("draw_seed", 0, "Of what is drawn.", lower_bound=0)
    flags.DEFINE_string(
        "seeds",
        None,
        "Each run with each of these: 0:10 are ten, from 0 on; 3,5 these two; 3 is seed 3 alone.",
    )
    flags.DEFINE_string("engine", "auto", f"auto, {', '.join(ENGINES)}.")
    flags.DEFINE_bool("dry_run", False, "Print the runs and how they would be trained.")
    flags.DEFINE_bool("status", False, "Print where the runs stand; needs no --config.")
    flags.DEFINE_list("retry", [], "Train again what has failed, or diverged.")
    flags.DEFINE_bool("fail_fast", False, "The first run that fails ends the sweep.")
    flags.DEFINE_integer(
        "jobs", None, "local: processes at once (default: a device each).", lower_bound=1
    )
    flags.DEFINE_integer("at_once", None, "vmap, slurm: how many runs at the same time.", 1)
    flags.DEFINE_integer("retries", 0, "local: new starts of a process that failed.", lower_bound=0)
    flags.DEFINE_float("memory", None, "vmap: GiB that a program may use.", lower_bound=0.001)
    jobs.define_job_flags()
    app.define_data_flags()
    flags.adopt_module_key_flags(app)
    with app.command(parse):
        main()
