"""Measures of a trained run, by name; each result has the protocol by which it was measured.

A measure is a function (subject, options) -> Result. The mathematics is in metrics/; this package
applies it to a run's method, images and random keys, a batch at a time.
"""

import time
from collections.abc import Iterator, Mapping

from latentgen.core.errors import BadInput, choose
from latentgen.evaluation.measures import likelihood, modes, perceptual, samples
from latentgen.evaluation.measures.likelihood import needs
from latentgen.evaluation.measures.subject import Measure, Options, Result, Subject

MEASURES: dict[str, Measure] = {
    "terms": Measure(likelihood.terms, needs()),
    "is": Measure(likelihood.importance_sampled, needs("draw", "log_prior", "log_likelihood")),
    "ais": Measure(likelihood.annealed, needs("codes", "log_prior", "log_likelihood")),
    "bdmc": Measure(
        likelihood.bidirectional, needs("codes", "log_prior", "log_likelihood", "observe")
    ),
    "active": Measure(likelihood.active_units, needs("draw")),
    "surgery": Measure(likelihood.surgery, needs("codes", "draw", "log_prior", "log_posterior")),
    "parzen": Measure(likelihood.parzen_window, likelihood.check_parzen),
    "exact": Measure(likelihood.exact, likelihood.check_exact),
    "lpips": Measure(perceptual.lpips, perceptual.check),
    "frechet": Measure(samples.frechet, samples.check_moments),
    "kernel": Measure(samples.kernel, samples.check_kernel),
    "prdc": Measure(samples.prdc, samples.check_neighbours),
    "score": Measure(samples.score, samples.check_classes),
    "modes": Measure(modes.modes, modes.check),
}

MEANT = {
    "fid": "--metrics=frechet --features=inception --inception_weights=FILE; under any other "
    "features the Frechet distance is no FID, and their values cannot be compared",
    "kid": "--metrics=kernel --features=inception --inception_weights=FILE; under any other "
    "features the kernel distance is no KID",
    "inception_score": "--metrics=score --features=inception --inception_weights=FILE",
    "precision": "--metrics=prdc",
    "recall": "--metrics=prdc",
    "density": "--metrics=prdc",
    "coverage": "--metrics=prdc",
    "nll": "--metrics=is or --metrics=ais",
    "iwae": "--metrics=is",
    "elbo": "--metrics=terms",
}
"""Name in the literature -> the flags that measure it."""


def named(flag: str, name: str) -> Measure:
    """Return the measure of this name.

    Raises:
        BadInput: there is none; for a name in the literature, the message has the flags to use.
    """
    if (meant := MEANT.get(name.lower())) is not None:
        raise BadInput(f"{flag}={name!r}: write {meant}.")
    return choose(flag, name, MEASURES)


def measure(
    chosen: Mapping[str, Measure], subject: Subject, options: Options
) -> Iterator[tuple[str, Result | BadInput, float]]:
    """Yield (name, result, seconds) of each measure; the result is a BadInput if it fails.

    All checks run first. A measure that fails does not stop the others.
    """
    refused: dict[str, BadInput] = {}
    for name, each in chosen.items():
        try:
            each.check(subject, options)
        except BadInput as error:
            refused[name] = error
    for name, each in chosen.items():
        began = time.perf_counter()
        found: Result | BadInput
        try:
            found = refused.get(name) or each.take(subject, options)
        except BadInput as error:
            found = error
        yield name, found, time.perf_counter() - began
