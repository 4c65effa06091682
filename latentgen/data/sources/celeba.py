"""CelebA's aligned faces, prepared from the original archive and the list of its splits."""

import logging
from pathlib import Path, PurePosixPath

import numpy as np

from latentgen.core.errors import BadInput
from latentgen.data import published
from latentgen.data.dataset import DataSet
from latentgen.data.published import celeba
from latentgen.data.sources.base import SETS, Request, Source
from latentgen.data.sources.folder import SIZE, opened

_log = logging.getLogger(__name__)


def _celeba(request: Request) -> DataSet:
    """Prepare the middle square of each image once, with its 40 attributes as factors."""
    from latentgen.data.pictures.prepare import Factors, Metadata, Options, prepare

    paths = {file.name: _path(request, file.name) for file in celeba.FILES}
    rows = {
        name: row
        for row in celeba.rows(paths)
        for name in (row.member, PurePosixPath(row.member).name)
    }
    present = {name: (row.attributes > 0).astype(np.int32) for name, row in rows.items()}
    metadata = Metadata(
        {name: row.split for name, row in rows.items()},
        Factors(dict.fromkeys(celeba.ATTRIBUTES, 2), present),
    )
    options = Options(size=request.size or SIZE, color=request.color, strict=True)
    archive, sets = paths[celeba.IMAGES.name], request.data_dir / SETS
    folder = prepare(archive, options, sets, say=_log.info, metadata=metadata).folder
    return opened(folder)._replace(name="celeba", origin=f"folder {archive.parent}")


def _path(request: Request, name: str) -> Path:
    """Find an original file, and check it."""
    files = ", ".join(file.name for file in celeba.FILES)
    if request.manual_dir is None:
        raise BadInput(
            f"config.data.name='celeba' needs its original files: put {files} into a folder and "
            "name it in --manual_dir."
        )
    for path in (request.manual_dir / name, request.manual_dir / "celeba" / name):
        if path.is_file():
            published.verify(next(f for f in celeba.FILES if f.name == name), path)
            return path
    raise BadInput(f"--manual_dir={str(request.manual_dir)!r} lacks {name} of celeba.")


SOURCES = {"celeba": Source(_celeba, sized=True)}
