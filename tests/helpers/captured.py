"""A captured step without a GPU: what it records is called again instead of replayed."""

from contextlib import nullcontext

from rmt.training.captured import CapturedStep


class CalledAgain:
    """Stands for CudaGraphs: results go to the memory that those of the first call had."""

    def __init__(self):
        self.n_records, self.n_replays = 0, 0

    def warming_up(self):
        return nullcontext()

    def record(self, function):
        kept = []
        self.n_records += 1

        def again():
            self.n_replays += 1
            found = function()
            if not kept:
                kept.extend(tensor.clone() for tensor in found)
            for own, tensor in zip(kept, found, strict=True):
                own.copy_(tensor)
            return kept

        return again


def captured_step_for(graphs: CalledAgain):
    """What makes a trainer's step (rmt.training.captured.step_for)."""

    def step_for(*model_config_unrolling_device):
        return CapturedStep(*model_config_unrolling_device, graphs)

    return step_for
