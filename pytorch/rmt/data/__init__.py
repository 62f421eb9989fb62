"""Text and tasks: from files on disk to batches of token ids."""
