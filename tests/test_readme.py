"""The documents: what they tell their reader to write works, and what they point to is there."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_config import config_of

from latentgen import configs
from latentgen.core.keys import run_key
from latentgen.core.types import Batch, Method
from latentgen.data import sources
from latentgen.objectives.adversarial import LOSSES
from latentgen.objectives.augment import AUGMENTATIONS
from latentgen.objectives.penalties import PENALTIES

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for folder in ("", "latentgen", "experiments", "tests", ".github")
    for path in (ROOT / folder).glob("**/*.md" if folder else "*.md")
)
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
LIBRARY, GAN = PYTHON.findall((ROOT / "README.md").read_text())
OWN = (ROOT / "latentgen" / "README.md").read_text().partition("## Add your own")[2]
LOSS, PENALTY, AUGMENTATION, HYBRID = PYTHON.findall(OWN)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_a_document_points_to_is_there(document: Path) -> None:
    text = document.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if not target.startswith("http"):
            file = document.parent / path if path else document
            assert file.exists(), target
            heads = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE) if anchor else []
            slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert not anchor or anchor in slugs, target
    for module in re.findall(r"python -m ([a-z_]+(?:\.[a-z_]+)+)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
    for named in re.findall(r"`((?:latentgen|tests|experiments)/[\w./-]+)`", text):
        assert (ROOT / named).exists(), named


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_a_gan_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(GAN.replace("3000", "20"), names)
    assert names["model"].step == 20
    assert names["pictures"].shape == (16, 8, 8, 1)
    assert 0 <= names["pictures"].min() < names["pictures"].max() <= 1
    (line,) = (tmp_path / "runs" / "by_hand" / "metrics.jsonl").read_text().splitlines()[:1]
    assert json.loads(line)["cost_in_turn_of_d"] < 0  # a sum of two means of logarithms


def test_the_library_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    short = 'workdir="runs/mine", changes={"steps": 10}'
    names: dict = {}
    exec(LIBRARY.replace('workdir="runs/mine"', short, 1), names)
    assert names["model"].step == 10


@pytest.fixture
def tables() -> Iterator[None]:
    """The tables, as they were afterwards."""
    each = LOSSES, PENALTIES, AUGMENTATIONS
    before = [dict(table) for table in each]
    yield
    for table, rows in zip(each, before, strict=True):
        table.clear()
        table.update(rows)


def digits() -> Batch:
    x = sources.load("digits").splits["train"].x[:64] / np.float32(255)
    return Batch(jnp.asarray(x)[None], jnp.zeros((1, 64), jnp.int32))


def trained(method: Method, steps: int) -> tuple[dict, dict]:
    """The first and the last metrics."""
    step = jax.jit(method.step)
    state, found = jax.jit(method.init)(run_key(0)), []
    for i in range(steps):
        state, metrics = step(state, jnp.int32(i), digits(), run_key(0))
        found.append({name: float(value) for name, value in metrics.items()})
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
    return found[0], found[-1]


@pytest.mark.usefixtures("tables")
def test_a_loss_a_penalty_and_an_augmentation_of_ones_own() -> None:
    exec(LOSS, {})
    exec(PENALTY, {})
    exec(AUGMENTATION, {})
    game = LOSSES["opposite_labels"]
    np.testing.assert_allclose(game.discriminator_value(jnp.ones(1), -jnp.ones(1)), [0.0])
    np.testing.assert_allclose(game.generator_loss(jnp.ones(1), 2 * jnp.ones(1)), [2.0])
    flat, steep = (
        PENALTIES["wgan_lp"](lambda x, w=w: w * x[:, 0], jnp.ones((2, 3)), jnp.zeros((2, 3)),
                             jax.random.key(0))
        for w in (0.5, 3.0)
    )  # fmt: skip
    np.testing.assert_allclose(flat, [0, 0])
    np.testing.assert_allclose(steep, [4, 4])
    config = copy.deepcopy(config_of("gan"))
    config["method"] |= {"loss": "opposite_labels", "penalty": "wgan_lp"}
    config["method"]["augment"] = "instance_noise"
    first, last = trained(configs.experiment(config).plan.wire((8, 8, 1)), 20)
    assert last["discriminator_value"] > first["discriminator_value"]


def test_a_hybrid_of_ones_own() -> None:
    names: dict = {}
    exec(HYBRID, names)
    first, last = trained(names["method"], 100)
    assert last["distance"] < 0.7 * first["distance"]
    x = names["method"].sample(names["method"].init(run_key(0)), run_key(1), 3)
    assert x.shape == (3, 8, 8, 1)
