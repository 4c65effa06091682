"""Write infogan.npz: InfoGAN's losses and gradients, by the authors' code.

    python -m tests.parity.make_infogan CLONE    # of github.com/openai/InfoGAN at 6e41232

Their network for MNIST on images of 8x8, and their trainer as far as the two losses. It is written
for Python 2, TensorFlow 0.9 and PrettyTensor; here Python 3 runs it, and the few functions that it
calls of the two libraries are PyTorch's, in float64.
"""

import contextlib
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from tests.parity.weights import fill, summary

BATCH, SIDE = 12, 8

VARIABLES: dict[str, torch.Tensor] = {}
LOSSES: list[tuple[Any, list[torch.Tensor]]] = []
scopes: list[str] = []


def tensor(x: Any) -> torch.Tensor:
    return torch.as_tensor(np.asarray(x), dtype=torch.float64)


# --- PrettyTensor -------------------------------------------------------------------------------

METHODS: dict[str, Any] = {}


class Layer:
    """A tensor with the registered methods."""

    def __init__(self, value: torch.Tensor):
        self.tensor = value

    @property
    def shape(self) -> list[int]:
        return list(self.tensor.shape)

    def with_tensor(self, value: torch.Tensor, parameters: Any = None) -> "Layer":
        return Layer(value)

    def reshape(self, shape: list[int]) -> "Layer":
        return Layer(self.tensor.reshape(shape))


class Template:
    """A chain of calls, each with its own variables, that `construct` applies to an input."""

    counts: ClassVar[dict[str, int]] = {}

    def __init__(self, parent: "Template | None", call: Any):
        self.parent, self.call = parent, call

    def __getattr__(self, name: str) -> Any:
        def extend(*args: Any, **kwargs: Any) -> Template:
            if name in METHODS:
                method = METHODS[name]()
                count = Template.counts.setdefault(f"{scopes[-1]}/{name}", 0)
                Template.counts[f"{scopes[-1]}/{name}"] += 1
                method.prefix = f"{scopes[-1]}/{name}_{count}"
                return Template(self, lambda x: method(x, *args, **kwargs))
            if name == "apply":
                return Template(self, lambda x: Layer(args[0](x.tensor)))
            if name == "flatten":
                return Template(self, lambda x: Layer(x.tensor.reshape(len(x.tensor), -1)))
            return Template(self, lambda x: getattr(x, name)(*args, **kwargs))

        return extend

    def run(self, x: torch.Tensor) -> Layer:
        if self.parent is None:
            return Layer(x)
        found = self.call(self.parent.run(x))
        return found if isinstance(found, Layer) else Layer(found)

    def construct(self, input: torch.Tensor) -> torch.Tensor:
        return self.run(input).tensor


class VarStoreMethod:
    vars: Any = None

    def variable(self, name: str, shape: list[int], init: Any = None, dt: Any = None) -> Any:
        key = f"{self.prefix}/{name}"  # type: ignore[attr-defined]
        if key not in VARIABLES:
            offset = 1.0 if name == "gamma" else 0.0
            shape = [int(n) for n in shape]
            scale = None if len(shape) == 1 else float(np.prod(shape[:-1])) ** -0.5
            value = tensor(fill(key, tuple(shape), scale, offset))
            VARIABLES[key] = value.requires_grad_()
        return VARIABLES[key]


def register(cls: Any = None, assign_defaults: Any = None) -> Any:
    if cls is None:
        return register
    METHODS[cls.__name__] = cls
    return cls


# --- TensorFlow ---------------------------------------------------------------------------------


class Shape(list):
    def as_list(self) -> list[int]:
        return list(self)


torch.Tensor.get_shape = lambda self: Shape(self.shape)  # type: ignore[attr-defined]
torch.Tensor.set_shape = lambda self, shape: None  # type: ignore[attr-defined]


def total(x: torch.Tensor, reduction_indices: int | None = None) -> torch.Tensor:
    return x.sum() if reduction_indices is None else x.sum(dim=reduction_indices)


def conv2d(x: Any, w: torch.Tensor, strides: list[int], padding: str) -> torch.Tensor:
    assert padding == "SAME"
    x = x.permute(0, 3, 1, 2)
    (before, after), stride = same(w.shape[0], strides[1]), strides[1]
    x = F.pad(x, (before, after, before, after))
    return F.conv2d(x, w.permute(3, 2, 0, 1), stride=stride).permute(0, 2, 3, 1)


def same(size: int, stride: int) -> tuple[int, int]:
    whole = size - stride
    return whole // 2, whole - whole // 2


def conv2d_transpose(x: Any, w: torch.Tensor, output_shape: Any, strides: list[int]) -> Any:
    """The gradient of `conv2d` in its input."""
    x = x.tensor if isinstance(x, Layer) else x
    image = torch.zeros([int(n) for n in output_shape], dtype=torch.float64, requires_grad=True)
    y = conv2d(image, w, strides, "SAME")
    return torch.autograd.grad(y, image, x, create_graph=True)[0]


def normalized(x: Any, mean: Any, var: Any, beta: Any, gamma: Any, eps: float, **_: Any) -> Any:
    return (x - mean) / torch.sqrt(var + eps) * gamma + beta


@contextlib.contextmanager
def variable_scope(name: str, **_: Any) -> Any:
    scopes.append(name)
    yield
    scopes.pop()


class Average:
    def __init__(self, decay: float):
        pass

    def apply(self, variables: Any) -> None:
        pass


def library(name: str, **functions: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update(functions)
    sys.modules[name] = module
    return module


def stand_ins(x: torch.Tensor) -> None:
    """Put the libraries' names where the authors' modules import them."""
    nothing = lambda *args, **kwargs: None  # noqa: E731
    library(
        "tensorflow",
        float32=torch.float64,
        placeholder=lambda *args: x,
        constant=lambda x: x if isinstance(x, float) else tensor(x),
        log=torch.log,
        exp=torch.exp,
        sqrt=torch.sqrt,
        square=torch.square,
        matmul=torch.matmul,
        maximum=torch.maximum,
        ones_like=torch.ones_like,
        ones=lambda shape: torch.ones([int(n) for n in shape], dtype=torch.float64),
        zeros=lambda shape: torch.zeros([int(n) for n in shape], dtype=torch.float64),
        shape=lambda x: list(x.shape),
        pack=list,
        reshape=lambda x, shape: x.reshape([int(n) for n in shape]),
        concat=lambda axis, xs: torch.cat(list(xs), dim=axis),
        cast=lambda x, dtype: x,
        reduce_sum=total,
        reduce_mean=torch.mean,
        reduce_max=torch.max,
        reduce_min=torch.min,
        random_normal=lambda shape: torch.zeros(shape, dtype=torch.float64),
        multinomial=lambda logits, num_samples: torch.zeros(len(logits), 1, dtype=torch.long),
        variable_scope=variable_scope,
        control_dependencies=lambda operations: contextlib.nullcontext(),
        random_normal_initializer=nothing,
        truncated_normal_initializer=nothing,
        constant_initializer=nothing,
        scalar_summary=nothing,
        trainable_variables=lambda: [
            types.SimpleNamespace(name=name, value=value) for name, value in VARIABLES.items()
        ],
        nn=types.SimpleNamespace(
            sigmoid=torch.sigmoid,
            softmax=lambda x: torch.softmax(x, dim=1),
            relu=torch.relu,
            conv2d=conv2d,
            conv2d_transpose=conv2d_transpose,
            bias_add=torch.add,
            moments=lambda x, axes: (x.mean(dim=axes), x.var(dim=axes, unbiased=False)),
            batch_norm_with_global_normalization=normalized,
            embedding_lookup=lambda table, ids: table[ids],
        ),
        train=types.SimpleNamespace(
            ExponentialMovingAverage=Average,
            AdamOptimizer=lambda rate, **options: (rate, options),
        ),
    )
    phase = types.SimpleNamespace(train="train", test="test")
    library(
        "prettytensor",
        template=lambda name: Template(None, None),
        VarStoreMethod=VarStoreMethod,
        Register=register,
        Phase=phase,
        defaults_scope=lambda **options: contextlib.nullcontext(),
        apply_optimizer=lambda tx, losses, var_list: LOSSES.append((losses[0], var_list)),
    )
    library("prettytensor.pretty_tensor_class", Phase=phase)
    library("progressbar", **dict.fromkeys(("ETA", "Bar", "Percentage", "ProgressBar")))


def load(clone: Path, name: str) -> types.ModuleType:
    """Import a module of the authors', made Python 3."""
    source = (clone / (name.replace(".", "/") + ".py")).read_text()
    for old, new in {
        "iteritems": "items",
        "xrange": "range",
        " / 4": " // 4",
        " / 2": " // 2",
    }.items():
        source = source.replace(old, new)
    module = library(name)
    exec(compile(source, name, "exec"), module.__dict__)
    return module


def model_of(clone: Path, side: int) -> Any:
    """Their model of images of this side, as their script for MNIST makes it."""
    laws = sys.modules["infogan.misc.distributions"]
    VARIABLES.clear()
    Template.counts.clear()
    return load(clone, "infogan.models.regularized_gan").RegularizedGAN(
        output_dist=laws.MeanBernoulli(side * side),
        latent_spec=[
            (laws.Uniform(62), False),
            (laws.Categorical(10), True),
            (laws.Uniform(1, fix_std=True), True),
            (laws.Uniform(1, fix_std=True), True),
        ],
        batch_size=BATCH,
        image_shape=(side, side, 1),
        network_type="mnist",
    )


def count(clone: Path, side: int) -> np.ndarray:
    """Numbers of parameters of their discriminator, with Q, and generator."""
    model = model_of(clone, side)
    model.discriminate(tensor(np.zeros((2, side * side))))
    model.generate(tensor(np.zeros((2, 74))))
    sizes = {name: v.numel() for name, v in VARIABLES.items()}
    return np.array([sum(sizes[n] for n in sizes if n.startswith(net)) for net in ("d_", "g_")])


def main(clone: Path) -> None:
    x = tensor(1 / (1 + np.exp(-fill("x", (BATCH, SIDE * SIDE), 1.0))))
    noise = np.tanh(fill("noise", (BATCH, 62), 1.0))
    category = np.eye(10)[np.arange(BATCH) % 10]
    z = tensor(np.concatenate([noise, category, np.tanh(fill("codes", (BATCH, 2), 1.0))], axis=1))
    stand_ins(x)
    for package in ("infogan", "infogan.misc", "infogan.models", "infogan.algos"):
        library(package, __path__=[])
    load(clone, "infogan.misc.distributions")
    sys.modules["infogan.misc"].custom_ops = load(clone, "infogan.misc.custom_ops")
    sys.modules["infogan"].misc = sys.modules["infogan.misc"]
    parameters = count(clone, 28)
    model = model_of(clone, SIDE)
    model.latent_dist.sample_prior = lambda n: z
    trainer_type = load(clone, "infogan.algos.infogan_trainer").InfoGANTrainer
    data = types.SimpleNamespace(image_dim=SIDE * SIDE)
    trainer = trainer_type(model=model, batch_size=BATCH, dataset=data, info_reg_coeff=1.0)
    trainer.visualize_all_factors = lambda: None
    trainer.init_opt()
    found = {name: value.detach().numpy() for name, value in trainer.log_vars}
    found["parameters"] = parameters
    for loss, variables in LOSSES:
        names = [v.name for v in variables]
        gradients = torch.autograd.grad(loss, [VARIABLES[n] for n in names], retain_graph=True)
        for name, gradient in zip(names, gradients, strict=True):
            found[f"gradient of {name}"] = summary(name, gradient.numpy())
    np.savez_compressed(Path(__file__).with_name("infogan.npz"), **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
