"""Convert pieces of a job: `python -m latentgen.data.pictures.worker JOB.json W [careful]`.

This process, the worker of number W, makes the missing pieces that no other worker has claimed. It
ends when its parent is gone. With `careful` it notes each entry before it is decoded, so that the
parent knows which one has ended the process.
"""

import contextlib
import os
import resource
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from latentgen.data.pictures import pieces
from latentgen.data.pictures.entries import Reader

MOST_MEMORY = 4 * 2**30
EXIT_IO = 74


def note_file(work: Path, worker: int) -> Path:
    """Return the file in which a careful worker notes its piece and entry."""
    return work / f"current_{worker}.json"


def main(arguments: Sequence[str]) -> None:
    """Make missing pieces."""
    file, worker = Path(arguments[0]), int(arguments[1])
    careful = arguments[2:] == ["careful"]
    work, job = file.parent, pieces.read_job(file.parent)
    _limit_memory()
    with Reader(job.where, job.kind) as reader, pieces.claims(work) as claimed:
        for number in range(job.pieces):
            if not claimed(number) or pieces.is_done(work, number):
                continue

            def before(position: int, number: int = number) -> None:
                if os.getppid() != job.parent:
                    sys.exit(0)
                if careful:
                    pieces.write_json(note_file(work, worker), [number, position])

            pieces.make(work, number, reader, job.options, before)


def _limit_memory() -> None:
    """Limit the address space, so that a picture that needs more is refused."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with contextlib.suppress(ValueError, OSError):  # not on every system
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, hard))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:  # a full disk, for example; the parent raises it again
        print(f"{error.errno}\n{error.filename or ''}", file=sys.stderr)
        sys.exit(EXIT_IO)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
