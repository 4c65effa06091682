"""The Frechet distance of 10,000 examples against 10,000: latentgen and two published formulas.

    python -m experiments.benchmarks.frechet [--features 64 2048] [--json FILE]

From arrays of features, as a classifier gives them, to the number:

- latentgen: `moments` and `frechet_distance`, compiled, float64, as `latentgen.evaluate` has them;
- the same in float32;
- SciPy: float64 covariances by NumPy and `scipy.linalg.sqrtm`, as pytorch-fid;
- PyTorch: float64 covariances and the eigenvalues of their product, as torch-fidelity.

Prints by how much each number differs from SciPy's, relative to it. Takes some minutes with 2,048
features.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import torch

from experiments.benchmarks import side_by_side
from experiments.benchmarks.side_by_side import OURS
from latentgen.metrics.frechet import frechet_distance, moments

EXAMPLES = 10_000


def features(seed: int, size: int) -> np.ndarray:
    """Correlated features, as those of a network are: more of them than vary freely."""
    draw = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).normal(size=(size, size)) / np.sqrt(size)
    x = np.maximum(draw.normal(size=(EXAMPLES, size)) @ mixing + 0.1 * seed, 0)
    return x.astype(np.float32)


def by_scipy(a: np.ndarray, b: np.ndarray) -> float:
    means = [x.mean(axis=0, dtype=np.float64) for x in (a, b)]
    first, second = (np.cov(x.astype(np.float64), rowvar=False) for x in (a, b))
    root = scipy.linalg.sqrtm(first @ second)
    return float(
        ((means[0] - means[1]) ** 2).sum() + np.trace(first + second) - 2 * np.trace(root.real)
    )


def by_torch(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.double(), b.double()
    first, second = torch.cov(a.T), torch.cov(b.T)
    roots = torch.linalg.eigvals(first @ second).sqrt().real.sum()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    return float(apart + first.trace() + second.trace() - 2 * roots)


@jax.jit
def distance(a: jax.Array, b: jax.Array) -> jax.Array:
    return frechet_distance(moments(a), moments(b))


def by_latentgen(a: np.ndarray, b: np.ndarray, double: bool) -> jax.Array:
    with jax.enable_x64(double):
        dtype = jnp.float64 if double else jnp.float32
        return distance(jnp.asarray(a, dtype), jnp.asarray(b, dtype))


def main() -> None:
    flags = side_by_side.flags(__doc__)
    flags.set_defaults(repeats=3)
    flags.add_argument("--features", type=int, nargs="+", default=[64, 2048])
    options = flags.parse_args()
    rows, apart = [], {}
    print(side_by_side.HEADER)
    for size in options.features:
        a, b = features(1, size), features(2, size)
        ways = {
            OURS: partial(by_latentgen, a, b, double=True),
            f"{OURS}, float32": partial(by_latentgen, a, b, double=False),
            "SciPy, sqrtm": partial(by_scipy, a, b),
            "PyTorch, eigenvalues": partial(by_torch, torch.tensor(a), torch.tensor(b)),
        }
        expected = by_scipy(a, b)
        apart[size] = {way: float(call()) / expected - 1 for way, call in ways.items()}
        work = f"Frechet distance, {size} features"
        found = side_by_side.compare(work, ways, options.repeats, unit="distance")
        side_by_side.show(found)
        print(f"  relative to SciPy's {expected:.6g}:", end="")
        print(*(f" {way} {value:+.1e};" for way, value in apart[size].items()))
        rows += found
    side_by_side.write(options.json, rows, relative_difference=apart)


if __name__ == "__main__":
    main()
