"""The library behind `import latentgen`: train, load and use a model from Python."""
