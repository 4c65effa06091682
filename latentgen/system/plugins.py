"""Plugins: user modules, named in a config, that add entries to latentgen's tables.

With `config.plugins = ("my_idea",)` every command and every worker imports my_idea before it reads
the rest of the config. A reference such as 'my_idea:opposite_labels' names an object of a module,
in place of an entry of a table.
"""

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from latentgen.core.errors import BadInput, shortened

KEY = "plugins"
NO_REFERENCES = {"data", "augment"}
"""Keys whose values have another meaning for a colon: 'folder:PATH', 'ada:bgc'."""
REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def names(config: Mapping[str, Any]) -> list[str]:
    """Return the names of a config's modules: those of `plugins`, then those of references."""
    listed = config.get(KEY) or ()
    modules = [name for name in listed if isinstance(name, str)] if _is_list(listed) else []
    modules += [value.partition(":")[0] for value in _references(config)]
    return list(dict.fromkeys(modules))


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _references(config: Mapping[str, Any]) -> Iterator[str]:
    for key, value in config.items():
        if key in NO_REFERENCES:
            continue
        if isinstance(value, Mapping):
            yield from _references(value)
        elif isinstance(value, str) and REFERENCE.fullmatch(value):
            yield value


def load(modules: Iterable[str]) -> None:
    """Import these modules.

    Raises:
        BadInput: one of them cannot be imported.
    """
    for name in modules:
        _import(f"config.{KEY}", name)


def resolve(key: str, reference: str) -> Any:
    """Return the object of a reference 'module:name'.

    Args:
        key: of the reference in the config, for messages.

    Raises:
        BadInput: the module cannot be imported, or has no such name.
    """
    module, _, name = reference.partition(":")
    imported = _import(key, module)
    if not hasattr(imported, name):
        raise BadInput(f"{key}={reference!r}: the module {module!r} has no {name!r}.")
    return getattr(imported, name)


def _import(key: str, name: str) -> Any:
    if not NAME.fullmatch(name) or name.partition(".")[0] in sys.stdlib_module_names:
        raise BadInput(
            f"{key}={shortened(repr(name))} must be the name of a module of yours, as my_idea."
        )
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
    except Exception as error:  # user code may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise BadInput(f"{key}={name!r} cannot be imported: {reason}.") from None


def check_outside(config: Mapping[str, Any], folder: Path) -> None:
    """Check that no module of a folder's config lies in that folder, which may be untrusted.

    A worker of a sweep is not checked: latentgen itself is then a snapshot in the sweep's folder.

    Raises:
        BadInput: a module lies in the folder.
    """
    if Path(__file__).resolve().is_relative_to(folder.resolve()):
        return
    folder = folder.resolve()
    untrusted = next((p for p in folder.parents[:3] if (p / "sweep.json").exists()), folder)
    for name in names(config):
        if any(place.resolve().is_relative_to(untrusted) for place in _places(name)):
            raise BadInput(
                f"workdir={str(folder)!r} names the module {name!r}, which lies in it: code of a "
                "workdir is not run; install it elsewhere."
            )


def _places(name: str) -> Iterator[Path]:
    """Yield the files and folders that a module and its packages may be imported from."""
    if not NAME.fullmatch(name):
        return
    parts = name.split(".")
    spec = importlib.util.find_spec(parts[0])
    if spec is not None:
        yield from map(Path, spec.submodule_search_locations or ())
        yield Path(spec.origin or "/")
    for root in sys.path:  # without an import of the packages
        for depth in range(1, len(parts) + 1):
            place = Path(root, *parts[:depth])
            yield from (p for p in (place, place.with_suffix(".py")) if p.exists())


def files(name: str) -> dict[str, Path]:
    """Return the source files of a module's top package: relative path -> file."""
    top = importlib.import_module(name.partition(".")[0])
    if hasattr(top, "__path__"):
        folder = Path(next(iter(top.__path__)))
        sources = sorted(file for file in folder.rglob("*.py") if file.is_file())
        return {str(file.relative_to(folder.parent)): file for file in sources}
    origin = getattr(top, "__file__", None)
    return {Path(origin).name: Path(origin)} if origin else {}


def digests(modules: Iterable[str]) -> dict[str, str]:
    """Return the first 16 hex digits of the SHA-256 of each module's top package, by module."""
    hexdigests = {}
    for name in modules:
        digest = hashlib.sha256()
        for path, file in files(name).items():
            digest.update(path.encode() + b"\0" + file.read_bytes())
        hexdigests[name] = digest.hexdigest()[:16]
    return hexdigests
