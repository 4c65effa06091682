"""Generative adversarial networks after Goodfellow et al. 2014 (arXiv:1406.2661).

    python -m latentgen.run --config experiments/gan.py[:variant]

| variant       | data          | what                                                            |
|---------------|---------------|-----------------------------------------------------------------|
| nonsaturating | digits 8x8    | MLP; G descends -log D(G(z)), section 3; 21 s on two cores      |
| minimax       | digits 8x8    | the same; G descends C(D, G), equation 1                        |
| conditional   | digits 8x8    | both players are told the class (Mirza & Osindero 2014,         |
|               |               | arXiv:1411.1784)                                                |
| projection    | digits 8x8    | the discriminator is told it by a projection (Miyato & Koyama   |
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
| r3gan         | Fashion-MNIST | in [-1, 1]; InfoGAN's network; the loss of R3GAN (Huang et al.  |
|               |               | 2024, arXiv:2501.05441): relativistic, R1 + R2; not its network |
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
| dcgan         | Fashion-MNIST | at 32x32, in [-1, 1]: three convolutions, batch norm in both    |
|               |               | (Radford et al. 2015, arXiv:1511.06434), without dense layers   |
| stacked       | three Fashion | dcgan's networks on 1,000 modes: three images as colour planes  |
|               | images        | (Metz et al. 2016, arXiv:1611.02163, has MNIST); in [0, 1]      |
| stacked_pacgan| the same      | two examples in a pack (Lin et al. 2018, arXiv:1712.04086)      |
| ring, grid    | 8, 25 normals | MLP; 12 s and 38 s                                              |
| pacgan_ring,  | 8, 25 normals | PacGAN2: its networks, 400,000 steps (Lin et al. 2018), in      |
| pacgan_grid   |               | turns; method.packing=1 is the GAN beside it                    |

A plain GAN loses modes: `python -m experiments.studies.mode_coverage` counts them.

What a function below says is "not theirs" was found by reading the file that it names of the
authors' code. Of all recipes: players take turns, each on codes of its own, D first; batch norm has
epsilon 1e-5 and averages over some ten minibatches, scales that start at 1; Adam's epsilon, 1e-8,
is added to the root after the bias correction (PyTorch), not before (TensorFlow, Theano, Chainer,
`adam_tensorflow` here);
convolutions are 4x4; Fashion-MNIST's 55,000 training images are neither flipped nor blurred by
noise. The recipes on digits, ring and grid are nobody's.
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
            stop=dict(patience=0),  # evaluations without a better one, then the end; 0: any number
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


def r3gan():
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


def images():
    """Any images of 16 to 256 pixels, grey or coloured; nobody's.

    The relativistic loss with R1 and R2 of Huang et al. 2024 (see `r3gan`), which is stable on
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
    for G, hinge, 5 D steps, Adam, 50,000 steps with rates that fall to 0. Not theirs (updater.py,
    datasets/cifar10.py): G's turn comes first there, and moves the singular vectors of D too;
    validation images are held out of the 50,000.
    """
    config = nonsaturating()
    config.data.update(name="cifar10", preprocess="signed_dequantize")
    config.steps = 50_000
    config.method.update(loss="hinge", code_dim=128, prior="normal", discriminator_steps=5)
    config.method.update(generator_batch=128, output="tanh", ema_decay=0.0)
    config.generator = ConfigDict(dict(network="sngan", width=256))  # channels
    config.discriminator = ConfigDict(dict(network="sngan", width=128))
    both_optimizers(config, b1=0.0, b2=0.9, schedule="linear")
    config.every = ConfigDict(dict(log=100, validate=5_000, sample=1_000, checkpoint=5_000))
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
    config.every = ConfigDict(dict(log=50, validate=850, sample=850, checkpoint=850))
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
    config.every = ConfigDict(dict(log=100, validate=5_000, sample=2_000, checkpoint=5_000))
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
    config.every = ConfigDict(dict(log=50, validate=1_000, sample=1_000, checkpoint=1_000))
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
        *(mmgan, nsgan, lsgan, wgan, wgan_gp, dragan, r1, r3gan, images, dcgan),
        *(sngan, sngan_cifar10, sngan_projection_cifar10, biggan, biggan_cifar10, biggan_studio),
        *(stacked, stacked_pacgan, ring, grid, pacgan_ring, pacgan_grid),
    )
}


def get_config(variant="nonsaturating"):
    return choose("variant", variant, VARIANTS)()
