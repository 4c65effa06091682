"""Data sets by name, in splits of fixed sizes.

| name                                      | train   | validation | test   | an example    |
|-------------------------------------------|---------|------------|--------|---------------|
| digits (scikit-learn's)                   | 1,397   | 200        | 200    | 8 x 8 x 1     |
| mnist, fashion_mnist, kmnist              | 55,000  | 5,000      | 10,000 | 28 x 28 x 1   |
| binarized_mnist                           | 50,000  | 10,000     | 10,000 | 28 x 28 x 1   |
| stacked_ before one of the above: three   | 128,000 | as above   | as     | h x w x 3     |
| of its images as colour planes            |         |            | above  |               |
| sprites: rendered, with known factors     | 45,000  | 5,000      | 10,000 | 32 x 32 x 3   |
| ring, grid, swiss_roll, two_moons         | 100,000 | 10,000     | 10,000 | 2             |
| cifar10, svhn, dsprites, ...: see         | the     | a tenth,   | its    | its own       |
| `latentgen.data.published`                | rest    | <= 5,000   | own    |               |
| folder:PATH, a folder, .zip or .tar of    | the     | the same,  | its    | size x size   |
| pictures; or a set of latentgen.prepare   | rest    | or its own | own    |               |
| arrays:FILE, an .npy or .npz              | the     | the same,  | its    | its own       |
|                                           | rest    | or its own | own    |               |
| an image set prepared by TFDS, by its     | the     | the same,  | its    | its own       |
| TFDS name, with /config where it has one  | rest    | or its own | own    |               |

Validation examples are the last ones of the original training split, in a number that the user can
set, unless a set has a validation split of its own (binarized_mnist, some of TFDS's).

A source is one file in this folder with a dictionary `SOURCES`, listed in `MODULES`. Plugins add
rows to `SOURCES` here.
"""

import importlib
import os
from pathlib import Path

from latentgen.core.errors import BadInput, choose
from latentgen.data import originals, published, toys
from latentgen.data.dataset import (
    ARRAYS,
    HELD_OUT,
    SPLITS,
    DataSet,
    Examples,
    LazySplits,
    as_bytes,
    from_arrays,
    hold_out,
    identity,
    padded,
    relabelled,
)
from latentgen.data.sources.base import SETS, Request, Source
from latentgen.data.stacked import PREFIX, TRAIN, stacked

__all__ = [
    "ARRAYS",
    "BUILT_IN",
    "HELD_OUT",
    "SOURCES",
    "SPLITS",
    "DataSet",
    "Examples",
    "LazySplits",
    "Request",
    "Source",
    "as_bytes",
    "from_arrays",
    "identity",
    "load",
    "padded",
    "relabelled",
]

MODULES = {
    "digits": ("digits",),
    "points": tuple(toys.TOYS),
    "sprites": ("sprites",),
    "tfds": tuple(originals.ORIGINALS),
    "published": tuple(published.PUBLISHED),
    "celeba": ("celeba",),
    "folder": ("folder",),
    "arrays": ("arrays",),
}
"""Module of this package -> the names in its `SOURCES`. Modules are imported when needed."""

SOURCES: dict[str, Source] = {}
"""Sources of plugins by name."""

GREY = ("digits", *originals.ORIGINALS)
STACKED = tuple(f"{PREFIX}{name}" for name in GREY if name != "binarized_mnist")  # has no labels
BUILT_IN = (*GREY, *STACKED, *toys.TOYS, "sprites", *published.PUBLISHED, "celeba")
"""Names without an argument."""

WITH_ARGUMENT = ("folder", "arrays")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")


def load(
    name: str,
    *,
    validation: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    size: int = 0,
    color: str = "rgb",
) -> DataSet:
    """Load the data set of this name, with the splits 'train', 'validation' and perhaps 'test'.

    Args:
        name: see the table above.
        validation: number of examples to hold out for validation; None: as in the table; 0: no
            such split.
        data_dir: TFDS's folder; None: $TFDS_DATA_DIR, or ~/tensorflow_datasets.
        manual_dir: a folder with a set's original files, in it or in a subfolder of the set's
            name, as published or decompressed.
        size: side of an image in pixels, for sources that make images of any size; 0: the
            source's own.
        color: rgb, grey or as_is, for the same sources.

    Raises:
        BadInput: the name is unknown, `validation` is too large, an original file is missing or
            damaged, a download fails, a prepared set cannot be used, or the set has images of
            another size.
    """
    if name in STACKED:
        plain = load(
            name.removeprefix(PREFIX),
            validation=validation,
            data_dir=data_dir,
            manual_dir=manual_dir,
        )
        return checked_size(_stacked(plain), size)
    manual = Path(manual_dir).expanduser() if manual_dir is not None else None
    scheme, colon, argument = name.partition(":")
    request = Request(name, argument, data_folder(data_dir), manual, size, color)
    if scheme in WITH_ARGUMENT and not argument:
        raise BadInput(f"config.data.name={name!r} needs a path: {scheme}:PATH.")
    source = _source(scheme) if colon and scheme in WITH_ARGUMENT else _source(name)
    if source is None:
        source = _prepared(request)
    try:
        loaded = source.load(request)
    except BadInput as error:
        if not source.argument or str(error).startswith("config."):
            raise
        raise BadInput(f"config.data.name={name!r}: {error}") from None
    dataset = hold_out(loaded, validation, source.held_out)
    if source.sized:
        return dataset
    if color == "grey" and dataset.shape[2:] == (3,):
        raise BadInput(f"config.data.color='grey' does not fit {dataset.name}, which has colours.")
    return checked_size(dataset, size)


def _source(name: str) -> Source | None:
    """Return a plugin's source of this name, or the built-in one."""
    if name in SOURCES:
        return SOURCES[name]
    for module, names in MODULES.items():
        if name in names:
            found: Source = importlib.import_module(f"{__name__}.{module}").SOURCES[name]
            return found
    return None


def _prepared(request: Request) -> Source:
    """Return the source of a set prepared by latentgen.prepare, or by TFDS."""
    from latentgen.data.sources import folder, tfds

    if (named := folder.named(request)) is not None:
        return named
    others = {f"{scheme}:..." for scheme in WITH_ARGUMENT}
    others |= {path.stem for path in (request.data_dir / SETS).glob("*.json")}
    known = dict.fromkeys((*BUILT_IN, *SOURCES, *others), Path())
    options = tfds.prepared(request.data_dir) | known
    if request.name and request.name not in options and Path(request.name).expanduser().exists():
        scheme = "arrays" if request.name.endswith((".npy", ".npz")) else "folder"
        raise BadInput(
            f"config.data.name={request.name!r} is a file or a folder; did you mean "
            f"{scheme}:{request.name}?"
        )
    found = choose("config.data.name", request.name, options)
    return Source(lambda request: tfds.load(request, found))


def check_data_dir(name: str, data_dir: str | os.PathLike[str] | None) -> None:
    """Check that `data_dir` is not a folder of pictures beside a set that reads no folder.

    Raises:
        BadInput: it holds pictures and no prepared set, and the set is computed.
    """
    if data_dir is None or name not in ("digits", "sprites", *toys.TOYS):
        return
    folder = Path(data_dir).expanduser()
    files = [*folder.glob("*"), *folder.glob("*/*")] if folder.is_dir() else []
    if any(path.suffix.lower() in PICTURES for path in files) and not (folder / SETS).exists():
        raise BadInput(
            f"--data_dir={str(data_dir)!r} is where prepared sets are kept, and config.data.name="
            f"{name!r} reads none; pictures of yours are --config.data.name=folder:{data_dir}."
        )


def checked_size(dataset: DataSet, size: int) -> DataSet:
    """Return the data set if its images are of `config.data.size`, or that is 0.

    Raises:
        BadInput: they are of another size.
    """
    if size and tuple(dataset.shape[:2]) != (size, size):
        own = "x".join(map(str, dataset.shape))
        raise BadInput(
            f"config.data.size={size} must be 0 for {dataset.name}, whose examples are of {own}; "
            "config.data.pad_to pads images with black."
        )
    return dataset


def _stacked(plain: DataSet) -> DataSet:
    """Stack the images of each split; 'train' has `TRAIN` examples."""

    def stack(split: str, examples: Examples) -> Examples:
        size = TRAIN if split == "train" else len(examples.label)
        return Examples(*stacked(examples.x, examples.label, size, SPLITS.index(split)))

    splits = {split: stack(split, examples) for split, examples in plain.splits.items()}
    return plain._replace(name=f"{PREFIX}{plain.name}", splits=splits, sha256=None, classes=())


def data_folder(data_dir: str | os.PathLike[str] | None) -> Path:
    """Return TFDS's folder: this one, or $TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    default = os.environ.get("TFDS_DATA_DIR") or Path("~", "tensorflow_datasets")
    return Path(data_dir or default).expanduser().absolute()
