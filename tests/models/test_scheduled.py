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
from rmt.models.diagonal import diagonally as by_diagonals
from rmt.models.scheduled import is_faster
from rmt.models.transformer_xl.dropout import Dropout
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM
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


@pytest.mark.parametrize("name", LAYER_LOCAL)
def test_one_segment_is_a_diagonal_of_one_layer_after_the_other(name):
    """Which is asked for directly: a schedule has nothing to put together there."""
    model, (first, second) = layer_local(name), tiny_segments([5, 5])
    state = None
    for tokens, targets in (first, second):
        expected, after = model(tokens, targets, state)
        ((hidden, same, found),) = model.diagonal_each([(tokens, targets)], state)
        assert same is targets
        assert_close(model.nll(hidden, targets), expected)
        for key, tensor in after.tensors().items():
            assert_close(found.tensors()[key], tensor, key)
        state = after


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


@pytest.mark.parametrize("how", [{"dropout": 0.4}, {"dropatt": 0.3}])
def test_dropout_is_drawn_anew_for_every_segment_and_stream(how):
    """Of a model that hands on nothing, with the same tokens in all of them."""
    same = tuple(ids_1T.expand(4, -1) for ids_1T in tiny_segments([5], n_streams=1)[0])

    def losses(training: bool, **how):
        """[6 segments, 4 streams, T]."""
        model = layer_local("baseline", **how).train(training)
        model.set_schedule("diagonal")
        torch.manual_seed(1)
        with torch.no_grad():
            return torch.stack([nll for nll, _ in model.forward_each([same] * 6)])

    without = losses(False, **how)
    assert torch.equal(without, without[:1, :1].expand_as(without))
    assert torch.equal(losses(True, **dict.fromkeys(how, 1e-9)), without)
    assert len(losses(True, **how).flatten(0, 1).unique(dim=0)) == 6 * 4


@pytest.mark.parametrize("name", ["baseline", "trxl", "armt"])
def test_as_many_numbers_go_through_dropout(name):
    """But of mt, whose memory rows are left out of the last layer sequentially alone."""
    n = dict.fromkeys(("sequential", "diagonal"), 0)
    for schedule in n:
        model = layer_local(name, dropout=0.4).train()
        model.set_schedule(schedule)

        def count(module, args, out, schedule=schedule):
            n[schedule] += out.numel()

        for module in model.modules():
            if isinstance(module, Dropout):
                module.register_forward_hook(count)
        *_, (_, state) = model.forward_each(tiny_segments([5] * 4))
        n[schedule] = 0  # by now a cache is full
        list(model.forward_each(tiny_segments([5] * 6), state))
    assert n["diagonal"] == n["sequential"] > 0


@pytest.mark.parametrize("name", ["trxl", "armt"])
def test_under_bf16_a_group_finds_what_its_layers_find_alone(name, monkeypatch):
    """By the same code with one layer in a group: rounding differs from that of other products."""

    def alone(entering, states, compute):
        def one_by_one(first, rows, states):
            cells = [
                compute(first + g, rows[g : g + 1], states[g : g + 1]) for g in range(len(rows))
            ]
            return [row for (row,), _ in cells], [state for _, (state,) in cells]

        return by_diagonals(entering, states, one_by_one)

    family = {"trxl": "transformer_xl", "armt": "associative"}[name]
    model, segments, found = layer_local(name).float(), tiny_segments([5] * 5), []
    for function in (by_diagonals, alone):
        monkeypatch.setattr(f"rmt.models.{family}.diagonal.diagonally", function)
        with torch.autocast("cpu", torch.bfloat16):
            found.append(found_by(model, "diagonal", segments))
    for mine, its in zip(*(each[0] for each in found), strict=True):
        torch.testing.assert_close(mine, its, rtol=0.02, atol=0.02)
    with torch.autocast("cpu", torch.bfloat16):
        sequential = found_by(model, "sequential", segments)
    for mine, its in zip(found[0][0], sequential[0], strict=True):
        torch.testing.assert_close(mine, its, rtol=0.02, atol=0.02)
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


@pytest.fixture
def diagonally(monkeypatch):
    """The lengths of segments that were computed diagonally."""
    lengths, real = [], MemTransformerLM.diagonal_each

    def diagonal_each(model, segments, state):
        segments = list(segments)
        lengths.append([tokens.shape[1] for tokens, _ in segments])
        return real(model, segments, state)

    monkeypatch.setattr(MemTransformerLM, "diagonal_each", diagonal_each)
    return lengths


@pytest.mark.parametrize("answer", [True, False])
def test_auto_goes_by_what_was_measured(monkeypatch, diagonally, answer):
    asked, model, segments = [], layer_local("trxl"), tiny_segments([5, 5, 3, 4, 4], n_streams=2)
    expected = [nll for nll, _ in model.forward_each(segments)]
    monkeypatch.setattr(scheduled, "is_faster", lambda *sizes: asked.append(sizes) or answer)
    model.set_schedule("auto")
    for mine, its in zip((nll for nll, _ in model.forward_each(segments)), expected, strict=True):
        assert_close(mine, its)
    cpu = torch.device("cpu")
    assert asked == [(cpu, 3, 8, 10), (cpu, 3, 8, 8)], "one alone is not worth a question"
    assert diagonally == ([[5, 5], [4, 4]] if answer else [])


@pytest.mark.parametrize(
    ("device", "n_layer", "d_model", "n_tokens", "answer"),
    [
        ("cpu", 4, 128, 128, True),
        ("cpu", 24, 1, 128 * 128, True),
        ("cpu", 3, 128, 128, False),
        ("cpu", 4, 1, 128 * 128 + 1, False),
        ("cpu", 4, 128, 129, False),
        ("cuda", 4, 128, 128, False),
    ],
)
def test_what_was_measured_to_be_faster(device, n_layer, d_model, n_tokens, answer):
    assert is_faster(torch.device(device), n_layer, d_model, n_tokens) == answer


@pytest.mark.parametrize(("n_layer", "lengths"), [(4, [[5, 5, 5]]), (3, [])])
def test_auto_needs_layers_enough(diagonally, n_layer, lengths):
    model = layer_local("trxl", n_layer=n_layer)
    model.set_schedule("auto")
    list(model.forward_each(tiny_segments([5] * 3)))
    assert diagonally == lengths
