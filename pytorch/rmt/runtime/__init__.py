"""Processes, devices, precision, progress, errors, interruption and files."""
