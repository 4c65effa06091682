"""Arrays in a file of the user: arrays:FILE.npy or arrays:FILE.npz.

An .npy file holds images, uint8 or floats in [0, 1], of shape (n, h, w), (n, h, w, c) or
(n, c, h, w); uint8 images with channels last are mapped into memory as they are. An .npz file holds
`x` and perhaps `label`; or `train_x`, `train_label`, `validation_x`, `test_x`, ...
"""

import contextlib
import hashlib
import logging
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from latentgen.core.errors import BadInput
from latentgen.data import folders, store
from latentgen.data.dataset import SPLITS, DataSet, Examples, as_bytes, checked_label
from latentgen.data.sources.base import SETS, Request, Source

CHANNELS = (1, 3)
NPY = b"\x93NUMPY"
_log = logging.getLogger(__name__)


def _arrays(request: Request) -> DataSet:
    path = Path(request.argument).expanduser().absolute()
    try:
        stat = path.stat()
        if path.suffix == ".npy":
            x = np.load(path, mmap_mode="r", allow_pickle=False)
            if not isinstance(x, np.ndarray):
                raise ValueError("it is an .npz by its content")
            arrays = {"x": x}
        elif path.suffix == ".npz":
            arrays = {}
            with path.open("rb") as file:
                if file.read(len(NPY)) == NPY:
                    raise ValueError("it is an .npy by its content")
            zipfile.ZipFile(path).close()
        else:
            raise BadInput(
                f"config.data.name={request.name!r} must name a file that ends in .npy or .npz."
            )
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"config.data.name={request.name!r} cannot be read: {error}.") from None
    if path.suffix == ".npy" and x.dtype == np.uint8 and _last(request.name, x.shape):
        shaped = x.reshape(*x.shape, 1) if x.ndim == 3 else x
        splits = {"train": Examples(shaped, np.zeros(len(x), np.int32))}
        return DataSet("arrays", "1", f"file {path}", splits)

    def contents() -> store.Contents:
        if not arrays:
            scratch = open_files.enter_context(_scratch(folder.parent))
            arrays.update(_unpacked(path, scratch, 2 if scratch.parent == folder.parent else 1))
        return _contents(request.name, arrays)

    key = hashlib.sha256(repr((str(path), stat.st_size, stat.st_mtime_ns)).encode()).hexdigest()
    folder = request.data_dir / SETS / f"arrays_{key[:16]}"
    try:
        with contextlib.ExitStack() as open_files:
            dataset = store.read_or_write(folder, contents, warn=_log.warning)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, BadInput):
            raise
        why = str(error).rstrip(".")
        raise BadInput(f"config.data.name={request.name!r} cannot be read: {why}.") from None
    return dataset._replace(name="arrays", version="1", origin=f"file {path}")


@contextlib.contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """Create a folder for the duration of the context, elsewhere if `parent` cannot be written."""
    with contextlib.ExitStack() as stack:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(folders.scratch(parent))
        except OSError:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield folder


def _unpacked(path: Path, folder: Path, times: int) -> dict[str, np.ndarray]:
    """Unpack the arrays of an .npz file into a folder, and map them into memory.

    Args:
        times: how many copies of the arrays the folder's disk is to hold.

    Raises:
        ValueError, OSError, zipfile.BadZipFile: the file is damaged.
        BadInput: the disk has no room for its arrays.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        size, free = sum(each.file_size for each in members), shutil.disk_usage(folder).free
        if times * size > free:
            raise BadInput(
                f"{str(path)!r} holds arrays of {size / 2**30:.1f} GiB; preparing them takes "
                f"{times * size / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free in "
                f"{folder.parent}."
            )
        found = {}
        for number, member in enumerate(members):
            file = folder / f"{number}.npy"
            with archive.open(member) as packed, file.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 2**20)
            name = member.filename.removesuffix(".npy")
            try:
                array = np.load(file, mmap_mode="r", allow_pickle=False)
            except (ValueError, EOFError) as error:
                raise ValueError(f"its {name!r} is no array: {error}") from None
            if not isinstance(array, np.ndarray):
                raise ValueError(f"its {name!r} is no array")
            found[name] = array
    return found


def _contents(name: str, arrays: dict[str, np.ndarray]) -> store.Contents:
    """Check the arrays of a file, and describe their splits."""
    whole = "x" in arrays
    wanted = {
        ("x", "label") if whole else (f"{s}_x", f"{s}_label"): s
        for s in SPLITS[: 1 if whole else 3]
    }
    splits, shapes = {}, set()
    for (x_name, label_name), split in wanted.items():
        if x_name not in arrays:
            continue
        x = arrays[x_name]
        last = _last(name, x.shape)
        x = as_bytes(x) if last else np.moveaxis(as_bytes(x), 1, -1)
        x = x[..., None] if x.ndim == 3 else x
        label = checked_label(arrays.get(label_name), len(x))
        shapes.add(x.shape[1:])
        splits[split] = store.Columns(len(x), store.in_blocks(x, label))
    known = {n for pair, split in wanted.items() if split in splits for n in pair} & arrays.keys()
    if "train" not in splits or known != arrays.keys():
        odd = ", ".join(sorted(arrays.keys() - known)) or "no array"
        raise BadInput(
            f"config.data.name={name!r} has {odd}; valid: x and perhaps label, or train_x, "
            "train_label, and the same for validation and test."
        )
    if len(shapes) > 1:
        raise BadInput(f"config.data.name={name!r} has splits of different shapes: {shapes}.")
    return store.Contents(shapes.pop(), splits)


def _last(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether the channels come last, or there is no axis of channels.

    Raises:
        BadInput: the shape is not that of images, or both axes could be that of channels.
    """
    if len(shape) == 3 and shape[0]:
        return True
    first, last = (len(shape) == 4 and shape[axis] in CHANNELS for axis in (1, -1))
    if len(shape) == 4 and first != last and shape[0]:
        return last
    size = "x".join(map(str, shape))
    problem = "could have its channels first or last" if first and last else "is not images"
    raise BadInput(
        f"config.data.name={name!r}: an array of {size} {problem}; valid: (n, h, w), "
        "(n, h, w, c) or (n, c, h, w) with c = 1 or 3."
    )


SOURCES = {"arrays": Source(_arrays, argument="FILE.npz")}
