"""Sweeps that survive: each trial's state lies in its folder, where any process may read it."""
