"""Text, tasks and texts with labels: from files on disk to batches of token ids."""
