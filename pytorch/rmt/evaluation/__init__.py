"""Scores on text and on tasks, and generation."""
