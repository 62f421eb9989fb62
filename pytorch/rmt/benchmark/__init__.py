"""Speed and memory, measured: cases, a stopwatch, the parts of a step's time, how cost grows."""
