"""Samples in random order, epoch after epoch, from a place that can be saved."""

import numpy as np


class ShuffledReader:
    """Which samples the next batch is of.

    What does not fill a batch at an epoch's end is left out.
    """

    def __init__(self, n_samples: int, batch_size: int, seed: int):
        self.n_samples, self.batch_size, self.seed = n_samples, batch_size, seed
        self.seek(1, 0)

    @property
    def place(self) -> dict:
        """Where the next batch is; seek(**place) goes there."""
        return {"epoch": self.epoch, "position": self.position}

    def seek(self, epoch: int, position: int) -> None:
        """Go on from a place that another reader of the same samples had reached."""
        self.epoch, self.position = epoch, position
        self._order = np.random.default_rng([self.seed, epoch]).permutation(self.n_samples)

    @property
    def n_read(self) -> int:
        """How many batches there were before, in all epochs."""
        return (self.epoch - 1) * (self.n_samples // self.batch_size) + self.position

    def next_numbers(self) -> np.ndarray:
        """The numbers of the next batch's samples: int64 [B]."""
        if (self.position + 1) * self.batch_size > self.n_samples:
            self.seek(self.epoch + 1, 0)
        first = self.position * self.batch_size
        self.position += 1
        return self._order[first : first + self.batch_size]
