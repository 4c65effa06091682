"""Workaround for a memory leak when Orbax saves with TensorStore.

TensorStore (0.1.65 to 0.1.86) leaks memory with each value that it converts to JSON for Python:
289 bytes for the spec of a key-value store, 7 KiB for its metrics. Orbax requests both at each
save: the spec of every array's folder, which Orbax itself has passed in, and metrics that it only
logs. For a small GAN this leaks 30 KiB a save. `stop` replaces these two requests and nothing else.
"""

from collections.abc import Mapping
from typing import Any

PLAIN = "file"
"""The driver whose spec TensorStore returns unchanged."""


class Given:
    """A stand-in for a TensorStore KvStore.Spec that returns the spec it was given."""

    def __init__(self, spec: Mapping[str, Any]):
        self.spec = dict(spec)

    def to_json(self) -> dict[str, Any]:
        """Return the spec."""
        return dict(self.spec)


class Without:
    """A proxy of a module or class with some attributes replaced."""

    def __init__(self, original: Any, **replaced: Any):
        self._original = original
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def stop() -> None:
    """Patch Orbax, once for the process; do nothing if its version lacks these names."""
    try:
        from orbax.checkpoint._src.serialization import tensorstore_utils as utils

        real = utils.ts
    except (ImportError, AttributeError):
        return
    if isinstance(real, Without):
        return

    def spec(given: Any) -> Any:
        plain = isinstance(given, Mapping) and given.get("driver") == PLAIN
        return Given(given) if plain else real.KvStore.Spec(given)

    def opened(given: Any, *args: Any, **kwargs: Any) -> Any:
        given = given.spec if isinstance(given, Given) else given
        return real.KvStore.open(given, *args, **kwargs)

    utils.ts = Without(real, KvStore=Without(real.KvStore, Spec=spec, open=opened))
    for name, returned in (("get_tensorstore_raw_bytes", 0), ("print_ts_debug_data", "")):
        if hasattr(utils, name):
            setattr(utils, name, lambda *_, returned=returned, **__: returned)
