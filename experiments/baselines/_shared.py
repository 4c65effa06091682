"""Helpers that baselines share: short runs, and the claims of one table."""


def shortened(config, steps, times=10):
    """The config with so many steps, validated and saved this many `times`."""
    config.steps = steps
    log = max(1, steps // 20)
    rest = max(1, steps // times // log) * log
    config.every.update(log=log, validate=rest, sample=rest, checkpoint=rest)
    return config


def smoke(config):
    """A few steps: shows that the recipe runs."""
    return shortened(config, 20, 1)
