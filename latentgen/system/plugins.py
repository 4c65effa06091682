"""Code of a user's own: modules that a config names, which add rows to latentgen's tables.

`config.plugins = ("my_idea",)` has every command and every worker import my_idea before it reads
the rest of the config. A value such as 'my_idea:opposite_labels' names one thing of a module, in
place of a row of a table.
"""

import hashlib
import importlib
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from latentgen.core.errors import BadInput, shortened

KEY = "plugins"
REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def names(config: Mapping[str, Any]) -> list[str]:
    """The modules that a config names, those of `plugins` first."""
    listed = config.get(KEY) or ()
    found = [name for name in listed if isinstance(name, str)] if _is_list(listed) else []
    found += [value.partition(":")[0] for value in _references(config)]
    return list(dict.fromkeys(found))


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _references(config: Mapping[str, Any]) -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            if key != "data":  # there a name may be a path
                yield from _references(value)
        elif isinstance(value, str) and REFERENCE.fullmatch(value):
            yield value


def load(modules: Iterable[str]) -> None:
    """Import these modules.

    Raises:
        BadInput: one of them cannot be imported.
    """
    for name in modules:
        _imported(f"config.{KEY}", name)


def resolve(key: str, reference: str) -> Any:
    """The thing that 'module:name' names.

    Args:
        key: the key of the config that names it, for messages.

    Raises:
        BadInput: there is no such module, or nothing of this name in it.
    """
    module, _, name = reference.partition(":")
    found = _imported(key, module)
    if not hasattr(found, name):
        raise BadInput(f"{key}={reference!r}: the module {module!r} has no {name!r}.")
    return getattr(found, name)


def _imported(key: str, name: str) -> Any:
    if not NAME.fullmatch(name):
        raise BadInput(f"{key}={shortened(repr(name))} must be the name of a module, as my_idea.")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise BadInput(
                f"{key}={name!r}: there is no such module; install it, or run where it lies."
            ) from None
        raise BadInput(f"{key}={name!r} cannot be imported: {error}.") from None
    except BadInput:
        raise
    except Exception as error:  # a file of the user's: anything may be wrong with it
        said = f"{type(error).__name__}: {error}"
        raise BadInput(f"{key}={name!r} cannot be imported: {said}.") from None


def check_outside(config: Mapping[str, Any], folder: Path) -> None:
    """Check that no module named by a folder's config lies in that folder, which may be anybody's.

    A worker of a sweep runs from the sweep's own snapshot.

    Raises:
        BadInput: one does.
    """
    if Path(__file__).resolve().is_relative_to(folder.resolve()):
        return
    for name in names(config):
        top = name.partition(".")[0]
        spec = importlib.util.find_spec(top) if NAME.fullmatch(name) else None
        places = [*(spec.submodule_search_locations or ()), spec.origin or ""] if spec else []
        if any(Path(place).resolve().is_relative_to(folder.resolve()) for place in places if place):
            raise BadInput(
                f"workdir={str(folder)!r} names the module {top!r}, which lies in it: code of a "
                "workdir is not run; install it elsewhere."
            )


def files(name: str) -> dict[str, Path]:
    """The source files of an imported module's top package: path below its folder -> file."""
    top = importlib.import_module(name.partition(".")[0])
    if hasattr(top, "__path__"):
        folder = Path(next(iter(top.__path__)))
        found = sorted(file for file in folder.rglob("*.py") if file.is_file())
        return {str(file.relative_to(folder.parent)): file for file in found}
    origin = getattr(top, "__file__", None)
    return {Path(origin).name: Path(origin)} if origin else {}


def digests(modules: Iterable[str]) -> dict[str, str]:
    """Module -> the first 16 hex digits of SHA-256 over the sources of its top package."""
    found = {}
    for name in modules:
        digest = hashlib.sha256()
        for path, file in files(name).items():
            digest.update(path.encode() + b"\0" + file.read_bytes())
        found[name] = digest.hexdigest()[:16]
    return found
