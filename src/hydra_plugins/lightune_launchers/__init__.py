"""Hydra's launchers, so that the guards of the command line hold in the processes that they start, too."""
