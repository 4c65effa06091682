"""Export weights for `evaluate`: `python -m latentgen.export --workdir DIR --out FOLDER`.

DIR is a finished run of experiments/classifier.py. FOLDER gets its averaged weights and a card that
describes them, for use with --features. With --inception_pth FILE, convert the published PyTorch
weights of the Inception network of 2015-12-05 to the file --out, for use with --inception_weights;
this needs torch.
"""

import hashlib
from pathlib import Path

import jax
import numpy as np
from absl import flags

from latentgen.cli import app
from latentgen.core.errors import BadInput
from latentgen.core.types import Method, State
from latentgen.core.wrappers import with_averaged_params
from latentgen.data.pipeline import iterate_split
from latentgen.evaluation import features
from latentgen.networks import inception, weights
from latentgen.storage import provenance, workdir
from latentgen.training import setup
from latentgen.training.hooks import AT_ONCE

FLAGS = flags.FLAGS
PUBLISHED = "6726825d"  # first digits of the SHA-256 of pt_inception-2015-12-05-6726825d.pth


def main() -> None:
    """Export a classifier, or convert the Inception network."""
    if FLAGS.out is None:
        raise BadInput("--out is missing: name where to write.")
    out = Path(FLAGS.out)
    if FLAGS.inception_pth is not None:
        convert(Path(FLAGS.inception_pth), out)
        return
    run, step, state = app.restore_trained()
    method = features.classifier(dict(run.config), run.dataset.shape)
    workdir.prepare(out, "out")
    features.save(with_averaged_params(state), out / features.WEIGHTS)
    kept, sha256 = features.load(method, out / features.WEIGHTS)
    card = {
        "shape": run.dataset.shape,
        "config": run.config,
        "step": step,
        "test_accuracy": accuracy(run, kept, method),
        "sha256": sha256,
        **provenance.stamp(run.config, run.identity(), "latentgen.export"),
    }
    workdir.write_json(out / features.CARD, card)
    print(f"{out}: test accuracy {card['test_accuracy']:.4f}, sha256 {sha256}")


def accuracy(run: setup.Run, state: State, method: Method) -> float:
    """Return the accuracy of these weights on the test split."""
    classify = jax.jit(method.probes["classify"])
    test, preprocess = run.dataset.splits["test"], run.experiment.data.preprocess
    right = [
        (classify(state, batch.x).argmax(axis=1) == batch.label)[:valid]
        for batch, valid in iterate_split(test, preprocess, min(AT_ONCE, len(test.label)), run.key)
    ]
    return float(np.concatenate(right).mean())


def convert(file: Path, out: Path) -> None:
    """Convert the Inception network's PyTorch weights.

    Raises:
        BadInput: torch is not installed, or the file is not the published one.
    """
    try:
        import torch
    except ImportError:
        raise BadInput("--inception_pth needs torch: pip install torch.") from None
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadInput(f"--inception_pth={str(file)!r}: {error.strerror}.") from None
    found = hashlib.sha256(content).hexdigest()
    if not found.startswith(PUBLISHED):
        raise BadInput(
            f"--inception_pth={str(file)!r} has the SHA-256 {found}; the published file's begins "
            f"with {PUBLISHED}."
        )
    tensors = torch.load(file, map_location="cpu", weights_only=True)
    params = inception.from_torch({name: value.numpy() for name, value in tensors.items()})
    content = weights.packed(params)
    workdir.write_bytes(out, content)
    print(f"{out}: sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    app.define_trained_flags()
    flags.DEFINE_string("out", None, "A folder, or with --inception_pth a file, to write.")
    flags.DEFINE_string("inception_pth", None, "pt_inception-2015-12-05-6726825d.pth.")
    flags.adopt_module_key_flags(app)
    with app.command():
        main()
