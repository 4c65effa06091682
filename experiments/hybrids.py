"""Between autoencoders and GANs: an encoder and an adversary.

    python -m latentgen.run --config experiments/hybrids.py[:variant]

| variant       | data          | what                                                            |
|---------------|---------------|-----------------------------------------------------------------|
| aae           | digits 8x8    | adversarial autoencoder (Makhzani et al. 2015,                  |
|               |               | arXiv:1511.05644): codes play a GAN's game against the prior    |
| vaegan        | digits 8x8    | VAE-GAN (Larsen et al. 2016, arXiv:1512.09300): the error is    |
|               |               | measured in a discriminator's features                          |
| bigan         | digits 8x8    | BiGAN (Donahue et al. 2017, arXiv:1605.09782): a GAN on pairs   |
|               |               | of an image and a code                                          |
| ali           | digits 8x8    | the same with a stochastic encoder (Dumoulin et al. 2017,       |
|               |               | arXiv:1606.00704)                                               |
| fashion_aae,  | Fashion-MNIST | with InfoGAN's network (Chen et al. 2016, arXiv:1606.03657,     |
| ..._vaegan,   |               | C.1) at half width, 20 epochs                                   |
| ..._bigan     |               |                                                                 |

The networks are not the papers': these are MLPs, or convolutions for 28x28 images. Nor is the rest,
where a function says so; "not theirs" was found by reading the file that it names of the authors'
code. Adam 2e-4 with b1 0.5, batches of 64 in [0, 1] and averages of 0.999 are of no paper.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from latentgen.core.errors import choose


def network(**changes):
    """A network's part of the config; `channels` are read by convolutions only."""
    return (
        dict(
            network="mlp",
            hidden=(256, 256),
            channels=(32, 64),
            activation="relu",
            norm="none",
            dropout=0.0,
            init="lecun",
        )
        | changes
    )


def optimizer(**changes):
    return (
        dict(
            name="adam",
            lr=2e-4,
            schedule="constant",
            b1=0.5,
            b2=0.999,
            eps=1e-8,
            momentum=0.9,
            clip_norm=0.0,
        )
        | changes
    )


def digits(steps, **parts):
    """The settings that all variants share, with the given parts."""
    return ConfigDict(
        dict(
            seed=0,
            steps=steps,
            batch_size=64,
            microbatches=1,
            compute="float32",
            data=dict(
                name="digits",
                preprocess="unit",
                validation=placeholder(int),
                pad_to=0,
                size=0,
                color="rgb",
                augment=(),
                balance=False,
                labels=(),
            ),
            skip_diverged=0,
            every=dict(log=250, validate=1_000, sample=1_000, checkpoint=1_000, evaluate=0),
            evaluate=dict(metric="", samples=2_000, features=""),
            stop=dict(patience=0),
            **parts,
        )
    )


def aae():
    """No code of Makhzani et al. was found: nothing but the objective is held to theirs."""
    return digits(
        steps=6_000,
        method=dict(
            name="aae",
            loss="nonsaturating",
            prior="normal",  # normal, uniform
            code_dim=8,
            likelihood="bernoulli",  # bernoulli, normal, and the VAE's others
            std=0.1,  # of a normal likelihood; where it is learned, at the start
            std_floor=0.01,  # below which a learned one cannot fall
            ema_decay=0.999,
            ema_start=1_000,
            ema_images=0.0,  # half-life in images, in place of ema_decay; 0: none
            ema_rampup=0.0,  # greatest half-life as a share of the images seen; 0: any
            ema_more=(),
        ),
        encoder=network(),
        decoder=network(),
        discriminator=network(dropout=0.3),  # of codes
        autoencoder_optimizer=optimizer(lr=1e-3, b1=0.9),
        discriminator_optimizer=optimizer(),
        encoder_optimizer=optimizer(),  # of its turn against the discriminator
    )


def vaegan():
    """Not theirs (andersbll/autoencoding_beyond_pixels 24aa0f2: celeba_aegan.py, aegan.py, model/).

    There one update of all three at once, with RMSProp, whose rate falls from 0.025 / 64; D or the
    decoder sits out where one leads by a margin; D never sees reconstructions; 128 codes; the
    weight of the error is 1e-6, that of the GAN the rest; L2 1e-5.
    """
    return digits(
        steps=6_000,
        method=dict(
            name="vaegan",
            loss="nonsaturating",
            code_dim=8,
            features=256,  # of the discriminator, in which the error is measured
            gamma=0.1,  # weight of that error in the decoder's turn
            augment="none",  # of the discriminator's images: diffaugment, ada:bgc, ...
            augment_p=0.0,  # of each operation of ada
            ema_decay=0.999,
            ema_start=1_000,
            ema_images=0.0,  # half-life in images, in place of ema_decay; 0: none
            ema_rampup=0.0,  # greatest half-life as a share of the images seen; 0: any
            ema_more=(),
        ),
        encoder=network(),
        decoder=network(norm="batch"),
        discriminator=network(activation="leaky_relu", dropout=0.3),
        encoder_optimizer=optimizer(),
        decoder_optimizer=optimizer(),
        discriminator_optimizer=optimizer(),
    )


def bigan():
    """Not theirs (jeffdonahue/bigan 06342ee: train_mnist.sh, train_gan.py).

    There 50 uniform codes, batches of 128, L2 2.5e-5, batch norm without scale and shift in all
    players, both updated at once, 200 epochs and 200 more in which the rate falls to a hundredth.
    """
    return digits(
        steps=10_000,
        method=dict(
            name="bigan",
            loss="nonsaturating",  # all but least_squares
            prior="normal",  # normal, uniform
            code_dim=8,
            encoder="deterministic",  # deterministic: BiGAN; stochastic: ALI
            features=64,  # of the image, which the discriminator's head sees beside the code
            augment="none",  # of the discriminator's images: diffaugment, ada:bgc, ...
            augment_p=0.0,  # of each operation of ada
            ema_decay=0.999,
            ema_start=1_000,
            ema_images=0.0,  # half-life in images, in place of ema_decay; 0: none
            ema_rampup=0.0,  # greatest half-life as a share of the images seen; 0: any
            ema_more=(),
        ),
        generator=network(norm="batch"),
        encoder=network(norm="batch"),
        discriminator=network(activation="leaky_relu", hidden=(256,), dropout=0.3),
        head=network(activation="leaky_relu", dropout=0.3),
        generator_optimizer=optimizer(),  # of generator and encoder
        discriminator_optimizer=optimizer(),
    )


def ali():
    """Not theirs (IshmaelBelghazi/ALI 5f2de51: experiments/ali_cifar10.py, ali/algorithms.py).

    There all players are updated at once, Adam 1e-4, batches of 100, 64 codes, N(0, 0.01^2), maxout
    of 2 in D.
    """
    config = bigan()
    config.method.encoder = "stochastic"
    return config


def fashion(config, *networks):
    """The recipe on Fashion-MNIST, with convolutions in these networks."""
    config.data.name = "fashion_mnist"
    config.steps = 17_200  # 20 epochs of 55,000
    config.method.code_dim = 32
    for name in networks:
        config[name].update(network="conv", hidden=(512,), init="normal02")
    config.every.update(log=50, validate=850, sample=850, checkpoint=850)
    return config


def fashion_aae():
    return fashion(aae(), "encoder", "decoder")


def fashion_vaegan():
    return fashion(vaegan(), "encoder", "decoder", "discriminator")


def fashion_bigan():
    return fashion(bigan(), "generator", "encoder", "discriminator")


VARIANTS = {
    f.__name__: f for f in (aae, vaegan, bigan, ali, fashion_aae, fashion_vaegan, fashion_bigan)
}


def get_config(variant="aae"):
    return choose("variant", variant, VARIANTS)()
