"""Texts with labels, of any length: found, split, encoded and read for a classifier."""
