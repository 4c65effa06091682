"""The config of a method made in Python: `latentgen.train(method, ...)`, or a factory by name."""

from latentgen.configs.components import Plan, Shape
from latentgen.configs.section import Section
from latentgen.core.errors import BadInput
from latentgen.core.types import Method
from latentgen.data.preprocess import Preprocess
from latentgen.system import plugins


def python_of(root: Section, method: Section, preprocess: Preprocess) -> Plan:
    """The method that `config.method.factory`, 'module:function', makes for a shape of x."""
    factory = method.word("factory")

    def wire(shape: Shape) -> Method:
        if not factory:
            raise BadInput(
                "this run's method was made in Python: latentgen.load(workdir, method=...) opens "
                "it; config.method.factory='module:function' would let every command make it."
            )
        return plugins.resolve(method.key("factory"), factory)(shape)

    return Plan(wire, root.word("compute"), ())
