"""Train: `python -m latentgen.run --config experiments/gan.py[:variant] --workdir DIR`.

The same command continues an interrupted run, or prints that the run is finished.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from latentgen.cli import app
from latentgen.core.errors import BadInput
from latentgen.evaluation import in_training
from latentgen.storage import workdir
from latentgen.system import distributed
from latentgen.training import mesh, setup, trainer, transfer

FLAGS = flags.FLAGS


def main() -> None:
    """Train the run that the flags describe, or continue it."""
    distributed.join(
        distributed.ProcessGroup(
            FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id, FLAGS.heartbeat
        )
    )
    with app.silence_other_processes():
        devices = mesh.make(FLAGS.devices, FLAGS.fsdp)
        config = app.config()
        folder = distributed.on_process_zero(
            lambda: workdir.check(FLAGS.workdir or app.default_workdir())
        )
        folder = Path(distributed.broadcast_from_zero(str(folder)))
        may_change = transfer.may_change(FLAGS.extend, FLAGS.allow_change, config)
        done = distributed.on_process_zero(lambda: setup.finished(folder, config, may_change))
        if distributed.broadcast_from_zero(done):
            distributed.on_process_zero(lambda: transfer.check_origin(folder, FLAGS.init_from))
            print(f"{folder} is finished; its figures are in {folder / setup.SUMMARY}.")
            return
        run = distributed.on_process_zero(
            lambda: _load(folder, config)
        )  # prepares the data for the others
        run = distributed.on_all_processes(lambda: run or _load(folder, config))
        run = run._replace(may_change=may_change)
        trainer.train(run, devices, FLAGS.stuck)


def _load(folder: Path, config: Mapping[str, Any]) -> setup.Run:
    run = setup.load(folder, config, FLAGS.data_dir, FLAGS.manual_dir)
    run = in_training.attached(run, FLAGS.inception_weights)
    if FLAGS.init_from is None:
        if FLAGS.players:
            raise BadInput("--players names players of --init_from, which is missing.")
        return run
    return transfer.init_from(run, FLAGS.init_from, FLAGS.players)


if __name__ == "__main__":
    app.define_config_flag()
    flags.DEFINE_string("workdir", None, "Where the run is kept (default: runs/<config's name>).")
    flags.DEFINE_bool("extend", False, "Go on with more steps or other intervals than before.")
    flags.DEFINE_list("allow_change", [], "Keys of the config that may change, as optimizer.lr.")
    flags.DEFINE_string("init_from", None, "DIR or DIR:STEP, whose weights a new run begins with.")
    flags.DEFINE_list("players", [], "Players that take weights, NAME or NAME=THEIRS (all).")
    flags.DEFINE_string(
        "inception_weights",
        None,
        "For config.evaluate.features=inception: a file that latentgen.export wrote.",
    )
    app.define_data_flags()
    app.define_device_flags()
    flags.adopt_module_key_flags(app)
    with app.command(app.check_config):
        main()
