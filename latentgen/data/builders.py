"""TFDS builders of our own, which prepare the MNISTs where TensorFlow is not installed.

TFDS's own encode PNGs with TensorFlow; these store plain uint8 tensors, in the original order.
Their names begin with latentgen_, so that both may live in one data_dir.
"""

import contextlib
import io
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.checksums import UrlInfo

from latentgen.data import originals
from latentgen.errors import BadInput

REACH_SECONDS = 15.0


class _FromOriginals(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A set made of original files: those in `files`, else downloaded."""

    VERSION = tfds.core.Version(originals.VERSION)
    source = ""

    def __init__(self, *, files: originals.Files | None = None, **kwargs: Any) -> None:
        self._files = files
        super().__init__(**kwargs)

    @property
    def url_infos(self) -> dict[str, UrlInfo]:
        """Sizes and checksums that the download manager insists on."""
        return {
            o.url: UrlInfo(size=tfds.core.utils.Size(o.size), checksum=o.sha256, filename=o.file)
            for split in originals.ORIGINALS[self.source].values()
            for o in split
        }

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Tensor(shape=(28, 28, 1), dtype=np.uint8, encoding="bytes")
        features = {"image": image, "label": tfds.features.ClassLabel(num_classes=10)}
        if self.source == "binarized_mnist":
            del features["label"]
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        files = self._files or dl_manager.download(
            {s: [o.url for o in split] for s, split in originals.ORIGINALS[self.source].items()}
        )
        # All is verified before the first example is written.
        splits = {s: originals.arrays(self.source, s, list(map(Path, f))) for s, f in files.items()}
        return {split: self._generate_examples(*xs) for split, xs in splits.items()}

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
    """Prepares a set as array_record, all or nothing.

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
        with tempfile.TemporaryDirectory(prefix=".latentgen_", dir=data_dir) as scratch:
            builder = BUILDERS[name](data_dir=scratch, files=files)
            with contextlib.redirect_stdout(io.StringIO()):
                _run(builder, name, files is None)
            done = Path(builder.data_dir)
            final = data_dir / done.relative_to(scratch)
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.rename(done, final)
            except OSError:
                # Another process may have been faster; its set is as good.
                if not (final / "dataset_info.json").is_file():
                    raise
    except BaseException:
        if new:
            with contextlib.suppress(OSError):
                data_dir.rmdir()
        raise
    return final


def _run(builder: tfds.core.DatasetBuilder, name: str, downloads: bool) -> None:
    first, *rest = (o for split in originals.ORIGINALS[name].values() for o in split)
    config = tfds.download.DownloadConfig(force_checksums_validation=True)
    try:
        if downloads:
            _reach(first.url)
        builder.download_and_prepare(download_config=config, file_format="array_record")
    except BadInput:
        raise
    except Exception as error:
        if not downloads:
            raise
        raise BadInput(
            f"config.data.name={name!r}: the download of {first.url} and {len(rest)} more failed "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). Put the files "
            f"{', '.join(o.file for o in (first, *rest))} into a folder and name it in "
            "--manual_dir."
        ) from error


def _reach(url: str) -> None:
    """Fails within seconds where there is no network; TFDS would try for minutes."""
    request = urllib.request.Request(url, method="HEAD")
    # A server that answers at all is left to the download itself.
    with (
        contextlib.suppress(urllib.error.HTTPError),
        urllib.request.urlopen(request, timeout=REACH_SECONDS),
    ):
        pass
