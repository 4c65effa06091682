"""What can be measured of a trained run, by name; each result says how it was come by.

A measure is a function (subject, options) -> Result. The mathematics is in metrics/; here it meets
a run's method, images and random keys, a batch at a time.
"""

from latentgen.measures import likelihood, modes, samples
from latentgen.measures.likelihood import needs
from latentgen.measures.subject import Measure

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
    "frechet": Measure(samples.frechet, samples.check_moments),
    "kernel": Measure(samples.kernel, samples.check_kernel),
    "prdc": Measure(samples.prdc, samples.check_neighbours),
    "score": Measure(samples.score, samples.check_classes),
    "modes": Measure(modes.modes, modes.check),
}
