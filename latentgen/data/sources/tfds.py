"""Sets prepared by TFDS as array_record, and the MNISTs, which are prepared here in that format.

The MNISTs are read from a set prepared by TFDS, else from original files in `manual_dir`, else from
Debian's package, else they are downloaded. Our builders keep the original order. TFDS's builders
shuffle it (always in the same way), so that their validation examples differ, and so does the
sha256 in `dataset.identity`.
"""

import contextlib
import functools
import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from latentgen.core.errors import BadInput
from latentgen.data import folders, images, originals, store
from latentgen.data.dataset import HELD_OUT, SPLITS, DataSet
from latentgen.data.sources.base import Request, Source

RULES = 2
"""Version of the decoding rules in `images`; a change invalidates cached arrays."""

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_log = logging.getLogger(__name__)


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


def load(request: Request, folder: Path) -> DataSet:
    """Load a set that TFDS has prepared in this folder."""
    if not _is_array_record(folder):
        raise BadInput(
            f"config.data.name={request.name!r}: {folder} is not in the format array_record; "
            "prepare it where TensorFlow is installed: tfds.builder("
            f"{request.name!r}).download_and_prepare(file_format='array_record')."
        )
    return _read(request.name, folder, request.data_dir, f"prepared by TFDS in {folder}")


def _mnist(request: Request) -> DataSet:
    """Load one of the sets with builders of ours."""
    name, data_dir = request.name, request.data_dir
    sets = prepared(data_dir)
    for folder in filter(None, (sets.get(f"latentgen_{name}"), sets.get(name))):
        if _is_array_record(folder):
            return _read(name, folder, data_dir, f"prepared by TFDS in {folder}")
    files, origin = _files(name, request.manual_dir)
    _log.info("%s: preparing from %s, once", name, origin)
    from latentgen.data import builders

    return _read(name, builders.prepare(name, data_dir, files), data_dir, origin)


def _files(name: str, manual_dir: Path | None) -> tuple[dict[str, list[Path]] | None, str]:
    """Find a set's original files; return (files, or None to download them; their origin)."""
    if manual_dir is not None:
        files, missing = originals.find(name, manual_dir)
        if missing:
            raise BadInput(
                f"--manual_dir={str(manual_dir)!r} lacks {', '.join(missing)} of {name}, "
                f"in it or in {name}/."
            )
        return files, f"folder {manual_dir}"
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
    try:
        signed = folders.read_digests(folder)
        found = store.read_or_write(
            cache,
            functools.partial(_contents, name, folder),
            functools.partial(store.compare, signed),
            _log.warning,
        )
    except BadInput:
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        raise BadInput(
            f"config.data.name={name!r}: {folder} cannot be read "
            f"({type(error).__name__}: {why}); {_repair_advice(folder, 'it')}."
        ) from error
    return found._replace(name=name, version=folder.name, origin=origin)


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


def _contents(name: str, folder: Path) -> store.Contents:
    """Describe the splits of a prepared set, which are decoded a block at a time."""
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
    named: Any = label if isinstance(label, tfds.features.ClassLabel) else None
    rows = _Rows(
        name,
        folder,
        tuple(shape),
        encoded=isinstance(image, tfds.features.Image),
        classes=named.num_classes or 2**31 - 1 if named else 0,
        zero_or_one=folder.parent.name == "binarized_mnist",
    )
    skip = {"image": tfds.decode.SkipDecoding()} if rows.encoded else None
    splits = {}
    for s in filter(paths.__contains__, SPLITS):
        source = builder.as_data_source(s, decoders=skip)
        splits[s] = store.Columns(len(source), rows.blocks(s, source))
    names = tuple(named.names or ()) if named and named.num_classes else ()
    has_names = names != tuple(map(str, range(len(names))))
    return store.Contents(tuple(shape), splits, names if has_names else ())


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

    def blocks(self, split: str, source: Any) -> Iterator[store.Block]:
        """Decode all images and labels."""
        for start in range(0, len(source), 1_000):
            at = range(start, min(start + 1_000, len(source)))
            x, label = np.empty((len(at), *self.shape), np.uint8), np.zeros(len(at), np.int32)
            for i, record in zip(at, source.__getitems__(at), strict=True):
                with self._naming(split, i):
                    x[i - start], label[i - start] = self._image(record), self._label(record)
            yield store.Block(x, label)

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


SOURCES = {
    name: Source(_mnist, held_out=None if name == "binarized_mnist" else HELD_OUT)
    for name in originals.ORIGINALS
}
