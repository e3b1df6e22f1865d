"""What surrounds ``trainer.fit``: building an experiment, callbacks, plans."""
