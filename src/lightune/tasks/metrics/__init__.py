"""Metrics of the field that torchmetrics lacks or defines otherwise, as torchmetrics objects: exact on many devices."""
