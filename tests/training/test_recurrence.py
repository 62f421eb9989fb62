"""The gradient window of BPTT, proved by measuring gradients."""

import itertools

import pytest
import torch

from helpers.models import tiny_model, tiny_segments
from rmt.models.transformer_xl.mem_transformer import MemoryAndCache
from rmt.training.recurrence import Stream, Unrolled

LENGTHS = [5, 6, 4, 5, 6, 5]
GRADIENT = ["rmt", "trxl_rmt", "armt"]  # models that pass it from a segment to the one before


def tiny_sample(n_prompts, lengths=LENGTHS):
    """Segments of which the first n_prompts are not predicted."""
    segments = tiny_segments(lengths)
    return [(tokens, None) for tokens, _ in segments[:n_prompts]] + segments[n_prompts:]


def step_gradients(model, unrolls, mode="replay", n_prompts=0, lengths=LENGTHS):
    """For every step of a stream: d losses / d embeddings of every segment that was computed.

    The first n_prompts segments have no targets. unrolls: of all steps, or a list with one number
    for each. Returns a list of (index of the step's first new
    segment, {segment: |gradient| per token}).
    """
    segments = tiny_sample(n_prompts, lengths)
    owner = {id(tokens): i for i, (tokens, _) in enumerate(segments)}
    of_steps = unrolls if isinstance(unrolls, list) else [unrolls] * len(segments)
    unrolled, stream = Unrolled(model), Stream(of_steps[0], mode)
    embedded = {}

    def remember(module, args, output):
        index = owner[id(args[0])]
        if output.requires_grad:
            embedded[index] = output
            output.retain_grad()

    hook = model.embedding.register_forward_hook(remember)
    steps = []
    for start in range(0, len(segments), stream.segments_per_step):
        embedded.clear()
        model.zero_grad()
        stream.bptt_unrolls = of_steps[start]
        losses = stream.step(unrolled, segments[start : start + stream.segments_per_step])
        if losses is not None:
            losses.mean().backward()
        gradients = {
            i: output.grad.abs().sum(-1)
            for i, output in embedded.items()
            if output.grad is not None
        }
        steps.append((start, gradients))
    hook.remove()
    return steps


@pytest.mark.parametrize("name", GRADIENT)
@pytest.mark.parametrize("unrolls", [0, 1, 2, 4, 9])
def test_replay_reaches_exactly_the_unrolled_segments(name, unrolls):
    for t, gradients in step_gradients(tiny_model(name), unrolls):
        reached = {s for s, gradient in gradients.items() if gradient.any()}
        assert reached == set(range(max(0, t - unrolls), t + 1))
        for s in reached - {t}:  # every token of an earlier segment, through the write memory
            assert (gradients[s] > 0).all()


@pytest.mark.parametrize("name", GRADIENT)
def test_a_curriculum_reaches_as_far_as_its_stage_and_the_streams_go_on(name):
    """Unrolls 0, then 1, then 3; the history that a longer replay needs grows step by step."""
    stages = [0, 0, 1, 1, 3, 3, 3]
    n_reached = [0, 0, 0, 1, 1, 2, 3]  # after a change the segment before is not kept yet
    for t, gradients in step_gradients(tiny_model(name), stages, lengths=[*LENGTHS, 5]):
        reached = {s for s, gradient in gradients.items() if gradient.any()}
        assert reached == set(range(t - n_reached[t], t + 1))


@pytest.mark.parametrize("name", GRADIENT)
def test_growing_unrolls_change_no_loss(name):
    """With weights that stay the same, what is replayed is what was computed before."""
    model, segments = tiny_model(name), tiny_segments(LENGTHS)
    unrolled, stream = Unrolled(model), Stream(0, "replay")
    state = None
    for unrolls, segment in zip((0, 0, 2, 2, 2, 5), segments, strict=True):
        stream.bptt_unrolls = unrolls
        expected, state = model(*segment, state)
        torch.testing.assert_close(stream.step(unrolled, [segment]), expected)


@pytest.mark.parametrize("name", GRADIENT)
@pytest.mark.parametrize("unrolls", [0, 1, 2])
def test_window_stays_inside_its_segments(name, unrolls):
    for start, gradients in step_gradients(tiny_model(name), unrolls, "window"):
        reached = {s for s, gradient in gradients.items() if gradient.any()}
        assert reached == set(range(start, start + unrolls + 1))


@pytest.mark.parametrize("name", ["trxl", "baseline", "mt"])
def test_models_without_write_memory_send_nothing_back(name):
    segments = tiny_segments(LENGTHS)
    model = tiny_model(name)
    embedded = []

    def remember(module, args, output):
        output.retain_grad()
        embedded.append(output)

    model.embedding.register_forward_hook(remember)
    state, nll = None, None
    for segment in segments[:3]:
        nll, state = model(*segment, state)
    nll.mean().backward()
    assert [e.grad is not None and bool(e.grad.any()) for e in embedded] == [False, False, True]


def full_bptt_gradients(model, segments):
    """Gradients of the last segment's mean loss through all segments, in one plain graph."""
    model.zero_grad()
    state = None
    for tokens, targets in segments:
        nll, state = model(tokens, targets, state)
    nll.mean().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def stream_gradients(model, segments, unrolls, checkpoint_segments=False):
    """Gradients of the last step of a replayed stream, with weights that stay as they are."""
    unrolled, stream = Unrolled(model, checkpoint_segments), Stream(unrolls, "replay")
    for segment in segments:
        model.zero_grad()
        loss = stream.step(unrolled, [segment]).mean()
        loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", GRADIENT)
@pytest.mark.parametrize("unrolls", [3, 7])
def test_replay_is_full_bptt_when_it_covers_the_stream(name, unrolls):
    segments = tiny_segments(LENGTHS[:4])
    model = tiny_model(name)
    expected = full_bptt_gradients(model, segments)
    found = stream_gradients(model, segments, unrolls)
    assert expected.keys() == found.keys()
    assert found["memory"].any()
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", GRADIENT)
def test_replay_uses_the_state_from_before_the_unroll(name):
    """With fixed weights, replay of N segments equals full BPTT cut before segment t-N."""
    segments = tiny_segments(LENGTHS[:5])
    model = tiny_model(name)
    state = None
    with torch.no_grad():
        for tokens, _ in segments[:2]:
            state = model.advance(tokens, state)
    model.zero_grad()
    for tokens, targets in segments[2:]:
        nll, state = model(tokens, targets, state)
    nll.mean().backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    found = stream_gradients(model, segments, 2)
    assert expected.keys() == found.keys()
    if name != "armt":  # where memory tokens begin anew in every segment
        assert "memory" not in found  # the stream's start is out of reach
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=0, atol=1e-12)


def test_replay_starts_from_the_state_after_the_first_replayed_segment():
    """As weights change, the kept state is the one the last step made, not a fresh one."""
    segments = tiny_segments(LENGTHS)
    model = tiny_model("rmt")
    unrolled, stream = Unrolled(model), Stream(1, "replay")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    kept = None  # the state before segment t-1
    for t, segment in enumerate(segments):
        with torch.no_grad():
            replayed = model.advance(segments[t - 1][0], kept) if t else None
            expected, _ = model(*segment, replayed)
        losses = stream.step(unrolled, [segment])
        torch.testing.assert_close(losses, expected, rtol=0, atol=1e-12)
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
        kept = replayed


@pytest.mark.parametrize("name", [*GRADIENT, "trxl", "baseline", "mt"])
@pytest.mark.parametrize("mode", ["replay", "window"])
def test_checkpointed_gradients_are_the_plain_ones(name, mode):
    """In training mode: recomputing a segment must draw the same dropout masks."""
    unrolls = 2 if name in GRADIENT else 0
    results = []
    for checkpointed in (False, True):
        model = tiny_model(name, dropout=0.2, dropatt=0.1).train()
        unrolled, stream = Unrolled(model, checkpointed), Stream(unrolls, mode)
        torch.manual_seed(5)
        gradients = []
        segments = tiny_segments(LENGTHS)
        for start in range(0, len(segments), stream.segments_per_step):
            model.zero_grad()
            part = segments[start : start + stream.segments_per_step]
            stream.step(unrolled, part).mean().backward()
            gradients.append([p.grad for p in model.parameters() if p.grad is not None])
        results.append(gradients)
    for plain, checkpointed in zip(*results, strict=True):
        for ours, theirs in zip(plain, checkpointed, strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("checkpoint_segments", "n_computed"), [(False, 3), (True, 6)])
def test_checkpointed_segments_are_computed_again(checkpoint_segments, n_computed):
    """So that nothing inside them is kept until then."""
    model, computed = tiny_model("rmt"), []
    model.layers[0].register_forward_hook(lambda *_: computed.append(1))
    losses, _ = Unrolled(model, checkpoint_segments)(tiny_segments(LENGTHS[:3]))
    losses.mean().backward()
    assert len(computed) == n_computed


@pytest.mark.parametrize("name", GRADIENT)
def test_window_losses_are_those_of_the_plain_stream(name):
    segments = tiny_segments(LENGTHS)
    model = tiny_model(name)
    unrolled, stream = Unrolled(model), Stream(2, "window")
    windows = [stream.step(unrolled, segments[i : i + 3]) for i in (0, 3)]
    state, plain = None, []
    for segment in segments:
        nll, state = model(*segment, state)
        plain.append(nll)
    torch.testing.assert_close(torch.cat(windows, 1), torch.cat(plain, 1), rtol=0, atol=1e-12)


def test_reset_starts_new_streams():
    first, second = tiny_segments([5, 5])
    model = tiny_model("rmt")
    stream = Stream(2, "replay")
    stream.step(Unrolled(model), [first])
    stream.reset()
    assert torch.equal(stream.step(Unrolled(model), [second]), model(*second)[0])


@pytest.mark.parametrize(
    ("name", "unrolls", "mode"),
    [
        ("rmt", 2, "replay"),
        ("rmt", 1, "window"),
        ("trxl", 0, "replay"),
        ("trxl_rmt", 1, "replay"),
        ("armt", 2, "replay"),
        ("armt", 1, "window"),
    ],
)
@pytest.mark.parametrize("n_before", [0, 1, 4])
def test_a_restored_stream_goes_on_alike(name, unrolls, mode, n_before):
    segments = tiny_segments(LENGTHS)
    model = tiny_model(name)
    unrolled, stream = Unrolled(model), Stream(unrolls, mode)
    for segment in segments[:n_before]:
        stream.step(unrolled, [segment])
    other = Stream(unrolls, mode)
    other.restore(stream.tensors(), model.State)
    for segment in itertools.islice(segments, n_before, None):
        assert torch.equal(stream.step(unrolled, [segment]), other.step(unrolled, [segment]))


@pytest.mark.parametrize("name", ["rmt", "trxl_rmt"])
@pytest.mark.parametrize("unrolls", [0, 1, 2])
def test_replay_from_the_newest_memory_is_the_loop_written_out(name, unrolls):
    """The memory after segment t-1 starts the replay of t-N; the cache is that before t-N."""
    model, segments = tiny_model(name), tiny_segments(LENGTHS)
    unrolled, stream = Unrolled(model), Stream(unrolls, "replay", "newest")
    memory, caches = None, [None]  # caches[s]: before segment s
    for t, segment in enumerate(segments):
        first = max(0, t - unrolls)
        state = MemoryAndCache(memory, caches[first]) if t else None
        for s in range(first, t):
            state = model.advance(segments[s][0], state).detach()
            caches[s + 1] = state.cache
        expected, state = model(*segment, state)
        memory = state.memory.detach()
        caches.append(state.cache)
        assert torch.equal(stream.step(unrolled, [segment]), expected)


def test_replay_from_the_newest_memory_goes_on_alike_after_a_restart():
    model, segments = tiny_model("trxl_rmt"), tiny_segments(LENGTHS)
    unrolled = Unrolled(model)
    stream, other = (Stream(2, "replay", "newest") for _ in range(2))
    for segment in segments[:3]:
        stream.step(unrolled, [segment])
    other.restore(stream.tensors(), model.State)
    for segment in segments[3:]:
        assert torch.equal(stream.step(unrolled, [segment]), other.step(unrolled, [segment]))


def test_prompts_are_read_by_the_newest_memory_too():
    model, segments = tiny_model("rmt"), tiny_sample(n_prompts=3)
    stream, newest = Stream(1, "replay", "newest"), None
    for i in range(3):
        assert stream.step(Unrolled(model), [segments[i]]) is None
        for tokens, _ in segments[max(0, i - 1) : i + 1]:
            newest = model.advance(tokens, newest)
        assert torch.equal(stream.newest.memory, newest.memory)


# Samples: segments without targets, and losses that make one optimizer step together


def gradients_of(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def sample_gradients(model, segments, stream, checkpoint_segments=False):
    """Gradients of all the losses of a sample, added up step by step."""
    unrolled = Unrolled(model, checkpoint_segments)
    model.zero_grad()
    for start in range(0, len(segments), stream.segments_per_step):
        losses = stream.step(unrolled, segments[start : start + stream.segments_per_step])
        if losses is not None:
            losses.sum().backward()
    return gradients_of(model)


def assert_same_gradients(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", GRADIENT)
@pytest.mark.parametrize("n_prompts", [1, 4])
@pytest.mark.parametrize("unrolls", [0, 1, 2, 9])
def test_replay_reaches_the_unrolled_segments_without_targets_too(name, n_prompts, unrolls):
    steps = step_gradients(tiny_model(name), unrolls, n_prompts=n_prompts)
    for t, gradients in steps:
        reached = {s for s, gradient in gradients.items() if gradient.any()}
        predicted = t >= n_prompts
        assert reached == (set(range(max(0, t - unrolls), t + 1)) if predicted else set())
        for s in reached - {t}:
            assert (gradients[s] > 0).all()


@pytest.mark.parametrize("name", GRADIENT)
@pytest.mark.parametrize("n_prompts", [1, 4])
@pytest.mark.parametrize("unrolls", [0, 1, 2])
def test_window_stays_inside_its_segments_with_and_without_targets(name, n_prompts, unrolls):
    steps = step_gradients(tiny_model(name), unrolls, "window", n_prompts=n_prompts)
    for start, gradients in steps:
        window = set(range(start, start + unrolls + 1))
        reached = {s for s, gradient in gradients.items() if gradient.any()}
        assert reached == (window if max(window) >= n_prompts else set())


@pytest.mark.parametrize("name", GRADIENT)
@pytest.mark.parametrize("n_prompts", [0, 3])
@pytest.mark.parametrize("unrolls", [0, 1, 2])
def test_gradients_of_a_sample_are_those_of_loops_written_out(name, n_prompts, unrolls):
    """For every loss a graph of its own, from a state without gradient before segment t-N."""
    segments, model = tiny_sample(n_prompts), tiny_model(name)
    found = sample_gradients(model, segments, Stream(unrolls, "replay"))
    model.zero_grad()
    for t in range(n_prompts, len(segments)):
        state, first = None, max(0, t - unrolls)
        with torch.no_grad():
            for tokens, _ in segments[:first]:
                state = model.advance(tokens, state)
        for tokens, _ in segments[first:t]:
            state = model.advance(tokens, state)
        model(*segments[t], state)[0].sum().backward()
    assert_same_gradients(found, gradients_of(model))


@pytest.mark.parametrize("name", GRADIENT)
@pytest.mark.parametrize("n_prompts", [0, 3])
@pytest.mark.parametrize("checkpoint_segments", [False, True])
def test_a_whole_sample_as_window_or_replayed_is_full_backpropagation(
    name, n_prompts, checkpoint_segments
):
    segments, model = tiny_sample(n_prompts), tiny_model(name)
    model.zero_grad()
    state, total = None, 0.0
    for tokens, targets in segments:
        if targets is None:
            _, state = model.predict(tokens, state)  # not advance, which is tested here
        else:
            nll, state = model(tokens, targets, state)
            total = total + nll.sum()
    total.backward()
    expected = gradients_of(model)
    assert expected["memory"].any()
    for stream in (Stream(5, "window"), Stream(7, "window"), Stream(5, "replay")):
        found = sample_gradients(model, segments, stream, checkpoint_segments)
        assert_same_gradients(found, expected)


@pytest.mark.parametrize("name", [*GRADIENT, "trxl", "baseline", "mt"])
@pytest.mark.parametrize("mode", ["replay", "window"])
def test_leaving_out_targets_leaves_the_other_losses_as_they_are(name, mode):
    unrolls = 1 if name in GRADIENT else 0
    model, losses = tiny_model(name), []
    for n_prompts in (0, 3):
        unrolled, stream = Unrolled(model), Stream(unrolls, mode)
        segments, n = tiny_sample(n_prompts), stream.segments_per_step
        steps = [stream.step(unrolled, segments[i : i + n]) for i in range(0, 6, n)]
        losses.append(torch.cat([step for step in steps if step is not None], dim=1))
    n_scored = sum(LENGTHS[3:])
    assert losses[1].shape[1] == n_scored
    torch.testing.assert_close(losses[1], losses[0][:, -n_scored:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("unrolls", [0, 2, 9])
def test_steps_without_targets_only_move_on(unrolls):
    """No loss, no gradient, and no segment computed that the next step replays anyway."""
    model, computed = tiny_model("rmt"), []
    segments = tiny_sample(n_prompts=5)
    owner = {id(tokens): i for i, (tokens, _) in enumerate(segments)}
    model.embedding.register_forward_hook(
        lambda _, args, output: computed.append((owner[id(args[0])], output.requires_grad))
    )
    stream = Stream(unrolls, "replay")
    for t in range(5):
        computed.clear()
        assert stream.step(Unrolled(model), [segments[t]]) is None
        assert computed == ([(t - unrolls, False)] if t >= unrolls else [])
        assert not any(tensor.requires_grad for tensor in stream.tensors().values())
    assert not gradients_of(model)


@pytest.mark.parametrize("name", ["trxl_rmt", "armt"])
@pytest.mark.parametrize("n_before", [1, 2, 3])
@pytest.mark.parametrize("unrolls", [0, 2])
def test_a_stream_restored_before_the_answer_goes_on_alike(name, n_before, unrolls):
    model, segments = tiny_model(name), tiny_sample(n_prompts=3)
    stream, other = Stream(unrolls, "replay"), Stream(unrolls, "replay")
    for segment in segments[:n_before]:
        stream.step(Unrolled(model), [segment])
    other.restore(stream.tensors(), model.State)
    for segment in segments[n_before:]:
        steps = [each.step(Unrolled(model), [segment]) for each in (stream, other)]
        assert steps == [None, None] or torch.equal(*steps)


@pytest.mark.parametrize("checkpoint_segments", [False, True])
def test_a_backward_pass_outside_has_the_rooms_of_its_forward_pass(checkpoint_segments):
    segments, seen, found = tiny_segments([5, 6]), [], []
    rooms = (20, 20)
    for given in (None, rooms):
        model = tiny_model("rmt", cutoffs=(5, 9))
        model.softmax.register_forward_pre_hook(
            lambda _module, _inputs, named: seen.append(named["rooms"]), with_kwargs=True
        )
        unrolled = Unrolled(model, checkpoint_segments)
        with model.given_rooms(given):
            losses, _ = unrolled(segments)
        losses.mean().backward()
        found.append([losses, *(weight.grad for weight in model.parameters())])
    n_passes = 4 if checkpoint_segments else 2
    assert seen == [None] * n_passes + [rooms] * n_passes
    for asked, given in zip(*found, strict=True):
        torch.testing.assert_close(given, asked, rtol=0, atol=1e-12)
