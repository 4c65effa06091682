"""StyleGAN2 on FFHQ, where R3GAN's roadmap starts: `experiments/gan.py:stylegan2_ffhq256`."""

from experiments.baselines._images import baseline, fid

BASELINE = baseline(
    "StyleGAN2 on FFHQ at 256x256, in full",
    "stylegan2_ffhq256",
    "stylegan2",
    (
        fid(
            "huang2024",
            "the roadmap's first row, StyleGAN2",
            "FFHQ at 256x256",
            7.516,
            "quoted",
            arm="stylegan2",
            name="folder",
            split="train",
            real=70000,
        ),
    ),
    {"stylegan2": {}},
    (
        "one seed: a run is long; an interval needs more (--seeds)",
        "the roadmap's own settings and length were not read; this is the authors' configuration",
    ),
    split="train",
    samples=50000,
)
