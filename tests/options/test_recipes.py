"""--recipe fit: sizes that fit the text and the machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.data import load_corpus
from helpers.gru import GRUOptions
from rmt.data.batches import SegmentBatches
from rmt.options.recipes import LARGE, MEDIUM, SMALL, fitting
from rmt.options.training import TrainConfig
from rmt.runs.settings import Settings
from rmt.runtime.errors import UsageError


@pytest.mark.parametrize(
    ("n_bytes", "cuda", "size"),
    [
        (500_000, False, SMALL),
        (50_000_000, False, MEDIUM),
        (500_000, True, MEDIUM),
        (50_000_000, True, LARGE),
    ],
)
def test_a_larger_text_and_a_gpu_have_larger_models(n_bytes, cuda, size):
    found = fitting({"cuda": cuda}, n_bytes, n_bytes // 18)
    assert {name: found[name] for name in size.options} == size.options
    assert found["max_step"] == min(
        size.max_step, 20 * n_bytes // (found["batch_size"] * found["tgt_len"])
    )


def test_words_are_fewer_than_characters():
    characters, words = (fitting({"tokenizer": t}, 200_000, 11_000) for t in ("char", "word"))
    assert characters["max_step"] == 3906
    assert words["max_step"] == 1000, "20 epochs would be 651 steps"


@given(
    given=st.fixed_dictionaries(
        {},
        optional={
            "tgt_len": st.integers(1, 200),
            "batch_size": st.integers(1, 64),
            "max_step": st.integers(1, 9999),
            "dropout": st.just(0.3),
            "n_layer": st.just(2),
        },
    ),
    n_bytes=st.integers(400, 10**9),
)
def test_flags_that_are_given_stay(given, n_bytes):
    found = fitting(given, n_bytes, n_bytes // 18)
    assert {name: found[name] for name in given} == given
    own = {name: value for name, value in found.items() if name in TrainConfig.__dataclass_fields__}
    TrainConfig(dataset="text", **own)


@pytest.mark.parametrize("tokenizer", ["char", "word"])
@pytest.mark.parametrize("n", [400, 1_000, 9_000, 40_000])
def test_short_texts_have_room_for_segments_and_batches(tmp_path, n, tokenizer):
    path = tmp_path / "mine"
    path.write_text(("zwölf Boxkämpfer jagen den Hund über die Straße\n" * 1000)[:n])
    given = {"dataset": "text", "data": str(path), "tokenizer": tokenizer, "recipe": "fit"}
    if tokenizer == "word" and n == 400:
        return  # 5 % of 60 words are no stream
    train = Settings.of(given | {"model": "baseline"}).train
    corpus = load_corpus("text", path, tokenizer=tokenizer, encoded_dir=tmp_path, progress=False)
    SegmentBatches(corpus.splits["train"], train.batch_size, train.tgt_len)
    for split in ("valid", "test"):
        SegmentBatches(corpus.splits[split], train.eval_batch_size, train.n_eval)


def test_recipes_are_for_their_datasets(tmp_path):
    with pytest.raises(UsageError, match="recipe fast is not for pydoc: leave it out, or take fit"):
        Settings.of({"dataset": "pydoc", "recipe": "fast", "model": "baseline"})
    with pytest.raises(UsageError, match="recipe fit is not for copy: leave it out, or take fast"):
        Settings.of({"dataset": "copy", "recipe": "fit", "segments": 3, "model": "baseline"})
    with pytest.raises(UsageError, match="name it with --data"):
        Settings.of({"dataset": "text", "recipe": "fit", "model": "baseline"})


def test_a_model_without_layers_takes_what_it_knows():
    model = GRUOptions(n_token=1).model
    settings = Settings.of({"dataset": "pydoc", "recipe": "fit", "model": model})
    assert settings.given == {"model": model, "d_model": 128}
    assert settings.train.tell_time
