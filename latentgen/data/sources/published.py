"""Published image sets, prepared once from their original files."""

import contextlib
import logging
from pathlib import Path

from latentgen.core.errors import BadInput
from latentgen.data import folders, published, store
from latentgen.data.dataset import DataSet
from latentgen.data.published import File, Published
from latentgen.data.sources.base import SETS, Request, Source

_log = logging.getLogger(__name__)


def _published(request: Request) -> DataSet:
    """Load a set; prepare it first from files in `manual_dir`, or from a download."""
    found = published.PUBLISHED[request.name]
    folder = request.data_dir / SETS / request.name / found.version
    origin = f"prepared in {folder}"
    with contextlib.ExitStack() as stack:

        def contents() -> store.Contents:
            nonlocal origin
            files, origin = _files(found, request, stack)
            _log.info("%s: preparing from %s, once", found.name, origin)
            for file in (f for files_ in _accepted(found) for f in files_ if f.name in files):
                published.verify(file, files[file.name])
            splits = {
                split: store.Columns(size, found.blocks(files, split))
                for split, size in found.splits.items()
            }
            return store.Contents(found.shape, splits, found.classes, found.factors)

        try:
            dataset = store.read_or_write(folder, contents, warn=_log.warning)
        except BadInput:
            raise
        except ValueError as error:
            raise BadInput(f"config.data.name={request.name!r}: {error}.") from None
        except OSError as error:
            raise BadInput(
                f"config.data.data_dir={str(request.data_dir)!r} must be a folder one can write "
                f"to: {error}."
            ) from None
    return dataset._replace(name=found.name, version=found.version, origin=origin)


def _accepted(found: Published) -> tuple[tuple[File, ...], ...]:
    return (found.files, *found.alternatives)


def _files(
    found: Published, request: Request, stack: contextlib.ExitStack
) -> tuple[dict[str, Path], str]:
    """Find a set's files, or download them into a folder that `stack` removes."""
    names = " or ".join(", ".join(f.name for f in files) for files in _accepted(found))
    where = f"put {names} into a folder and name it in --manual_dir"
    if request.manual_dir is not None:
        files, missing = published.find(found, request.manual_dir)
        if not missing:
            return files, f"folder {request.manual_dir}"
        raise BadInput(
            f"--manual_dir={str(request.manual_dir)!r} lacks {', '.join(missing)} of {found.name}, "
            f"in it or in {found.name}/."
        )
    if not all(file.size and file.sha256 for file in found.files):
        urls = ", ".join(file.url for file in found.files)
        raise BadInput(
            f"config.data.name={found.name!r} cannot be downloaded, because its publisher names no "
            f"checksum: {where}. They are at {urls}."
        )
    from latentgen.data import builders
    from latentgen.data.originals import Original

    folder = stack.enter_context(folders.scratch(_made(request.data_dir)))
    try:
        return {
            file.name: builders.fetch(
                Original(file.url, file.size or 0, file.sha256 or "", None), folder
            )
            for file in found.files
        }, "download"
    except OSError as error:
        why = " ".join(str(error).split())
        raise BadInput(
            f"config.data.name={found.name!r}: the download failed ({why}). Try again, or {where}."
        ) from None


def _made(data_dir: Path) -> Path:
    data_dir.mkdir(parents=True, exist_ok=True)
    return data_dir


SOURCES = {name: Source(_published) for name in published.PUBLISHED}
