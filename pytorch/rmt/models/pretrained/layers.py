"""The layers of a backbone, and associative memories around them for the time of one call.

It is the backbone's code that calls its layers. So in a call each of them has two hooks: one adds
to its input what its memory knows of the rows, the other writes what comes out at the memory rows.
They know the state of this one call; before and after it there are none. The same model can't be
called by two threads at once.

Axes: B batch, R rows, m memory tokens, D hidden size.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from rmt.models.associative.memory import AssociativeMemory, Memory
from rmt.models.pretrained.backbone import bare, text_config
from rmt.runtime.errors import UsageError


def layers_of(hf_model: nn.Module) -> list[nn.Module]:
    """A backbone's layers in order. Raises UsageError where they can't be told."""
    n_layer = text_config(hf_model).num_hidden_layers
    for module in bare(hf_model).base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == n_layer:
            return list(module)
    raise UsageError(
        f"{type(bare(hf_model)).__name__} has no list of {n_layer} layers to put memories around: "
        "choose another backbone"
    )


class LayerMemory:
    """The memory of one layer in one call. state: what it holds, after the call what it then holds.

    memory_rows: of what comes out of the layer, [B, R, D], the rows that are written, [B, m, D];
    None: nothing is.
    """

    def __init__(
        self,
        memory: AssociativeMemory,
        state: Memory,
        memory_rows: Callable[[Tensor], Tensor] | None,
    ):
        self.memory, self.state, self.memory_rows = memory, state, memory_rows

    def read(self, layer: nn.Module, args: tuple) -> tuple:
        """Before the layer: its input, which is its first argument, and what is known of it."""
        x_BRD, *others = args
        return x_BRD + self.memory.read(x_BRD, *self.state), *others

    def write(self, layer: nn.Module, args: tuple, out: Tensor | tuple) -> None:
        """After the layer, which may give more than its output."""
        x_BRD = out[0] if isinstance(out, tuple) else out
        self.state = self.memory.write(self.memory_rows(x_BRD), *self.state)


@contextmanager
def remembering(layers: Sequence[nn.Module], memories: Sequence[LayerMemory]) -> Iterator[None]:
    """Inside, the layers read their memories and write to them.

    A layer that is left out (LayerDrop) does neither.
    """
    hooks = []
    try:
        for layer, memory in zip(layers, memories, strict=True):
            hooks.append(layer.register_forward_pre_hook(memory.read))
            if memory.memory_rows is not None:
                hooks.append(layer.register_forward_hook(memory.write))
        yield
    finally:
        for hook in hooks:
            hook.remove()
