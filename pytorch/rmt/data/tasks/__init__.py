"""Algorithmic tasks: a file for each, and how samples become batches."""
