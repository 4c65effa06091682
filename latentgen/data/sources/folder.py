"""Pictures of the user: folder:PATH, where PATH is a folder, a .zip or a .tar."""

import json
import logging
from pathlib import Path

from latentgen.core.errors import BadInput
from latentgen.data import store
from latentgen.data.dataset import DataSet, hold_out
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


def named(file: Path) -> Source:
    """Return the source of a set that latentgen.prepare has given a name.

    Args:
        file: NAME.json in the folder of sets.

    Raises:
        BadInput: the file is damaged.
    """
    try:
        entry = json.loads(file.read_text())
        folder, holdout = file.parent / str(entry["folder"]), entry.get("holdout")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file} is damaged ({error}); prepare the set anew.") from None

    def load(request: Request) -> DataSet:
        dataset = opened(folder)._replace(name=file.stem, origin=f"prepared in {folder}")
        if holdout is None or "validation" in dataset.splits:
            return dataset
        n = len(dataset.splits["train"].label)
        return hold_out(dataset, None, round(holdout * n))

    return Source(load)


SOURCES = {"folder": Source(_folder, sized=True, argument="PATH")}
