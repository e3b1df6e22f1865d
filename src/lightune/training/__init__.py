"""Train a model: build a run's parts, the callbacks of a run, estimates before it."""
