"""Learning rates computed by hand, and the optimizers that are built."""

import copy
import math
import re

import pytest
import torch
from torch import nn

from helpers import pretrained
from helpers.any_model import MODELS, any_model
from helpers.models import tiny_segments
from rmt.models.pretrained.classifier import PretrainedClassifier
from rmt.models.pretrained.options import ClassifierOptions
from rmt.options.training import TrainConfig
from rmt.runtime.errors import UsageError
from rmt.training.optimization import (
    LearningRate,
    build_optimizer,
    load_optimizer_state,
    optimizer_state,
    update_weights,
)


def schedule(n_steps: int, **options) -> list[float]:
    """The learning rates of the first steps, as the optimizer gets them."""
    config = TrainConfig(**options)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=123.0)
    learning_rate = LearningRate(config, optimizer)
    rates = []
    for step in range(n_steps):
        returned = learning_rate.set_for(step)
        rates.append(optimizer.param_groups[0]["lr"])
        assert returned == rates[-1] == learning_rate.at(step)
    return rates


def test_constant():
    assert schedule(3, scheduler="constant", lr=0.5) == [0.5, 0.5, 0.5]


def test_constant_with_warmup():
    rates = schedule(6, scheduler="constant", lr=1.0, warmup_step=4)
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cosine():
    """Half a turn over max_step steps: lr/2 (1 + cos(pi s / S))."""
    rates = schedule(6, scheduler="cosine", lr=1.0, max_step=4)
    half = math.sqrt(0.5)
    assert rates == pytest.approx([1.0, (1 + half) / 2, 0.5, (1 - half) / 2, 0.0, 0.0])


def test_cosine_with_warmup_spans_the_steps_after_it():
    rates = schedule(7, scheduler="cosine", lr=1.0, max_step=6, warmup_step=2)
    half = math.sqrt(0.5)
    assert rates == pytest.approx([0.5, 1.0, 1.0, (1 + half) / 2, 0.5, (1 - half) / 2, 0.0])


def test_cosine_ends_at_eta_min():
    rates = schedule(5, scheduler="cosine", lr=1.0, eta_min=0.2, max_step=4)
    assert rates[2] == pytest.approx(0.6)
    assert rates[4] == pytest.approx(0.2)


def test_cosine_may_consist_of_warmup():
    assert schedule(2, scheduler="cosine", lr=1.0, max_step=2, warmup_step=2) == [0.5, 1.0]
    assert schedule(2, scheduler="cosine", lr=1.0, max_step=2, warmup_step=8) == [1 / 8, 2 / 8]


def test_inv_sqrt():
    """lr / sqrt(step), counted from 1, as published: lr itself is reached by the first step."""
    rates = schedule(4, scheduler="inv_sqrt", lr=1.0)
    assert rates == pytest.approx([1.0, 2**-0.5, 3**-0.5, 0.5])


def test_inv_sqrt_with_warmup():
    """step / warmup^1.5 until both meet at warmup."""
    rates = schedule(9, scheduler="inv_sqrt", lr=1.0, warmup_step=4)
    assert rates[:4] == pytest.approx([1 / 8, 2 / 8, 3 / 8, 4 / 8])
    assert rates[4:] == pytest.approx([5**-0.5, 6**-0.5, 7**-0.5, 8**-0.5, 1 / 3])


class DevPerf:
    """A schedule that is told validation losses after the steps given."""

    def __init__(self, **options):
        self.config = TrainConfig(scheduler="dev_perf", lr=1.0, **options)
        self.optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        self.learning_rate = LearningRate(self.config, self.optimizer)

    def rates(self, losses: list[float], step: int = 0) -> list[float]:
        """The learning rate of the step before each loss."""
        rates = []
        for loss in losses:
            rates.append(self.learning_rate.set_for(step))
            step += 1
            self.learning_rate.tell_validation(step, loss)
        return rates


def test_dev_perf_decays_where_validation_gets_no_better():
    assert DevPerf().rates([3, 2, 2.5, 1, 1, 1]) == [1, 1, 1, 0.5, 0.5, 0.25]


def test_dev_perf_waits_for_patience():
    assert DevPerf(patience=1).rates([1, 1, 1, 1, 1, 1]) == [1, 1, 1, 0.5, 0.5, 0.25]


def test_dev_perf_has_a_rate_and_a_floor():
    rates = DevPerf(decay_rate=0.1, lr_min=0.02).rates([1, 1, 1, 1, 1])
    assert rates == pytest.approx([1, 1, 0.1, 0.02, 0.02])


def test_dev_perf_warms_up_first():
    """What validation says during warmup does not count."""
    schedule = DevPerf(warmup_step=3)
    assert schedule.rates([1, 9, 9, 9, 9, 9]) == pytest.approx([1 / 3, 2 / 3, 1, 1, 0.5, 0.25])


def test_dev_perf_goes_on_from_its_state():
    losses = [3, 2, 2.5, 1, 1, 1]
    whole = DevPerf(patience=1).rates(losses)
    first, second = DevPerf(patience=1), DevPerf(patience=1)
    begun = first.rates(losses[:3])
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.learning_rate.load_state_dict(first.learning_rate.state_dict())
    assert begun + second.rates(losses[3:], step=3) == whole


def test_other_schedules_have_no_state():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    assert LearningRate(TrainConfig(), optimizer).state_dict() == {}


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        ({"optim": "adam"}, lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.9, 0.999), eps=1e-8)),
        ({"optim": "sgd"}, lambda p: torch.optim.SGD(p, lr=0.1)),
        ({"optim": "sgd", "mom": 0.9}, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
        ({"optim": "adagrad"}, lambda p: torch.optim.Adagrad(p, lr=0.1)),
    ],
)
def test_optimizers_are_those_of_pytorch(options, reference):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    copy = nn.Linear(3, 2)
    copy.load_state_dict(model.state_dict())
    ours = build_optimizer(model, TrainConfig(lr=0.1, **options))
    plain = reference(copy.parameters())
    for _ in range(3):
        x = torch.randn(5, 3)
        for module, optimizer in ((model, ours), (copy, plain)):
            optimizer.zero_grad()
            module(x).square().sum().backward()
            optimizer.step()
    for mine, theirs in zip(model.parameters(), copy.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


OPTIMIZERS = {
    "adam": {"optim": "adam"},
    "sgd": {"optim": "sgd"},
    "momentum": {"optim": "sgd", "mom": 0.9},
    "adagrad": {"optim": "adagrad"},
}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_left_out_leaves_no_trace(name, first):
    """Neither in the weights nor in the optimizer's state, also if it is the first of all.

    Adagrad counts it, but here the count serves nothing.
    """
    config = TrainConfig(**OPTIMIZERS[name])
    changed = []
    for bad_steps in (set(), {0 if first else 1}):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = build_optimizer(model, config)
        for i in range(4):
            if i in bad_steps:
                gradient(model, math.nan)
                update_weights(optimizer, torch.tensor(True))
            gradient(model, 1.0 + i)
            update_weights(optimizer, torch.tensor(False))
        state = [
            value
            for of_weight in optimizer.state.values()
            for key, value in of_weight.items()
            if key != "step" or name == "adam"
        ]
        changed.append([*model.parameters(), *state])
    without, with_one = changed
    assert len(without) == len(with_one)
    assert all(map(torch.equal, without, with_one))


def gradient(model: nn.Module, factor: float) -> None:
    for weight in model.parameters():
        weight.grad = factor * torch.arange(1.0, 1 + weight.numel()).view_as(weight)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_goes_on_from_its_state(name):
    """With its own options, wherever the state was saved, and the state's learning rate."""
    config = TrainConfig(**OPTIMIZERS[name])
    models = [nn.Linear(3, 2), nn.Linear(3, 2)]
    models[1].load_state_dict(models[0].state_dict())
    one, other = (build_optimizer(model, config) for model in models)
    gradient(models[0], 1.0)
    one.step()
    one.param_groups[0]["lr"] = 0.125
    state = copy.deepcopy(optimizer_state(one))
    state["param_groups"][0]["capturable"] = True  # as on a GPU
    models[1].load_state_dict(models[0].state_dict())
    load_optimizer_state(other, state)
    assert other.param_groups[0]["lr"] == 0.125
    assert not other.param_groups[0].get("capturable", False)
    for model, optimizer in zip(models, (one, other), strict=True):
        gradient(model, 2.0)
        optimizer.step()
    assert all(map(torch.equal, models[0].parameters(), models[1].parameters()))


def test_a_learning_rate_that_is_a_tensor_is_filled():
    """As on a GPU, where a captured step reads it; a checkpoint keeps it as a number."""
    model, config = nn.Linear(3, 2), TrainConfig(scheduler="cosine", max_step=4)
    rate = torch.tensor(1.0, dtype=torch.float64)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=True)
    learning_rate = LearningRate(config, optimizer)
    for step in range(3):
        value = learning_rate.set_for(step)
        assert optimizer.param_groups[0]["lr"] is rate
        assert rate.item() == value == learning_rate.value
    state = optimizer_state(optimizer)
    assert state["param_groups"][0]["lr"] == value
    learning_rate.set_for(3)
    load_optimizer_state(optimizer, state)
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == value


@pytest.mark.parametrize("name", MODELS)
def test_adamw_is_adam_and_matrices_but_for_memory_decay(name):
    """Loshchilov and Hutter 2019, algorithm 2: the decay is apart from the gradient."""
    lr, decay = 0.01, 0.3
    plain, decayed = any_model(name), any_model(name)
    before = {key: weight.detach().clone() for key, weight in plain.named_parameters()}
    for model, how in ((plain, {"optim": "adam"}), (decayed, {"optim": "adamw"})):
        options = how | ({"weight_decay": decay} if model is decayed else {})
        optimizer = build_optimizer(model, TrainConfig(lr=lr, **options))
        first, second = tiny_segments([5, 5])  # for some weights do nothing in the first
        _, state = model(*first)
        model(*second, state)[0].sum().backward()
        update_weights(optimizer, torch.tensor(False))
    expected = dict(plain.named_parameters())
    for key, weight in decayed.named_parameters():
        share = lr * decay if weight.ndim > 1 and key != "memory" else 0
        torch.testing.assert_close(weight, expected[key] - share * before[key])


# By the names that GPT-2 and BERT have for biases and norms.
NOT_DECAYED = re.compile(r".*(bias|ln_(1|2|f)\.weight|LayerNorm\.weight|(^|encoder\.)memory)$")


@pytest.mark.parametrize(
    "make",
    [
        lambda: pretrained.wrapped("gpt2"),
        lambda: pretrained.wrapped_armt("gpt2"),
        lambda: PretrainedClassifier(
            ClassifierOptions(n_token=41, mem_len=3, n_labels=3), pretrained.wrapped_encoder("bert")
        ),
    ],
    ids=["wrap", "wrap_armt", "classifier"],
)
def test_matrices_of_a_backbone_decay_and_its_memory_and_vectors_do_not(make):
    pytest.importorskip("transformers", reason="pretrained models need rmt[hf]")
    model = make()
    optimizer = build_optimizer(model, TrainConfig(optim="adamw", weight_decay=0.3))
    names = {weight: name for name, weight in model.named_parameters()}
    by_decay = {0.0: set(), 0.3: set()}
    for group in optimizer.param_groups:
        by_decay[group["weight_decay"]] |= {names[weight] for weight in group["params"]}
    not_decayed = {name for name in names.values() if NOT_DECAYED.match(name)}
    assert by_decay == {0.0: not_decayed, 0.3: set(names.values()) - not_decayed}


def test_what_is_frozen_is_not_in_the_optimizer():
    for optim in ("adam", "adamw", "sgd", "adagrad"):
        model = any_model("rmt")
        model.embedding.requires_grad_(False)
        optimizer = build_optimizer(model, TrainConfig(optim=optim))
        found = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        assert found == {id(weight) for weight in model.parameters() if weight.requires_grad}


def test_weight_decay_is_for_adamw():
    with pytest.raises(UsageError, match=r"weight_decay 0.1 is for optim adamw, not adam"):
        TrainConfig(weight_decay=0.1)
