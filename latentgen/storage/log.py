"""What a run says: metrics.jsonl (the record), TensorBoard events (a view), the progress line."""

import contextlib
import hashlib
import io
import json
import math
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsFloat, TextIO

from latentgen.core.errors import BadInput
from latentgen.storage import workdir

METRICS = "metrics.jsonl"
DAMAGED = f"{METRICS}.damaged"
EVENTS = "tensorboard"
START = {"status": 1}  # SessionLog.START


def read(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, also of one that is being written: a torn last line is no line.

    Raises:
        BadInput: a line before the last is not JSON.
    """
    try:
        *lines, _ = workdir.read_text(path, "replace", math.inf).split("\n")
    except ValueError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error}.") from None
    return [_parse(path, number, line) for number, line in enumerate(lines, 1)]


def figures(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, all of which tell a step, seconds and a split.

    Raises:
        BadInput: one does not.
    """
    lines = read(path)
    for number, line in enumerate(lines, 1):
        _check(path, number, line)
    return lines


def _check(path: str | os.PathLike[str], number: int, line: Mapping[str, Any]) -> None:
    kinds: dict[str, Any] = {"step": int, "seconds": int | float, "split": str}
    for name, kind in kinds.items():
        if not isinstance(line.get(name), kind):
            raise BadInput(f"{str(path)!r} line {number} has no {name!r} as a run writes it.")


def _parse(path: str | os.PathLike[str], number: int, line: str) -> dict[str, Any]:
    try:
        row = workdir.parsed(line)
        return {k: float(v) if v in ("nan", "inf", "-inf") else v for k, v in row.items()}
    except (ValueError, AttributeError):
        raise BadInput(f"{str(path)!r} line {number} is not a JSON object.") from None


@contextlib.contextmanager
def unfound(module: str) -> Iterator[None]:
    """Inside, `import module` fails as if it were not installed, unless it was imported before."""
    known = module in sys.modules
    if not known:
        sys.modules[module] = None  # type: ignore[assignment]  # Python's word for it
    try:
        yield
    finally:
        if not known:
            del sys.modules[module]


class Log:
    """Writes `metrics.jsonl` and TensorBoard events into a workdir.

    On opening, the record is cut back to what a run that stands at `resume_step` has said: lines
    of later steps and a torn last line go; for resume_step=0, all. So write the lines of step N
    and `flush` before saving checkpoint N, with what `stands` says.

    lost: what the record lacks or has got wrong, a sentence for each time that it was found so
    """

    def __init__(self, path: str | os.PathLike[str], resume_step: int, said: Any = None):
        """Open the record.

        Args:
            path: the folder.
            resume_step: where the run stands.
            said: what `stands` said then; None where nobody knows.
        """
        self._folder = Path(path)
        self._resume_step = resume_step
        file = self._folder / METRICS
        kept: list[str] = []
        if resume_step and file.exists():
            lines = workdir.read_text(file, "replace", math.inf).split("\n")[:-1]
            steps = [line["step"] for line in figures(file)]
            kept = [line + "\n" for line, n in zip(lines, steps, strict=True) if n <= resume_step]
        self._lines, self._digest = 0, hashlib.sha256()
        for line in kept:
            self._count(line.encode())
        self.lost = self._compare(said) if resume_step else []
        workdir.write_bytes(file, "".join(kept).encode())
        self._file = _Appended(file)
        self._events: _Appended | None = None

    @property
    def stands(self) -> dict[str, Any]:
        """The record's number of lines, hash and losses, as a checkpoint keeps them."""
        found = {"lines": self._lines, "sha256": self._digest.hexdigest()}
        return found | ({"lost": self.lost} if self.lost else {})

    def _count(self, line: bytes) -> None:
        self._lines += 1
        self._digest.update(line)

    def _compare(self, said: Any) -> list[str]:
        """Describe what is lost of a checkpoint's record; if any is, copy the damaged file."""
        if not isinstance(said, Mapping) or not {"lines", "sha256"} <= said.keys():
            return []
        before = said.get("lost", [])
        lost = [str(each) for each in before] if isinstance(before, list) else []
        if said["sha256"] == self._digest.hexdigest():
            return lost
        file = self._folder / METRICS
        aside = ""
        if file.exists():
            workdir.write_bytes(file.with_name(DAMAGED), workdir.read_bytes(file, math.inf))
            aside = f"; as it was found it is in {DAMAGED}"
        has = f"{self._lines} of {said['lines']} lines are left"
        if self._lines == said["lines"]:
            has = "lines of it have been changed"
        return [
            *lost,
            f"{METRICS} is not what was written up to step {self._resume_step}: {has}{aside}",
        ]

    def write(
        self, step: int, seconds: float, split: str, values: Mapping[str, SupportsFloat]
    ) -> None:
        """Append a line; float32 values survive exactly, nan and inf become strings.

        Args:
            step: updates done.
            seconds: since the run began.
            split: of the data: 'train', 'validation', ...
            values: scalars by name.
        """
        row: dict[str, Any] = {"step": int(step), "seconds": float(seconds), "split": split}
        row |= {name: float(value) for name, value in values.items()}
        line = json.dumps(workdir.json_safe(row), allow_nan=False).encode() + b"\n"
        self._file.write(line)
        self._count(line)
        shown = [{"tag": f"{split}/{name}", "simple_value": float(v)} for name, v in values.items()]
        self._show(step, shown)

    def image(self, step: int, name: str, png: bytes, shape: tuple[int, ...]) -> None:
        """Show a picture in TensorBoard.

        Args:
            png: the picture's file: encoding it takes longer than all the rest.
            shape: (height, width, channels)
        """
        height, width, channels = shape
        image = {"height": height, "width": width, "colorspace": channels}
        self._show(step, [{"tag": name, "image": image | {"encoded_image_string": png}}])

    def flush(self) -> None:
        """Bring the record and the view to the disk."""
        self._file.flush()
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        """Close the files, which the disk has then; also after an error, and more than once."""
        with contextlib.ExitStack() as stack:
            for file in (self._file, self._events):
                if file is not None:
                    stack.callback(file.close)

    def _show(self, step: int, values: Sequence[Mapping[str, Any]]) -> None:
        """Write an event for each value, in this thread: a failed write ends the run.

        tensorboardX's own writer has a thread, which would die of it; who then writes more waits
        for its queue for ever.
        """
        if self._events is None:
            # TensorBoard then hides what a killed run wrote beyond the checkpoint.
            purge = _event(step=self._resume_step + 1, session_log=START)
            self._events = _events_file(self._folder / EVENTS)
            self._events.write(_event(file_version="brain.Event:2") + purge)
        events = [_event(step=int(step), summary={"value": [value]}) for value in values]
        self._events.write(b"".join(events))


class _Appended:
    """A file that grows by whole pieces, each of which is handed to the system at once."""

    def __init__(self, path: Path):
        self._path = path
        self._open = contextlib.ExitStack()
        self._file = self._open.enter_context(workdir.opened(path, "ab", buffering=0))

    def write(self, piece: bytes) -> None:
        """Add all of a piece; none of it where that fails and the file can still be cut."""
        end = self._file.tell()
        try:
            with workdir.naming(self._path):
                workdir.write_all(self._file, piece)
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(end)
            raise

    def flush(self) -> None:
        """Bring it to the disk."""
        with workdir.naming(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """The same, and ends it."""
        if not self._file.closed:
            with self._open:
                self.flush()


def _events_file(folder: Path) -> _Appended:
    """A new file of events; several may begin in a second."""
    folder.mkdir(exist_ok=True)
    now = time.time()
    name = f"events.out.tfevents.{int(now)}.{socket.gethostname()}"
    return _Appended(folder / f"{name}.{os.getpid()}.{int(now % 1 * 1e6):06d}")


def _event(**what: Any) -> bytes:
    """An event as TensorBoard's files have it: length, its checksum, bytes, their checksum."""
    with unfound("torch"):  # imported wherever it is installed, which takes a second
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import masked_crc32c

    content = Event(wall_time=time.time(), **what).SerializeToString()
    length = struct.pack("<Q", len(content))
    sums = (struct.pack("<I", masked_crc32c(part)) for part in (length, content))
    return length + next(sums) + content + next(sums)


class Progress:
    """The run's progress: a bar on a terminal, plain lines elsewhere."""

    def __init__(self, total: int, start: int = 0, stream: io.TextIOBase | None = None):
        self._stream: io.TextIOBase | TextIO = stream or sys.stderr
        self._total = total
        self._began = time.perf_counter()
        self._counted: tuple[float, int] | None = None  # where the rate is counted from
        self._step = start
        self._bar: Any = None
        options = {"total": total, "initial": start, "unit": "step"}
        if stream is None and "ipykernel" in sys.modules:
            from tqdm.auto import tqdm as notebook_bar

            self._bar = notebook_bar(**options)
        elif self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(**options, file=self._stream, dynamic_ncols=True)

    def update(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        """Show that `step` updates are done, and the latest losses."""
        words = {name: f"{float(value):.4g}" for name, value in values.items()}
        if self._bar is not None:
            self._bar.set_postfix(words, refresh=False)
            self._bar.update(step - self._step)
        else:
            now = time.perf_counter()
            place = f"step {step}/{self._total}  {now - self._began:.1f} s"
            if self._counted is None:  # the first line's time is mostly compilation
                self._counted = now, step
            else:
                since, first = self._counted
                rate = max(step - first, 1) / max(now - since, 1e-9)
                place += f"  {rate:.4g} steps/s  {(self._total - step) / rate:.0f} s left"
            losses = " ".join(f"{name}={word}" for name, word in words.items())
            self.say(f"{place}  {losses}".rstrip())
        self._step = step

    def say(self, line: str) -> None:
        """Print a line without tearing the bar."""
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
