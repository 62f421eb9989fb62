"""Reading on and on: wherever it stops, in memory or on disk, it goes on as if it never had."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rmt
from helpers.any_model import MODELS, any_model
from helpers.models import V
from rmt.evaluation.stream import FORMAT, StreamState, fingerprint, read
from rmt.models import registry
from rmt.runtime.errors import UsageError

TGT_LEN = 5


def random_ids(*shape: int) -> np.ndarray:
    return np.random.default_rng(4).integers(V, size=shape)


def assert_same(one: StreamState, other: StreamState) -> None:
    """Bit for bit."""
    assert torch.equal(one.open_tokens, other.open_tokens)
    assert one.tgt_len == other.tgt_len
    first, second = ({} if s.before is None else s.before.tensors() for s in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", MODELS)
def test_a_state_is_what_the_segments_hand_over(name):
    model, ids = any_model(name), random_ids(2, 17)
    expected = None
    for start in range(0, 15, TGT_LEN):
        tokens = torch.from_numpy(ids[:, start : start + TGT_LEN])
        expected = model.advance(tokens, expected)
    state = read(model, ids, tgt_len=TGT_LEN)
    assert state.open_tokens.tolist() == ids[:, 15:].tolist()
    found = state.before.tensors()
    assert found.keys() == expected.tensors().keys()
    for key, value in expected.tensors().items():
        assert torch.equal(found[key], value)


@settings(max_examples=40)
@given(
    name=st.sampled_from(MODELS),
    n_streams=st.integers(1, 3),
    cuts=st.lists(st.integers(0, 23), max_size=4).map(sorted),
    on_disk=st.booleans(),
)
def test_reading_on_is_never_having_stopped(tmp_path_factory, name, n_streams, cuts, on_disk):
    model, ids = any_model(name), random_ids(n_streams, 23)
    file, state = tmp_path_factory.mktemp("states") / "it.state", None
    for start, end in zip([0, *cuts], [*cuts, 23], strict=True):
        if state is None and start == end:
            continue
        state = read(model, ids[:, start:end], state, tgt_len=TGT_LEN)
        if on_disk:
            state.save(file, model)
            state = StreamState.load(file, model)
    assert_same(state, read(model, ids, tgt_len=TGT_LEN))


@pytest.mark.parametrize("name", MODELS)
def test_a_segment_of_what_is_read_is_held_whatever_came_before(name):
    """No tensor of it keeps a larger one alive, and none grows."""
    model = any_model(name)

    def size(n_tokens: int) -> int:
        state = read(model, random_ids(n_tokens), tgt_len=TGT_LEN)
        tensors = [state.open_tokens, *(state.before.tensors().values() if state.before else ())]
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors)

    few = size(6 * TGT_LEN)
    assert few == size(60 * TGT_LEN)
    state = read(model, random_ids(12), tgt_len=TGT_LEN)
    assert not any(each.requires_grad for each in state.before.tensors().values())


def test_ids_of_any_kind(tmp_path):
    model = any_model("rmt")
    ids = random_ids(12)
    expected = read(model, ids, tgt_len=TGT_LEN)
    ids.astype(np.uint8).tofile(tmp_path / "ids")
    mapped = np.memmap(tmp_path / "ids", np.uint8, "r")
    for same in (ids.tolist(), torch.from_numpy(ids), mapped, ids[None], [ids.tolist()]):
        assert_same(read(model, same, tgt_len=TGT_LEN), expected)


@pytest.mark.parametrize("name", MODELS)
def test_equal_states_make_equal_files(name, tmp_path):
    model = any_model(name)
    state = read(model, random_ids(12), tgt_len=TGT_LEN)
    for file in ("one", "other"):
        state.save(tmp_path / file, model)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_a_file_is_as_small_as_the_memory(tmp_path):
    model = any_model("rmt", mem_len=3).float()
    for n in (50, 5_000):
        read(model, random_ids(n), tgt_len=TGT_LEN).save(tmp_path / "it.state", model)
        bytes_of_numbers = 3 * 8 * 4 + 5 * 8
        assert (tmp_path / "it.state").stat().st_size < bytes_of_numbers + 2_000


def test_the_weights_identify_a_model_in_any_precision():
    model = any_model("rmt").float()
    before = fingerprint(model)
    assert fingerprint(model.double()) == before
    with torch.no_grad():
        model.memory[0, 0] += 1e-3
    assert fingerprint(model) != before


@pytest.fixture
def saved(tmp_path):
    model = any_model("trxl")
    read(model, random_ids(12), tgt_len=TGT_LEN).save(tmp_path / "it.state", model)
    return tmp_path / "it.state"


def refused(file, model) -> str:
    with pytest.raises(UsageError) as error:
        rmt.StreamState.load(file, model)
    return str(error.value)


def test_another_models_state_is_refused(saved):
    assert "of a model with other weights" in refused(saved, any_model("trxl", seed=1))
    assert "a model with model trxl, and this one has rmt" in refused(saved, any_model("rmt"))
    longer = any_model("trxl").with_lengths(mem_len=11)
    assert "a model with mem_len 9, and this one has 11" in refused(saved, longer)
    assert "with model trxl, and this one has gru" in refused(saved, any_model("gru"))


def test_a_damaged_file_is_refused(saved):
    model, whole = any_model("trxl"), saved.read_bytes()
    saved.write_bytes(whole[:-5])
    assert "is damaged, or no state of a reader" in refused(saved, model)
    # The last byte belongs to a tensor; the one found is what the file says of its segments.
    said = rb"\"tgt_len\": "
    at = whole.index(said) + len(said)
    assert whole[at : at + 1] == b"5"
    for place, byte in ((len(whole) - 1, b"\xff"), (at, b"7")):
        saved.write_bytes(whole[:place] + byte + whole[place + 1 :])
        assert "is damaged: what it holds has changed" in refused(saved, model)


def test_files_of_other_kinds_are_refused(tmp_path):
    model, other = any_model("trxl"), tmp_path / "other"
    assert refused(other, model) == f"there is no file {other}"
    assert str(tmp_path) in refused(tmp_path, model)
    other.write_text("no such thing")
    assert "is damaged, or no state of a reader" in refused(other, model)
    safetensors.torch.save_file({"open": torch.zeros(1)}, other)
    assert "holds no state of a reader" in refused(other, model)


def test_a_model_that_is_not_here(saved):
    model = any_model("trxl")
    with safetensors.safe_open(saved, "pt") as opened:
        about = json.loads(opened.metadata()["about"])
    assert about["format"] == FORMAT
    assert about["options"]["model"] == "trxl"
    others = {name: entry for name, entry in registry.entries().items() if name != "trxl"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "entries", lambda: others)
        assert "model must be one of" in refused(saved, model)


def test_wrong_use():
    model = any_model("rmt")
    state = read(model, [1, 2], tgt_len=TGT_LEN)
    for arguments, part in (
        (([],), "there is nothing to read"),
        (([0, V],), f"{V} is no id: the model has the ids 0 to {V - 1}"),
        (([0, -1],), "-1 is no id"),
        (([0.5],), "ids must be integers, [n] or [B, n], not float64 of 1 dimensions"),
        ((torch.zeros(2),), "not torch.float32"),
        (([[[1]]],), "of 3 dimensions"),
        (([[1], [2]], state), "the state is of 1 streams, the ids of 2"),
    ):
        with pytest.raises(UsageError) as error:
            read(model, *arguments, tgt_len=TGT_LEN)
        assert part in str(error.value)
    with pytest.raises(UsageError, match="in segments of 5 tokens: leave out tgt_len 6"):
        read(model, [1], state, tgt_len=6)
    with pytest.raises(UsageError, match="tgt_len must be 1 or more"):
        read(model, [1], tgt_len=0)
    with pytest.raises(UsageError, match="comes from no run: say tgt_len"):
        read(model, [1])
    with pytest.raises(UsageError, match="in training mode"):
        read(model.train(), [1], tgt_len=TGT_LEN)
