"""Weights that are exported: a classifier's, as a user would, and the Inception network's."""

import hashlib
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import reference
from commands import ROOT, run

from latentgen import export
from latentgen.core.errors import BadInput
from latentgen.evaluation import features
from latentgen.networks import inception, weights

FEW = [
    "--config.steps=400",
    "--config.encoder.channels=8,8",
    "--config.every.log=50",
    "--config.every.validate=400",
    "--config.every.sample=400",
    "--config.every.checkpoint=400",
    "--config.method.ema_decay=0.9",
    "--config.method.ema_start=50",
]


def test_a_classifier_is_trained_exported_and_judges(tmp_path: Path) -> None:
    config, runs, out = f"{ROOT}/experiments/classifier.py:digits", tmp_path / "run", tmp_path / "c"
    done = run("run", f"--config={config}", *FEW, f"--workdir={runs}")
    assert done.returncode == 0, done.stderr
    assert not (runs / "samples").exists()  # it draws none
    done = run("export", f"--workdir={runs}", f"--out={out}")
    assert done.returncode == 0, done.stderr
    card = json.loads((out / features.CARD).read_text())
    assert card["test_accuracy"] > 0.9
    digest = hashlib.sha256((out / features.WEIGHTS).read_bytes()).hexdigest()
    assert digest == card["sha256"]
    assert digest in done.stdout
    seen = features.extractor(str(out), (8, 8, 1), None)
    assert seen.sha256 == digest
    # A classifier can be measured, but not as a generator.
    done = run("evaluate", f"--workdir={runs}", "--metrics=terms")
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    for metric in ("frechet", "modes"):
        done = run("evaluate", f"--workdir={runs}", f"--metrics={metric}")
        assert done.returncode == 2, done.stderr
        assert "no samples" in done.stderr.splitlines()[-1]


def test_a_damaged_or_foreign_classifier_is_refused(tmp_path: Path) -> None:
    folder = Path(features.__file__).parents[1] / "classifiers" / "digits"
    card = json.loads((folder / features.CARD).read_text())
    (tmp_path / features.CARD).write_text(json.dumps(card))
    content = (folder / features.WEIGHTS).read_bytes()
    for damaged in (content[:-100], b"", content.replace(b"kernel", b"kernal")):
        (tmp_path / features.WEIGHTS).write_bytes(damaged)
        with pytest.raises(BadInput, match="weights="):
            features.extractor(str(tmp_path), (8, 8, 1), None)
    (tmp_path / features.WEIGHTS).write_bytes(content)
    card["config"]["data"]["preprocess"] = "signed"
    (tmp_path / features.CARD).write_text(json.dumps(card))
    with pytest.raises(BadInput, match="preprocess"):
        features.extractor(str(tmp_path), (8, 8, 1), None)


@pytest.mark.parametrize(
    "card", ["", "{", "[]", "{}", '{"shape": [8, 8, 1]}', '{"shape": 3, "config": {}}', "\x00"]
)
def test_a_card_that_is_none_is_named(tmp_path: Path, card: str) -> None:
    (tmp_path / features.CARD).write_text(card)
    with pytest.raises(BadInput, match="is no classifier's"):
        features.extractor(str(tmp_path), (8, 8, 1), None)


def test_published_weights_become_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights under the published names: the file's own are not ours to ship."""
    torch = reference.torch()
    params = inception.init(jax.random.key(0))
    file, out = tmp_path / "weights.pth", tmp_path / "inception.npz"
    torch.save(torch_names(params, torch), file)
    with pytest.raises(BadInput, match="6726825d"):
        export.convert(file, out)
    assert not out.exists()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setattr(export, "PUBLISHED", digest[:8])
    export.convert(file, out)
    found = inception.checked(weights.load(out)[0])
    assert jax.tree.structure(found) == jax.tree.structure(params)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(a, b)
    seen = features.extractor("inception", (8, 8, 3), str(out))
    assert seen.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    with pytest.raises(BadInput, match="No such file"):
        export.convert(tmp_path / "nothing.pth", out)


def torch_names(params, torch):
    """Our arrays under the names and in the layouts of the published file."""
    found = {}
    for collection, tree in params.items():
        for path, value in jax.tree_util.tree_leaves_with_path(tree):
            *modules, leaf = (str(entry.key) for entry in path)
            x = np.asarray(value)
            if leaf == "kernel":
                leaf, x = "weight", x.T if x.ndim == 2 else x.transpose(3, 2, 0, 1)
            names = {"scale": "weight", "mean": "running_mean", "var": "running_var"}
            assert collection in ("params", "batch_stats")
            name = ".".join((*modules, names.get(leaf, leaf)))
            found[name] = torch.from_numpy(np.array(x, order="C"))
    return found
