"""Optimizers and learning-rate schedules, with the names Transformer-XL gives them."""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from rmt.options.training import TrainConfig
from rmt.runtime.errors import UsageError


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer of config.optim over all parameters; fused where PyTorch has it fused."""
    parameters = list(model.parameters())
    match config.optim:
        case "adam":
            return torch.optim.Adam(parameters, lr=config.lr, fused=True)
        case "sgd":
            return torch.optim.SGD(parameters, lr=config.lr, momentum=config.mom, fused=True)
        case "adagrad":
            return torch.optim.Adagrad(parameters, lr=config.lr)
        case "apex_adam":
            return _apex_adam(parameters, config)
    raise UsageError(f"unknown optimizer {config.optim!r}")


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


class LearningRate:
    """The learning rate of every step, counted from 0; warmup is linear.

    cosine and constant depend on the step alone; so does inv_sqrt, whose lr is scaled by
    1/sqrt(step) as published; dev_perf also on the validation losses it was told.
    """

    def __init__(self, config: TrainConfig, optimizer: torch.optim.Optimizer):
        self.config = config
        self.optimizer = optimizer
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
            return self.optimizer.param_groups[0]["lr"]  # lr itself until the plateau lowers it
        lr = self.at(step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def tell_validation(self, step: int, loss: float) -> None:
        """Report the validation loss after a number of steps, for dev_perf."""
        if self.plateau and step >= self.config.warmup_step:
            self.plateau.step(loss)

    def state_dict(self) -> dict:
        return self.plateau.state_dict() if self.plateau else {}

    def load_state_dict(self, state: dict) -> None:
        if self.plateau:
            self.plateau.load_state_dict(state)
