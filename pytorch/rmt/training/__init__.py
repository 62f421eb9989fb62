"""Training: a run, its steps, what happens between segments, going on from a checkpoint."""
