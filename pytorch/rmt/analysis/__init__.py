"""What trained models attend to, and the memory operations among it."""
