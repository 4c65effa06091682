"""Probes of a trained GAN: its codes, the images of codes, the logits of its discriminator."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from latentgen.core.errors import BadInput
from latentgen.core.types import State
from latentgen.methods.adversaries import (
    Model,
    generate,
    logits_of,
    outputs_of,
    pack,
    prior,
    styles_of,
    unpack,
)
from latentgen.methods.auxiliary import auxiliary_probes
from latentgen.methods.styles import style_probes
from latentgen.networks.labels import cycle_labels
from latentgen.objectives.adversarial import Logits


def probes(model: Model) -> dict[str, Callable[..., Any]]:
    """Return the probes of a trained GAN by name; each takes the state first.

    codes (key, n) -> z ~ p(z), (n, d)
    decode (z, label=None) -> x, (n, *shape); by default labels cycle through the classes
    discriminate (x, label=None) -> logits, (n,); a conditional method requires the label
    log_prior (z of shape (k, n, d)) -> log p(z) in nats, (k, n)
    classify, infer, traverse: of the auxiliary tasks, see `auxiliary_probes`

    With a mapping network, decode(z) = decode_style(style(z)):

    style (z, label=None) -> w, (n, width)
    decode_style (w) -> x; w of shape (n, width), or (n, levels, width) with a style for each layer
    mean_style () -> the moving average of w, (width,)
    style_levels () -> levels, the number of styles that the generator takes
    """

    def codes(state: State, key: Key[Array, ""], n: int) -> Float[Array, "n d"]:
        return prior(model, state.params).sample(key, n)

    def decode(
        state: State, z: Float[Array, "n d"], label: Int[Array, " n"] | None = None
    ) -> Float[Array, "n *shape"]:
        label = cycle_labels(z.shape[0], model.classes) if label is None else label
        return generate(model, state.params, state.stats, z, label, train=False)[0]

    def discriminate(
        state: State, x: Float[Array, "n *shape"], label: Int[Array, " n"] | None = None
    ) -> Logits:
        if label is None and model.classes:
            raise BadInput("label is missing: this method asks what class each image is of.")
        label = jnp.zeros(x.shape[0], jnp.int32) if label is None else label
        params, stats = state.params["discriminator"], state.stats["discriminator"]
        grouped_x, grouped_label = (pack(a, model.packing) for a in (x, label))
        per_group, _ = logits_of(model, params, stats, grouped_x, grouped_label, train=False)
        return unpack(per_group, model.packing, x.shape[0])

    def log_prior(state: State, z: Float[Array, "k n d"]) -> Float[Array, "k n"]:
        flat = z.reshape(-1, model.code_dim)
        return prior(model, state.params).log_prob(flat).reshape(z.shape[:2])

    def all_outputs(state: State, x: Float[Array, "n *shape"]) -> Float[Array, "n o"]:
        params, stats = state.params["discriminator"], state.stats["discriminator"]
        label = jnp.zeros((x.shape[0], 1), jnp.int32)
        return outputs_of(model, params, stats, pack(x, 1), label, train=False)[0]

    found: dict[str, Callable[..., Any]] = {
        "codes": codes,
        "decode": decode,
        "discriminate": discriminate,
        "log_prior": log_prior,
    }
    current_prior = lambda state: prior(model, state.params)  # noqa: E731
    found |= auxiliary_probes(model.tasks, all_outputs, current_prior)
    if model.mapping is None:
        return found

    def styles_at(state: State, z: Float[Array, "n d"], label: Int[Array, " n"] | None) -> Array:
        label = cycle_labels(z.shape[0], model.classes) if label is None else label
        return styles_of(model, state.params, state.stats, z, label, train=False)[0]

    return found | style_probes(model.mapping, model.generator, styles_at)
