"""Reading a config: each value is checked where it is read, and what nobody reads is refused."""

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from latentgen.core import schedules
from latentgen.core.errors import BadInput, choose, nearest
from latentgen.core.schedules import Schedule
from latentgen.storage import aliases
from latentgen.system import plugins

T = TypeVar("T")
LARGEST = 2**31 - 1  # what an int32 on a device holds
WIDEST, DEEPEST = 2**20, 100  # of what arrays are made of, and how many layers
HUGE, TINY = 2.0**127, 2.0**-126  # float32 has no numbers beyond, and keeps none below

LATER: dict[str, Any] = {
    **{"skip_diverged": 0, "method.output": "sigmoid", "plugins": [], "microbatches": 1},
    **{"method.ema_images": 0.0, "method.ema_rampup": 0.0, "method.ema_more": []},
    **{"method.first": "discriminator", "method.penalty_every": 1, "method.style_mixing": 0.0},
    **{"method.path_length": 0.0, "method.path_every": 4},
    **{"method.categories": [], "method.continuous": 0, "method.auxiliary_weight": 1.0},
    **{"method.augment": "none", "method.augment_p": 0.0, "method.augment_target": 0.0},
    **{"method.augment_interval": 4, "method.augment_images": 500e3},
    **{"method.regularize": [], "method.gradient_normalization": False},
    **{"method.generator_batch": 0, "method.orthogonal": 0.0},
    **{"data.size": 0, "data.color": "rgb", "data.augment": [], "data.balance": False},
    "data.labels": [],
    **{"every.evaluate": 0, "evaluate.metric": "", "evaluate.samples": 2_000},
    **{"evaluate.features": "", "stop.patience": 0},
}
"""Keys that came after the first release, each with the value that means what was before."""

LATER_SECTIONS = ("evaluate", "stop")
"""Sections that came after the first release, all of whose keys are in LATER."""


def is_averaged(method: Mapping[str, Any]) -> bool:
    """Return whether a config's section `method` asks for a moving average of the weights."""
    return bool(method.get("ema_decay") or method.get("ema_images"))


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as plain JSON data, as it is written down, compared and hashed.

    Former names become today's. A later key that changes nothing is left out: a workdir or a result
    from before it came stays one of the same config.
    """
    return _without_later(aliases.current(json.loads(json.dumps(config))), "")


def _without_later(config: dict[str, Any], path: str) -> dict[str, Any]:
    found = {}
    for name, value in config.items():
        key = f"{path}{name}"
        if isinstance(value, dict):
            found[name] = _without_later(value, f"{key}.")
            if key in LATER_SECTIONS and not found[name]:
                del found[name]
        elif key not in LATER or value != LATER[key]:
            found[name] = value
    return found


class Section:
    """One level of a config as plain data, remembering what has been read of it.

    Every getter raises BadInput, naming the key, the value and what would be valid.
    """

    def __init__(
        self, path: str, values: Mapping[str, Any], found: dict[str, Schedule] | None = None
    ):
        """Wrap the values of a section.

        Args:
            path: full name of the section, such as 'config.method'.
            found: takes the schedules of this section and of those below, by full name.
        """
        self._path, self._values = path, values
        self.schedules: dict[str, Schedule] = {} if found is None else found
        self._read: set[str] = set()
        self._sections: list[Section] = []

    def key(self, name: str) -> str:
        """The full name of a key, as it is written on the command line."""
        return f"{self._path}.{name}"

    def _get(self, name: str) -> Any:
        self._read.add(name)
        if name in self._values:
            return self._values[name]
        later = self.key(name).removeprefix("config.")
        if later in LATER_SECTIONS:
            return {}
        if later not in LATER:
            raise BadInput(f"{self.key(name)} is missing.")
        return LATER[later]

    def has(self, name: str) -> bool:
        """Return whether the config has this key; for keys that most configs omit."""
        return name in self._values

    def ignore(self, name: str) -> None:
        """Accept a key that another choice of the config would read."""
        self._get(name)

    def section(self, name: str) -> "Section":
        """The section below."""
        values = self._get(name)
        if not isinstance(values, Mapping):
            raise BadInput(f"{self.key(name)}={values!r} must be a section with keys of its own.")
        self._sections.append(Section(self.key(name), values, self.schedules))
        return self._sections[-1]

    def integer(self, name: str, low: int | None = None, high: int | None = None) -> int:
        """A whole number in [low, high]."""
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadInput(f"{self.key(name)}={value!r} must be a whole number.")
        high = LARGEST if high is None else high
        return self._within(name, value, low, high)

    def integer_or_none(self, name: str, low: int | None = None) -> int | None:
        """A whole number, at least `low`, or None."""
        return None if self._get(name) is None else self.integer(name, low)

    def size(self, name: str, low: int = 1) -> int:
        """A whole number that arrays get their shapes from, at least `low`."""
        return self.integer(name, low, WIDEST)

    def is_scheduled(self, name: str) -> bool:
        """Return whether the key's value is a schedule."""
        value = self._get(name)
        return isinstance(value, str) and schedules.is_schedule(value)

    def number(
        self, name: str, low: float | None = None, high: float | None = None, fixed: bool = False
    ) -> Any:
        """A number in [low, high] that float32 has; a traced array passes in its place.

        Of a schedule, which a hyperparameter of a method or an optimizer may be, the first value,
        as a float32 scalar; `schedules` has the schedule.

        Args:
            fixed: the value is part of the model, and may not be a schedule.
        """
        value = self._get(name)
        section = self._path.rpartition(".")[2]
        may_change = not fixed and (section == "method" or section.endswith("optimizer"))
        if may_change and isinstance(value, str):
            return self._scheduled(name, value, low, high)
        if isinstance(value, bool | str | Mapping | list | tuple) or value is None:
            raise BadInput(f"{self.key(name)}={value!r} must be a number.")
        if not isinstance(value, int | float):
            return value
        if isinstance(value, float) and not math.isfinite(value):
            raise BadInput(f"{self.key(name)}={value} must be finite.")
        low, high = -HUGE if low is None else low, HUGE if high is None else high
        return float(self._within(name, value, low, high))

    def _scheduled(self, name: str, text: str, low: float | None, high: float | None) -> Any:
        """Keep a schedule between two numbers in [low, high]; return its first value."""
        if not schedules.is_schedule(text):
            valid = "cosine(0.1, 0.01, images=1e6)"
            raise BadInput(f"{self.key(name)}={text!r} must be a number or a schedule: {valid}.")
        try:
            schedule = schedules.parse(text)
        except BadInput as error:
            raise BadInput(f"{self.key(name)}={error}") from None
        for end in (schedule.first, schedule.last, schedule.images):
            if not math.isfinite(end):
                raise BadInput(f"{self.key(name)}={text!r}: its numbers must be finite.")
        for end in (schedule.first, schedule.last):
            Section(self._path, {name: end}).number(name, low, high)
        self.schedules[self.key(name)] = schedule
        return np.float32(schedule.first)

    def _within(self, name: str, value: Any, low: Any, high: Any) -> Any:
        if low is not None and value < low:
            raise BadInput(f"{self.key(name)}={value} must be at least {low}.")
        if high is not None and value > high:
            raise BadInput(f"{self.key(name)}={value} must be at most {high}.")
        return value

    def number_or_off(self, name: str, high: float | None = None) -> Any:
        """A number in [0, high], 0 to switch off what it limits; a schedule stays above 0."""
        return self.number(name, low=TINY if self.is_scheduled(name) else 0.0, high=high)

    def shown(self, name: str) -> str:
        """Format a key and its value, as the config has it."""
        return f"{self.key(name)}={self._get(name)!r}"

    def positive(self, name: str, fixed: bool = False) -> Any:
        """A number above 0, also to float32; both ends of a schedule are.

        Args:
            fixed: as in `number`.
        """
        if self.is_scheduled(name):
            return self.number(name, low=TINY, fixed=fixed)
        value = self.number(name, fixed=fixed)
        if isinstance(value, float) and not value >= TINY:
            raise BadInput(f"{self.key(name)}={value} must be above 0, at least {TINY:.2g}.")
        return value

    def numbers(self, name: str) -> tuple[float, ...]:
        """A tuple of numbers above 0, at most DEEPEST; it may be empty."""
        values = self._get(name)
        if not isinstance(values, list | tuple) or len(values) > DEEPEST:
            raise BadInput(
                f"{self.key(name)}={values!r} must be a tuple of at most {DEEPEST} numbers."
            )
        each = [Section(self._path, {name: value}) for value in values]
        return tuple(section.positive(name, fixed=True) for section in each)

    def sizes(self, name: str) -> tuple[int, ...]:
        """A tuple of whole numbers, each in [1, WIDEST], at most DEEPEST; it may be empty."""
        value = self._get(name)
        if not isinstance(value, list | tuple) or not all(
            isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= WIDEST
            for size in value
        ):
            raise BadInput(
                f"{self.key(name)}={value!r} must be a tuple of whole numbers from 1 to {WIDEST}."
            )
        if len(value) > DEEPEST:
            raise BadInput(f"{self.key(name)} has {len(value)} sizes; at most {DEEPEST} fit.")
        return tuple(value)

    def word(self, name: str) -> str:
        """A string."""
        value = self._get(name)
        if not isinstance(value, str):
            raise BadInput(f"{self.key(name)}={value!r} must be a string.")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        """A tuple of strings; it may be empty."""
        value = self._get(name)
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise BadInput(f"{self.key(name)}={value!r} must be a tuple of strings.")
        return tuple(value)

    def flag(self, name: str) -> bool:
        """True or False."""
        value = self._get(name)
        if not isinstance(value, bool):
            raise BadInput(f"{self.key(name)}={value!r} must be True or False.")
        return value

    def choose(self, name: str, options: Mapping[str, T]) -> T:
        """Return the entry of `options` that the config names, or what 'module:name' names."""
        value = self.word(name)
        if value not in options and plugins.REFERENCE.fullmatch(value):
            found: T = plugins.resolve(self.key(name), value)
            return found
        return choose(self.key(name), value, options)

    def finish(self) -> None:
        """Check that everything has been read.

        Raises:
            BadInput: a key that nothing reads, which is most often a misspelt one.
        """
        for name in self._values:
            if name not in self._read:
                raise BadInput(
                    f"{self.key(name)} is not a key of this config" + nearest(name, self._read)
                )
        for section in self._sections:
            section.finish()
