"""Keeps Orbax from asking TensorStore for words that it never lets go of.

TensorStore (0.1.65 to 0.1.86) loses a few objects with each value that it hands to Python as JSON:
289 bytes of a key-value store's spec, 7 KiB of its own metrics. At each save Orbax asks for the
spec of every array's folder, which is the one that it gave, and for metrics that it only logs:
30 KiB a save of a small GAN, without an end. Nothing else of Orbax is touched.
"""

from collections.abc import Mapping
from typing import Any

PLAIN = "file"
"""The driver whose spec comes back as it was given."""


class Given:
    """A key-value store's spec, as far as Orbax looks at one: what it was given."""

    def __init__(self, spec: Mapping[str, Any]):
        self.spec = dict(spec)

    def to_json(self) -> dict[str, Any]:
        """The spec."""
        return dict(self.spec)


class Without:
    """A module or class with some attributes of our own in place of its."""

    def __init__(self, whole: Any, **own: Any):
        self._whole = whole
        self.__dict__.update(own)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


def stop() -> None:
    """Once for the process; a version of Orbax without these names stays as it is."""
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

    def opened(given: Any, *more: Any, **named: Any) -> Any:
        given = given.spec if isinstance(given, Given) else given
        return real.KvStore.open(given, *more, **named)

    utils.ts = Without(real, KvStore=Without(real.KvStore, Spec=spec, open=opened))
    for name, nothing in (("get_tensorstore_raw_bytes", 0), ("print_ts_debug_data", "")):
        if hasattr(utils, name):
            setattr(utils, name, lambda *_, nothing=nothing, **__: nothing)
