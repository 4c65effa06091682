"""log p(x) by importance sampling from the posterior: latentgen against two loops in PyTorch.

    python -m experiments.benchmarks.importance_sampling [--workdir DIR] [--images 100] [--k 5000]

The VAE 784-200-200-50 (tanh, Bernoulli pixels, normal posterior and prior) of
`experiments/vae.py:iwae` on the first test images of Fashion-MNIST with pixels above 127 as ones,
float32, with k importance samples an image. Five ways with the same weights, in turns:

- ours: what `python -m latentgen.evaluate --metrics=is` runs, already compiled;
- ours with `jax.nn.softplus` a pixel, and ours without any softplus (not a likelihood: it only
  shows the cost of the softplus);
- torch, by image: one image and 100 samples at a time, as pythae's `get_nll` does, but with the
  encoder run once an image and the cross-entropy taken from logits, both faster than pythae's own;
- torch, in batches: images x samples at once, in place, fused products; which likelihood and how
  many rows at once is tuned first, on this machine.

Then the share of the machine's matrix-multiply peak (the fastest square float32 product found, in
the same turns) that the decoder's multiplications reach, and whether the ways agree: the mean
paired difference of their log p(x) over its standard error. Seconds are medians of the wall clock,
which depends on other programs' load; CPU seconds over the number of cores depend on it less.
Ratios carry over to other machines, seconds do not.
On a busy machine set OMP_WAIT_POLICY=passive, or PyTorch's threads spin while they wait.

Needs the `benchmark` extra and Fashion-MNIST (Debian: dataset-fashion-mnist). Weights are those of
the run in --workdir, else random. Takes about two minutes on two cores.
"""

import argparse
import json
import math
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from experiments.benchmarks import side_by_side
from experiments.benchmarks.side_by_side import PEAK, in_turns, median, ratio
from latentgen.core.errors import BadInput
from latentgen.evaluation.measures import likelihood
from latentgen.evaluation.measures.subject import Options, Subject
from latentgen.metrics.importance import Importance
from latentgen.probability import likelihoods
from latentgen.probability.distributions import sum_event
from latentgen.training import setup

CODE, HIDDEN, PIXELS = 50, 200, 784
FLOPS = 2 * (CODE * HIDDEN + HIDDEN * HIDDEN + HIDDEN * PIXELS)  # of the decoder, a sample
BY_IMAGE = 100  # samples at once
TUNING = 10, 1_000  # images, samples of each
EXPERIMENT = Path(__file__).parents[1] / "vae.py"


# Ours


class Caught(Exception):
    """Carries what `importance_sampled` was about to run over the images."""


def ours(subject: Subject, options: Options) -> Callable[[], np.ndarray]:
    """The measure `is` as `evaluate` runs it, compiled once for all calls: () -> log p(x)."""

    def catch(*args: Any) -> None:
        raise Caught(args)

    with mock.patch.object(likelihood, "over_images", catch):
        try:
            likelihood.importance_sampled(subject, options)
        except Caught as caught:
            (args,) = caught.args

    def run() -> np.ndarray:
        found: Importance = likelihood.over_images(*args)
        return found.log_likelihood

    return run


def with_softplus(logits: jax.Array, x: jax.Array) -> jax.Array:
    flat, x = logits.reshape(len(x), -1), x.reshape(len(x), -1)  # flat as latentgen's: much faster
    return sum_event(x * flat - jax.nn.softplus(flat))


def without_softplus(logits: jax.Array, x: jax.Array) -> jax.Array:
    return sum_event(x.reshape(len(x), -1) * logits.reshape(len(x), -1))


def ours_with(
    log_prob: Callable[..., Any], subject: Subject, options: Options
) -> Callable[[], np.ndarray]:
    """The same with another Bernoulli likelihood, in place while it is traced."""
    with mock.patch.object(likelihoods, "bernoulli_log_prob", log_prob):
        run = ours(subject, options)
        run()
    return run


# PyTorch


class Layers(NamedTuple):
    """(kernel (in, out), bias) of each layer."""

    encoder: list[tuple[Tensor, Tensor]]
    decoder: list[tuple[Tensor, Tensor]]


def layers(params: Any) -> Layers:
    """latentgen's weights for PyTorch."""

    def of(net: Any) -> list[tuple[Tensor, Tensor]]:
        stack = [*(net["Hidden_0"][f"Dense_{i}"] for i in range(2)), net["Linear_0"]["Dense_0"]]
        return [tuple(torch.tensor(np.asarray(d[w])) for w in ("kernel", "bias")) for d in stack]

    return Layers(of(params["encoder"]), of(params["decoder"]))


def mlp(net: list[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    for kernel, bias in net[:-1]:
        x = torch.addmm(bias, x, kernel).tanh_()
    kernel, bias = net[-1]
    return torch.addmm(bias, x, kernel)


def log_mean(log_w: Tensor) -> Tensor:
    """log 1/k sum w over the first axis."""
    return torch.logsumexp(log_w, 0) - math.log(len(log_w))


def by_image(net: Layers, x: Tensor, k: int) -> np.ndarray:
    """One image at a time, BY_IMAGE samples at a time."""
    found = []
    for image in x:
        mean, log_std = mlp(net.encoder, image[None]).chunk(2, dim=1)
        repeated, log_w = image.expand(BY_IMAGE, -1), []
        for _ in range(math.ceil(k / BY_IMAGE)):
            noise = torch.randn(BY_IMAGE, CODE)
            z = mean + log_std.exp() * noise
            log_q = -(0.5 * noise**2 + log_std).sum(1)
            log_p = -(0.5 * z**2).sum(1)
            logits = mlp(net.decoder, z)
            log_px = -functional.binary_cross_entropy_with_logits(
                logits, repeated, reduction="none"
            ).sum(1)
            log_w.append(log_px + log_p - log_q)
        found.append(log_mean(torch.cat(log_w)[:k]))
    return torch.stack(found).numpy()


def cross_entropy(logits: Tensor, x: Tensor) -> Tensor:
    """log p(x|z) of logits (s, n, d): PyTorch's own function."""
    each = functional.binary_cross_entropy_with_logits(
        logits, x.expand_as(logits), reduction="none"
    )
    return each.sum(-1).neg_()


def plain(logits: Tensor, x: Tensor) -> Tensor:
    """x l as a product of matrices, softplus(l) summed."""
    return torch.einsum("snd,nd->sn", logits, x) - functional.softplus(logits).sum(-1)


def product(logits: Tensor, x: Tensor) -> Tensor:
    """Compute it as latentgen does: one log for a product of many factors, all in place."""
    found = torch.einsum("snd,nd->sn", logits, x)
    found -= logits.clamp_min(0).sum(-1)
    factors = logits.abs_().neg_().exp_().add_(1).unflatten(-1, (16, 49))
    return found.sub_(factors.prod(-2).log_().sum(-1))


WAYS = {f.__name__: f for f in (cross_entropy, plain, product)}
ROWS = (1_000, 2_000, 4_000, 8_000)


def in_batches(
    net: Layers, x: Tensor, k: int, log_prob: Callable[[Tensor, Tensor], Tensor], rows: int
) -> np.ndarray:
    """About `rows` samples of some images at once."""
    images = min(len(x), 10)
    samples, found = math.ceil(rows / images), []
    for batch in x.split(images):
        n, log_w = len(batch), []
        mean, log_std = mlp(net.encoder, batch).chunk(2, dim=1)
        std, constant = log_std.exp(), log_std.sum(1)
        for start in range(0, k, samples):
            s = min(samples, k - start)
            noise = torch.randn(s, n, CODE)
            z = torch.addcmul(mean, std, noise)
            log_w_rest = noise.square_().sum(-1).sub_(z.square().sum(-1)).mul_(0.5).add_(constant)
            logits = mlp(net.decoder, z.view(s * n, CODE)).view(s, n, PIXELS)
            log_w.append(log_w_rest.add_(log_prob(logits, batch)))
        found.append(log_mean(torch.cat(log_w)))
    return torch.cat(found).numpy()


def tuned(net: Layers, x: Tensor) -> tuple[str, int]:
    """The fastest likelihood and number of rows at once."""
    images, k = TUNING
    x = x[:images]
    calls = {
        (way, rows): lambda f=f, rows=rows: in_batches(net, x, k, f, rows)
        for way, f in WAYS.items()
        for rows in ROWS
    }
    took = in_turns(calls, 3)
    return min(calls, key=lambda name: min(each.wall for each in took[name]))


# Both


def subject_of(options: argparse.Namespace) -> Subject:
    """A run's newest weights, or random ones."""
    if options.workdir:
        run = setup.reopen(options.workdir, None, options.manual_dir)
        step, state = setup.restore(run, None)
    else:
        config = runpy.run_path(str(EXPERIMENT))["get_config"]("iwae").to_dict()
        run = setup.load(Path(), config, None, options.manual_dir)
        step, state = 0, jax.jit(run.method.init)(run.key)
    shapes = {p.shape for p in jax.tree.leaves(state.params) if p.ndim == 2}
    if shapes != {(784, 200), (200, 200), (200, 100), (50, 200), (200, 784)}:
        raise BadInput("--workdir is no run of experiments/vae.py:binary or :iwae.")
    return Subject(run, step, state, "test", {})


def agreement(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Mean of a - b, nats, and its standard error."""
    difference = a.astype(np.float64) - b
    error = float(difference.std(ddof=1) / math.sqrt(len(difference)))
    return {"difference": float(difference.mean()), "standard_error": error}


def main() -> None:
    flags = side_by_side.flags(__doc__)
    flags.set_defaults(repeats=5)
    flags.add_argument("--workdir", type=Path, help="a run of experiments/vae.py:iwae or :binary")
    flags.add_argument("--manual-dir", help="a folder with Fashion-MNIST's files")
    flags.add_argument("--images", type=int, default=100)
    flags.add_argument("--k", type=int, default=5_000)
    options = flags.parse_args()
    if min(options.images - 1, options.k, options.repeats) < 1:
        flags.error("--images must be at least 2, --k and --repeats at least 1.")
    try:
        subject = subject_of(options)
    except BadInput as error:
        sys.exit(str(error))

    facts = side_by_side.machine()
    highest = side_by_side.peak()
    asked = Options(0, options.images, options.k, 1, 2, 1, None)
    x = np.asarray(subject.examples.x[: options.images]).reshape(-1, PIXELS) > 127
    x, net = torch.tensor(x, dtype=torch.float32), layers(subject.state.params)
    torch.manual_seed(0)
    with torch.inference_mode():
        way, rows = tuned(net, x)
        ways = {
            "ours": ours(subject, asked),
            "ours, softplus a pixel": ours_with(with_softplus, subject, asked),
            "ours, no softplus": ours_with(without_softplus, subject, asked),
            "torch, by image": lambda: by_image(net, x, options.k),
            "torch, in batches": lambda: in_batches(net, x, options.k, WAYS[way], rows),
        }
        found = {name: call() for name, call in ways.items() if name != "ours, no softplus"}
        took = in_turns({**ways, PEAK: highest.call}, options.repeats)

    peak, peak_cpu = (highest.flops / median(took[PEAK], what) for what in ("wall", "cpu"))
    flops = FLOPS * options.images * options.k
    table = {}
    for name in ways:
        wall, cpu = median(took[name]), median(took[name], "cpu")
        table[name] = {
            "seconds": wall,
            "cpu_seconds_over_cores": cpu,
            "ratio": ratio(took[name], took["ours"]),
            "cpu_ratio": cpu / median(took["ours"], "cpu"),
            "share_of_peak": flops / wall / peak,
            "cpu_share_of_peak": flops / cpu / peak_cpu,
        }
        if name in found:
            table[name]["log_likelihood"] = float(found[name].mean(dtype=np.float64))
            table[name] |= agreement(found[name], found["ours"])

    print(f"{facts['processor']}, {facts['cores']} cores, load {facts['load_before']:.1f} before")
    print(f"{options.images} images, k = {options.k}, medians of {options.repeats}")
    print(f"tuned torch: {way}, {rows} rows at once")
    print(f"peak: {highest.name}, {peak / 1e9:.0f} GFLOP/s, {peak_cpu / 1e9:.0f} by CPU time")
    print(
        f"{'':24} {'seconds':>8} {'ratio':>6} {'of peak':>8}"
        f" | {'CPU/core':>8} {'ratio':>6} {'of peak':>8} | {'log p(x)':>9} minus ours"
    )
    for name, row in table.items():
        line = (
            f"{name:24} {row['seconds']:8.2f} {row['ratio']:6.2f} {row['share_of_peak']:8.0%}"
            f" | {row['cpu_seconds_over_cores']:8.2f} {row['cpu_ratio']:6.2f}"
            f" {row['cpu_share_of_peak']:8.0%} |"
        )
        if name in found:
            line += f" {row['log_likelihood']:9.3f} {row['difference']:+.4f}"
            line += f" +- {row['standard_error']:.4f}"
        print(line)
    cost = {
        "ours": 1 - table["ours, no softplus"]["seconds"] / table["ours"]["seconds"],
        "a pixel": 1
        - table["ours, no softplus"]["seconds"] / table["ours, softplus a pixel"]["seconds"],
    }
    print(f"softplus: {cost['ours']:.0%} of the time; {cost['a pixel']:.0%} one pixel at a time")
    if options.json:
        result = {
            "machine": facts,
            "images": options.images,
            "k": options.k,
            "repeats": options.repeats,
            "trained_steps": subject.step,
            "rows": likelihood.ROWS,
            "chunk": likelihood.CHUNK,
            "torch_in_batches": {"likelihood": way, "rows": rows},
            "peak": highest.name,
            "peak_flop_per_s": peak,
            "peak_flop_per_cpu_s": peak_cpu,
            "ways": table,
            "softplus_share": cost,
            "times": {name: [each._asdict() for each in values] for name, values in took.items()},
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
