import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latentgen.core.errors import BadInput
from latentgen.storage import workdir

HOLD = """
import sys, time
from latentgen.storage import workdir
with workdir.lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""

RACERS = 50
RACE = f"""
import os, sys, time
from latentgen.core.errors import BadInput
from latentgen.storage import workdir
wait, go = os.pipe()
for _ in range({RACERS}):
    if os.fork() == 0:
        os.close(go)
        os.read(wait, 1)  # until all ends of the pipe that could be written to are closed
        try:
            with workdir.lock(sys.argv[1]):
                os.write(1, f"won by {{os.getpid()}}\\n".encode())
                time.sleep(60)
        except BadInput as error:
            os.write(1, f"lost: {{error}}\\n".encode())
        os._exit(0)
os.close(go)
for _ in range({RACERS}):
    os.wait()
"""


def start(program: str, folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(folder), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_lock_names_its_holder_and_outlives_no_killed_process(tmp_path):
    with start(HOLD, tmp_path) as holder:
        try:
            assert line(holder) == "held"
            with pytest.raises(BadInput, match=rf"in use by pid {holder.pid} on host \S+ since"):
                with workdir.lock(tmp_path):
                    pass
        finally:
            holder.send_signal(signal.SIGKILL)
        holder.wait()
    began = time.monotonic()
    with workdir.lock(tmp_path):
        assert time.monotonic() - began < 1
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_lock_names_the_job(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    with workdir.lock(tmp_path), pytest.raises(BadInput, match=r"\(job 4711\)"):
        with workdir.lock(tmp_path):
            pass
    with workdir.lock(tmp_path):  # free again after the block
        pass


def test_of_fifty_racing_processes_one_holds_the_lock_and_the_others_name_it(tmp_path):
    with start(RACE, tmp_path) as racers:
        try:
            lines = sorted(line(racers) for _ in range(RACERS))
            *lost, won = lines
            pid = int(won.removeprefix("won by "))
            assert all(f"is in use by pid {pid} on host" in loser for loser in lost)
            (file,) = tmp_path.iterdir()
            before = (file.stat().st_mtime_ns, file.read_bytes())
            assert json.loads(before[1])["pid"] == pid
            with pytest.raises(BadInput, match=f"pid {pid}"), workdir.lock(tmp_path):
                pass
            assert (file.stat().st_mtime_ns, file.read_bytes()) == before
        finally:
            os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    with workdir.lock(tmp_path):
        assert time.monotonic() - began < 1


@pytest.mark.parametrize("inside", ["", "a/b"])
def test_a_workdir_that_is_a_file_or_in_one_is_refused(tmp_path, inside):
    (tmp_path / "file").write_text("content")
    for act in (workdir.check, workdir.prepare):
        with pytest.raises(BadInput, match=r"file.* a file; it must be a folder") as error:
            act(tmp_path / "file" / inside)
        assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "content"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_workdir_that_cannot_be_written_is_refused():
    for path in ("/proc/x", "/proc/x/y", "/proc/self"):
        with pytest.raises(BadInput, match=r"cannot be written \(.+\)"):
            workdir.prepare(path)


def test_check_leaves_nothing_and_prepare_makes_the_folder(tmp_path):
    path = tmp_path / "a" / "b"
    assert workdir.check(path) == path
    assert list(tmp_path.iterdir()) == []
    assert workdir.prepare(path).is_dir()
    assert list(path.iterdir()) == []
    workdir.prepare(path)


def test_a_relative_workdir_is_checked_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workdir.prepare("runs/1")
    assert (tmp_path / "runs" / "1").is_dir()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    workdir.write_json(path, {"a": 1})

    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            workdir.write_json(path, {"a": 2})
    with pytest.raises(TypeError, match="JSON"):
        workdir.write_json(path, {"a": object()})
    assert workdir.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_file_that_cannot_be_written_is_named_as_the_user_knows_it(tmp_path):
    (tmp_path / "x.json").mkdir()
    with pytest.raises(OSError, match=r"x\.json") as refused:
        workdir.write_json(tmp_path / "x.json", 1)
    assert refused.value.filename == str(tmp_path / "x.json")
    with pytest.raises(OSError, match="No such file") as refused:
        workdir.write_json(tmp_path / "nowhere" / "x.json", 1)
    assert refused.value.filename == str(tmp_path / "nowhere" / "x.json")


@pytest.mark.parametrize("sync", [True, False])
def test_replacing_allows_seeks_and_keeps_the_old_file_on_an_error(tmp_path, sync):
    path = tmp_path / "x"
    (tmp_path / ".x.tmp").write_bytes(b"left by a killed writer")
    with workdir.replacing(path, sync) as file:
        file.write(b"abcd")
        file.seek(1)
        file.write(b"X")
        assert not path.exists()
    assert path.read_bytes() == b"aXcd"
    with pytest.raises(TypeError), workdir.replacing(path, sync) as file:
        file.write("no bytes")
    assert path.read_bytes() == b"aXcd"
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_a_reader_never_sees_half_a_file(tmp_path):
    """A writer is killed in a loop of writes; whatever moment, the file is one of the two."""
    path = tmp_path / "x.json"
    program = (
        "import sys\nfrom latentgen.storage import workdir\nprint('go', flush=True)\n"
        "while True:\n"
        "    for c in 'ab': workdir.write_json(sys.argv[1], c * 3_000_000)\n"
    )
    for pause in (0.05, 0.11, 0.23):
        with start(program, path) as writer:
            try:
                line(writer)
                time.sleep(pause)
                for _ in range(5):
                    if path.exists():
                        assert workdir.read_json(path) in ("a" * 3_000_000, "b" * 3_000_000)
            finally:
                writer.kill()
        if path.exists():
            assert workdir.read_json(path) in ("a" * 3_000_000, "b" * 3_000_000)
    workdir.write_json(path, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]  # nothing left behind for good


def test_writers_of_one_file_wait_for_each_other(tmp_path):
    """Two processes and two threads write it as fast as they can; it is always one of theirs."""
    path = tmp_path / "x.json"
    program = (
        "import sys, threading\nfrom latentgen.storage import workdir\n"
        "def write(c):\n"
        "    for _ in range(150): workdir.write_json(sys.argv[1], c * 20_000)\n"
        "both = [threading.Thread(target=write, args=c) for c in sys.argv[2]]\n"
        "[each.start() for each in both]\n[each.join() for each in both]\n"
    )
    wanted = {c * 20_000 for c in "abcd"}
    workdir.write_json(path, "a" * 20_000)
    with start(program, path, "ab") as first, start(program, path, "cd") as second:
        seen = set()
        while first.poll() is None or second.poll() is None:
            seen.add(workdir.read_json(path))
    assert (first.returncode, second.returncode) == (0, 0)
    assert seen <= wanted
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": ' + "1" * 301 + "}", "a number of 301 digits"),
        (r'{"a": "\ud800"}', "no Unicode"),
        (r'{"\uDFFF": 1}', "no Unicode"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_no_float_and_no_text_can_hold_is_no_json(text, said):
    with pytest.raises(ValueError, match=said):
        workdir.parsed(text)


def test_all_of_unicode_and_large_numbers_are_json():
    assert workdir.parsed(r'["\ud83d\ude00", "\\ud800"]') == ["\U0001f600", r"\ud800"]
    assert workdir.parsed("1" * 300) == int("1" * 300)


def test_a_pipe_or_a_device_is_no_json(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ValueError, match="no regular file"):
            workdir.read_json(place)
    with pytest.raises(OSError, match="directory"):
        workdir.read_json(tmp_path)


def test_flatten():
    assert workdir.flatten({"a": {"b": 1, "c": {"d": (1, 2)}}, "e": {}}) == {
        "a.b": 1,
        "a.c.d": (1, 2),
        "e": {},
    }


def test_differences():
    old = {"optimizer": {"lr": 0.001, "name": "adam"}, "seed": 1, "sizes": [1, 2], "gone": None}
    new = {"optimizer": {"lr": 0.002, "name": "adam"}, "seed": True, "sizes": (1, 2), "a": "x"}
    assert workdir.differences(old, new) == [
        'a: no value in the workdir, "x" now',
        "gone: null in the workdir, no value now",
        "optimizer.lr: 0.001 in the workdir, 0.002 now",
        "seed: 1 in the workdir, true now",
    ]
    assert workdir.differences(new, new) == []


def test_a_run_is_signed_once_with_its_config_and_data(tmp_path):
    config, data = {"sizes": (3, 4), "optimizer": {"lr": 1e-3}}, {"sha256": "ab"}
    assert workdir.check_config(tmp_path, config) is False
    assert list(tmp_path.iterdir()) == []
    workdir.sign(tmp_path, config, data)
    (tmp_path / "checkpoints").mkdir()
    assert workdir.check_config(tmp_path, config) is True
    workdir.sign(tmp_path, config, data)
    before = {p: p.read_bytes() for p in tmp_path.glob("*.json")}
    assert {p.name for p in before} == {"config.json", "data.json"}
    with pytest.raises(BadInput, match=r"optimizer\.lr: 0\.001 in the workdir, 0\.01 now") as error:
        workdir.sign(tmp_path, config | {"optimizer": {"lr": 1e-2}}, data)
    assert "\n" not in str(error.value)
    with pytest.raises(BadInput, match=r'other data: sha256: "ab" in the workdir, "cd" now'):
        workdir.sign(tmp_path, config, {"sha256": "cd"})
    assert {p: p.read_bytes() for p in tmp_path.glob("*.json")} == before


def test_what_is_not_finite_is_written_as_a_word(tmp_path):
    workdir.write_json(tmp_path / "x.json", {"a": [float("nan"), 1.5], "b": float("-inf")})
    assert workdir.read_json(tmp_path / "x.json") == {"a": ["nan", 1.5], "b": "-inf"}


def test_a_config_that_differs_in_kind_only_is_named():
    assert workdir.differences({"a": {}}, {"a": {"b": 1}}) == [
        "a: {} in the workdir, no value now",
        "a.b: no value in the workdir, 1 now",
    ]


@pytest.mark.parametrize("content", ['{"a": 1', "", "[1]", "\xff"])
def test_an_unreadable_config_is_not_overwritten(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(BadInput, match="not readable"):
        workdir.sign(tmp_path, {"a": 1}, {})
    assert (tmp_path / "config.json").read_bytes() == content.encode("latin-1")


def test_checkpoints_without_a_config_are_not_taken_over(tmp_path):
    (tmp_path / "checkpoints" / "100").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"checkpoints but no config\.json"):
        workdir.sign(tmp_path, {"a": 1}, {})
    assert not (tmp_path / "config.json").exists()
