"""Optimizers and learning-rate schedules, with the names Transformer-XL gives them."""

import math

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from rmt.models.contract import SegmentModel
from rmt.options.training import TrainConfig
from rmt.runtime.errors import UsageError


def build_optimizer(model: SegmentModel, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer of config.optim over all parameters that are trained; fused where PyTorch has
    it fused.

    A fused one on a GPU has its learning rate there, where a captured step finds each new one.
    """
    parameters = [weight for weight in model.parameters() if weight.requires_grad]
    lr = config.lr
    if parameters[0].device.type == "cuda":
        lr = torch.tensor(lr, dtype=torch.float32, device=parameters[0].device)
    match config.optim:
        case "adam":
            return torch.optim.Adam(parameters, lr=lr, fused=True)
        case "adamw":
            return torch.optim.AdamW(decay_groups(model, config.weight_decay), lr=lr, fused=True)
        case "sgd":
            return _sgd(parameters, lr, config.mom)
        case "adagrad":
            return torch.optim.Adagrad(parameters, lr=config.lr)
        case "apex_adam":
            return _apex_adam(parameters, config)
    raise UsageError(f"unknown optimizer {config.optim!r}")


def decay_groups(model: SegmentModel, weight_decay: float) -> list[dict]:
    """The parameters that are trained: matrices, which decay, and the others, which don't."""
    decayed, others = [], []
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            decays = weight.ndim > 1 and name not in model.not_decayed
            (decayed if decays else others).append(weight)
    groups = ((decayed, weight_decay), (others, 0.0))
    return [{"params": own, "weight_decay": decay} for own, decay in groups if own]


def _sgd(
    parameters: list[nn.Parameter], lr: float | Tensor, momentum: float
) -> torch.optim.Optimizer:
    sgd = torch.optim.SGD(parameters, lr=lr, momentum=momentum, fused=True)
    if momentum:
        # It would make its buffers in its first step and fill them only if that is not left out.
        for weight in parameters:
            sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return sgd


def update_weights(optimizer: torch.optim.Optimizer, skipped: Tensor) -> None:
    """Let the optimizer step, or leave all as it is where `skipped`, a bool [] on the device."""
    if isinstance(optimizer, torch.optim.Adam | torch.optim.SGD):
        # What GradScaler tells fused optimizers by.
        optimizer.found_inf = skipped.float()
    elif isinstance(optimizer, torch.optim.Adagrad):
        for group in optimizer.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.grad.masked_fill_(skipped, 0.0)  # changes neither sums nor weights
    elif skipped:  # apex offers nothing else than to wait
        return
    optimizer.step()


def _apex_adam(parameters: list[nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    try:
        from apex.optimizers import FusedAdam
    except (ImportError, RuntimeError):  # absent, or built without its CUDA parts
        raise UsageError(
            "optim apex_adam needs NVIDIA apex, which is built from github.com/NVIDIA/apex (the "
            "PyPI package named apex is another project); optim adam is PyTorch's own fused Adam"
        ) from None
    if not config.cuda:
        raise UsageError("optim apex_adam runs on GPUs only: give --cuda, or use optim adam")
    return FusedAdam(parameters, lr=config.lr, adam_w_mode=False)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict:
    """What a checkpoint keeps of the optimizer; load_optimizer_state is the way back."""
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        group["lr"] = float(group["lr"])
    return state


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Go on from a state, on whatever device it was saved.

    The optimizer keeps its own options, which say how it computes there. Its learning rate is the
    state's.
    """
    own = [{**group} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, options in zip(optimizer.param_groups, own, strict=True):
        weights, lr = group["params"], group["lr"]
        group.clear()
        group.update({**options, "params": weights})
        _set_lr(group, lr)


def _set_lr(group: dict, lr: float) -> None:
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr


class LearningRate:
    """The learning rate of every step, counted from 0; warmup is linear.

    cosine and constant depend on the step alone; so does inv_sqrt, whose lr is scaled by
    1/sqrt(step) as published; dev_perf also on the validation losses it was told.
    """

    def __init__(self, config: TrainConfig, optimizer: torch.optim.Optimizer):
        self.config = config
        self.optimizer = optimizer
        self.value = config.lr  # of the last step; the optimizer's own may be on a GPU
        self.plateau = None
        if config.scheduler == "dev_perf":
            self.plateau = ReduceLROnPlateau(
                optimizer,
                factor=config.decay_rate,
                patience=config.patience,
                min_lr=min(config.lr_min, config.lr),
            )

    def at(self, step: int) -> float:
        """The learning rate of a step (0 is the first), dev_perf's decays aside."""
        config, warmup = self.config, self.config.warmup_step
        if config.scheduler == "inv_sqrt":
            number = step + 1
            return config.lr * min(number**-0.5, number * warmup**-1.5 if warmup else math.inf)
        if step < warmup:
            return config.lr * (step + 1) / warmup
        if config.scheduler == "cosine":
            progress = min(1.0, (step - warmup) / max(1, config.max_step - warmup))
            return config.eta_min + (config.lr - config.eta_min) * (
                0.5 * (1 + math.cos(math.pi * progress))
            )
        return config.lr

    def set_for(self, step: int) -> float:
        """Set the optimizer's learning rate for a step and return it."""
        if self.plateau and step >= self.config.warmup_step:
            return self.value  # lr itself until the plateau lowers it
        self.value = self.at(step)
        for group in self.optimizer.param_groups:
            _set_lr(group, self.value)
        return self.value

    def tell_validation(self, step: int, loss: float) -> None:
        """Report the validation loss after a number of steps, for dev_perf."""
        if self.plateau and step >= self.config.warmup_step:
            self.plateau.step(loss)
            self.value = float(self.optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict:
        return self.plateau.state_dict() if self.plateau else {}

    def load_state_dict(self, state: dict) -> None:
        """The optimizer's state, which holds the rate, is loaded before."""
        self.value = float(self.optimizer.param_groups[0]["lr"])
        if self.plateau:
            self.plateau.load_state_dict(state)
