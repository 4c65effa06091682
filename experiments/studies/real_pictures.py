"""R3GAN's network, DCGAN and SNGAN on real colour pictures, at 32 and 64 pixels.

    python -m experiments.studies.real_pictures [--rows r3gan-32 ...] [--seeds 0 1 2]

The pictures are Debian's openclipart-png, some 7,000 of all sizes, of which a tenth is held out
(`apt-get install openclipart-png`). A Frechet distance under VGG16's features (the extra
`perceptual`), of 700 samples from the held-out pictures: not FID, and of few images, so that it is
compared with the distance of as many training pictures. Rows have a time of half an hour on two
idle cores in common, not a number of images; networks are the narrow ones of the recipes.

Results are kept in experiments/studies/results/real_pictures.json after each run; the same command
continues.
"""

from typing import Any

from experiments.studies.seeds import Row, Study, main

PICTURES = "folder:/usr/share/openclipart/png"
WIDER = {  # a level more for twice the size
    "r3gan": {
        "generator.channels": (16, 32, 64, 64, 64),
        "discriminator.channels": (16, 32, 64, 64, 64),
        "generator.groups": (2, 4, 8, 8, 8),
        "discriminator.groups": (2, 4, 8, 8, 8),
    },
    "dcgan": {
        "generator.channels": (32, 64, 128, 256),
        "discriminator.channels": (32, 64, 128, 256),
    },
}
STEPS = {"r3gan-32": 2_500, "r3gan-64": 1_000, "dcgan-32": 10_750, "dcgan-64": 4_000}
STEPS |= {"sngan-32": 1_000}


def row(name: str) -> Row:
    """Return the row of a recipe at a size, such as 'r3gan-32'."""
    recipe, size = name.split("-")
    steps = STEPS[name]
    every = max(50, steps // 500 * 50)
    changes: dict[str, Any] = {
        **{"data.name": PICTURES, "data.size": int(size), "data.pad_to": 0},
        **{"steps": steps, "every.log": 50, "every.validate": steps // 50 * 50},
        **{"every.sample": every, "every.checkpoint": every},
    }
    return Row(f"gan.py:{recipe}", changes | (WIDER[recipe] if size == "64" else {}))


STUDY = Study(
    rows={name: row(name) for name in STEPS},
    metrics=("frechet",),
    columns={("frechet", "frechet_distance"): "Frechet distance, VGG16"},
    references=("floor",),
    measured=("--features=vgg16", "--split=validation", "--samples=700", "--images=700"),
)

if __name__ == "__main__":
    main(STUDY, "real_pictures", __doc__)
