"""TFDS builders of our own, which prepare the MNISTs where TensorFlow is not installed.

TFDS's own encode PNGs with TensorFlow; these store plain uint8 tensors, in the original order.
Their names begin with latentgen_, so that both may live in one data_dir.
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
"""Seconds without a byte after which a download is given up."""
SLOWEST = 10_000
"""Bytes a second, over a whole file: a slower download is given up."""
BLOCK = 2**16

Arrays = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""split -> its images and labels."""


class _Info(tfds.core.DatasetInfo):
    """A `DatasetInfo` of a set whose description TFDS does not publish: never fetched."""

    def initialize_from_bucket(self) -> None:
        """Ask nobody: TFDS would look for the description on the network."""


class _FromOriginals(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A set made of the arrays of its original files."""

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
    """Prepare a set as array_record, all or nothing.

    Args:
        name: a key of `BUILDERS`.
        data_dir: TFDS's folder; the set arrives in it by one rename at the end, so that a failure
            leaves nothing, and several processes may prepare at once.
        files: split -> original files; None: download them.

    Returns:
        The folder of the prepared set.

    Raises:
        BadInput: a file is not the original, or the download failed.
    """
    tfds.disable_progress_bar()
    new = not data_dir.exists()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"config.data.data_dir={str(data_dir)!r} must be a folder one can write to: {error}."
        ) from None
    try:
        with folders.scratch(data_dir) as scratch:
            files = files or _download(name, scratch)
            # All is verified before the first example is written.
            arrays = {s: originals.arrays(name, s, list(map(Path, f))) for s, f in files.items()}
            builder = BUILDERS[name](data_dir=scratch, arrays=arrays)
            with contextlib.redirect_stdout(io.StringIO()):
                builder.download_and_prepare(file_format="array_record")
            done = Path(builder.data_dir)
            folders.write_digests(done, _digests(arrays))
            final = data_dir / done.relative_to(scratch)
            final.parent.mkdir(parents=True, exist_ok=True)
            _arrive(done, final)
    except BaseException:
        if new:
            with contextlib.suppress(OSError):
                data_dir.rmdir()
        raise
    return final


def _digests(arrays: Arrays) -> dict[str, str]:
    return {
        f"{split}_{kind}": folders.digest(rows)
        for split, both in arrays.items()
        for kind, rows in zip(("x", "label"), both, strict=True)
    }


def _arrive(done: Path, final: Path) -> None:
    """Rename a whole set to its place, where another process's may be already."""
    try:
        os.rename(done, final)
    except OSError:
        if (final / "dataset_info.json").is_file():  # it was faster; its set is as good
            return
        if final.exists():
            raise BadInput(
                f"{final} is there but is no prepared set: dataset_info.json is missing; remove "
                "it to have the set prepared anew."
            ) from None
        raise


def _download(name: str, folder: Path) -> dict[str, list[Path]]:
    """The original files of a set, in a folder.

    Raises:
        BadInput: one of them did not come, or is not the original.
    """
    every = originals.ORIGINALS[name]
    try:
        return {split: [_fetch(o, folder) for o in split_] for split, split_ in every.items()}
    except (OSError, http.client.HTTPException) as error:
        names = ", ".join(o.file for split in every.values() for o in split)
        raise BadInput(
            f"config.data.name={name!r}: the download failed ({' '.join(str(error).split())}). "
            f"Try again, or put the files {names} into a folder and name it in --manual_dir."
        ) from error


def _fetch(original: Original, folder: Path) -> Path:
    """Download a file, in bounded time.

    Raises:
        OSError: it did not come, or what came is not the original; says which file and why.
    """
    path, began, size = folder / original.file, time.monotonic(), 0
    found = hashlib.sha256()
    wanted = f"wanted {original.size} bytes of sha256 {original.sha256}"
    try:
        with urllib.request.urlopen(original.url, timeout=SILENT) as answer, open(path, "wb") as to:
            while size <= original.size and (block := answer.read1(BLOCK)):
                size += len(block)
                found.update(block)
                to.write(block)
                if time.monotonic() - began > SILENT + size / SLOWEST:
                    raise TimeoutError(f"slower than {SLOWEST} bytes a second")
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.filename == str(path):  # the disk, not the network
            raise
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise OSError(f"{original.url}: {why} after {size} bytes; {wanted}") from error
    if size > original.size:
        raise OSError(f"{original.url}: more than {original.size} bytes came; {wanted}")
    if size < original.size:
        raise OSError(f"{original.url}: the connection ended after {size} bytes; {wanted}")
    if found.hexdigest() != original.sha256:
        raise OSError(f"{original.url}: wrong checksum: sha256 {found.hexdigest()}; {wanted}")
    return path
