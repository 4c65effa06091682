"""Data sets by name, in splits of fixed sizes.

| name                                      | train   | validation | test   | an example    |
|-------------------------------------------|---------|------------|--------|---------------|
| digits (scikit-learn's)                   | 1,397   | 200        | 200    | 8 x 8 x 1     |
| mnist, fashion_mnist, kmnist              | 55,000  | 5,000      | 10,000 | 28 x 28 x 1   |
| binarized_mnist                           | 50,000  | 10,000     | 10,000 | 28 x 28 x 1   |
| stacked_ before one of the above: three   | 128,000 | as above   | as     | h x w x 3     |
| of its images as colour planes            |         |            | above  |               |
| ring, grid, swiss_roll, two_moons         | 100,000 | 10,000     | 10,000 | 2             |
| an image set prepared by TFDS, by its     | the     | its own or | its    | of fixed size |
| TFDS name, with /config where it has one  | rest    | 5,000      | own    |               |

Validation examples are the last ones of the original training split, in a number that the user can
set, unless a set has a validation split of its own (binarized_mnist, some of TFDS's).

The MNISTs are read from a set prepared by TFDS, else from original files in `manual_dir`, else from
Debian's package, else they are downloaded. Our builders keep the original order. TFDS's builders
shuffle it (always in the same way), so that their validation examples differ, and so does the
sha256 in `identity`.
"""

import contextlib
import functools
import hashlib
import importlib.util
import json
import logging
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from latentgen.core.errors import BadInput, choose
from latentgen.data import folders, images, originals, toys
from latentgen.data.stacked import PREFIX, TRAIN, stacked

HELD_OUT = 5_000
LAZY_ABOVE = 2**30
"""A split whose decoded images have more bytes than this is read lazily from its files."""

RULES = 2
"""Version of the decoding rules in `images`; a change invalidates cached arrays."""

GREY = ("digits", *originals.ORIGINALS)
STACKED = tuple(f"{PREFIX}{name}" for name in GREY if name != "binarized_mnist")  # has no labels
BUILT_IN = (*GREY, *STACKED, *toys.TOYS)

SPLITS = ("train", "validation", "test")

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LazyRows:
    """uint8 images that `read` decodes on request, by their positions.

    digest: SHA-256 of their files.
    """

    read: Callable[[Sequence[int]], np.ndarray]
    positions: range
    example: tuple[int, ...]
    digest: str

    @property
    def dtype(self) -> np.dtype:
        """uint8."""
        return np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h, w, c)."""
        return (len(self), *self.example)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, rows: slice) -> "LazyRows":
        return replace(self, positions=self.positions[rows])

    def take(self, indices: Any, axis: int = 0) -> np.ndarray:
        """Return the rows at these indices as an array, as in numpy; only axis 0 is supported."""
        return self.read([self.positions[i] for i in np.asarray(indices).tolist()])


class Examples(NamedTuple):
    """A split: x is uint8 (n, h, w, c) or float32 (n, 2); label is int32 (n,), 0 without classes.

    x is an array, or a `LazyRows` if the split is larger than `LAZY_ABOVE`. Use
    `x.take(indices, axis=0)` to get rows of either.
    """

    x: np.ndarray | LazyRows
    label: np.ndarray


class LazySplits(Mapping[str, Examples]):
    """Splits that are loaded at first use, with known shape and dtype.

    shape, dtype: shape and dtype of a raw example.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype,
        load: Callable[[], Mapping[str, Examples]],
    ) -> None:
        self.shape, self.dtype, self._load = shape, dtype, load
        self._found: Mapping[str, Examples] | None = None

    def _splits(self) -> Mapping[str, Examples]:
        if self._found is None:
            self._found = self._load()
        return self._found

    def __getitem__(self, split: str) -> Examples:
        return self._splits()[split]

    def __iter__(self) -> Iterator[str]:
        return iter(self._splits())

    def __len__(self) -> int:
        return len(self._splits())


class DataSet(NamedTuple):
    """A data set: name, version, a description of its origin, and splits."""

    name: str
    version: str
    origin: str
    splits: Mapping[str, Examples]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        if isinstance(self.splits, LazySplits):
            return self.splits.shape
        return tuple(self.splits["train"].x.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """uint8 for images, float32 for points."""
        if isinstance(self.splits, LazySplits):
            return self.splits.dtype
        return np.dtype(self.splits["train"].x.dtype)


def as_bytes(x: np.ndarray) -> np.ndarray:
    """Convert images to uint8; floats in [0, 1] are rounded to 256 levels.

    Raises:
        BadInput: they are neither uint8 nor floats in [0, 1].
    """
    if x.dtype == np.uint8:
        return x
    if not np.issubdtype(x.dtype, np.floating) or not ((x >= 0) & (x <= 1)).all():
        raise BadInput(f"images of {x.dtype} must be uint8, or floats in [0, 1].")
    return np.rint(x * 255).astype(np.uint8)


ARRAYS = "arrays"
"""Name of data sets that are given as arrays in Python."""


def from_arrays(
    x: np.ndarray, label: np.ndarray | None = None, *, validation: int | None = None
) -> DataSet:
    """Make a data set of arrays, with the splits 'train' and 'validation'.

    Args:
        x: images (n, h, w, c) or (n, h, w) as uint8 or as floats in [0, 1], which are rounded to
            256 levels; or points (n, d).
        label: (n,) whole numbers from 0; None: no classes.
        validation: how many of the last examples are held out; None: a tenth.

    Raises:
        BadInput: the arrays have another dtype or shape, or different lengths.
    """
    x = np.asarray(x)
    images = x.ndim in (3, 4)
    if x.ndim not in (2, 3, 4) or not len(x):
        raise BadInput(
            f"data of shape {x.shape} must be images (n, h, w, c) or (n, h, w), or points (n, d)."
        )
    x = x[..., None] if x.ndim == 3 else x
    if images:
        x = as_bytes(x)
    else:
        x = x.astype(np.float32)
        if not np.isfinite(x).all():
            raise BadInput("points must be finite.")
    label = np.zeros(len(x), np.int32) if label is None else np.asarray(label)
    if label.shape != (len(x),) or not np.issubdtype(label.dtype, np.integer) or label.min() < 0:
        raise BadInput(
            f"labels of {label.dtype} {label.shape} must be {len(x)} whole numbers from 0."
        )
    whole = {"train": Examples(np.ascontiguousarray(x), label.astype(np.int32))}
    splits = _hold_out(whole, validation, len(x) // 10)
    return DataSet(ARRAYS, "1", "given in Python", splits)


def load(
    name: str,
    *,
    validation: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
) -> DataSet:
    """Load the data set of this name, with the splits 'train', 'validation' and 'test'.

    Args:
        name: see the table above.
        validation: number of examples to hold out for validation; None: as in the table; 0: no
            such split.
        data_dir: TFDS's folder; None: $TFDS_DATA_DIR, or ~/tensorflow_datasets.
        manual_dir: a folder with a set's original files, in it or in a subfolder of the set's
            name, as published or decompressed.

    Raises:
        BadInput: the name is unknown, `validation` is too large, an original file is missing or
            damaged, a download fails, or a prepared set cannot be used.
    """
    if name in STACKED:
        plain = load(
            name.removeprefix(PREFIX),
            validation=validation,
            data_dir=data_dir,
            manual_dir=manual_dir,
        )
        return _stacked(plain)
    if name == "digits":
        dataset = _digits()
        held_out = 200
    elif name in toys.TOYS:
        x, label = toys.points(name)
        dataset = DataSet(name, "1.0.0", "computed", _cut(Examples(x, label), 10_000, "test"))
        held_out = 10_000
    else:
        dataset = _from_tfds(name, _data_dir(data_dir), manual_dir)
        held_out = HELD_OUT
    return dataset._replace(splits=_hold_out(dataset.splits, validation, held_out))


def identity(dataset: DataSet, preprocess: str) -> dict[str, Any]:
    """Return name, version, preprocessing, split sizes and sha256 of the data as plain JSON.

    The sha256 has 16 hex digits. It covers all labels, then all images, in the order train,
    validation, test, so that it does not depend on the size of the validation split. For lazily
    read images, it covers the digests of their files.
    """
    digest = hashlib.sha256()
    files = set()
    for examples in dataset.splits.values():
        digest.update(np.ascontiguousarray(examples.label).data)
    for examples in dataset.splits.values():
        x = examples.x
        if isinstance(x, np.ndarray):
            digest.update(np.ascontiguousarray(x).data)
        elif x.digest not in files:  # train and validation may share files
            files.add(x.digest)
            digest.update(x.digest.encode())
    return {
        "name": dataset.name,
        "version": dataset.version,
        "preprocess": preprocess,
        "splits": {split: len(examples.label) for split, examples in dataset.splits.items()},
        "sha256": digest.hexdigest()[:16],
    }


def padded(dataset: DataSet, side: int) -> DataSet:
    """Pad images with black to `side` x `side` pixels; 0: do not pad.

    Raises:
        BadInput: there are no images, they are larger, or they are read lazily.
    """
    if not side:
        return dataset
    h, w = dataset.shape[:2] if len(dataset.shape) == 3 else (0, 0)
    if not 0 < max(h, w) <= side:
        size = "x".join(map(str, dataset.shape))
        raise BadInput(
            f"config.data.pad_to={side} must be 0 or at least the side of an image; "
            f"{dataset.name} has examples of {size}."
        )
    padding = [(0, 0)] + [((side - s) // 2, (side - s + 1) // 2) for s in (h, w)] + [(0, 0)]

    def pad(examples: Examples) -> Examples:
        if not isinstance(examples.x, np.ndarray):
            raise BadInput(f"config.data.pad_to={side} must be 0 for a set read from its files.")
        return examples._replace(x=np.pad(examples.x, padding))

    return dataset._replace(splits={s: pad(e) for s, e in dataset.splits.items()})


def _stacked(plain: DataSet) -> DataSet:
    """Stack the images of each split; 'train' has `TRAIN` examples."""

    def stack(split: str, examples: Examples) -> Examples:
        size = TRAIN if split == "train" else len(examples.label)
        return Examples(*stacked(np.asarray(examples.x), examples.label, size, SPLITS.index(split)))

    splits = {split: stack(split, examples) for split, examples in plain.splits.items()}
    return plain._replace(name=f"{PREFIX}{plain.name}", splits=splits)


def _cut(examples: Examples, last: int, name: str) -> dict[str, Examples]:
    """Split off the last examples under this name; the others are 'train'."""
    at = len(examples.label) - last
    train, rest = (Examples(examples.x[i], examples.label[i]) for i in np.s_[:at, at:])
    return {"train": train} | ({name: rest} if last else {})


def _hold_out(
    splits: Mapping[str, Examples], validation: int | None, default: int
) -> dict[str, Examples]:
    """Hold out 'validation' from the end of 'train', unless there is such a split."""
    train = splits["train"]
    if "validation" in splits:
        own = len(splits["validation"].label)
        if validation not in (None, 0, own):
            raise BadInput(
                f"config.data.validation={validation} must be None, 0 or {own}: the set has a "
                "validation split of its own."
            )
        return {s: e for s, e in splits.items() if s != "validation" or validation != 0}
    last = default if validation is None else validation
    if not 0 <= last < len(train.label):
        raise BadInput(
            f"config.data.validation={last} must be at least 0 and below {len(train.label)}, the "
            "size of the training split it is taken from."
        )
    held_out = _cut(train, last, "validation")
    return held_out | {s: e for s, e in splits.items() if s != "train"}


def _digits() -> DataSet:
    """Load scikit-learn's 1,797 digits, 8 x 8 grey values 0..16 scaled to round(v * 255 / 16).

    They are shuffled in a fixed order, because the original is sorted by writer. The last 200 are
    the test split.
    """
    # Read the package's file directly, because importing scikit-learn is slow.
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise BadInput("config.data.name='digits' needs scikit-learn: pip install scikit-learn.")
    path = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    if path.is_file():
        table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
        values, target = table[:, :64], table[:, 64]
    else:
        from sklearn.datasets import load_digits

        values, target = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(values))
    x = np.rint(values[order] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    label = target[order].astype(np.int32)
    return DataSet("digits", "1.0.0", "scikit-learn", _cut(Examples(x, label), 200, "test"))


def _data_dir(data_dir: str | os.PathLike[str] | None) -> Path:
    default = os.environ.get("TFDS_DATA_DIR") or Path("~", "tensorflow_datasets")
    return Path(data_dir or default).expanduser().absolute()


def prepared(data_dir: Path) -> dict[str, Path]:
    """Return the newest version of each prepared set: 'name' or 'name/config' -> folder."""
    found: dict[str, list[Path]] = {}
    for pattern in ("*/*/dataset_info.json", "*/*/*/dataset_info.json"):
        for folder in (info.parent for info in data_dir.glob(pattern)):
            name = str(folder.parent.relative_to(data_dir))
            # Hidden folders are left by killed processes.
            if _VERSION.fullmatch(folder.name) and not name.startswith("."):
                found.setdefault(name, []).append(folder)
    return {
        name: max(folders, key=lambda f: tuple(map(int, f.name.split("."))))
        for name, folders in found.items()
    }


def _is_array_record(folder: Path) -> bool:
    path = folder / "dataset_info.json"
    try:
        return json.loads(path.read_text()).get("fileFormat") == "array_record"
    except (ValueError, AttributeError) as error:
        raise BadInput(
            f"{path} is damaged ({' '.join(str(error).split())[:200]}); "
            f"{_repair_advice(folder, folder)}."
        ) from None


def _repair_advice(folder: Path, shown: object) -> str:
    """Return advice on how to repair a damaged set, which depends on its builder."""
    if folder.parent.name.startswith("latentgen_"):
        return f"remove {shown} to have it prepared anew"
    return "whoever prepared this set must restore these files or prepare it again"


def _from_tfds(name: str, data_dir: Path, manual_dir: str | os.PathLike[str] | None) -> DataSet:
    prepared_sets = prepared(data_dir)
    if name not in originals.ORIGINALS:
        folder = choose("config.data.name", name, prepared_sets | dict.fromkeys(BUILT_IN, Path()))
        if not _is_array_record(folder):
            raise BadInput(
                f"config.data.name={name!r}: {folder} is not in the format array_record; prepare "
                "it where TensorFlow is installed: tfds.builder("
                f"{name!r}).download_and_prepare(file_format='array_record')."
            )
        return _read(name, folder, data_dir, f"prepared by TFDS in {folder}")
    for folder in filter(None, (prepared_sets.get(f"latentgen_{name}"), prepared_sets.get(name))):
        if _is_array_record(folder):
            return _read(name, folder, data_dir, f"prepared by TFDS in {folder}")

    files, origin = _files(name, manual_dir)
    _log.info("%s: preparing from %s, once", name, origin)
    from latentgen.data import builders

    return _read(name, builders.prepare(name, data_dir, files), data_dir, origin)


def _files(
    name: str, manual_dir: str | os.PathLike[str] | None
) -> tuple[dict[str, list[Path]] | None, str]:
    """Find a set's original files; return (files, or None to download them; their origin)."""
    if manual_dir is not None:
        folder = Path(manual_dir).expanduser()
        files, missing = originals.find(name, folder)
        if missing:
            raise BadInput(
                f"--manual_dir={str(manual_dir)!r} lacks {', '.join(missing)} of {name}, "
                f"in it or in {name}/."
            )
        return files, f"folder {folder}"
    if name in originals.DEBIAN:
        files, missing = originals.find(name, originals.DEBIAN[name])
        if not missing:
            return files, f"Debian's dataset-{name.replace('_', '-')}"
    return None, "download"


def _read(name: str, folder: Path, data_dir: Path, origin: str) -> DataSet:
    """Read a prepared set, from the cache of decoded arrays or else from its records."""
    files = sorted((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in folder.iterdir())
    key = hashlib.sha256(repr((RULES, files)).encode()).hexdigest()[:16]
    cache = data_dir / "latentgen_arrays" / name / folder.name / key
    arrays, digests = _cached(cache)
    splits = _splits(arrays)
    if not splits or not all("x" in examples for examples in splits.values()):
        try:
            splits = _decode(name, folder, splits, digests)
            found = _digests(splits)
            _compare(folders.read_digests(folder), found)
        except BadInput:
            raise
        except Exception as error:
            why = " ".join(str(error).split())[:200]
            raise BadInput(
                f"config.data.name={name!r}: {folder} cannot be read "
                f"({type(error).__name__}: {why}); {_repair_advice(folder, 'it')}."
            ) from error
        if not arrays:
            _save_arrays(cache, splits, found)
    return DataSet(name, folder.name, origin, {s: Examples(**e) for s, e in splits.items()})


def _cached(cache: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Load the arrays in a cache and their digests; return none and delete it if they differ."""
    if not cache.is_dir():
        return {}, {}
    try:
        digests = folders.read_digests(cache)
        if digests is None:
            raise ValueError(f"{folders.DIGESTS} is missing")
        arrays = {p.stem: np.load(p, mmap_mode="r") for p in cache.glob("*.npy")}
        found = {name: folders.digest(rows) for name, rows in arrays.items()}
        _compare({n: d for n, d in digests.items() if not n.endswith("_files")}, found)
        return arrays, digests
    except (OSError, ValueError, EOFError) as error:
        _log.warning("the decoded arrays in %s are damaged (%s); decoding anew", cache, error)
        shutil.rmtree(cache, ignore_errors=True)
        return {}, {}


def _digests(splits: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return digests of arrays ('train_x', ...) and of files of lazy splits ('train_files')."""
    found = {}
    for split, examples in splits.items():
        for kind, rows in examples.items():
            if isinstance(rows, np.ndarray):
                found[f"{split}_{kind}"] = folders.digest(rows)
            else:
                found[f"{split}_files"] = rows.digest
    return found


def _compare(signed: dict[str, str] | None, found: dict[str, str]) -> None:
    """Raise ValueError if arrays differ from their written digests."""
    if signed is not None and signed != found:
        names = sorted(n for n in signed.keys() | found if signed.get(n) != found.get(n))
        raise ValueError(f"{', '.join(names)}: not what was written")


def _splits(arrays: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Convert {'train_x': x, ...} to {'train': {'x': x, ...}, ...}, in the order of `SPLITS`."""
    return {
        split: {k: arrays[f"{split}_{k}"] for k in Examples._fields if f"{split}_{k}" in arrays}
        for split in SPLITS
        if f"{split}_label" in arrays
    }


def _save_arrays(cache: Path, splits: dict[str, dict[str, Any]], digests: dict[str, str]) -> None:
    """Write decoded arrays to the cache atomically; errors are only logged."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with folders.scratch(cache.parent) as scratch:
            done = scratch / "arrays"
            done.mkdir()
            for split, examples in splits.items():
                for kind, rows in examples.items():
                    if isinstance(rows, np.ndarray):
                        np.save(done / f"{split}_{kind}.npy", rows)
            folders.write_digests(done, digests)
            os.rename(done, cache)
    except OSError as error:
        if not cache.is_dir():
            _log.warning("decoded arrays are not cached: %s", error)


def _check_files(split: str, paths: Sequence[Path], examples: int) -> None:
    """Raise ValueError if a split's files have another number of records than `examples`."""
    from array_record.python.array_record_module import ArrayRecordReader

    found = 0
    for path in paths:
        reader = ArrayRecordReader(str(path))
        try:
            found += reader.num_records()
        finally:
            reader.close()
    if found != examples:
        raise ValueError(f"{split} has {found} records, dataset_info.json says {examples}")


def _decode(
    name: str, folder: Path, known: dict[str, dict[str, np.ndarray]], digests: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """Decode the splits of a prepared set from its records, unless their arrays are known.

    The images of splits above `LAZY_ABOVE` are read lazily.
    """
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    features = dict(builder.info.features.items())
    image = features.get("image")
    shape = getattr(image, "shape", None)
    dtype = getattr(image, "np_dtype", None)
    if not shape or len(shape) != 3 or None in shape or dtype != np.uint8:
        raise BadInput(
            f"config.data.name={name!r}: {folder} needs a feature 'image' of one fixed shape "
            f"(h, w, c) in uint8; it has {image}."
        )
    if "train" not in builder.info.splits:
        raise BadInput(f"config.data.name={name!r}: {folder} has no split 'train'.")
    paths = {s: [Path(p) for p in i.filepaths] for s, i in builder.info.splits.items()}
    for s, info in builder.info.splits.items():
        _check_files(s, paths[s], info.num_examples)
    label = features.get("label")
    rows = _Rows(
        name,
        folder,
        tuple(shape),
        encoded=isinstance(image, tfds.features.Image),
        classes=label.num_classes or 2**31 - 1
        if isinstance(label, tfds.features.ClassLabel)
        else 0,
        zero_or_one=folder.parent.name == "binarized_mnist",
    )
    skip = {"image": tfds.decode.SkipDecoding()} if rows.encoded else None
    found: dict[str, dict[str, Any]] = {}
    for s in filter(paths.__contains__, SPLITS):
        source = builder.as_data_source(s, decoders=skip)
        if len(source) * math.prod(shape) <= LAZY_ABOVE:
            found[s] = rows.decoded(s, source)
            continue
        label = known[s]["label"] if s in known else rows.checked(s, source)
        digest = digests.get(f"{s}_files") or folders.digest_files(paths[s])
        read = functools.partial(rows.read, s, source)
        found[s] = {"x": LazyRows(read, range(len(source)), rows.shape, digest), "label": label}
    return found


class _Rows(NamedTuple):
    """A strict reader of a prepared set's records: nothing is cast, broadcast or cropped.

    encoded: whether images are encoded files, not arrays
    classes: number of classes; 0 without labels
    zero_or_one: whether pixels are 0 and 1, as in TFDS's binarized MNIST; read as 0 and 255
    """

    name: str
    folder: Path
    shape: tuple[int, ...]
    encoded: bool
    classes: int
    zero_or_one: bool

    def decoded(self, split: str, source: Any) -> dict[str, np.ndarray]:
        """Decode all images and labels."""
        x, label = np.empty((len(source), *self.shape), np.uint8), np.zeros(len(source), np.int32)
        for start in range(0, len(source), 1_000):
            at = range(start, min(start + 1_000, len(source)))
            for i, record in zip(at, source.__getitems__(at), strict=True):
                with self._naming(split, i):
                    x[i], label[i] = self._image(record), self._label(record)
        return {"x": x, "label": label}

    def checked(self, split: str, source: Any) -> np.ndarray:
        """Read all labels, and check each image."""
        label = np.zeros(len(source), np.int32)
        for i, record in enumerate(source):
            with self._naming(split, i):
                label[i] = self._label(record)
                if self.encoded:
                    images.check(record["image"], self.shape)
        return label

    def read(self, split: str, source: Any, positions: Sequence[int]) -> np.ndarray:
        """Decode the images at these positions."""
        x = np.empty((len(positions), *self.shape), np.uint8)
        records = source.__getitems__(positions)
        for at, (i, record) in enumerate(zip(positions, records, strict=True)):
            with self._naming(split, i):
                x[at] = self._image(record)
        return x

    @contextlib.contextmanager
    def _naming(self, split: str, i: int) -> Iterator[None]:
        """Convert a ValueError to a BadInput that names the data set and the example."""
        try:
            yield
        except ValueError as error:
            raise BadInput(
                f"config.data.name={self.name!r}: example {i} of {split} in {self.folder}: "
                f"{error}; {_repair_advice(self.folder, 'the folder')}."
            ) from None

    def _image(self, record: Mapping[str, Any]) -> np.ndarray:
        x = record["image"]
        x = images.decode(x, self.shape) if self.encoded else x
        if x.dtype != np.uint8 or x.shape != self.shape:
            raise ValueError(f"it is {x.dtype} of shape {x.shape}, not uint8 of {self.shape}")
        if not self.zero_or_one:
            return x
        if x.max(initial=0) > 1:
            raise ValueError(f"a pixel is {x.max()}, not 0 or 1")
        return x * np.uint8(255)

    def _label(self, record: Mapping[str, Any]) -> int:
        """Return the label, which is -1 for an unlabelled example."""
        if not self.classes:
            return 0
        if not -1 <= int(record["label"]) < self.classes:
            raise ValueError(f"its label is {record['label']}, of {self.classes} classes")
        return int(record["label"])
