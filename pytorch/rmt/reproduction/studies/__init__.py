"""Our own studies at mini scale: what the paper's comparisons depend on."""
