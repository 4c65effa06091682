"""The command that checks and times latentgen on a GPU: its bookkeeping, and its dry form."""

import gzip
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks.accelerator import (
    __main__,
    correct,
    flops,
    profile,
    random_numbers,
    results,
    supervisor,
    table,
    trace,
    wheels,
    works,
)
from experiments.benchmarks.accelerator.configs import StandIn
from experiments.benchmarks.accelerator.parts import PARTS, TOTAL, Context, Part
from latentgen.core.errors import BadInput

ROOT = Path(__file__).parents[2]
README = ROOT / "experiments" / "benchmarks" / "README.md"


def empty(dry: bool = False) -> results.Results:
    return {
        "format": results.FORMAT,
        "dry": dry,
        "card": {"name": "CPU" if dry else "Some Card 80GB", "driver": "1.2"},
        "versions": {"jax": "0.10.2"},
        "date": "2026-01-02T03:04:05+00:00",
        "parts": {},
    }


# Keeping results


def test_a_second_call_goes_on_with_results_of_the_same_machine(tmp_path: Path) -> None:
    path, here = tmp_path / "card.json", empty()
    found = results.opened(path, here, fresh=False)
    found["parts"]["correct"] = {"state": "finished"}
    results.write(path, found)
    assert results.opened(path, empty(), fresh=False)["parts"] == found["parts"]
    assert results.opened(path, empty(), fresh=True)["parts"] == {}
    assert [p.name for p in tmp_path.iterdir()] == ["card.json"]


@pytest.mark.parametrize(
    "other", [{"card": {"name": "Other"}}, {"versions": {"jax": "1.0"}}, {"dry": True}]
)
def test_results_of_another_machine_are_refused(tmp_path: Path, other: dict) -> None:
    path = tmp_path / "card.json"
    results.write(path, empty())
    with pytest.raises(BadInput, match=f"another '{next(iter(other))}'.*--fresh"):
        results.opened(path, empty() | other, fresh=False)


def test_a_dry_run_never_gets_among_cards(tmp_path: Path) -> None:
    results.check_place(tmp_path / "cards" / "a.json", dry=False, cards=tmp_path / "cards")
    with pytest.raises(BadInput, match="dry run"):
        results.check_place(tmp_path / "cards" / "a.json", dry=True, cards=tmp_path / "cards")
    with pytest.raises(BadInput, match="dry run"):
        results.opened(results.CARDS / "cpu.json", empty(dry=True), fresh=False)
    results.write(tmp_path / "a.json", empty(dry=True))
    with pytest.raises(BadInput, match="dry run"):
        table.load(tmp_path)
    assert not results.default_path(empty(dry=True)).is_relative_to(results.CARDS)
    assert results.default_path(empty()) == results.CARDS / "some-card-80gb.json"


def test_no_card_is_kept_of_a_dry_run() -> None:
    for found in table.load(results.CARDS):
        assert found["card"]["driver"]


@pytest.mark.parametrize("text", ["", "[]", '{"format": 0}'])
def test_what_holds_no_results_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.json"
    path.write_text(text)
    with pytest.raises(BadInput, match="--json"):
        results.read(path)


# Parts in processes of their own

CHILD = """
    import json, sys, time
    from pathlib import Path
    rows = Path(sys.argv[sys.argv.index("--rows") + 1]).open("a", buffering=1)
    skip = sys.argv[sys.argv.index("--skip") + 1:] if "--skip" in sys.argv else []
    done = json.loads(Path(sys.argv[sys.argv.index("--json") + 1]).read_text())["parts"]["part"]
    skip += [n for n, found in done["done"].items() if "error" not in found]
    def say(**line): print(json.dumps(line), file=rows)
    def item(name, **found):
        say(began=name); say(name=name, seconds=0.0, **found)
    say(items=[{"name": n, "checks": True} for n in "ab"])
    if "a" not in skip: item("a", rows=[{"ok": True, "call": 1}])
"""


def job(tmp_path: Path, script: str) -> supervisor.Job:
    file = tmp_path / "child.py"
    file.write_text(textwrap.dedent(CHILD) + textwrap.dedent(script))
    parts = {"part": Part("a part", "none", 20.0, 20.0)}
    command = lambda name: [sys.executable, str(file)]  # noqa: E731
    return supervisor.Job(tmp_path / "card.json", True, parts, {}, command)


def test_a_part_that_holds_and_one_whose_check_fails(tmp_path: Path) -> None:
    found = empty(dry=True)
    end = 'item("b", rows=[{"ok": %s, "check": "planted"}]); say(end=True)'
    supervisor.run(job(tmp_path, end % True), found, ["part"], print)
    assert found["parts"]["part"]["state"] == "finished"
    assert __main__.verdict(found, ["part"]) == 0
    assert results.read(tmp_path / "card.json") == found
    found = empty(dry=True)
    supervisor.run(job(tmp_path, end % False), found, ["part"], print)
    assert results.problems("part", found["parts"]["part"]) == ["part: b: ok=False, check=planted"]
    assert __main__.verdict(found, ["part"]) == 1


def test_a_part_is_killed_at_its_limit_keeps_what_it_found_and_goes_on(tmp_path: Path) -> None:
    found = empty(dry=True)
    stuck = job(tmp_path, 'say(began="b"); time.sleep(60)')
    results.write(stuck.path, found)
    began = time.monotonic()
    supervisor.one(stuck, found, "part", 1.5)
    part = found["parts"]["part"]
    assert time.monotonic() - began < 10
    assert (part["state"], part["left"], list(part["done"])) == ("cut", ["b"], ["a"])
    assert results.problems("part", part) == ["part: b: not reached within 2 s"]
    again = job(tmp_path, 'item("b", rows=[]); say(end=True)')
    supervisor.run(again, found, ["part"], print)
    assert found["parts"]["part"]["state"] == "finished"
    lines: list[str] = []
    supervisor.run(again, found, ["part"], lines.append)
    assert lines == ["part: finished by an earlier call"]


def test_an_item_that_breaks_its_process_does_not_take_the_others_along(tmp_path: Path) -> None:
    script = """
        if "b" not in skip:
            say(began="b"); print("broken", file=sys.stderr); sys.exit(7)
        say(end=True)
    """
    found = empty(dry=True)
    supervisor.run(job(tmp_path, script), found, ["part"], print)
    part = found["parts"]["part"]
    assert part["state"] == "failed"
    assert part["done"]["a"]["rows"]
    assert part["done"]["b"]["error"] == "broken\nthe process ended with 7"
    assert __main__.verdict(found, ["part"]) == 1


def test_a_part_that_does_not_start_fails(tmp_path: Path) -> None:
    found = empty(dry=True)
    broken = job(tmp_path, "")
    (tmp_path / "child.py").write_text("raise SystemExit('no library')")
    supervisor.run(broken, found, ["part"], print)
    assert found["parts"]["part"]["state"] == "failed"
    assert __main__.verdict(found, ["part"]) == 1


def test_one_part_alone_has_all_the_time() -> None:
    assert __main__.limits(["speed"])["speed"].seconds is None
    two = __main__.limits(["correct", "speed"])
    assert [part.seconds for part in two.values()] == [140, 180]


def test_all_limits_fit_the_whole() -> None:
    assert sum(part.seconds or 0 for part in PARTS.values()) <= TOTAL - supervisor.LEAST
    assert TOTAL <= 8 * 60
    assert all((Path(results.__file__).parent / f"{p.module}.py").exists() for p in PARTS.values())


# Words and tables


def filled() -> results.Results:
    speed = {
        "work": "DCGAN 64x64",
        "batch": 64,
        "precision": "TF32",
        "steps_per_second": 12345.6,
        "share_of_peak": 0.25,
        "ratios": {"PyTorch": 1.5},
    }
    population = {"work": "VAE", "seeds": 8, "images_per_second": 1000.0}
    recipe = {"recipe": "SNGAN", "steps_per_second": 10.0, "recipe_steps": 1000, "gpu_hours": 0.5}
    checks = [{"ok": True}, {"ok": True}]
    seconds = {"convolution": 3e-3, "normalization": 0.0, "gaps": 1e-3}
    profiled = {
        **{"work": "DCGAN 64x64", "batch": 64, "precision": "TF32", "kernels_per_step": 10.2},
        **{"seconds_per_step": seconds, "longest": [{"kernel": "fprop", "seconds": 1.0}]},
    }
    forms = {f"{form}, both: seconds": s for form, s in (("one form", 5e-4), ("another", 1e-3))}

    def part(*rows: dict) -> dict:
        item = {"name": "i", "checks": True}
        return {"items": [item], "done": {"i": {"rows": list(rows), "seconds": 1}}, "limit": 9.0}

    found = empty()
    found["parts"] = {
        "correct": part(*checks),
        "speed": part(speed),
        "populations": part(population),
        "recipe": part(recipe),
        "profile": part(profiled, {"layer": "4x4, 2 to 1", "precision": "TF32", **forms}),
    }
    return found


def test_the_table_says_what_was_measured(tmp_path: Path) -> None:
    document, cards = tmp_path / "README.md", tmp_path / "cards"
    cards.mkdir()
    document.write_text(f"before\n{table.BEGIN}\nformer\n{table.END}\nafter\n")
    table.update(document, cards)
    assert "Not yet run on a GPU: `make accelerator`" in document.read_text()
    results.write(cards / "some.json", filled())
    table.update(document, cards)
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "former" not in text
    assert "**Some Card 80GB** (driver 1.2; jax 0.10.2; 2026-01-02)" in text
    assert "All 2 checks hold." in text
    assert "| DCGAN 64x64 | 64 | TF32 | 12,346 | 25% | 1.50 times as long | - |" in text
    assert "VAE, 8 seeds: 1,000" in text
    assert "1,000 steps take 0.5 GPU-hours" in text
    assert "10 kernels: convolution 75%, gaps 25%. The longest is `fprop`." in text
    assert "| precision | one form | another |\n|---|---|---|---|\n" in text
    assert "| 4x4, 2 to 1 | TF32 | 500 | 1,000 |" in text
    once = document.read_text()
    table.update(document, cards)
    assert document.read_text() == once


def test_the_table_in_the_documents_is_that_of_the_cards() -> None:
    inside = README.read_text().split(table.BEGIN)[1].split(table.END)[0]
    assert inside == f"\n{table.written(table.load(results.CARDS))}\n"


def test_a_document_without_markers_is_refused(tmp_path: Path, capsys) -> None:
    (tmp_path / "README.md").write_text("nothing")
    assert __main__.main(["--table", str(tmp_path / "README.md")]) == 2
    assert capsys.readouterr().err.startswith("--table=")


# Reading profiles and programs


def event(name: str, ts: float, dur: float, op: str = "", tid: int = 1) -> dict:
    args = {"hlo_op": op} if op else {}
    return {"ph": "X", "pid": 1, "tid": tid, "name": name, "ts": ts, "dur": dur, "args": args}


def named(what: str, name: str, tid: int | None = None) -> dict:
    place = {"ph": "M", "pid": 1, "name": what, "args": {"name": name}}
    return place if tid is None else place | {"tid": tid}


EVENTS = [
    named("process_name", "/device:GPU:0"),
    named("thread_name", "Stream #15(Compute)", 1),
    named("thread_name", "XLA Modules", 2),
    event("sm90_xmma_fprop_implicit_gemm", 0.0, 40.0, "cudnn-conv.1"),
    event("loop_add_fusion", 50.0, 10.0, "loop_add_fusion"),
    event("loop_multiply_fusion", 60.0, 5.0, "fusion.7"),
    event("MemcpyD2D", 65.0, 15.0),
    event("jit_step", 0.0, 100.0, tid=2),
    {},
]
PROGRAM = """
%cudnn-conv.1 = (f32[1,2]{1,0}, u8[0]{0}) custom-call(%a, %b), custom_call_target="__cudnn$convForward", metadata={op_name="jit(step)/turn of generator/Conv_0/conv_general_dilated"}
%cudnn-conv.2 = (f32[1,2]{1,0}, u8[0]{0}) custom-call(%a, %b), custom_call_target="__cudnn$convBackwardInput", metadata={op_name="jit(step)/x"}
%loop_add_fusion = f32[2]{0} fusion(%c), kind=kLoop, calls=%d, metadata={op_name="jit(step)/turn of generator/optimizer/add" stack_frame_id=3}
ROOT %fusion.7 = f32[2]{0} fusion(%c), kind=kLoop, metadata={op_name="jit(step)/BatchNorm_0/mul"}
%convolution.3 = f32[1,2]{1,0} convolution(%a, %b), window={size=4x4}
"""  # noqa: E501


def test_a_profile_is_read_kernel_by_kernel(tmp_path: Path) -> None:
    place = tmp_path / "plugins" / "profile" / "now"
    place.mkdir(parents=True)
    with gzip.open(place / "host.trace.json.gz", "wt") as file:
        json.dump({"traceEvents": EVENTS}, file)
    run = trace.read(tmp_path)
    assert len(run) == 4
    found = trace.shares(run, trace.scopes(PROGRAM))
    expected = {"convolution": 40, "optimizer": 10, "normalization": 5, "copy": 15, "gaps": 10}
    assert {k: round(v * 1e6) for k, v in found.items() if v} == expected
    first = trace.longest(run)[0]
    assert first["kernel"] == "sm90_xmma_fprop_implicit_gemm"
    assert (round(first["seconds"] * 1e6), first["times"]) == (40, 1)


def test_a_profile_of_this_jax_is_read(tmp_path: Path) -> None:
    multiply = jax.jit(lambda a: jnp.tanh(a @ a))
    a = jnp.ones((64, 64))
    multiply(a)
    with jax.profiler.trace(tmp_path):
        multiply(a).block_until_ready()
    assert sum(trace.shares(trace.read(tmp_path), {}).values()) > 0


def test_routines_that_a_program_calls_are_counted() -> None:
    expected = {"__cudnn$convBackwardInput": 1, "__cudnn$convForward": 1, "convolution": 1}
    assert trace.calls(PROGRAM) == expected


def test_a_transposed_convolution_is_a_gradient_of_a_convolution() -> None:
    (row,) = profile.transposed((2, 4, 3, 2), "TF32", dry=True)
    assert row["ok"]
    assert row["dilated forward, forward: calls"] == {"convolution": 1}


# Counting, comparing


def test_operations_are_counted_where_a_result_needs_them() -> None:
    a, b = jnp.ones((3, 4)), jnp.ones((4, 5))

    def f(a, b):
        jnp.dot(b.T, a.T)  # no result needs it
        return jax.lax.scan(lambda c, _: (c + a @ b, None), jnp.zeros((3, 5)), None, 7)[0]

    assert flops.counted(jax.make_jaxpr(f)(a, b)) == 7 * 2 * 3 * 4 * 5
    assert flops.counted(jax.make_jaxpr(jax.jit(f))(a, b)) == 7 * 2 * 3 * 4 * 5
    x, k = jnp.ones((2, 8, 8, 3)), jnp.ones((4, 4, 3, 6))
    up = jax.make_jaxpr(lambda x, k: jax.lax.conv_transpose(x, k, (2, 2), "SAME"))(x, k)
    assert flops.counted(up) == 2 * (2 * 16 * 16 * 6) * 3 * 16 / 4


def test_a_rare_branch_counts_for_its_share() -> None:
    a = jnp.ones((3, 3))
    branches = lambda a: jnp.dot(a, a), lambda a: jnp.dot(jnp.dot(a, a), a)
    found = jax.make_jaxpr(lambda i, a: jax.lax.cond(i, *branches, a))(True, a)
    assert flops.counted(found) == 2 * 2 * 27
    assert flops.counted(found, 1 / 16) == 2 * 27 * (1 + 1 / 16)


def test_a_leaf_that_differs_is_named() -> None:
    begin = {"a": np.zeros(3, np.float32), "b": np.int32(0)}
    end = {"a": np.float32([1, 0, 0]), "b": np.int32(3)}
    off = {"a": np.float32([1.1, 0, 0]), "b": np.int32(3)}
    from experiments.benchmarks.accelerator.methods import apart

    assert correct.judged("c", 1, apart(begin, end, end))["ok"]
    row = correct.judged("c", 1, apart(begin, off, end))
    assert (row["ok"], row["leaf"], round(row["largest"], 3)) == (False, "a", 0.1)
    bad = {"a": np.float32([np.nan, 0, 0]), "b": np.int32(2)}
    row = correct.judged("c", 1, apart(begin, bad, end))
    assert (row["ok"], row["largest"]) == (False, "infinite")


def test_a_second_attempt_begins_no_check_that_is_done_or_broke_the_first(monkeypatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(correct, "twice", lambda *_: called.append("twice"))
    monkeypatch.setattr(correct, "killed", lambda *_: called.append("killed"))
    monkeypatch.setattr(correct, "two", lambda name, _: called.append(name))
    monkeypatch.setattr(correct, "members", lambda *_: called.append("members"))
    skip = {"CPU and device: vae", "killed and resumed"}
    for item in correct.items(Context(True, empty(dry=True), Path(), 1.0, skip))[2:]:
        if item.name not in skip:
            item.call()
    assert sorted(called) == ["gan", "members", "twice"]


def test_random_numbers_are_those_of_the_table() -> None:
    found = random_numbers.differences(jax.devices("cpu")[0])
    assert all(d <= random_numbers.DRAWS[name][1] for name, d in found.items())
    assert found.keys() == json.loads(random_numbers.TABLE.read_text()).keys()


# Where packages are missing

BLOCKED = ("ml_collections", "grain", "array_record", "tensorflow_datasets", "torch")
WITHOUT = f"""
    import sys
    class Blocked:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in {BLOCKED!r}:
                raise ModuleNotFoundError(name, name=name)
    sys.meta_path.insert(0, Blocked())
    import importlib.util
    find = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *a: None if name in {BLOCKED!r} else find(name, *a)
    from pathlib import Path
    from experiments.benchmarks.accelerator import correct, ours, populations, profile, recipe
    from experiments.benchmarks.accelerator import speed, works
    from experiments.benchmarks.accelerator.parts import Context
    context = Context(True, {{"parts": {{}}, "card": {{}}}}, Path(), 10.0)
    for part in (correct, speed, populations, profile, recipe):
        assert part.items(context)
    work = works.works(True)["mlp_vae"]
    assert ours.build("k", work, "TF32", 4, 2)["flops"] > 0
    assert ours.timed("k").wall > 0
    assert correct.killed(context)[0]["skipped"] == "ml_collections not installed"
"""


def test_benchmarks_need_neither_ml_collections_nor_tensorflow_datasets() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WITHOUT)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", works.works(dry=False))
def test_pytorch_trains_the_same_network(name: str) -> None:
    peers = pytest.importorskip("experiments.benchmarks.accelerator.peers", exc_type=ImportError)
    work = works.works(dry=True)[name]
    run = works.run(work, "TF32", 4, examples=4)
    state = run.state
    step, size = peers.step_of(name, work, "TF32", 4, compiled=False)
    assert size == sum(leaf.size for leaf in jax.tree.leaves(state.params))
    step()


def test_a_stand_in_is_what_experiments_need_of_a_config() -> None:
    config = StandIn({"a": 1, "net": {"hidden": (2,), "norm": "none"}})
    config.net.update(norm="batch")
    config.update({"net": {"hidden": (3,)}}, a=2)
    config["net"].more = 4
    assert config.to_dict() == {"a": 2, "net": {"hidden": (3,), "norm": "batch", "more": 4}}
    with pytest.raises(AttributeError, match="nothing"):
        _ = config.nothing


def wheel(folder: Path, name: str, tag: str = "py3-none-any") -> None:
    with zipfile.ZipFile(folder / f"{name}-1.0-{tag}.whl", "w") as archive:
        archive.writestr(f"{name}.py", "FOUND = 1\n")
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Name: {name}\nVersion: 1.0\n")


def test_wheels_give_what_is_not_installed(tmp_path: Path) -> None:
    wheel(tmp_path, "made_up_package")
    wheel(tmp_path, "numpy")  # installed: not to be hidden
    wheel(tmp_path, "for_another", "cp27-cp27m-win32")
    into = tmp_path / "into"
    assert wheels.unpack(tmp_path, into) == ["made_up_package"]
    code = "import made_up_package; print(made_up_package.FOUND)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(into)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "1\n"


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("a-1-py3-none-any.whl", True),
        ("a-1-py2.py3-none-any.whl", True),
        ("a-1-cp27-cp27m-any.whl", False),
        ("a-1-py3-none-win_amd64.whl", False),
    ],
)
def test_wheels_fit_or_not(name: str, fits: bool) -> None:
    assert wheels.fits(name) == fits


def test_an_empty_folder_of_wheels_is_refused_in_a_line(tmp_path: Path, capsys) -> None:
    assert __main__.main(["--wheels", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"--wheels={tmp_path} holds no wheels; `make wheels` fills a folder."
    ]


# As a user runs it


@pytest.mark.long
def test_the_dry_form_holds_in_every_part(tmp_path: Path) -> None:
    """Ended in the middle first, then gone on with."""
    path = tmp_path / "dry.json"
    command = [sys.executable, "-m", "experiments.benchmarks.accelerator", "--dry"]
    command += ["--json", str(path)]
    with subprocess.Popen([*command, "--parts", "correct"], cwd=ROOT) as process:
        while not (path.exists() and results.rows(results.read(path), ["correct"])):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    kept = results.read(path)["parts"]["correct"]["done"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    found = results.read(path)
    assert found["dry"]
    assert found["card"] == {"name": "CPU"}
    assert all(found["parts"][name]["state"] == "finished" for name in PARTS)
    assert kept.items() <= found["parts"]["correct"]["done"].items()
    assert all(results.rows(found, [name]) for name in PARTS)
    assert (tmp_path / "dry-run-recipe.png").read_bytes().startswith(b"\x89PNG")
