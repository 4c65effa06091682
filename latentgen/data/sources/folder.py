"""Pictures of the user: folder:PATH, where PATH is a folder, a .zip or a .tar."""

import logging
from pathlib import Path

from latentgen.core.errors import BadInput
from latentgen.data import store
from latentgen.data.dataset import DataSet
from latentgen.data.pictures import named as names
from latentgen.data.sources.base import SETS, Request, Source

SIZE = 64  # pixels, by default
_log = logging.getLogger(__name__)


def _folder(request: Request) -> DataSet:
    """Prepare the pictures once, and map them into memory."""
    from latentgen.data.pictures.prepare import Options, prepare

    where = Path(request.argument).expanduser().absolute()
    options = Options(size=request.size or SIZE, color=request.color)
    folder = prepare(where, options, request.data_dir / SETS, say=_log.info).folder
    return opened(folder)._replace(name="folder", origin=f"pictures of {where}")


def opened(folder: Path) -> DataSet:
    """Map a prepared folder into memory.

    Raises:
        BadInput: it is damaged.
    """
    try:
        dataset = store.read(folder)
    except (OSError, ValueError, EOFError) as error:
        raise BadInput(
            f"{folder} is damaged ({error}); remove it to have the pictures prepared anew."
        ) from None
    return dataset._replace(by_content=True)


def named(request: Request) -> Source | None:
    """Return the source of a set that latentgen.prepare has given a name, if there is one.

    Raises:
        BadInput: the file of the name is damaged.
    """
    if not names.is_valid(request.name):
        return None
    sets = request.data_dir / SETS
    found = names.read(sets, request.name)
    if found is None:
        return None

    def load(request: Request) -> DataSet:
        folder = sets / found.folder
        return opened(folder)._replace(name=request.name, origin=f"prepared in {folder}")

    return Source(load, held_out=found.holdout)


SOURCES = {"folder": Source(_folder, sized=True, argument="PATH")}
