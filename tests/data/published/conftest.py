"""Archives with the layout of the published ones, made by hand."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from latentgen.data.published import PUBLISHED, Block

Pack = Callable[[str, Mapping[str, bytes]], Path]


def _tar(path: Path, members: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def _zip(path: Path, members: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Writes a .tar.gz, or else a zip; in a folder of its own, so that others are noticed."""
    (tmp_path / "in").mkdir()

    def write(name: str, members: Mapping[str, bytes]) -> Path:
        path = tmp_path / "in" / name
        (_tar if name.endswith(".tar.gz") else _zip)(path, members)
        return path

    return write


@pytest.fixture
def read() -> Callable[[str, Mapping[str, Path], str], Block]:
    """Read a split as one block, after checking the types and shapes of its blocks."""

    def joined(name: str, files: Mapping[str, Path], split: str) -> Block:
        published = PUBLISHED[name]
        blocks = list(published.blocks(files, split))
        assert all(0 < len(b.x) <= 1_000 for b in blocks)
        x = np.concatenate([b.x for b in blocks])
        label = np.concatenate([b.label for b in blocks])
        assert x.dtype == np.uint8
        assert x.shape[1:] == published.shape
        assert label.dtype == np.int32
        assert label.shape == (len(x),)
        if not published.factors:
            assert all(b.factors is None for b in blocks)
            return Block(x, label)
        factors = np.concatenate([b.factors for b in blocks])
        assert factors.dtype == np.int32
        assert factors.shape == (len(x), len(published.factors))
        return Block(x, label, factors)

    return joined


@pytest.fixture
def refused() -> Callable[..., str]:
    """Check that a reader refuses its files; return its one line."""
    from latentgen.core.errors import BadInput

    def message(name: str, files: Mapping[str, Path], split: str = "train") -> str:
        with pytest.raises(BadInput) as info:
            list(PUBLISHED[name].blocks(files, split))
        text = str(info.value)
        assert "\n" not in text
        return text

    return message
