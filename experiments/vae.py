"""Variational autoencoders: Kingma & Welling 2014 (arXiv:1312.6114) and what followed.

    python -m latentgen.run --config experiments/vae.py[:variant]

| variant       | what                                                                        |
|---------------|-----------------------------------------------------------------------------|
| digits        | digits 8x8, MLP 64-256-256-8-256-256-64                                     |
| fashion, conv | Fashion-MNIST, grey: MLP 784-400-20-400-784; convolutions 32, 64            |
| images        | any images, also a folder of yours; convolutions to fit their size          |
| binary        | Fashion-MNIST, pixels above 1/2: 784-200-200-50; what follows changes it    |
| iwae, iwae2   | 50 codes of each image; two stochastic layers (burda: the authors' recipe)  |
| dreg, stl     | other gradients of IWAE and of the ELBO                                     |
| miwae, ciwae, piwae | bounds between the two                                                |
| beta, free    | the KL weighted; free bits with warm-up                                     |
| full, flow    | posteriors: full covariance; inverse autoregressive                         |
| mixture, vamp | priors (gated: vamp's network with the standard normal)                     |
| uniform       | codes uniform on a cube                                                     |
| conditional   | encoder and decoder are given the class                                     |
| logistic      | 256 grey levels                                                             |
| linear        | probabilistic PCA                                                           |
| cremer, titsias, wu | networks of papers                                                    |
| uivi, vcd     | Titsias & Ruiz 2019, Ruiz & Titsias 2019: their recipes, 400,000 steps      |

Each function says what is the paper's and what is not; "not theirs" was found by reading the file
that it names of the authors' code.
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
            channels=(64, 128),
            activation="relu",
            norm="none",
            dropout=0.0,
            init="lecun",
        )
        | changes
    )


def digits():
    """A VAE of a few seconds, with every key there is."""
    return ConfigDict(
        dict(
            seed=0,
            steps=6_000,
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
            method=dict(
                name="vae",
                # p(z), q(z|x): how many coordinates a code has, and their distributions
                code_dim=8,
                second_code_dim=0,  # of a second stochastic layer; 0: none
                prior="normal",  # normal, uniform, mixture, vamp, vamp_clipped
                components=500,  # of a mixture or VampPrior
                posterior="diagonal",  # diagonal, diagonal_softplus, full, flow, squashed
                flow_steps=2,  # of posterior="flow"
                classes=0,  # of labels that encoder and decoder are given; 0: none
                # p(x|z): bernoulli, normal, normal_learned, normal_per_pixel,
                # discretized_logistic, categorical
                likelihood="bernoulli",
                std=0.1,  # of a normal likelihood; where it is learned, at the start
                std_floor=0.01,  # below which a learned one cannot fall
                # what is optimized
                bound="elbo",  # elbo, iwae, miwae, ciwae, piwae
                samples=1,  # codes of each image
                group=1,  # how many share a logarithm in miwae and piwae
                share=0.5,  # of the ELBO in ciwae
                estimator="pathwise",  # pathwise, stl, dreg
                kl="closed",  # closed, sampled
                free_nats=0.0,  # of the KL that cost nothing
                beta=1.0,  # weight of the KL
                warmup_steps=0,  # over which that weight rises from 0
                ema_decay=0.0,
                ema_start=0,
                ema_images=0.0,  # half-life in images, in place of ema_decay; 0: none
                ema_rampup=0.0,  # greatest half-life as a share of the images seen; 0: any
                ema_more=(),  # kept beside: decays (below 1), half-lives in images (from 1 on)
            ),
            encoder=network(),
            decoder=network(),
            code_network=network(hidden=(64,)),  # between two layers of codes, or within the flow
            optimizer=dict(
                name="adam",
                lr=1e-3,
                schedule="constant",
                b1=0.9,
                b2=0.999,
                eps=1e-8,
                momentum=0.9,
                clip_norm=0.0,
            ),
            skip_diverged=0,
            every=dict(log=250, validate=1_000, sample=1_000, checkpoint=3_000, evaluate=0),
            evaluate=dict(metric="", samples=2_000, features=""),
            stop=dict(patience=0),
        )
    )


def fashion():
    config = digits()
    config.data.name = "fashion_mnist"
    config.batch_size = 128
    config.steps = 4_300  # 10 epochs of 55,000
    config.method.code_dim = 20
    for net in (config.encoder, config.decoder):
        net.hidden, net.init = (400,), "normal02"
    config.every.update(log=100, validate=2_000, sample=2_000, checkpoint=4_000)
    return config


def conv():
    config = fashion()
    half = dict(network="conv", hidden=(512,), channels=(32, 64), init="normal02")
    config.encoder = ConfigDict(network(activation="leaky_relu", **half))
    config.decoder = ConfigDict(network(**half))
    return config


def images():
    """Any images of 16 to 256 pixels, grey or coloured; nobody's.

    Depth and width follow from the size. A smaller std keeps more of each image in its code, and
    samples of the prior then look less like images. On emoji 0.4 kept 60 nats at 32x32 and 130 at
    64x64, where 0.8 kept 60 and looked better: let it grow with the side. A learned std fell so far
    that samples showed nothing.
    """
    config = digits()
    config.data.name = "sprites"
    config.steps = 20_000
    config.method.update(code_dim=64, likelihood="normal", std=0.4)
    by_size = dict(channels=(), width=32, widest=256, init="he")
    config.encoder = ConfigDict(network(network="conv", hidden=(256,), **by_size))
    config.decoder = ConfigDict(network(network="conv", hidden=(256,), **by_size))
    config.optimizer.update(lr=5e-4, schedule="cosine")
    config.every.update(log=100, validate=2_000, sample=1_000, checkpoint=1_000)
    return config


def linear():
    """Lucas et al. 2019 (arXiv:1911.02469): its best is probabilistic PCA, and known exactly."""
    config = fashion()
    config.steps, config.batch_size = 40_000, 500
    config.method.update(code_dim=10, likelihood="normal_learned", std=0.3, std_floor=1e-3)
    config.encoder.hidden = config.decoder.hidden = ()
    config.optimizer.update(lr=5e-3, schedule="cosine")
    config.every.update(log=500, validate=2_000, sample=2_000, checkpoint=2_000)
    return config


def binary():
    """A VAE 784-200-200-50 on Fashion-MNIST with pixels above 1/2 as ones, 20 epochs."""
    config = fashion()
    config.data.preprocess = "threshold"
    config.batch_size, config.steps = 100, 11_000
    config.method.code_dim = 50
    for net in (config.encoder, config.decoder):
        net.hidden, net.activation, net.init = (200, 200), "tanh", "lecun"
    config.optimizer.update(schedule="cosine", eps=1e-4)
    config.every.update(log=110, validate=1_100, sample=1_100, checkpoint=1_100)
    return config


def iwae():
    """Burda et al. 2015 (arXiv:1509.00519), one stochastic layer; `samples` is k."""
    config = binary()
    config.method.update(bound="iwae", samples=50, kl="sampled")
    return config


def burda():
    """Burda et al. 2015 as their code has it (yburda/iwae 78a6075); weeks on a CPU.

    experiments.py, optimizers.py, nnet.py: pixels drawn anew, 59,600 images, batches of 20, 3,280
    epochs, Glorot's weights, Adam with b1 0.99 (0.9 in the paper) and epsilon 1e-4 of the batch's
    sum of gradients, which is 1e-4 / 20 of its mean. Theirs is MNIST (--config.data.name=mnist).

    Not theirs: output biases start at 0, there at the logits of the training mean; Adam's second
    moments start at 0, there at 1, and its epsilon is added before the bias correction; rates are
    not rounded to two digits; images come in a new order each epoch.
    """
    config = iwae()
    config.data.update(preprocess="binarize", validation=400)
    config.encoder.init = config.decoder.init = "glorot"
    config.batch_size = 20
    epoch = 59_600 // config.batch_size
    config.steps = 3_280 * epoch
    config.optimizer.update(schedule="burda", b1=0.99, eps=1e-4 / config.batch_size)
    tenth = 10 * epoch
    config.every.update(log=epoch, validate=tenth, sample=tenth, checkpoint=tenth)
    return config


def iwae2():
    """The same with two stochastic layers, 100 and 50 coordinates."""
    config = iwae()
    config.method.update(code_dim=100, second_code_dim=50)
    config.code_network.update(hidden=(100, 100), activation="tanh")
    return config


def dreg():
    """IWAE with the doubly reparametrized gradient of Tucker et al. 2018 (arXiv:1810.04152)."""
    config = iwae()
    config.method.estimator = "dreg"
    return config


def stl():
    """The ELBO with the path derivative of Roeder et al. 2017 (arXiv:1703.09194)."""
    config = binary()
    config.method.update(kl="sampled", estimator="stl")
    return config


def miwae():
    """Rainforth et al. 2018 (arXiv:1802.04537): 64 codes in 8 groups of 8."""
    config = binary()
    config.method.update(bound="miwae", samples=64, group=8, kl="sampled")
    return config


def ciwae():
    """Rainforth et al. 2018: half ELBO, half IWAE."""
    config = miwae()
    config.method.bound = "ciwae"
    return config


def piwae():
    """Rainforth et al. 2018: IWAE for the decoder, MIWAE for the encoder."""
    config = miwae()
    config.method.bound = "piwae"
    return config


def beta():
    """The objective of Higgins et al. 2017: the KL counts four times. The rest is not theirs."""
    config = fashion()
    config.method.beta = 4.0
    return config


def free():
    """Free bits of Kingma et al. 2016 (arXiv:1606.04934), and a KL that warms up in 2 epochs."""
    config = binary()
    config.method.update(free_nats=0.1, warmup_steps=1_100)
    return config


def full():
    """A posterior with full covariance."""
    config = binary()
    config.method.update(posterior="full", code_dim=20)
    return config


def flow():
    """The inverse autoregressive flow of Kingma et al. 2016 (arXiv:1606.04934)."""
    config = binary()
    config.method.update(posterior="flow", flow_steps=2, kl="sampled")
    config.code_network.update(hidden=(200,), activation="elu")
    return config


def mixture():
    """A learned mixture of 100 normals as the prior."""
    config = binary()
    config.method.update(prior="mixture", components=100, kl="sampled")
    return config


def vamp():
    """VampPrior, Tomczak & Welling 2018 (arXiv:1705.07120; jmtomczak/vae_vampprior bb6ff3e).

    models/VAE.py, models/Model.py, utils/optimizer.py: gated 300-300, 40 coordinates, 500
    pseudo-inputs cut off at 0 and 1, from N(0.05, 0.01^2); AdamNormGrad 5e-4; batches of 100; He's
    weights. Not theirs: 20 epochs with 4 of warm-up, which grows by the step; there 100 of warm-up,
    by the epoch, 2,000 at most and 50 without progress; log variances of q are not cut off at -6
    and 2; a layer and its gate are one array to the optimizer; PyTorch's biases do not start at 0.
    """
    config = binary()
    config.method.update(code_dim=40, prior="vamp_clipped", components=500, kl="sampled")
    config.method.warmup_steps = 2_200
    for net in (config.encoder, config.decoder):
        net.hidden, net.activation, net.init = (300, 300), "glu", "he"
    config.optimizer.update(name="adam_norm_grad", lr=5e-4, schedule="constant", eps=1e-8)
    return config


def gated():
    """The same with the standard normal prior, to compare."""
    config = vamp()
    config.method.prior = "normal"
    return config


def uniform():
    """Codes uniform on a cube, posteriors squashed into it."""
    config = binary()
    config.method.update(prior="uniform", posterior="squashed", kl="sampled", code_dim=20)
    return config


def conditional():
    """Encoder and decoder are given the class (Sohn et al. 2015)."""
    config = binary()
    config.method.classes = 10
    return config


def logistic():
    """All 256 grey levels: the discretized logistic of Kingma et al. 2016 (arXiv:1606.04934)."""
    config = binary()
    config.data.preprocess = "unit"
    config.method.likelihood = "discretized_logistic"
    return config


def cremer():
    """The networks of Cremer et al. 2018 (arXiv:1801.03558), for 20 of their 3,280 epochs.

    Not theirs (chriscremer/Inference-Suboptimality 867a4f0, */train_mnist.py): a cosine for Burda
    et al.'s rates, epsilon 1e-4 for 1e-8, no warm-up (there 100 epochs), PyTorch's initial weights.
    """
    config = binary()
    for net in (config.encoder, config.decoder):
        net.activation = "elu"
    return config


def titsias():
    """The networks of Titsias & Ruiz 2019 (arXiv:1808.02078): two encoders, softplus, STL.

    Not their training: 11,000 of 400,000 steps, 55,000 images of 60,000, Adam, other initial
    weights.
    """
    config = binary()
    config.method.update(code_dim=10, posterior="diagonal_softplus", kl="sampled", estimator="stl")
    for net in (config.encoder, config.decoder):
        net.activation = "relu"
    config.encoder.network = "twin"
    config.optimizer.update(schedule="constant", eps=1e-8)
    return config


def uivi():
    """The explicit Gaussian VAE of Titsias & Ruiz 2019 (franrruiz/uivi 14a899d, src/main_demo.m).

    400,000 steps on all 60,000 images; g / (1 + sqrt(G)) of the batch's summed gradients; the net
    of the std learns at a fifth of the rate; weights and biases from N(0, 1 / fan-out), in last
    layers N(0, 1). From N(0, 1 / fan-in) and biases 0 the posterior collapses within 1,000 steps.
    Not theirs: G starts at 0, there at the first square; no floor (1e-4) under standard deviations.
    """
    config = titsias()
    config.data.validation = 0
    config.steps = 400_000
    config.encoder.init = config.decoder.init = "titsias"
    config.optimizer.update(
        dict(name="rmsprop_torch", lr=1e-3, std_rate=0.2, b2=0.9, eps=0.01, schedule="staircase")
    )
    config.every.update(log=500, validate=10_000, sample=20_000, checkpoint=10_000)
    return config


def vcd():
    """The standard KL of Ruiz & Titsias 2019 (arXiv:1905.04062; franrruiz/vcd_divergence 0af7907).

    As `uivi`, with the entropy in closed form. Not theirs: the rest of the KL is so too, there
    sampled.
    """
    config = uivi()
    config.method.update(kl="closed", estimator="pathwise")
    config.optimizer.update(lr=5e-4, std_rate=0.5)
    return config


def wu():
    """The networks of VAE-10 of Wu et al. 2016 (arXiv:1611.04273); normal likelihood, grey.

    Their code (tonywu95/eval_gen 7625f40) measures and does not train: the training is nobody's.
    """
    config = binary()
    config.data.preprocess = "unit"
    config.method.update(code_dim=10, likelihood="normal_learned", std=0.3)
    config.encoder.hidden, config.decoder.hidden = (1024, 256, 256, 64), (64, 256, 256, 1024)
    config.optimizer.eps = 1e-8
    return config


VARIANTS = {
    f.__name__: f
    for f in (
        *(digits, fashion, conv, images, linear, binary),
        *(iwae, burda, iwae2, dreg, stl, miwae, ciwae, piwae),
        *(beta, free, full, flow, mixture, vamp, gated, uniform),
        *(conditional, logistic, cremer, titsias, uivi, vcd, wu),
    )
}


def get_config(variant="digits"):
    return choose("variant", variant, VARIANTS)()
