"""Games as pure functions: types, the training step of a game, and wrappers of methods."""
