"""Generative adversarial networks after Goodfellow et al. 2014 (arXiv:1406.2661).

    python -m latentgen.run --config experiments/gan.py[:variant]

| variant       | data          | what                                                            |
|---------------|---------------|-----------------------------------------------------------------|
| nonsaturating | digits 8x8    | MLP; G descends -log D(G(z)), section 3; 21 s on two cores      |
| minimax       | digits 8x8    | the same; G descends C(D, G), equation 1                        |
| conditional   | digits 8x8    | both players are given the class (Mirza & Osindero 2014,        |
|               |               | arXiv:1411.1784)                                                |
| projection    | digits 8x8    | the discriminator is given it by a projection (Miyato & Koyama  |
|               |               | 2018, arXiv:1802.05637)                                         |
| acgan         | digits 8x8    | the discriminator predicts it (Odena et al. 2017,               |
|               |               | arXiv:1610.09585)                                               |
| mixture       | digits 8x8    | codes from a trained mixture of 10 normals (DeLiGAN,            |
|               |               | Gurumurthy et al. 2017, arXiv:1706.02071)                       |
| infogan       | Fashion-MNIST | InfoGAN (Chen et al. 2016, arXiv:1606.03657): one category of   |
|               |               | 10 and two continuous codes that the discriminator infers; not  |
|               |               | run to its end                                                  |
| infogan_digits| digits 8x8    | the same with MLPs; 38 s of CPU time                            |
| infogan_      | Fashion-MNIST | a plain GAN with InfoGAN's network, without its mutual          |
| network       |               | information; codes and batches of Lucic et al. 2018             |
|               |               | (arXiv:1711.10337); 5.3 steps/s on two cores, an hour           |
| fashion       | Fashion-MNIST | the same at half width; 11 min                                  |
| mmgan, nsgan, | Fashion-MNIST | InfoGAN's network; game, penalty and optimizer as Lucic et al.  |
| lsgan, wgan,  |               | have them by default: minimax, non-saturating, least squares    |
| wgan_gp,      |               | (arXiv:1611.04076), WGAN (arXiv:1701.07875), WGAN-GP            |
| dragan        |               | (arXiv:1704.00028), DRAGAN (arXiv:1705.07215)                   |
| r1            | Fashion-MNIST | in [-1, 1]; InfoGAN's network; non-saturating with R1           |
|               |               | (Mescheder et al. 2018, arXiv:1801.04406), RMSProp 1e-4         |
| r3gan_loss    | Fashion-MNIST | in [-1, 1]; InfoGAN's network; the loss of R3GAN (Huang et al.  |
|               |               | 2024, arXiv:2501.05441): relativistic, R1 + R2; not its network |
| r3gan         | Fashion-MNIST | at 32x32, in [-1, 1]: R3GAN's loss, network and schedules,      |
|               |               | narrow and short                                                |
| r3gan_cifar10 | CIFAR-10      | R3GAN as its authors train it, on GPUs: network, loss, batch,   |
| r3gan_ffhq64, | folders       | schedules; what differs stands in `r3gan_preset` below; CIFAR-  |
| r3gan_ffhq256,|               | 10 and ImageNet by class                                        |
| r3gan_imagenet32,             |                                                                 |
| r3gan_imagenet64              |                                                                 |
| r3gan_stacked | StackedMNIST  | the network of r3gan_cifar10 on 1,000 modes                     |
| images        | any images    | R3GAN's loss; convolutions to fit their size; also a folder of  |
|               |               | yours: --config.data.name=folder:DIR --config.data.size=64      |
| sngan         | Fashion-MNIST | sngan_cifar10 a quarter as wide, at 32x32; some 0.5 steps/s on  |
|               |               | two cores, not run to its end                                   |
| sngan_cifar10 | CIFAR-10      | residual networks, hinge, spectral norm in D, 5 D steps (Miyato |
|               |               | et al. 2018, arXiv:1802.05957), in full: for a GPU              |
| sngan_        | CIFAR-10      | the same with classes: batch norm and a projection for each     |
| projection_   |               | (Miyato & Koyama 2018)                                          |
| cifar10       |               |                                                                 |
| biggan        | Fashion-MNIST | biggan_studio narrow, at 32x32, with regularized kernels; not   |
|               |               | run to its end                                                  |
| biggan_cifar10| CIFAR-10      | BigGAN (Brock et al. 2019, arXiv:1809.11096) as its author's    |
|               |               | code has it for 32 pixels, in full: for a GPU                   |
| biggan_studio | CIFAR-10      | BigGAN with split codes, shared embedding and attention, as     |
|               |               | StudioGAN has it, in full: for a GPU                            |
| stylegan2     | Fashion-MNIST | at 32x32, in [-1, 1]: StyleGAN2 (Karras et al. 2020,            |
|               |               | arXiv:1912.04958), narrow; mapping network, styles, path        |
|               |               | lengths, lazy R1; 0.36 CPU seconds a step and minutes of        |
|               |               | compilation                                                     |
| stylegan2_    | CIFAR-10;     | its networks and game at full size, with ADA, as in             |
| cifar10,      | a folder      | stylegan2-ada-pytorch; for a GPU                                |
| stylegan2_    |               |                                                                 |
| ffhq256       |               |                                                                 |
| dcgan         | Fashion-MNIST | at 32x32, in [-1, 1]: three convolutions, batch norm in both    |
|               |               | (Radford et al. 2015, arXiv:1511.06434), without dense layers   |
| stacked       | three Fashion | dcgan's networks on 1,000 modes: three images as colour planes  |
|               | images        | (Metz et al. 2016, arXiv:1611.02163, has MNIST); in [0, 1]      |
| stacked_pacgan| the same      | two examples in a pack (Lin et al. 2018, arXiv:1712.04086)      |
| ring, grid    | 8, 25 normals | MLP; 12 s and 38 s                                              |
| pacgan_ring,  | 8, 25 normals | PacGAN2: its networks, 400,000 steps (Lin et al. 2018), in      |
| pacgan_grid   |               | turns; method.packing=1 is the GAN beside it                    |

Of a small data set D learns every image by heart unless it sees them augmented:
`--config.method.augment=ada --config.method.augment_target=0.6`; README.md says more.

A plain GAN loses modes: `python -m experiments.studies.mode_coverage` counts them.

What a function below says is "not theirs" was found by reading the file that it names of the
authors' code. Of all recipes but those with networks of their own (infogan, r3gan, sngan, biggan,
stylegan2): players take turns, each on codes of its own, D first; batch norm has epsilon 1e-5 and
averages over some ten minibatches, scales that start at 1; Adam's epsilon, 1e-8, is added to the
root after the bias correction (PyTorch), not before (TensorFlow, Theano, Chainer; here
`adam_tensorflow`); convolutions are 4x4; Fashion-MNIST's 55,000 training images are neither flipped
nor blurred by noise. The recipes on digits, ring and grid are nobody's.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from latentgen.core.errors import choose
from latentgen.objectives.penalties import rescale_gamma


def network(**changes):
    """A network's part of the config; `channels` are read by convolutions only."""
    return (
        dict(
            network="mlp",  # mlp, conv, resnet, sngan, biggan; twin: an encoder's mean, std apart
            hidden=(256, 256),  # widths of dense layers
            channels=(64, 128),  # of convolutions, one for each halving
            activation="relu",  # relu, leaky_relu, tanh, elu, softplus, ...
            norm="none",  # none, batch, layer, spectral
            dropout=0.0,  # share of units that training leaves out
            init="lecun",  # lecun, glorot, he, normal02: N(0, 0.02^2), ...
        )
        | changes
    )


def optimizer(**changes):
    return (
        dict(
            name="adam",
            lr=2e-4,  # learning rate at the start
            schedule="constant",  # constant, linear, cosine, burda, staircase
            b1=0.5,  # Adam's decay of the mean
            b2=0.999,  # decay of the squares: Adam, RMSProp
            eps=1e-8,  # Adam, RMSProp
            momentum=0.9,  # SGD
            clip_norm=0.0,  # greatest global norm of a gradient; 0: any
        )
        | changes
    )


def both_optimizers(config, **changes):
    for player in ("generator", "discriminator"):
        config[f"{player}_optimizer"] = ConfigDict(optimizer(**changes))


def nonsaturating():
    return ConfigDict(
        dict(
            seed=0,
            steps=10_000,  # updates of the generator, or of all parameters
            batch_size=64,
            microbatches=1,  # parts of a batch, in memory one at a time; one update
            compute="float32",  # float32, bfloat16: of products in networks
            data=dict(
                name="digits",
                preprocess="unit",  # unit: [0, 1]; signed: [-1, 1]; binarize, dequantize, ...
                validation=placeholder(int),  # examples held out of training; None: the set's own
                pad_to=0,  # side of the images with black around them; 0: as they are
                size=0,  # side of the images of a folder; 0: the set's own, or 64
                color="rgb",  # of a folder: rgb, grey, as_is
                augment=(),  # in training: flip, crop:4, color:0.2, ...: data/augment.py
                balance=False,  # True: each class has the same share of the batches
                labels=(),  # factors whose combinations are the classes; (): the set's own
            ),
            method=dict(
                name="gan",
                loss="nonsaturating",  # minimax, hinge, wasserstein, ...: README.md
                penalty="none",  # none, r1, r2, r1_r2, wgan_gp, dragan, dragan_one_sided
                penalty_weight=10.0,  # in the units of x as D sees it: objectives/penalties.py
                output="sigmoid",  # sigmoid, tanh: holds G's x in the range of x; linear: nothing
                weight_clip=0.0,  # greatest absolute weight of D; 0: any
                augment="none",  # what D sees: diffaugment, ada, ada:r3gan, ...: objectives/augment
                augment_p=0.0,  # probability of ADA's operations; the first one, with a target
                augment_target=0.0,  # of E sign(D(real)), by which p adapts: 0.6; 0: p is fixed
                augment_interval=4,  # updates of D between two changes of p
                augment_images=500e3,  # real images in which p can rise by 1
                regularize=(),  # cr:10, bcr:10,10, lecam:0.3, ...: objectives/regularizers.py
                gradient_normalization=False,  # D(x) / (|grad D(x)| + |D(x)|) in place of D(x)
                discriminator_steps=1,  # updates of D for each of G
                generator_batch=0,  # synthetic examples in G's turn; 0: as many as batch_size
                orthogonal=0.0,  # weight of the right angles between kernels of G; 0: none
                packing=1,  # examples that D judges together
                prior="normal",  # of codes: normal, uniform, mixture
                code_dim=32,  # coordinates of a code
                components=10,  # of a mixture
                categories=(),  # values of each categorical code that D infers (InfoGAN)
                continuous=0,  # codes in [-1, 1] that D infers; both are within code_dim
                classes=0,  # that the networks are conditioned on; 0: none
                condition="concat",  # how D sees the class: concat, projection, network;
                # auxiliary: not, it predicts the class (ACGAN)
                auxiliary_weight=1.0,  # of what D infers: the class, the codes
                first="discriminator",  # who is updated first in a step: discriminator, generator
                penalty_every=1,  # k > 1: the penalty has turns of its own, in every k-th step
                style_mixing=0.0,  # share of batches with two styles; needs a section `mapping`
                path_length=0.0,  # weight of G's path lengths, in turns of their own; 0: none
                path_every=4,  # in every k-th step
                ema_decay=0.999,  # of the weights that are sampled; 0: no average
                ema_start=1_000,  # step from which on they are averaged
                ema_images=0.0,  # half-life in images, in place of ema_decay; 0: none
                ema_rampup=0.0,  # greatest half-life as a share of the images seen; 0: any
                ema_more=(),  # kept beside: decays (below 1), half-lives in images (from 1 on)
            ),
            generator=network(norm="batch"),
            discriminator=network(activation="leaky_relu", dropout=0.3),
            generator_optimizer=optimizer(),
            discriminator_optimizer=optimizer(),
            skip_diverged=0,  # times that a run may go on without a step that diverged
            every=dict(
                log=250,
                validate=1_000,
                sample=1_000,
                checkpoint=5_000,
                evaluate=0,  # steps between two evaluations in training; 0: none
            ),
            evaluate=dict(
                metric="",  # of latentgen.evaluate: frechet, kernel, prdc, terms, ...; "": frechet
                samples=2_000,  # synthetic examples, and real ones
                features="",  # of latentgen.evaluate; "": what fits the data
            ),
            stop=dict(
                patience=0,  # evaluations without a better one, then the end; 0: any number
            ),
        )
    )


def minimax():
    config = nonsaturating()
    config.method.loss = "minimax"
    return config


def conditional():
    config = nonsaturating()
    config.method.classes = 10
    return config


def projection():
    """Not theirs (pfnet-research/sngan_projection e84b1a5, dis_models/snresnet_32.py): an MLP.

    Their vectors v_y have no bias, these one for each class; theirs are spectrally normalized, and
    their G has a batch norm for each class.
    """
    config = conditional()
    config.method.condition = "projection"
    return config


def mixture():
    """Not theirs (val-iisc/deligan 68451c8, src/mnist/dg_mnist.py): an MLP, means from N(0, I).

    Theirs start in [-1, 1], standard deviations at 0.2, pulled to 1 by a term of G's loss; each of
    50 components makes one example of a batch; D and G are trained by who is losing.
    """
    config = nonsaturating()
    config.method.prior = "mixture"
    return config


def acgan():
    """Odena et al. 2017: D does not see the class, it predicts that of real and synthetic images.

    Not theirs (arXiv:1610.09585, appendix A; no code of theirs is out): MLPs on digits, for
    convolutions on CIFAR-10 and ImageNet; D without their noise on activations; batch 64 for 100.
    Samples of a class become alike: a classifier rewards those of which it is sure.
    """
    config = conditional()
    config.method.condition = "auxiliary"
    return config


def infogan():
    """Chen et al. 2016 (openai/InfoGAN 6e41232: launchers/run_mnist_exp.py).

    On Fashion-MNIST; with --config.data.name=mnist, theirs. All is theirs: networks, 62 uniform
    noise codes, one category of 10, two uniform codes modelled by a normal of std 1, weight 1, both
    players' turns, batch 128, Adam, 50 epochs of 100 updates, last weights. Not theirs
    (infogan/algos/infogan_trainer.py): no 1e-8 under logarithms; Q has no outputs for the standard
    deviations, which are fixed and whose outputs they leave unused; samples are drawn with the
    averages of batch norm.
    """
    config = infogan_network()
    config.batch_size = 128
    config.steps = 5_000
    config.method.update(code_dim=74, categories=(10,), continuous=2, ema_decay=0.0)
    config.generator = ConfigDict(dict(network="infogan", channels=(64, 128), hidden=(1024,)))
    config.discriminator = ConfigDict(
        dict(network="infogan", channels=(64, 128), hidden=(1024,), head=(128,))
    )
    both_optimizers(config, name="adam_tensorflow")
    config.generator_optimizer.lr = 1e-3
    config.every.update(log=50, validate=500, sample=500, checkpoint=500)
    return config


def infogan_digits():
    """`infogan` on digits, with MLPs; nobody's."""
    config = nonsaturating()
    config.steps = 6_000
    config.method.update(code_dim=32, categories=(10,), continuous=2, prior="uniform")
    config.generator_optimizer.lr = 1e-3
    return config


def infogan_network():
    """A GAN with InfoGAN's network and nothing else of it (openai/InfoGAN 6e41232); see `infogan`.

    Not theirs (launchers/run_mnist_exp.py, infogan/models/regularized_gan.py): no mutual
    information, no network Q; 64 uniform codes for 62 with 12 that mean something; batch 64 for
    128; G learns at 2e-4 for 1e-3; D's leak is 0.2 for 0.01; averaged weights are sampled.
    """
    config = nonsaturating()
    config.data.name = "fashion_mnist"
    config.steps = 17_200  # 20 epochs of 55,000
    config.method.update(code_dim=64, prior="uniform")
    conv = dict(network="conv", hidden=(1024,), norm="batch", init="normal02")
    config.generator = ConfigDict(network(**conv))
    config.discriminator = ConfigDict(network(activation="leaky_relu", **conv))
    config.every.update(log=50, validate=850, sample=850, checkpoint=850)
    return config


def fashion():
    config = infogan_network()
    halve(config)
    return config


def halve(config):
    """InfoGAN's network at half its width: five times as fast on two cores."""
    for net in (config.generator, config.discriminator):
        net.hidden, net.channels = (512,), (32, 64)


def mmgan():
    """Lucic et al. 2018 at its defaults (google/compare_gan d6c5976, branch v1: params.py, gans/).

    Here and in the five that follow, not theirs: ReLU in G for leaky ReLU; batch norm's averages
    and epsilon (0.999, 1e-3); G's turn has codes of its own, there in WGAN-GP alone; 17,200 steps,
    in their code 15,625 (20 epochs of 50,000 images out of 60,000); D's convolutions do not start
    truncated. Images in [0, 1] and a sigmoid are theirs.
    """
    config = infogan_network()
    config.method.update(loss="minimax", ema_decay=0.0)
    both_optimizers(config, lr=5e-5, b1=0.0)
    return config


def nsgan():
    config = mmgan()
    config.method.loss = "nonsaturating"
    return config


def lsgan():
    """As `mmgan`. Not theirs (gans/LSGAN.py): scores are logits, there sigmoids of them."""
    config = mmgan()
    config.method.loss = "least_squares"
    both_optimizers(config)
    return config


def wgan():
    """As `mmgan`, with Adam; Arjovsky et al. 2017 have RMSProp 5e-5 and 100 critic steps at first.

    (martinarjovsky/WassersteinGAN f7a01e8, main.py.)
    """
    config = mmgan()
    config.method.update(loss="wasserstein", weight_clip=0.01, discriminator_steps=5)
    config.steps = 3_440  # 20 epochs in D's data
    config.every.update(log=20, validate=340, sample=340, checkpoint=340)
    both_optimizers(config, lr=5e-5)
    return config


def wgan_gp():
    """As `mmgan`. Not theirs (gans/WGAN_GP.py): no 1e-4 under the slope's root.

    Gulrajani et al. 2017 (igul222/improved_wgan_training fa66c57, gan_mnist.py), too in [0, 1],
    have b2 0.9, batch 50, normal codes of 128, three 5x5 convolutions, G without norm, 200,000
    steps.
    """
    config = wgan()
    config.method.update(weight_clip=0.0, penalty="wgan_gp")
    config.discriminator.norm = "none"
    both_optimizers(config, lr=1e-4)
    return config


def dragan():
    """As `mmgan`. Not theirs (gans/DRAGAN.py): D without batch norm, under which no gradient is one
    example's; the slope is the logit's, there that of its sigmoid; no 1e-4 under its root.

    Kodali et al. 2017 (kodalinaveen3/DRAGAN 5cf95ab) have the slope of logits, MLPs of 128, batch
    128, codes of 100, b2 0.9, 200,000 steps.
    """
    config = mmgan()
    config.method.update(loss="nonsaturating", penalty="dragan_one_sided")
    config.discriminator.norm = "none"
    both_optimizers(config, lr=1e-4)
    return config


def r1():
    """Mescheder et al. 2018 as their code has it (LMescheder/GAN_stability c1f64c9).

    configs/default.yaml, gan_training/{config,train,inputs}.py: 256 normal codes, images in [-1,
    1], tanh, RMSProp with epsilon outside the root, averages from the first step. `reg_param` is 10
    there, of a penalty without the paper's half: gamma = 20. Not theirs: the network (residual,
    without norms, for 256 pixels and more; here G has batch norm).
    """
    config = nsgan()
    signed(config, "tanh")
    config.method.update(
        penalty="r1", penalty_weight=2 * 10.0, code_dim=256, prior="normal", ema_decay=0.999
    )
    config.method.ema_start = 0
    config.discriminator.norm = "none"
    both_optimizers(config, name="rmsprop_torch", lr=1e-4, b2=0.99, eps=1e-8)
    return config


def signed(config, output):
    """Images in [-1, 1], and what G ends with."""
    config.data.preprocess = "signed"
    config.method.output = output


def r3gan_loss():
    """The loss of Huang et al. 2024 (brownvc/R3GAN 19a7ddf: train.py, R3GAN/Trainer.py).

    Images in [-1, 1], G's last layer linear, 64 normal codes, b1 0, lr 2e-4. Not theirs: the
    network; batch 64 for 256 and more; constant b2 0.99, rate and gamma, where cosines take b2 from
    0.9 to 0.99, the rate to 5e-5 and gamma to a tenth; averages of some 1,000 steps for up to 5M
    images; no augmentation. Their gamma starts at 0.05 (CIFAR-10) to 150 (FFHQ, 256 pixels) and is
    none for 28x28; the one here was the best of 0.1, 1 and 5 on [0, 1], on the test images.
    """
    config = infogan_network()
    signed(config, "linear")
    gamma = rescale_gamma((-1.0, 1.0), 5.0, of=(0.0, 1.0))
    config.method.update(loss="relativistic", penalty="r1_r2", penalty_weight=gamma, prior="normal")
    config.discriminator.norm = "none"
    both_optimizers(config, b1=0.0, b2=0.99)
    return config


def r3gan_network(config, channels, groups, blocks=2, half=0):
    """Both players' networks; see latentgen/networks/r3gan.py.

    Args:
        channels: of each stage, from the image inwards.
        groups: of the 3x3 convolutions of each stage; theirs see 16 channels each.
        half: stages next to the image that compute in bfloat16.
    """
    for player in ("generator", "discriminator"):
        config[player] = ConfigDict(
            dict(
                network="r3gan",
                channels=channels,  # one stage each: the image's size, half of it, ..., 4x4
                blocks=(blocks,),  # in a stage
                groups=groups,  # of the 3x3 convolutions in a stage
                expansion=2,  # how often wider these are than the stage
                embedding=0,  # dimension of the class; 0: as in their code
                half=half,
            )
        )


def cosine(first, last, images):
    """A schedule: half a cosine from the first value to the last, which then stays."""
    return f"cosine({first:g}, {last:g}, images={images:g})"


def r3gan_game(config, gamma, half_life, images):
    """R3GAN's loss and optimizers; all that changes does so within `images`.

    Args:
        gamma: of R1 and R2, first and last.
        half_life: of the averaged weights in images, at last.
    """
    signed(config, "linear")
    config.method.update(loss="relativistic", penalty="r1_r2", prior="normal", code_dim=64)
    config.method.ema_start = 0
    with config.method.ignore_type():
        config.method.penalty_weight = cosine(*gamma, images)
        config.method.ema_images = cosine(0, half_life, images)
    rates = dict(lr=cosine(2e-4, 5e-5, images), b2=cosine(0.9, 0.99, images))
    both_optimizers(config, b1=0.0, eps=1e-8, **rates)


def r3gan_preset(gamma, half_life, images, batch, total, augment_p=0.0):
    """Settings of all presets of Huang et al. 2024 (brownvc/R3GAN 19a7ddf: train.py, training/).

    Their network, mirrored images in [-1, 1], their part of ADA's augmentation, Adam with b1 0,
    cosines of its probability, rate, b2, gamma and the averages' half-life. Not theirs: R1 and R2
    are of another draw of the augmentation than the loss, both of the same; G's turn has the real
    images of D's, there another minibatch; a mirrored image is as likely as its
    original in each draw, there both are in an epoch; what bfloat16 stages give is added up in
    float32. JAX_DEFAULT_MATMUL_PRECISION=highest gives GPUs their float32 products.

    Args:
        total: real images that D sees.
        augment_p: probability of each operation of the augmentation at last; 0: there is none.
    """
    config = nonsaturating()
    config.batch_size, config.steps = batch, -(-total // batch)
    config.data.update(augment=("flip",), validation=0)
    r3gan_game(config, gamma, half_life, images)
    if augment_p:
        config.method.augment = "ada:r3gan"
        with config.method.ignore_type():
            config.method.augment_p = cosine(0, augment_p, images)
    config.every.update(log=100, validate=5_000, sample=5_000, checkpoint=5_000)
    return config


def by_class(config, classes):
    """Both players embed the class, each in its own way."""
    config.method.update(classes=classes, condition="network")


def r3gan_cifar10():
    """The preset CIFAR10, by class (README.md), on all 50,000 images; see `r3gan_preset`.

    Its length is in the paper's table 9, which was not read here but as quoted in issue 18 of their
    repository: 250M images. It took them four days on eight L40.
    """
    config = r3gan_preset((0.05, 0.005), 5e6, 20e6, 512, 250_000_000, 0.55)
    config.data.name = "cifar10"
    by_class(config, 10)
    r3gan_network(config, (768,) * 4, (96,), half=3)
    return config


def r3gan_ffhq64():
    """The preset FFHQ-64, on a folder of pictures; see `r3gan_preset`.

    Their code's default length, 10^10 images, means until one stops it.
    """
    config = r3gan_preset((2, 0.2), 500e3, 20e6, 256, 10_000_000_000, 0.3)
    config.data.update(name="folder:ffhq64.zip", size=64)
    r3gan_network(config, (384, *(768,) * 4), (48, *(96,) * 4), half=4)
    return config


def r3gan_ffhq256():
    """The preset FFHQ-256; length as in `r3gan_ffhq64`."""
    config = r3gan_preset((150, 15), 500e3, 20e6, 256, 10_000_000_000, 0.3)
    config.data.update(name="folder:ffhq256.zip", size=256)
    r3gan_network(config, (96, 192, 384, *(768,) * 4), (12, 24, 48, *(96,) * 4), half=4)
    return config


def r3gan_imagenet32():
    """The preset ImageNet-32, on a folder with one of pictures for each class; see `r3gan_preset`.

    10^9 images, from where the length of `r3gan_cifar10` is.
    """
    config = r3gan_preset((0.5, 0.05), 50e6, 200e6, 4096, 1_000_000_000, 0.5)
    config.data.update(name="folder:imagenet32.zip", size=32)
    by_class(config, 1_000)
    r3gan_network(config, (1536,) * 4, (96,), half=3)
    return config


def r3gan_imagenet64():
    """The preset ImageNet-64; the rest as in `r3gan_imagenet32`."""
    config = r3gan_preset((1, 0.1), 50e6, 200e6, 4096, 1_000_000_000, 0.4)
    config.data.update(name="folder:imagenet64.zip", size=64)
    by_class(config, 1_000)
    r3gan_network(config, (1536,) * 5, (96,), half=4)
    return config


def r3gan_stacked():
    """1,000 modes with the network of `r3gan_cifar10`, without classes.

    Theirs is in the paper's table 9, which was not read here; the code has no preset for it. Data
    and length are PacGAN's (fjxmlzn/PacGAN 190853e): 128,000 images of three digits, 50 epochs.
    Gamma, rates and batch are those of `r3gan_cifar10`; its cosines end after 20M of 250M images,
    these after the same share of the run, and so does the half-life. Digits are neither mirrored
    nor augmented.
    """
    total = 50 * 128_000
    config = r3gan_preset((0.05, 0.005), 0.02 * total, 0.08 * total, 512, total)
    config.data.update(name="stacked_mnist", pad_to=32, augment=(), validation=None)
    r3gan_network(config, (768,) * 4, (96,), half=3)
    config.every.update(log=50, validate=500, sample=500, checkpoint=500)
    return config


def r3gan():
    """`r3gan_cifar10` narrow and short, for two cores; on Fashion-MNIST, without classes.

    80,000 images in batches of 32: 2,500 steps of some 0.9 s of one core's time. Cosines last for
    the whole run, theirs for 8% of it; the half-life ends at 2% of the run as theirs. One block in
    a stage for two, a 48th to a 12th as wide, 16 channels in a group as there; float32; no
    augmentation, no mirroring, 5,000 images held out. With the rate of CIFAR-10, from 2e-4 to 5e-5,
    samples are blobs after 500 steps; with its gamma, 0.05 to 0.005, D also leaves G behind.
    """
    total = 80_000
    config = r3gan_preset((10.0, 1.0), 0.02 * total, total, 32, total)
    with config.ignore_type():
        config.generator_optimizer.lr = cosine(1e-3, 1e-4, total)
        config.discriminator_optimizer.lr = cosine(1e-3, 1e-4, total)
    config.data.update(name="fashion_mnist", pad_to=32, augment=(), validation=None)
    r3gan_network(config, (16, 32, 64, 64), (2, 4, 8, 8), blocks=1)
    config.every.update(log=50, validate=2_500, sample=500, checkpoint=500)
    return config


def images():
    """Any images of 16 to 256 pixels, grey or coloured; nobody's.

    The relativistic loss with R1 and R2 of Huang et al. 2024 (see `r3gan_loss`), which is stable on
    small sets; depth and width of the convolutions follow from the size.
    """
    config = nonsaturating()
    config.data.name = "sprites"
    signed(config, "linear")
    config.steps = 20_000
    config.method.update(loss="relativistic", penalty="r1_r2", penalty_weight=1.0, code_dim=128)
    conv = dict(network="conv", hidden=(), channels=(), width=32, widest=256, init="he")
    config.generator = ConfigDict(network(norm="batch", activation="leaky_relu", **conv))
    config.discriminator = ConfigDict(network(activation="leaky_relu", **conv))
    both_optimizers(config, b1=0.0, b2=0.99)
    config.every.update(log=100, validate=2_000, sample=1_000, checkpoint=1_000)
    return config


def sngan_cifar10():
    """Miyato et al. 2018 (pfnet-research/sngan_projection e84b1a5, sn_cifar10_unconditional.yml).

    Networks, initial weights, x / 128 - 1 with noise of 1/128, tanh, batches of 64 for D and 128
    for G, hinge, 5 D steps, Chainer's Adam, 50,000 steps with rates that fall to 0. Not theirs
    (updater.py, datasets/cifar10.py): G's turn comes first there, and moves the singular vectors of
    D too; validation images are held out of the 50,000.
    """
    config = nonsaturating()
    config.data.update(name="cifar10", preprocess="signed_dequantize")
    config.steps = 50_000
    config.method.update(loss="hinge", code_dim=128, prior="normal", discriminator_steps=5)
    config.method.update(generator_batch=128, output="tanh", ema_decay=0.0)
    config.generator = ConfigDict(dict(network="sngan", width=256))  # channels
    config.discriminator = ConfigDict(dict(network="sngan", width=128))
    both_optimizers(config, name="adam_tensorflow", b1=0.0, b2=0.9, schedule="linear")
    config.every.update(log=100, validate=5_000, sample=1_000, checkpoint=5_000)
    return config


def sngan_projection_cifar10():
    """As `sngan_cifar10`, with classes (sn_cifar10_conditional.yml; Miyato & Koyama 2018).

    Not theirs: synthetic images have the classes of real ones, there drawn evenly.
    """
    config = sngan_cifar10()
    config.method.update(classes=10, condition="network")
    return config


def sngan():
    """`sngan_cifar10` a quarter as wide, on Fashion-MNIST with black around it."""
    config = sngan_cifar10()
    config.data.update(name="fashion_mnist", pad_to=32)
    config.generator.width, config.discriminator.width = 64, 32
    config.every.update(log=50, validate=850, sample=850, checkpoint=850)
    return config


def biggan_cifar10():
    """Brock et al. 2019 as the author's code has it for CIFAR-10 (ajbrock/BigGAN-PyTorch 9845943).

    scripts/launch_cifar_ema.sh with the defaults of utils.py: 128 codes that are not split, a gain
    and a bias for each class, no attention, 64 * 4 channels, N(0, 0.02^2), hinge, batch 50, 4 D
    steps, Adam 2e-4 (0, 0.999), 500 epochs of 250 steps, averages of weights and of batch norm from
    the 1,000th. Not theirs (train_fns.py, train.py): D sees real and synthetic images in one pass,
    and so moves its singular vectors once for twice here, and in G's turn too; synthetic images
    have the classes of real ones, there drawn evenly; samples use averages where theirs use the
    moments of the batch; validation images are held out of the 50,000.
    """
    config = nonsaturating()
    config.data.name = "cifar10"
    signed(config, "tanh")
    config.steps, config.batch_size = 125_000, 50
    config.method.update(loss="hinge", code_dim=128, discriminator_steps=4)
    config.method.update(classes=10, condition="network", ema_decay=0.9999, ema_start=999)
    big = dict(
        network="biggan",
        width=64,  # channels, which blocks have 1 to 16 times: 4 at 32 pixels
        attention=(),  # blocks, counted from 1, that self-attention follows
        init="normal02",  # orthogonal, normal02, glorot, ...
    )
    config.discriminator = ConfigDict(big)
    config.generator = ConfigDict(
        dict(
            **big,
            shared=0,  # coordinates of the class's embedding; 0: none
            hierarchical=False,  # True: each block's batch norm has a part of the code
        )
    )
    both_optimizers(config, b1=0.0)
    config.every.update(log=100, validate=5_000, sample=2_000, checkpoint=5_000)
    return config


def biggan_studio():
    """BigGAN for CIFAR-10 in StudioGAN (POSTECH-CVLab/PyTorch-StudioGAN 947b35e, BigGAN.yaml).

    80 codes in four parts, a shared embedding of 128, attention at 16 pixels, 96 * 4 channels in G
    and 96 * 2 in D, orthogonal kernels, batch 64, 5 D steps, Adam 2e-4 (0.5, 0.999) with epsilon
    1e-6, 100,000 steps, flips. Not theirs (models/big_resnet.py, utils/ops.py), beside what
    `biggan_cifar10` says: biases start at 0; batch norm's epsilon is 1e-4.
    """
    config = biggan_cifar10()
    config.data.augment = ("flip",)
    config.steps, config.batch_size = 100_000, 64
    config.method.update(code_dim=80, discriminator_steps=5, ema_start=1_000)
    config.generator.update(
        width=96, shared=128, hierarchical=True, attention=(2,), init="orthogonal"
    )
    config.discriminator.update(width=48, attention=(1,), init="orthogonal")
    both_optimizers(config, b1=0.5, eps=1e-6)
    return config


def biggan():
    """`biggan_studio` narrow, on Fashion-MNIST with black around it, for two cores.

    With the paper's regularization of kernels (equation 3), 2 D steps and 10,000 steps.
    """
    config = biggan_studio()
    config.data.update(name="fashion_mnist", pad_to=32, augment=())
    config.steps = 10_000
    config.method.update(discriminator_steps=2, orthogonal=1e-4, ema_decay=0.999)
    config.generator.update(width=8, shared=32)
    config.discriminator.width = 8
    config.every.update(log=50, validate=1_000, sample=1_000, checkpoint=1_000)
    return config


def lazy(every, lr, b2):
    """Adam's settings for a player whose penalty has turns of its own, arXiv:1912.04958, 3.1.

    An optimizer that makes every + 1 updates in `every` steps, at c = every / (every + 1) of the
    rate and with decays to the power c, moves as far as one that makes `every`.
    """
    share = every / (every + 1)
    return optimizer(lr=lr * share, b1=0.0, b2=b2**share)


def styles(gamma, lr=2.5e-3, layers=2, **widths):
    """StyleGAN2's networks and game; the recipes that follow say what is theirs."""
    config = infogan_network()
    signed(config, "linear")
    config.steps = 100_000_000 // 64  # images over batch size
    config.method.update(
        code_dim=512,
        prior="normal",
        first="generator",
        penalty="r1",
        penalty_weight=gamma,
        penalty_every=16,
        ema_decay=0.0,
        ema_start=0,
    )
    both = dict(network="stylegan2", channel_base=32768, channel_max=512, clamp=0.0, half=0)
    both.update(widths)
    config.mapping = ConfigDict(
        dict(
            network="stylegan2",
            width=512,  # of w and of all layers
            layers=layers,
            rate=0.01,  # learning rate relative to the generator's
            average=0.995,  # decay of the average of w
        )
    )
    config.generator = ConfigDict(
        dict(
            both,
            architecture="skip",  # skip, resnet, orig
            noise=True,  # a random number for each pixel
        )
    )
    config.discriminator = ConfigDict(
        dict(
            both,
            architecture="resnet",  # resnet, skip, orig
            group=4,  # examples whose standard deviation the last layers see
            group_features=1,  # in how many channels; 0: none
            class_width=0,  # dimension in which a class meets the image; 0: as wide as features
        )
    )
    config.generator_optimizer = ConfigDict(lazy(4, lr, 0.99))
    config.discriminator_optimizer = ConfigDict(lazy(16, lr, 0.99))
    return config


ADA = dict(augment="ada:bgc", augment_target=0.6)


def stylegan2_cifar10():
    """Karras et al. 2020 on CIFAR-10 (NVlabs/stylegan2-ada-pytorch d72cc7d, train.py --cfg=cifar).

    100,000,000 images in batches of 64; R1 with gamma 0.01 in every 16th step; no path lengths, no
    mixed styles; G's optimizer is slowed for turns that it does not have, as there; averages with a
    half-life of 500,000 images, at first of a twentieth of those seen. Classes:
    --config.method.classes=10 --config.method.condition=network (their --cond=1).

    ADA with 'bgc' and the target 0.6, their default.

    Not theirs: bfloat16 for float16 in the three largest sizes, and no replacement of gradients
    that are not finite; D's groups are of the whole batch, theirs of each GPU's 32; the average of
    w moves in G's turns alone; samples have the constant noise, theirs draw it; ADA's average of
    sign D(x) is of D's main turns, theirs of those with R1 too; synthetic examples have the classes
    of the batch.
    """
    config = styles(0.01, layers=2, clamp=256.0, half=4)
    config.data.update(name="cifar10", validation=0)
    config.method.update(ema_images=500e3, ema_rampup=0.05, **ADA)
    config.discriminator.update(architecture="orig", group=32)
    return config


def stylegan2_ffhq256():
    """Karras et al. 2020 at 256 pixels (as `stylegan2_cifar10`, train.py --cfg=paper256).

    25,000,000 images in batches of 64, half as many channels; R1 with gamma 1; mixed styles; path
    lengths in every 4th step; a half-life of 20,000 images. Not theirs, too: path lengths, their
    average and mixed styles are of a batch, theirs of each GPU's 8.

    For the folder `ffhq256`: --config.data.name=folder:DIR.
    """
    config = styles(1.0, layers=8, channel_base=16384, clamp=256.0, half=4)
    config.steps = 25_000_000 // 64
    config.data.update(name="folder:ffhq256", size=256, validation=0)
    config.method.update(style_mixing=0.9, path_length=2.0, ema_images=20e3, **ADA)
    config.discriminator.group = 8
    return config


def stylegan2():
    """The game of `stylegan2_ffhq256` for two cores: 32 pixels, narrow networks, few steps.

    Its own: 16 to 64 channels, styles of 64, batch 32, gamma 0.1, a half-life of 10,000 images.
    """
    config = styles(0.1, layers=2, channel_base=512, channel_max=64)
    config.data.pad_to = 32
    config.batch_size = 32
    config.steps = 6_000
    config.method.update(code_dim=64, style_mixing=0.9, path_length=2.0)
    config.method.update(ema_images=10e3, ema_rampup=0.05)
    config.mapping.width = 64
    config.every.update(log=50, validate=1_000, sample=500, checkpoint=500)
    return config


def three_convolutions(*channels):
    """infogan_network at 32x32 with convolutions alone."""
    config = infogan_network()
    config.data.pad_to = 32
    config.method.code_dim = 100
    for net in (config.generator, config.discriminator):
        net.hidden, net.channels = (), channels
    both_optimizers(config)
    return config


def dcgan():
    """Radford et al. 2015 (Newmu/dcgan_code ee12b2d, faces/train_uncond_dcgan.py).

    Batch 128, 100 uniform codes, Adam 2e-4 with b1 0.5, N(0, 0.02^2), tanh, no averages, 25 epochs.
    Not theirs: 32 pixels and three convolutions from 32 channels on, there 64, four and 128, of
    5x5; no weight decay (1e-5); scales start at 1, there at N(1, 0.02^2).
    """
    config = three_convolutions(32, 64, 128)
    signed(config, "tanh")
    config.batch_size = 128
    config.steps = 10_750  # 25 epochs of 55,000
    config.method.ema_decay = 0.0
    return config


def stacked():
    """Nobody's, for 1,000 modes.

    PacGAN's (fjxmlzn/PacGAN 190853e, stacked_MNIST_experiments/VEEGAN_experiment) has MNIST at 28
    pixels in [-1, 1], tanh, four 5x5 convolutions from 64 channels on, two turns of G to one of D
    on the same codes, 50 epochs of 128,000, no averages; optimizer, batch and codes are these.
    """
    config = three_convolutions(32, 64, 128)
    config.data.name = "stacked_fashion_mnist"
    return config


def stacked_pacgan():
    """As `stacked`, with 64 packs of two in a batch, as PacGAN has."""
    config = stacked()
    config.batch_size = 128  # 64 packs
    config.method.packing = 2
    return config


def ring():
    config = nonsaturating()
    config.data.update(name="ring", preprocess="none")
    config.batch_size = 256
    config.method.code_dim = 2
    config.generator = ConfigDict(network(hidden=(128, 128)))
    config.discriminator = ConfigDict(network(hidden=(128, 128)))
    return config


def grid():
    config = ring()
    config.data.name = "grid"
    config.steps = 20_000
    for player in ("generator", "discriminator"):
        config[player].hidden = (256, 256)
        config[f"{player}_optimizer"].lr = 1e-3
    return config


def pacgan_ring():
    """Lin et al. 2018 (fjxmlzn/PacGAN 190853e, synthetic_data_experiments: 2DRing_GAN&PacGAN).

    Networks, maxout of 5, Adam 1e-4 with b1 0.8, N(0, 0.02^2), 100 packs, 400,000 steps are theirs
    (pacgan_task.py, config.py). Not theirs: one simultaneous update of both players on the same
    codes (ali_algorithm); D sees real and synthetic packs in one pass; batch norm's epsilon 1e-4
    and averages 0.95; members of a pack are drawn with replacement.
    """
    config = ring()
    config.steps, config.batch_size = 400_000, 200  # 100 packs
    config.method.update(packing=2, ema_decay=0.0)
    config.generator = ConfigDict(network(hidden=(400,) * 4, norm="batch", init="normal02"))
    config.discriminator = ConfigDict(
        network(hidden=(200,) * 3, activation="maxout", init="normal02")
    )
    both_optimizers(config, lr=1e-4, b1=0.8)
    config.every.update(log=1_000, validate=10_000, sample=10_000, checkpoint=10_000)
    return config


def pacgan_grid():
    config = pacgan_ring()
    config.data.name = "grid"
    return config


VARIANTS = {
    f.__name__: f
    for f in (
        *(nonsaturating, minimax, conditional, projection, acgan, mixture, infogan),
        *(infogan_digits, infogan_network, fashion),
        *(mmgan, nsgan, lsgan, wgan, wgan_gp, dragan, r1, r3gan_loss, images, dcgan),
        *(r3gan, r3gan_cifar10, r3gan_ffhq64, r3gan_ffhq256, r3gan_imagenet32, r3gan_imagenet64),
        *(r3gan_stacked, stylegan2, stylegan2_cifar10, stylegan2_ffhq256),
        *(sngan, sngan_cifar10, sngan_projection_cifar10, biggan, biggan_cifar10, biggan_studio),
        *(stacked, stacked_pacgan, ring, grid, pacgan_ring, pacgan_grid),
    )
}


def get_config(variant="nonsaturating"):
    return choose("variant", variant, VARIANTS)()
