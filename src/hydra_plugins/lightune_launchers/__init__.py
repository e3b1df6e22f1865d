"""Hydra's launchers, with the checks of the command line in the processes that they start."""
