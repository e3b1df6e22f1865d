"""Rows become features, and features a batch: one preprocessor a task."""
