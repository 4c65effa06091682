"""Part of Fashion-MNIST, with and without augmentation of what the discriminator sees.

    python -m experiments.studies.small_data [--folder runs/small_data] [--seeds 0 1 2]

`experiments/gan.py:fashion` on 5,500 images, 17,200 steps, 200 epochs of them: plain, with
DiffAugment, and with adaptive discriminator augmentation at the target of its paper. Real images
that D is not trained on, 54,500, are validation data: where D overfits, `d_real` falls on them and
not in training. Further rows have a hundredth, 550 images, for 2,000 epochs. Measured against the
10,000 test images with 10,000 samples under the shipped classifier: a Frechet classifier distance,
not FID.

A run takes 27 min on one core of two, the other as busy, plain or with DiffAugment, and one to
two minutes on an H200 that seven processes share. Each is written to
`experiments/studies/results/small_data.json` when it is done; the same command again continues.
"""

from typing import Any

from experiments.studies.seeds import Row, Study, main

TENTH: dict[str, Any] = {
    "data.validation": 54_500,  # of 60,000, so that 5,500 are trained on
    "every.log": 100,
    "every.validate": 17_200,
    "every.sample": 4_300,
    "every.checkpoint": 4_300,
}

HUNDREDTH = {**TENTH, "data.validation": 59_450}
AUGMENTED: dict[str, dict[str, Any]] = {
    "plain": {},
    "diffaugment": {"method.augment": "diffaugment"},
    "ada": {"method.augment": "ada", "method.augment_target": 0.6},
}

STUDY = Study(
    rows={
        **{name: Row("gan.py:fashion", TENTH | also) for name, also in AUGMENTED.items()},
        **{f"{k}-550": Row("gan.py:fashion", HUNDREDTH | also) for k, also in AUGMENTED.items()},
    },
    metrics=("frechet", "prdc"),
    columns={
        ("frechet", "frechet_distance"): "Frechet classifier distance",
        ("prdc", "precision"): "precision",
        ("prdc", "recall"): "recall",
    },
    references=("reference",),
)

if __name__ == "__main__":
    main(STUDY, "small_data", __doc__)
