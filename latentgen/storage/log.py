"""Logs of a run: metrics.jsonl (the record), TensorBoard events (a view), the progress line."""

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsFloat, TextIO

from latentgen.core.errors import BadInput, printable
from latentgen.storage import workdir

METRICS = "metrics.jsonl"
DAMAGED = f"{METRICS}.damaged"
EVENTS = "tensorboard"
START = {"status": 1}  # SessionLog.START


Line = dict[str, Any]


def read(
    path: str | os.PathLike[str],
    left_out: list[str] | None = None,
    check: Callable[[Any, int, Line], None] = lambda *_: None,
) -> list[Line]:
    """Read a file of JSON objects, one in a line; ignore an incomplete last line.

    Args:
        left_out: takes a sentence for each line that is damaged, which is then left out.
        check: takes path, number and content of a line; raises BadInput if it is damaged.

    Raises:
        BadInput: the file cannot be read, or a line is damaged and `left_out` is None.
    """
    return [line for _, line in _lines(path, left_out, check)]


def figures(path: str | os.PathLike[str], left_out: list[str] | None = None) -> list[Line]:
    """Read the lines of a metrics.jsonl, each with a step, seconds and a split.

    Args:
        left_out: as in `read`.

    Raises:
        BadInput: as in `read`; a line that lacks one of the three is damaged.
    """
    return read(path, left_out, _check)


def warn(left_out: Sequence[str]) -> None:
    """Print a warning for each damaged line."""
    for sentence in left_out:
        print(f"warning: {printable(sentence)} It is left out.", file=sys.stderr)


def _lines(
    path: str | os.PathLike[str],
    left_out: list[str] | None,
    check: Callable[[Any, int, Line], None],
) -> list[tuple[str, Line]]:
    """Return (text, content) of each line that is not damaged."""
    try:
        *texts, _ = workdir.read_text(path, "replace", math.inf).split("\n")
    except ValueError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error}.") from None
    found = []
    for number, text in enumerate(texts, 1):
        try:
            line = _parse(path, number, text)
            check(path, number, line)
        except BadInput as error:
            if left_out is None:
                raise
            left_out.append(str(error))
        else:
            found.append((text, line))
    return found


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
    """Make `import module` fail within the context, unless it was imported before."""
    known = module in sys.modules
    if not known:
        sys.modules[module] = None  # type: ignore[assignment]  # makes the import fail
    try:
        yield
    finally:
        if not known:
            del sys.modules[module]


class Log:
    """A writer of `metrics.jsonl` and TensorBoard events in a workdir.

    Opening truncates the record to the lines up to `resume_step`: it removes lines of later steps
    and an incomplete last line, and all lines for resume_step=0. So write the lines of step N and
    call `flush` before you save checkpoint N, and save the value of `stands` with it. Damaged lines
    are removed too, and are losses; the file is kept as it was found in metrics.jsonl.damaged.

    Attributes:
        lost: differences found between the record and what had been written, a sentence each.
    """

    def __init__(self, path: str | os.PathLike[str], resume_step: int, saved: Any = None):
        """Open the record.

        Args:
            path: the workdir.
            resume_step: the step from which the run continues.
            saved: the value of `stands` at that step; None if unknown.
        """
        self._folder = Path(path)
        self._resume_step = resume_step
        file = self._folder / METRICS
        kept: list[str] = []
        damaged: list[str] = []
        if resume_step and file.exists():
            lines = _lines(file, damaged, _check)
            kept = [text + "\n" for text, line in lines if line["step"] <= resume_step]
        self._lines, self._digest = 0, hashlib.sha256()
        for text in kept:
            self._count(text.encode())
        self.lost = self._compare(saved, damaged) if resume_step else []
        workdir.write_bytes(file, "".join(kept).encode())
        self._file = _AppendFile(file)
        self._events: _AppendFile | None = None

    @property
    def stands(self) -> dict[str, Any]:
        """The record's number of lines, hash and losses, to keep in a checkpoint."""
        found = {"lines": self._lines, "sha256": self._digest.hexdigest()}
        return found | ({"lost": self.lost} if self.lost else {})

    def _count(self, line: bytes) -> None:
        self._lines += 1
        self._digest.update(line)

    def _compare(self, saved: Any, damaged: Sequence[str]) -> list[str]:
        """Describe how the record differs from the saved one; copy the file if it does."""
        known = isinstance(saved, Mapping) and {"lines", "sha256"} <= saved.keys()
        earlier = saved.get("lost", []) if known else []
        lost = [str(each) for each in earlier] if isinstance(earlier, list) else []
        if known and saved["sha256"] == self._digest.hexdigest():
            has = ""  # damaged lines can only be of later steps
        elif known and self._lines != saved["lines"]:
            has = f"{self._lines} of {saved['lines']} lines are left"
        elif known:
            has = "lines of it have been changed"
        else:
            has = f"{len(damaged)} lines are damaged" if damaged else ""
        if not has:
            return lost
        file = self._folder / METRICS
        aside, copy = "", file.with_name(DAMAGED)
        if copy.exists():
            aside = f"; as it was found at first it is in {DAMAGED}"
        elif file.exists():
            workdir.write_bytes(copy, workdir.read_bytes(file, math.inf))
            aside = f"; as it was found it is in {DAMAGED}"
        return [
            *lost,
            f"{METRICS} is not what was written up to step {self._resume_step}: {has}{aside}",
        ]

    def write(
        self, step: int, seconds: float, split: str, values: Mapping[str, SupportsFloat]
    ) -> None:
        """Append a line; float32 values are kept exactly, nan and inf become strings.

        Args:
            step: number of updates.
            seconds: time since the run began.
            split: 'train', 'validation', ...
            values: scalars by name.
        """
        row: dict[str, Any] = {"step": int(step), "seconds": float(seconds), "split": split}
        row |= {name: float(value) for name, value in values.items()}
        line = json.dumps(workdir.json_safe(row), allow_nan=False).encode() + b"\n"
        self._file.write(line)
        self._count(line)
        summaries = [
            {"tag": f"{split}/{name}", "simple_value": float(v)} for name, v in values.items()
        ]
        self._write_events(step, summaries)

    def image(self, step: int, name: str, png: bytes, shape: tuple[int, ...]) -> None:
        """Write an image to TensorBoard.

        Args:
            png: the encoded image.
            shape: (height, width, channels)
        """
        height, width, channels = shape
        image = {"height": height, "width": width, "colorspace": channels}
        self._write_events(step, [{"tag": name, "image": image | {"encoded_image_string": png}}])

    def flush(self) -> None:
        """Flush the record and the events to disk."""
        self._file.flush()
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        """Flush and close the files; may be called after an error, and repeatedly."""
        with contextlib.ExitStack() as stack:
            for file in (self._file, self._events):
                if file is not None:
                    stack.callback(file.close)

    def _write_events(self, step: int, values: Sequence[Mapping[str, Any]]) -> None:
        """Write an event for each value in this thread, so that a failed write ends the run.

        tensorboardX's own writer uses a thread. A failed write ends that thread, and later writes
        then block forever on its queue.
        """
        if self._events is None:
            # TensorBoard then hides what a killed run wrote beyond the checkpoint.
            purge = _event(step=self._resume_step + 1, session_log=START)
            self._events = _events_file(self._folder / EVENTS)
            self._events.write(_event(file_version="brain.Event:2") + purge)
        events = [_event(step=int(step), summary={"value": [value]}) for value in values]
        self._events.write(b"".join(events))


class _AppendFile:
    """A file opened for appending, unbuffered."""

    def __init__(self, path: Path):
        self._path = path
        self._open = contextlib.ExitStack()
        self._file = self._open.enter_context(workdir.opened(path, "ab", buffering=0))

    def write(self, piece: bytes) -> None:
        """Append all of a piece; if that fails, truncate the file to its former length."""
        end = self._file.tell()
        try:
            with workdir.naming(self._path):
                workdir.write_all(self._file, piece)
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(end)
            raise

    def flush(self) -> None:
        """Flush the file to disk."""
        with workdir.naming(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close the file."""
        if not self._file.closed:
            with self._open:
                self.flush()


def _events_file(folder: Path) -> _AppendFile:
    """Open a new file of events, whose name is unique within a second."""
    folder.mkdir(exist_ok=True)
    now = time.time()
    name = f"events.out.tfevents.{int(now)}.{socket.gethostname()}"
    return _AppendFile(folder / f"{name}.{os.getpid()}.{int(now % 1 * 1e6):06d}")


def _event(**fields: Any) -> bytes:
    """Encode an event as in TensorBoard's files: length, its checksum, bytes, their checksum."""
    with unfound("torch"):  # tensorboardX would import it, which takes a second
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import masked_crc32c

    content = Event(wall_time=time.time(), **fields).SerializeToString()
    length = struct.pack("<Q", len(content))
    checksums = (struct.pack("<I", masked_crc32c(part)) for part in (length, content))
    return length + next(checksums) + content + next(checksums)


class Progress:
    """A progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, total: int, start: int = 0, stream: io.TextIOBase | None = None):
        self._stream: io.TextIOBase | TextIO = stream or sys.stderr
        self._total = total
        self._start_time = time.perf_counter()
        self._rate_start: tuple[float, int] | None = None  # time and step
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
        """Show the number of updates done and the latest losses."""
        texts = {name: f"{float(value):.4g}" for name, value in values.items()}
        if self._bar is not None:
            self._bar.set_postfix(texts, refresh=False)
            self._bar.update(step - self._step)
        else:
            now = time.perf_counter()
            line_start = f"step {step}/{self._total}  {now - self._start_time:.1f} s"
            if self._rate_start is None:  # the first line's time is mostly compilation
                self._rate_start = now, step
            else:
                since, first = self._rate_start
                rate = max(step - first, 1) / max(now - since, 1e-9)
                line_start += f"  {rate:.4g} steps/s  {(self._total - step) / rate:.0f} s left"
            losses = " ".join(f"{name}={text}" for name, text in texts.items())
            self.say(f"{line_start}  {losses}".rstrip())
        self._step = step

    def say(self, line: str) -> None:
        """Print a line without breaking the bar."""
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
