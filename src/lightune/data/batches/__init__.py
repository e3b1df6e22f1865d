"""Features become batches: grouping, padding, sampling."""
