"""A run's folder and its uses."""
