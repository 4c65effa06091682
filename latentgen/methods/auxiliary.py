"""Auxiliary tasks of a discriminator: predict the class of x, infer the codes c of synthetic x.

Reference: Odena et al. 2017 (ACGAN, arXiv:1610.09585); Chen et al. 2016 (InfoGAN,
arXiv:1606.03657).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int, Key

from latentgen.core.types import State, Terms
from latentgen.objectives.auxiliary import class_log_prob, information
from latentgen.probability.codes import Codes, posterior, traversal
from latentgen.probability.priors import Prior

NO_CODES = Codes()


class Auxiliary(NamedTuple):
    """Quantities that the discriminator's last outputs predict: first the class, then the codes.

    classes: number of classes; 0 if the class is not predicted
    codes: c, the last coordinates of the generator's code
    """

    classes: int = 0
    codes: Codes = NO_CODES

    def split(self, out: Float[Array, "n o"]) -> tuple[Float[Array, "n k"], Float[Array, "n c"]]:
        """Return the outputs for the class and those for the codes."""
        end = out.shape[1] - self.codes.size
        return out[:, end - self.classes : end], out[:, end:]


def auxiliary_terms(
    tasks: Auxiliary,
    label: Int[Array, " n"],
    z: Float[Array, "n d"],
    real: Float[Array, "g o"],
    synthetic: Float[Array, "g o"],
) -> Terms:
    """Return the log-probabilities that both players ascend, in nats; {} without auxiliary tasks.

    Args:
        label: class of each real example and of the synthetic example of the same index.
        z: codes of the synthetic examples.
        real, synthetic: all outputs of the discriminator; g = n if there are auxiliary tasks.
    """
    terms: Terms = {}
    if tasks.classes:
        for name, out in (("real", real), ("synthetic", synthetic)):
            terms[f"class_log_prob_{name}"] = class_log_prob(tasks.split(out)[0], label)
    if tasks.codes.size:
        c = z[:, z.shape[1] - tasks.codes.size :]
        terms |= information(tasks.codes, c, tasks.split(synthetic)[1])
    return terms


def auxiliary_probes(
    tasks: Auxiliary,
    outputs: Callable[[State, Float[Array, "n *shape"]], Float[Array, "n o"]],
    prior: Callable[[State], Prior],
) -> dict[str, Callable[..., Any]]:
    """Return the probes of the auxiliary tasks by name; each takes the state first.

    classify (x) -> logits of the classes, (n, classes)
    infer (x) -> Q(c|x): probabilities of each categorical code, means of the continuous ones
    traverse (key, columns) -> codes z, (rows, columns, d); see `probability.codes.traversal`

    Args:
        outputs: all outputs of the discriminator.
        prior: p(z) of a state.
    """

    def infer(state: State, x: Float[Array, "n *shape"]) -> Float[Array, "n c"]:
        return posterior(tasks.codes, tasks.split(outputs(state, x))[1])

    def traverse(state: State, key: Key[Array, ""], columns: int) -> Float[Array, "r c d"]:
        return traversal(tasks.codes, prior(state), key, columns)

    found: dict[str, Callable[..., Any]] = {}
    if tasks.classes:
        found["classify"] = lambda state, x: tasks.split(outputs(state, x))[0]
    if tasks.codes.size:
        found |= {"infer": infer, "traverse": traverse}
    return found
