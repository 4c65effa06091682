"""The config of a classifier."""

from latentgen.configs.components import DTYPES, Plan, Shape, average, network, optimizer
from latentgen.configs.section import Section
from latentgen.core.types import Method
from latentgen.data.preprocess import Preprocess
from latentgen.methods.classifier import Model, classifier
from latentgen.networks import ENCODERS, mlp


def classifier_of(root: Section, method: Section, preprocess: Preprocess) -> Plan:
    """The classifier that a config describes."""
    dtype = root.choose("compute", DTYPES)
    classes, width = method.size("classes", low=2), method.size("features")
    tx = optimizer(root.section("optimizer"), root.integer("steps", low=1))
    encoder = network(root, "encoder", dtype, ENCODERS)
    averaged = average(root, method, ("features", "head"))

    def wire(shape: Shape) -> Method:
        model = Model(encoder.encoder(shape, width), mlp.encoder((), outputs=classes), width)
        return averaged(classifier(model, tx, shape))

    return Plan(wire, root.word("compute"), (), classes)
