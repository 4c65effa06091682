"""TFDS builders that prepare the MNISTs without TensorFlow.

TFDS's builders encode PNGs with TensorFlow. These builders store uint8 tensors in the original
order. Their names begin with latentgen_, so that both kinds can share a data_dir.
"""

import contextlib
import hashlib
import http.client
import io
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from latentgen.core.errors import BadInput
from latentgen.data import folders, originals
from latentgen.data.originals import Original

SILENT = 30.0
"""Timeout in seconds of a download that receives no bytes."""
SLOWEST = 10_000
"""Minimum average bytes a second of a download; slower ones fail."""
BLOCK = 2**16

Arrays = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""split -> its images and labels."""


class _Info(tfds.core.DatasetInfo):
    """A `DatasetInfo` that TFDS does not try to fetch."""

    def initialize_from_bucket(self) -> None:
        """Do nothing, where TFDS would fetch the description from the network."""


class _FromOriginals(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A data set made from the arrays of its original files."""

    VERSION = tfds.core.Version(originals.VERSION)
    source = ""

    def __init__(self, *, arrays: Arrays | None = None, **kwargs: Any) -> None:
        self._arrays = arrays or {}
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Tensor(shape=(28, 28, 1), dtype=np.uint8, encoding="bytes")
        features = {"image": image, "label": tfds.features.ClassLabel(num_classes=10)}
        if self.source == "binarized_mnist":
            del features["label"]
        return _Info(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {split: self._generate_examples(*xs) for split, xs in self._arrays.items()}

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            example = {"image": image, "label": int(label)}
            yield i, {name: example[name] for name in self.info.features}


class LatentgenMnist(_FromOriginals):
    """MNIST: 60,000 and 10,000 handwritten digits (LeCun et al. 1998)."""

    source = "mnist"


class LatentgenFashionMnist(_FromOriginals):
    """Fashion-MNIST: 60,000 and 10,000 clothes (Xiao et al. 2017)."""

    source = "fashion_mnist"


class LatentgenKmnist(_FromOriginals):
    """Kuzushiji-MNIST: 60,000 and 10,000 cursive characters (Clanuwat et al. 2018)."""

    source = "kmnist"


class LatentgenBinarizedMnist(_FromOriginals):
    """MNIST binarized once and for all: 50,000, 10,000 and 10,000 (Larochelle & Murray 2011)."""

    source = "binarized_mnist"


BUILDERS = {
    b.source: b
    for b in (LatentgenMnist, LatentgenFashionMnist, LatentgenKmnist, LatentgenBinarizedMnist)
}


def prepare(name: str, data_dir: Path, files: originals.Files | None) -> Path:
    """Prepare a data set as array_record, atomically.

    Args:
        name: a key of `BUILDERS`.
        data_dir: TFDS's folder. The set is moved into it by a rename at the end, so that failures
            leave nothing behind and several processes can prepare it at once.
        files: split -> original files; None: download them.

    Returns:
        The folder of the prepared set.

    Raises:
        BadInput: a file is not the original, or a download fails.
    """
    tfds.disable_progress_bar()
    is_new = not data_dir.exists()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"config.data.data_dir={str(data_dir)!r} must be a folder one can write to: {error}."
        ) from None
    try:
        with folders.scratch(data_dir) as scratch:
            files = files or _download(name, scratch)
            # All files are verified before the first example is written.
            arrays = {s: originals.arrays(name, s, list(map(Path, f))) for s, f in files.items()}
            builder = BUILDERS[name](data_dir=scratch, arrays=arrays)
            with contextlib.redirect_stdout(io.StringIO()):
                builder.download_and_prepare(file_format="array_record")
            prepared = Path(builder.data_dir)
            folders.write_digests(prepared, _digests(arrays))
            final = data_dir / prepared.relative_to(scratch)
            final.parent.mkdir(parents=True, exist_ok=True)
            _move_into_place(prepared, final)
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):
                data_dir.rmdir()
        raise
    return final


def _digests(arrays: Arrays) -> dict[str, str]:
    return {
        f"{split}_{kind}": folders.digest(rows)
        for split, pair in arrays.items()
        for kind, rows in zip(("x", "label"), pair, strict=True)
    }


def _move_into_place(prepared: Path, final: Path) -> None:
    """Rename a prepared set to its final folder, unless another process has done so."""
    try:
        os.rename(prepared, final)
    except OSError:
        if (final / "dataset_info.json").is_file():  # another process was faster
            return
        if final.exists():
            raise BadInput(
                f"{final} is there but is no prepared set: dataset_info.json is missing; remove "
                "it to have the set prepared anew."
            ) from None
        raise


def _download(name: str, folder: Path) -> dict[str, list[Path]]:
    """Download the original files of a set into a folder.

    Raises:
        BadInput: a download fails, or a file is not the original.
    """
    files_by_split = originals.ORIGINALS[name]
    try:
        return {
            split: [fetch(o, folder) for o in split_] for split, split_ in files_by_split.items()
        }
    except (OSError, http.client.HTTPException) as error:
        names = ", ".join(o.file for split in files_by_split.values() for o in split)
        raise BadInput(
            f"config.data.name={name!r}: the download failed ({' '.join(str(error).split())}). "
            f"Try again, or put the files {names} into a folder and name it in --manual_dir."
        ) from error


def fetch(original: Original, folder: Path) -> Path:
    """Download a file, in bounded time.

    Raises:
        OSError: the download fails, or the file is not the original; the message has its URL.
    """
    path, start, size = folder / original.file, time.monotonic(), 0
    found = hashlib.sha256()
    expected = f"wanted {original.size} bytes of sha256 {original.sha256}"
    try:
        with (
            urllib.request.urlopen(original.url, timeout=SILENT) as response,
            open(path, "wb") as file,
        ):
            while size <= original.size and (block := response.read1(BLOCK)):
                size += len(block)
                found.update(block)
                file.write(block)
                if time.monotonic() - start > SILENT + size / SLOWEST:
                    raise TimeoutError(f"slower than {SLOWEST} bytes a second")
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.filename == str(path):  # the disk, not the network
            raise
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise OSError(f"{original.url}: {why} after {size} bytes; {expected}") from error
    if size > original.size:
        raise OSError(f"{original.url}: more than {original.size} bytes came; {expected}")
    if size < original.size:
        raise OSError(f"{original.url}: the connection ended after {size} bytes; {expected}")
    if found.hexdigest() != original.sha256:
        raise OSError(f"{original.url}: wrong checksum: sha256 {found.hexdigest()}; {expected}")
    return path
