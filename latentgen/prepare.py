"""Prepare pictures as a data set: `python -m latentgen.prepare --images DIR --size 64 --name N`.

DIR is a folder, a .zip or an uncompressed .tar. Pictures become equal-size images. Labels are those
of dataset.json or labels.csv at the root, else the names of folders; top folders named train, val
and test are splits. The same command continues after a kill, and returns at once when all is done.
"""

import shlex
from pathlib import Path

import numpy as np
from absl import flags
from tqdm import tqdm

from latentgen.cli import app
from latentgen.core.errors import BadInput
from latentgen.data import sources
from latentgen.data.pictures import convert, named, report
from latentgen.data.pictures.prepare import CARD, Options, Prepared, prepare
from latentgen.data.sources.base import SETS
from latentgen.training import pictures

FLAGS = flags.FLAGS
SHEET, SHOWN = "sheet.png", 64


def main() -> None:
    """Prepare the set that the flags describe, and print its report."""
    if not FLAGS.images or FLAGS.size is None:
        raise BadInput("--images and --size are needed: a folder of pictures, and their new size.")
    parent = sources.data_folder(FLAGS.data_dir) / SETS
    if FLAGS.name is not None:
        named.check(parent, FLAGS.name, FLAGS.holdout)
        if FLAGS.name in {*sources.BUILT_IN, *sources.WITH_ARGUMENT}:
            raise BadInput(f"--name={FLAGS.name!r} is a set of latentgen's; choose another name.")
    elif FLAGS.holdout is not None:
        raise BadInput(f"--holdout={FLAGS.holdout} needs a --name that it is kept with.")
    names = [name for name in Options._fields if name != "size"]
    options = Options(FLAGS.size, *(getattr(FLAGS, name) for name in names))
    with tqdm(unit=" pictures", disable=None, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        where = Path(FLAGS.images).expanduser()
        found = prepare(where, options, parent, workers=FLAGS.workers, progress=progress)
    if FLAGS.holdout is not None and "validation" in found.report["splits"]:
        raise BadInput(
            f"--holdout={FLAGS.holdout}: the pictures have a validation split of their own, of "
            f"{found.report['splits']['validation']}; omit the flag."
        )
    print("\n".join(report.lines(found.report)))
    print(f"all of it: {found.folder / CARD}")
    print(f"{SHOWN} of the images: {sheet(found)}")
    print(_next(parent, found, options))


def _next(parent: Path, found: Prepared, options: Options) -> str:
    """Name the set if a name is given; return the command that trains on it."""
    words = ["python", "-m", "latentgen.run", "--config", "experiments/vae.py:images"]
    if FLAGS.name is not None:
        written = named.Named(found.folder.name, FLAGS.holdout)
        named.write(parent, FLAGS.name, written, FLAGS.replace)
        words.append(f"--config.data.name={FLAGS.name}")
    else:
        other = options._replace(size=0, color="rgb", strict=False)
        if other != Options(0):
            return "A set with such options is trained on by its name: give it one, --name NAME."
        words.append(f"--config.data.name=folder:{FLAGS.images}")
        words.append(f"--config.data.size={options.size}")
        words += [f"--config.data.color={options.color}"] if options.color != "rgb" else []
    words += [f"--data_dir={FLAGS.data_dir}"] if FLAGS.data_dir is not None else []
    return shlex.join(words)


def sheet(found: Prepared) -> Path:
    """Draw the first training images, whose order is as good as random; return the file."""
    path = found.folder / SHEET
    if not path.exists():
        images = np.load(found.folder / "train_x.npy", mmap_mode="r")[:SHOWN]
        pictures.save_png(path, pictures.grid(images / np.float32(255)))
    return path


if __name__ == "__main__":
    flags.DEFINE_string("images", None, "A folder, a .zip or an uncompressed .tar of pictures.")
    flags.DEFINE_integer("size", None, "Height and width of the images, in pixels.")
    flags.DEFINE_string("crop", "center", f"One of {', '.join(convert.CROPS)}.")
    flags.DEFINE_string("filter", "lanczos", f"One of {', '.join(convert.FILTERS)}.")
    flags.DEFINE_string("color", "rgb", f"One of {', '.join(convert.COLORS)}.")
    flags.DEFINE_string("background", "white", "Colour under transparent pixels: name or #rrggbb.")
    flags.DEFINE_boolean("upscale", False, "Whether to enlarge smaller pictures, not refuse them.")
    flags.DEFINE_boolean("strict", False, "Whether a refused picture is an error.")
    flags.DEFINE_string("name", None, "A name for --config.data.name.")
    flags.DEFINE_boolean("replace", False, "Whether --name may be another set's so far.")
    flags.DEFINE_float("holdout", None, "Part of train that is held out for validation.")
    flags.DEFINE_integer("workers", None, "Processes (default: one for each CPU); 0: this one.")
    flags.DEFINE_string(
        "data_dir", None, "Where TFDS keeps prepared data sets (default: TFDS's own)."
    )
    flags.adopt_module_key_flags(app)
    with app.command(positional="images"):
        main()
