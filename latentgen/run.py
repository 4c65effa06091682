"""Trains: `python -m latentgen.run --config experiments/gan.py[:variant] --workdir DIR`.

The same command again continues where it stopped, or says that it is finished.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from latentgen import door, runner, solo
from latentgen.training import distributed, mesh, workdir

FLAGS = flags.FLAGS


def main() -> None:
    """Trains what the flags say, from where the workdir stands."""
    distributed.join(
        distributed.Crew(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id, FLAGS.heartbeat)
    )
    with door.only_the_first_speaks():
        devices = mesh.make(FLAGS.devices, FLAGS.fsdp)
        config = door.config()
        folder = distributed.once(lambda: workdir.check(FLAGS.workdir or door.default_workdir()))
        folder = Path(distributed.agree(str(folder)))
        if distributed.agree(distributed.once(lambda: runner.finished(folder, config))):
            print(f"{folder} is finished; its figures are in {folder / runner.SUMMARY}.")
            return
        run = distributed.once(lambda: _load(folder, config))  # prepares the data for the others
        run = distributed.everywhere(lambda: run or _load(folder, config))
        solo.train(run, devices, FLAGS.stuck)


def _load(folder: Path, config: Mapping[str, Any]) -> runner.Run:
    return runner.load(folder, config, FLAGS.data_dir, FLAGS.manual_dir)


if __name__ == "__main__":
    door.define_config_flag()
    flags.DEFINE_string("workdir", None, "Where the run is kept (default: runs/<config's name>).")
    door.define_data_flags()
    door.define_device_flags()
    flags.adopt_module_key_flags(door)
    door.run(main, door.check_config)
