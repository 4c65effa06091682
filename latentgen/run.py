"""Trains: `python -m latentgen.run --config experiments/gan.py[:variant] --workdir DIR`.

The same command again continues where it stopped, or says that it is finished.
"""

from absl import flags

from latentgen import door, runner, solo
from latentgen.training import workdir

FLAGS = flags.FLAGS


def main() -> None:
    """Trains what the flags say, from where the workdir stands."""
    folder, config = workdir.check(FLAGS.workdir or door.default_workdir()), door.config()
    if runner.finished(folder, config):
        print(f"{folder} is finished; its figures are in {folder / runner.SUMMARY}.")
    else:
        solo.train(runner.load(folder, config, FLAGS.data_dir, FLAGS.manual_dir))


if __name__ == "__main__":
    door.define_config_flag()
    flags.DEFINE_string("workdir", None, "Where the run is kept (default: runs/<config's name>).")
    door.define_data_flags()
    flags.adopt_module_key_flags(door)
    door.run(main, door.check_config)
