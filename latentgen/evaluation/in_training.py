"""Measure of a run during its training, as `config.evaluate` describes it.

The values are those of `latentgen.evaluate` with --seed=0, --images and --samples as many as
`evaluate.samples`, and --jackknife=0, on the validation split, or the training split where there
is none.
"""

from collections.abc import Callable
from typing import Any

from latentgen.core.errors import BadInput
from latentgen.core.types import PyTree
from latentgen.evaluation.measures import named
from latentgen.evaluation.measures.subject import Measure, Options, Result, Subject
from latentgen.training.best import Evaluation
from latentgen.training.setup import Run

HIGHER, LOWER = 1, -1
COMPARED: dict[str, tuple[tuple[str, ...], int]] = {
    "terms": (("negative_bound", "negative_elbo", "loss", "cross_entropy"), LOWER),
    "is": (("log_likelihood", "bernoulli_score"), HIGHER),
    "ais": (("log_likelihood", "bernoulli_score"), HIGHER),
    "lpips": (("lpips",), LOWER),
    "frechet": (("frechet_distance",), LOWER),
    "kernel": (("kernel_distance",), LOWER),
    "prdc": (("coverage",), HIGHER),
    "score": (("inception_score",), HIGHER),
    "modes": (("captured",), HIGHER),
}
"""Measure -> the values by which states are compared, the first that it returns; their direction.
By a measure that is not in the table no state is the best."""


def attached(
    run: Run, inception_weights: str | None = None, memory: dict[Any, Any] | None = None
) -> Run:
    """Return the run with the measure that its config takes during training, if it takes one.

    Args:
        inception_weights: file with the weights of the features 'inception'.
        memory: features of real examples; runs on the same data may share them.

    Raises:
        BadInput: there is no such measure, or it does not fit the run.
    """
    config = run.experiment.evaluate
    if not config.every:
        return run
    metric = config.metric or ("terms" if run.method.sample is None else "frechet")
    measure = named("config.evaluate.metric", metric)
    names, sign = COMPARED.get(metric, ((), LOWER))
    if config.patience and not names:
        raise BadInput(
            f"config.stop.patience={config.patience} does not fit config.evaluate.metric="
            f"{metric!r}, by which no state is the best. Valid: {', '.join(COMPARED)}."
        )
    take = _measure(run, measure, inception_weights, {} if memory is None else memory)
    return run._replace(evaluation=Evaluation(take, names, sign))


def _measure(
    run: Run, measure: Measure, inception_weights: str | None, memory: dict[Any, Any]
) -> Callable[[int, PyTree], dict[str, float]]:
    """Check that the measure fits, and make the function (step, state) -> its values."""
    config = run.experiment.evaluate
    split = "validation" if "validation" in run.dataset.splits else "train"
    options = Options(
        images=min(config.samples, len(run.dataset.splits[split].label)),
        samples=config.samples,
        features=config.features or None,
        inception_weights=inception_weights,
    )
    subject = Subject(run, 0, None, split, memory)
    try:
        measure.check(subject, options)
    except BadInput as error:
        raise BadInput(f"config.evaluate.metric={config.metric!r}: {error}") from None

    def take(step: int, state: PyTree) -> dict[str, float]:
        own = dict(memory)
        result = measure.take(Subject(run, step, state, split, own), options)
        memory.update({key: value for key, value in own.items() if _is_of_data(key)})
        return scalars(result)

    return take


def _is_of_data(key: Any) -> bool:
    """Return whether a value in a subject's memory does not depend on the state."""
    return isinstance(key, tuple) and ("real" in key or "reference" in key or "extractor" in key)


def scalars(result: Result) -> dict[str, float]:
    """Return the numbers of a result by name; of a mean with its standard error, the mean."""
    means = {
        name: value["mean"] if isinstance(value, dict) and "mean" in value else value
        for name, value in result.values.items()
    }
    return {name: float(value) for name, value in means.items() if isinstance(value, int | float)}
