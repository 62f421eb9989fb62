"""Diagonally computed models find what they find one segment after the other."""

import itertools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.any_model import any_model
from helpers.models import tiny_model, tiny_segments
from helpers.schedules import LAYER_LOCAL, layer_local
from rmt.evaluation.stream import read
from rmt.models import scheduled
from rmt.models.diagonal import diagonally
from rmt.options.schedule import SCHEDULES
from rmt.runtime.errors import UsageError
from rmt.training.recurrence import Stream, Unrolled

VARIANTS = [
    {},
    {"n_layer": 1},
    {"pre_lnorm": True, "untie_r": True},
    {"clamp_len": 4, "cutoffs": (5, 9), "div_val": 2},
    {"pad_sizes": "on", "d_embed": 6},
]
# One of each kind: fewer segments than layers, as many, more; one alone; a short one at the end or
# between; other lengths.
LENGTHS = [[5], [5, 5], [5, 5, 5], [5] * 7, [5, 5, 5, 2], [4, 4, 3, 5, 5, 5, 5], [12, 12, 12]]


def found_by(model, schedule, segments, state=None):
    """Losses, states and gradients, of a random weighting of all losses and states."""
    model.set_schedule(schedule)
    model.zero_grad()
    each = list(model.forward_each(segments, state))
    losses = [nll for nll, _ in each if nll is not None]
    states = [state.tensors() for _, state in each]
    generator = torch.Generator().manual_seed(0)

    def weighted(x):
        return (x * torch.rand(x.shape, generator=generator, dtype=x.dtype)).sum()

    total = sum(weighted(nll) for nll in losses)
    total += sum(weighted(x) / x.norm().detach().clamp(min=1) for x in states[-1].values())
    total.backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    return losses, states, gradients, each[-1][1].detach()


def assert_close(mine: torch.Tensor, its: torch.Tensor, what: str = "") -> None:
    assert mine.shape == its.shape
    assert (mine - its).norm() <= 1e-11 * max(1.0, its.norm()), what


def assert_same(found, expected) -> None:
    for mine, its in zip(found[0], expected[0], strict=True):
        assert_close(mine, its)
    for mine, its in zip(found[1], expected[1], strict=True):
        assert mine.keys() == its.keys()
        for name in its:
            assert_close(mine[name], its[name], name)
    for name, gradient in expected[2].items():
        assert (found[2][name] is None) == (gradient is None), name
        if gradient is not None:
            assert_close(found[2][name], gradient, name)


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("name", LAYER_LOCAL)
def test_losses_states_and_gradients_are_those_of_the_sequential_schedule(name, changes):
    model = layer_local(name, **changes)
    for i, lengths in enumerate(LENGTHS):
        segments = tiny_segments(lengths, n_streams=1 + i % 3)
        if len(segments) > 1:
            segments[0] = (segments[0][0], None)
        expected = found_by(model, "sequential", segments)
        assert_same(found_by(model, "diagonal", segments), expected)
        later = found_by(model, "sequential", segments, expected[-1])
        assert_same(found_by(model, "diagonal", segments, expected[-1]), later)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("trxl", {"same_length": True}),
        ("trxl", {"mem_len": 2}),
        ("mt", {"published_positions": True, "mem_len": 3}),
        ("armt", {"memory_update": "delta"}),
        ("armt", {"correction": False, "dpfp_nu": 1}),
    ],
)
def test_and_of_what_only_one_model_has(name, changes):
    model, segments = layer_local(name, **changes), tiny_segments([5, 5, 5, 5, 3])
    expected = found_by(model, "sequential", segments)
    assert_same(found_by(model, "diagonal", segments), expected)


@pytest.mark.parametrize("name", LAYER_LOCAL)
def test_predictions_too(name):
    model, segments = layer_local(name), tiny_segments([5] * 4 + [2])
    segments[1] = (segments[1][0], None)
    found = []
    for schedule in ("sequential", "diagonal"):
        model.set_schedule(schedule)
        found.append([log_probs for log_probs, _ in model.predict_each(segments)])
    for mine, its in zip(*found, strict=True):
        assert (mine is None) == (its is None)
        if its is not None:
            assert_close(mine, its)
            assert_close(mine.exp().sum(-1), torch.ones_like(mine[..., 0]))


@pytest.mark.parametrize("name", ["trxl", "armt"])
def test_nothing_else_is_computed_before_a_consumer_asks_for_it(name):
    model, taken = layer_local(name), []
    model.set_schedule("diagonal")

    def endless():
        for segment in itertools.cycle(tiny_segments([5])):
            taken.append(segment)
            yield segment

    for t, _ in enumerate(itertools.islice(model.forward_each(endless()), 6)):
        assert len(taken) <= t + 3, "no more are on their way than there are layers"


@pytest.mark.parametrize("name", ["trxl", "armt"])
def test_windows_and_replays_find_the_same_gradients_and_hand_on_the_same_state(name):
    """Through a training step's stream, which detaches what one step hands to the next."""
    unrolls = [(2, "window"), (1, "replay")] if name == "armt" else [(-1, "window")]
    for n, mode in unrolls:
        found = []
        for schedule in ("sequential", "diagonal"):
            model = layer_local(name)
            model.set_schedule(schedule)
            segments, stream = tiny_segments([5] * 6), Stream(n if n >= 0 else 5, mode)
            per_step, unrolled, of_steps = stream.segments_per_step, Unrolled(model), []
            for start in range(0, 6, per_step):
                losses = stream.step(unrolled, segments[start : start + per_step])
                losses.mean().backward()
                of_steps.append(losses.detach())
            gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
            found.append([*of_steps, *stream.tensors().values(), *gradients])
        for mine, its in zip(*found, strict=True):
            assert_close(mine.double(), its.double())


@pytest.mark.parametrize("name", ["trxl", "armt"])
def test_dropout_leaves_out_as_much_and_anew_in_every_cell(name):
    """Masks are drawn in another order, so that only their statistics are the same."""
    model = layer_local(name, dropout=0.4, dropatt=0.3).train()
    tokens = tiny_segments([5], n_streams=64)[0]
    means = {}
    for schedule in ("sequential", "diagonal"):
        model.set_schedule(schedule)
        torch.manual_seed(1)
        losses = torch.stack([nll for nll, _ in model.forward_each([tokens] * 6)]).detach()
        means[schedule] = losses.mean(dim=(1, 2))
        assert len({loss.item() for loss in losses.flatten()}) > 0.9 * losses.numel()
    torch.testing.assert_close(means["diagonal"], means["sequential"], rtol=0.15, atol=0)


@pytest.mark.parametrize("name", ["trxl", "armt"])
def test_under_bf16_a_group_finds_what_its_layers_find_alone(name, monkeypatch):
    """By the same code with one layer in a group: rounding differs from that of other products."""

    def alone(entering, states, compute):
        def one_by_one(first, rows, states):
            cells = [
                compute(first + g, rows[g : g + 1], states[g : g + 1]) for g in range(len(rows))
            ]
            return [row for (row,), _ in cells], [state for _, (state,) in cells]

        return diagonally(entering, states, one_by_one)

    family = {"trxl": "transformer_xl", "armt": "associative"}[name]
    model, segments, found = layer_local(name).float(), tiny_segments([5] * 5), []
    for function in (diagonally, alone):
        monkeypatch.setattr(f"rmt.models.{family}.diagonal.diagonally", function)
        with torch.autocast("cpu", torch.bfloat16):
            found.append(found_by(model, "diagonal", segments))
    for mine, its in zip(*(each[0] for each in found), strict=True):
        torch.testing.assert_close(mine, its, rtol=0.02, atol=0.02)
    with torch.autocast("cpu", torch.bfloat16):
        sequential = found_by(model, "sequential", segments)
    for mine, its in zip(found[0][0], sequential[0], strict=True):
        torch.testing.assert_close(mine, its, rtol=0.2, atol=0.2)
    assert found[0][1][-1].keys() == sequential[1][-1].keys()
    for key, tensor in found[0][1][-1].items():
        assert tensor.dtype == sequential[1][-1][key].dtype


class Products(TorchDispatchMode):
    """Counts matrix products, by how many calls of them there are."""

    NAMES = ("mm", "bmm", "addmm", "baddbmm", "baddbmm_")

    def __init__(self):
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.n += function.overloadpacket.__name__ in self.NAMES
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("n_layer", "n_segments"), [(4, 4), (4, 16), (12, 8), (3, 40)])
@pytest.mark.parametrize("name", ["trxl", "armt"])
def test_there_are_as_many_products_as_steps_of_the_schedule(name, n_layer, n_segments):
    """Of the layers; what comes before and after them is the same for both."""
    model, segments, n = layer_local(name, n_layer=n_layer), tiny_segments([5] * n_segments), {}
    with torch.no_grad():
        with Products() as of_predictions:
            model.nll(torch.zeros(2, 5, 8, dtype=torch.float64), segments[0][1])
        for schedule in ("sequential", "diagonal"):
            model.set_schedule(schedule)
            with Products() as products:
                for _ in model.forward_each(segments):
                    pass
            n[schedule] = products.n - n_segments * of_predictions.n
    expected = (n_layer + n_segments - 1) / (n_layer * n_segments)
    assert n["diagonal"] / n["sequential"] == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("name", ["trxl", "armt"])
def test_reading_a_stream_diagonally_is_the_same_reading(name):
    model = layer_local(name)
    ids = torch.stack([tokens for tokens, _ in tiny_segments([43])])[0]
    expected = read(model, ids, tgt_len=5)
    model.set_schedule("diagonal")
    found = read(model, ids[:, 17:], read(model, ids[:, :17], tgt_len=5))
    assert torch.equal(found.open_tokens, expected.open_tokens)
    for name, tensor in expected.before.tensors().items():
        assert_close(found.before.tensors()[name], tensor)


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("rmt", {}, "needs what the last one made"),
        ("trxl_rmt", {"cache_len": 4}, "needs what the last one made"),
        ("mt", {"published_memory": True}, "needs what the last one made"),
        ("trxl", {"attention": "flex"}, "for one layer at a time"),
    ],
)
def test_models_that_cannot_say_why_and_stay_sequential_with_auto(name, changes, reason):
    model = tiny_model(name, **changes)
    with pytest.raises(UsageError, match=f"schedule diagonal is not possible: .*{reason}"):
        model.set_schedule("diagonal")
    segments = tiny_segments([5] * 3)
    expected = [nll for nll, _ in model.forward_each(segments)]
    model.set_schedule("auto")
    assert all(map(torch.equal, (nll for nll, _ in model.forward_each(segments)), expected))


def test_a_model_without_layers_to_be_computed_together_says_so():
    model = any_model("gru")
    with pytest.raises(UsageError, match="gru computes one segment after the other"):
        model.set_schedule("diagonal")
    for schedule in set(SCHEDULES) - {"diagonal"}:
        model.set_schedule(schedule)


def test_auto_goes_by_what_was_measured(monkeypatch):
    asked, model, segments = [], layer_local("trxl"), tiny_segments([5, 5, 3, 4, 4], n_streams=2)
    expected = [nll for nll, _ in model.forward_each(segments)]
    monkeypatch.setattr(scheduled, "is_faster", lambda *sizes: asked.append(sizes) or True)
    model.set_schedule("auto")
    for mine, its in zip((nll for nll, _ in model.forward_each(segments)), expected, strict=True):
        assert_close(mine, its)
    cpu = torch.device("cpu")
    assert asked == [(cpu, 3, 8, 10), (cpu, 3, 8, 8)], "one alone is not worth a question"
