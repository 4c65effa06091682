"""The VAE 784-400-20-400-784 on Fashion-MNIST in plain PyTorch: a second opinion on latentgen's.

Shares no code with latentgen. The negative ELBO in nats per image, with x the grey values in [0,1]:

    -ELBO(x) = E_q(z|x)[ -sum_d x_d ln p_d(z) + (1 - x_d) ln(1 - p_d(z)) ] + KL(q(z|x) || N(0,I)),

q(z|x) diagonal normal, one sample of z, ReLU, batch 128, Adam 1e-3, 10 epochs; PyTorch's default
initialization (weights and biases uniform within +-1/sqrt(fan_in)).

    python experiments/benchmarks/elbo_against_pytorch.py --seeds 0 1 --against runs/vae_fashion

Needs the `benchmark` extra and Fashion-MNIST's four IDX files (Debian: dataset-fashion-mnist).
One seed takes about a minute on two cores.
"""

import argparse
import gzip
import json
import math
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

CODE = 20


def images(path: Path) -> Tensor:
    """The images of an IDX file as float32 of shape (n, 784) in [0,1]."""
    raw = gzip.decompress(path.read_bytes())
    magic, n, height, width = (int.from_bytes(raw[i : i + 4], "big") for i in (0, 4, 8, 12))
    if magic != 2051 or len(raw) != 16 + n * height * width:
        raise ValueError(f"{path} is not an IDX file of images.")
    pixels = torch.frombuffer(bytearray(raw), dtype=torch.uint8, offset=16)
    return pixels.reshape(n, height * width).float() / 255


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 2 * CODE))
        self.decoder = nn.Sequential(nn.Linear(CODE, 400), nn.ReLU(), nn.Linear(400, 784))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The distortion and the KL of each example, in nats, both of shape (n,)."""
        mean, log_variance = self.encoder(x).chunk(2, dim=-1)
        z = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        logits = self.decoder(z)
        distortion = binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        kl = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(-1)
        return distortion, kl


def run(seed: int, train: Tensor, test: Tensor, epochs: int, batch: int) -> dict[str, float]:
    """Trains one VAE; the test split's mean terms, in nats per image."""
    torch.manual_seed(seed)
    model = VAE()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps, start = 0, time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(train))
        for i in range(0, len(train) - batch + 1, batch):
            distortion, kl = model(train[order[i : i + batch]])
            adam.zero_grad(set_to_none=True)
            (distortion + kl).mean().backward()
            adam.step()
            steps += 1
    seconds = time.perf_counter() - start
    with torch.no_grad():
        terms = [model(x) for x in test.split(1000)]
    distortion, kl = (torch.cat(term).double() for term in zip(*terms, strict=True))
    negative_elbo = distortion + kl
    return {
        "seed": seed,
        "negative_elbo": negative_elbo.mean().item(),
        "standard_error": negative_elbo.std().item() / math.sqrt(len(negative_elbo)),
        "distortion": distortion.mean().item(),
        "kl": kl.mean().item(),
        "steps": steps,
        "steps_per_second": steps / seconds,
    }


def main() -> None:
    flags = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    flags.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    flags.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    flags.add_argument("--epochs", type=int, default=10)
    flags.add_argument("--batch", type=int, default=128)
    flags.add_argument("--held-out", type=int, default=5000, help="training images left out (last)")
    flags.add_argument("--against", type=Path, help="a latentgen workdir with evaluations.jsonl")
    flags.add_argument("--json", type=Path, help="where to write the figures")
    options = flags.parse_args()

    try:
        train = images(options.data / "train-images-idx3-ubyte.gz")
        test = images(options.data / "t10k-images-idx3-ubyte.gz")
    except (OSError, EOFError, ValueError) as error:
        sys.exit(f"--data {options.data}: {error}")
    train = train[: len(train) - options.held_out]
    print(f"train {len(train)}, test {len(test)} images; torch {torch.__version__}")

    runs = []
    for seed in options.seeds:
        runs.append(run(seed, train, test, options.epochs, options.batch))
        print(json.dumps(runs[-1]), flush=True)
    mean = statistics.fmean(r["negative_elbo"] for r in runs)
    print(f"PyTorch: test negative ELBO {mean:.3f} nats, mean over {len(runs)} seeds")
    result = {"torch": torch.__version__, "train": len(train), "negative_elbo": mean, "runs": runs}
    if options.against:
        lines = (options.against / "evaluations.jsonl").read_text().splitlines()
        results = [json.loads(line) for line in lines]
        terms = [r for r in results if (r["metric"], r["split"]) == ("terms", "test")]
        ours = terms[-1]["values"]["negative_elbo"]
        result |= {"latentgen": ours, "difference": ours["mean"] - mean}
        print(f"latentgen: {ours['mean']:.3f} +- {ours['standard_error']:.3f} (standard error)")
        print(f"latentgen minus PyTorch: {result['difference']:+.3f} nats")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
