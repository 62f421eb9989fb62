"""Wrong use ends with status 2 and one sentence, and leaves nothing behind."""

import errno
import os
import pwd
import resource
import shutil
import sys

import pytest
import safetensors.torch
import torch

from helpers.programs import (
    RMT,
    SAMPLES,
    assert_one_sentence,
    process_settings,
    records,
    run,
    run_process,
    steps_saved,
    weights_of,
    write_corpus,
)
from rmt import eval as evaluation
from rmt import train
from rmt.data import store
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM
from rmt.models.transformer_xl.options import ModelConfig
from rmt.options.training import TrainConfig
from rmt.runs import checkpoint, run_folder
from rmt.runs.settings import Settings
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError
from rmt.training.run import check_processes
from rmt.training.trainer import Trainer


@pytest.fixture
def work_dir(tmp_path):
    return tmp_path / "runs" / "new"


@pytest.fixture
def refused(tiny, work_dir):
    """Run with flags that can't work; return the sentence. The run folder must not appear."""

    def refused(*flags: object) -> str:
        sentence = assert_one_sentence(run(train.main, *tiny, "--work_dir", work_dir, *flags))
        assert not work_dir.parent.exists()
        return sentence

    return refused


@pytest.fixture
def finished_run(tiny, tmp_path):
    """A run folder whose checkpoints are of steps 2 and 4."""
    folder = tmp_path / "finished"
    outcome = run(train.main, *tiny, *RMT, "--work_dir", folder, "--save_interval", 2)
    assert outcome.status == 0, outcome.err
    assert steps_saved(folder) == [2, 4]
    return folder


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        # Models
        ("--model baseline --mem_len 3", "the baseline has no memory: leave out mem_len 3 or"),
        ("--model rmt", "rmt needs memory tokens: give mem_len 1 or more"),
        ("--model mt", "mt needs memory tokens"),
        ("--model trxl_rmt --cache_len 4", "trxl_rmt needs memory tokens"),
        ("--model trxl --mem_len 4 --cache_len 4", "for trxl leave it out (trxl's cache is mem_"),
        ("--model rmt --mem_len 1 --cache_len 4", "cache_len belongs to trxl_rmt"),
        ("--model baseline --cache_len 4", "cache_len belongs to trxl_rmt"),
        ("--model trxl --mem_len 1 --memory_mask causal", "memory_mask causal is about memory to"),
        ("--model mt --mem_len 1 --write_from learned", "write_from learned is about write mem"),
        ("--model rmt --mem_len 1 --read_mem_from_cache", "read_mem_from_cache belongs to trxl_"),
        ("--model rmt --mem_len 1 --published_memory", "published_memory changes nothing in rmt"),
        ("--model rmt --mem_len 1 --published_cache", "published_cache changes nothing in rmt"),
        ("--model trxl --published_positions", "published_positions changes nothing in trxl"),
        ("--model trxl --mem_len 4 --bptt_unrolls 1", "trxl passes no gradient between segments"),
        ("--model baseline --bptt_unrolls 1", "baseline passes no gradient between segments"),
        ("--model mt --mem_len 1 --bptt_unrolls 1", "mt passes no gradient between segments"),
        ("--model baseline --same_length", "same_length needs cached states"),
        ("--model trxl --same_length", "same_length needs cached states"),
        ("--attention flex --dropatt 0.1", "flex attention has no dropout on attention prob"),
        ("--model mt --mem_len 1 --as_published --attention flex", "as published leave it out"),
        # Numbers
        ("--model rmt --mem_len -1", "mem_len must be 0 or more, but it is -1"),
        ("--model trxl_rmt --mem_len 1 --cache_len -1", "cache_len must be 0 or more"),
        ("--tgt_len 0", "tgt_len must be 1 or more"),
        ("--tgt_len -5", "tgt_len must be 1 or more"),
        ("--eval_tgt_len -5", "eval_tgt_len must be 0 or more"),
        ("--model rmt --mem_len 1 --bptt_unrolls -1", "bptt_unrolls must be 0 or more"),
        ("--n_layer 0", "n_layer must be 1 or more"),
        ("--d_model 7", "d_model must be even"),
        ("--d_embed -2", "d_embed must be 0 or more"),
        ("--dropout 1", "dropout must be at least 0 and below 1, but it is 1.0"),
        ("--dropatt nan", "dropatt must be at least 0 and below 1, but it is nan"),
        ("--clamp_len 0", "clamp_len must be -1 (no limit) or positive"),
        ("--clamp_len -2", "clamp_len must be -1 (no limit) or positive"),
        ("--init_std nan", "init_std must be 0.0 or more, but it is nan"),
        ("--lr nan", "lr must be 0.0 or more, but it is nan"),
        ("--lr inf", "lr must be 0.0 or more, but it is inf"),
        ("--lr -1", "lr must be 0.0 or more, but it is -1.0"),
        ("--clip 0", "clip must be positive"),
        ("--clip nan", "clip must be positive, but it is nan"),
        ("--max_step 0", "max_step must be 1 or more"),
        ("--eval_interval 0", "eval_interval must be 1 or more"),
        ("--log_interval 0", "log_interval must be 1 or more"),
        ("--save_interval 0", "save_interval must be 1 or more"),
        ("--max_eval_steps 0", "max_eval_steps must be -1 (no limit) or positive"),
        ("--max_nonfinite 0", "max_nonfinite must be 1 or more"),
        ("--seed -1", "seed must be 0 or more"),
        (f"--seed {2**63}", "seed must be below 2**63"),
        ("--scheduler dev_perf --decay_rate 1", "decay_rate must be below 1"),
        # Together
        ("--batch_size 4 --batch_chunk 3", "batch_size 4 does not divide into 3 chunks"),
        ("--tokenizer word", "tokenizer means nothing to dataset wt103"),
        ("--keep_newlines", "keep_newlines means nothing to dataset wt103"),
        ("--fp16", "precision fp16 needs --cuda"),
        ("--restart --debug", "--debug keeps no checkpoints"),
        ("--restart_dir somewhere", "give --restart with it"),
        ("--multi_gpu", "--multi_gpu needs one process per GPU"),
        # With the data
        ("--tgt_len 5000", "tgt_len 5000 is longer than the data allows"),
        ("--eval_tgt_len 5000", "in the valid split, eval_tgt_len 5000 is longer than the data"),
        ("--batch_size 5000", "batch_size 5000 is too large for"),
        ("--eval_batch_size 5000", "in the valid split, eval_batch_size 5000 is too large for"),
        (
            "--cutoffs 20 51",
            "cutoffs 20 51 must increase from 1 and stay below the vocabulary's 51",
        ),
        ("--cutoffs 20 1000", "stay below the vocabulary's 51 words"),
        ("--cutoffs 20 20", "must increase"),
        ("--cutoffs 20 10", "must increase"),
        ("--cutoffs 0 10", "must increase from 1"),
        ("--cutoffs -3", "must increase from 1"),
        # The evaluation's cache would be 4 + 8 - 12 = 0 states long.
        ("--model trxl --mem_len 4 --eval_tgt_len 12", "nothing of the cache of 4 would be left"),
    ],
)
def test_impossible_settings(refused, flags, part):
    model = [] if "--model" in flags else ["--model", "baseline"]
    assert part in refused(*model, *flags.split())


def test_cuda_without_a_gpu(refused, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "PyTorch sees no GPU" in refused("--model", "baseline", "--cuda")


def test_apex_adam_without_apex(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "apex", None)
    assert "needs NVIDIA apex" in refused("--model", "baseline", "--optim", "apex_adam")


@pytest.mark.parametrize("n_processes", [3, 4])
def test_the_batch_must_divide_among_processes(monkeypatch, n_processes):
    monkeypatch.setattr(distributed, "world_size", lambda: n_processes)
    check_processes(TrainConfig(batch_size=12, batch_chunk=1))
    with pytest.raises(UsageError, match=f"10 does not divide among {n_processes} processes"):
        check_processes(TrainConfig(batch_size=10))
    with pytest.raises(UsageError, match="streams of each process do not divide into 6 chunks"):
        check_processes(TrainConfig(batch_size=12, batch_chunk=6))


def test_configs_refuse_from_python_too():
    with pytest.raises(UsageError, match="model must be one of baseline, mt, trxl, rmt, trxl_rmt"):
        ModelConfig(n_token=10, model="gpt")
    with pytest.raises(UsageError, match="optim must be one of"):
        TrainConfig(optim="lion")
    with pytest.raises(UsageError, match="n_token must be 1 or more"):
        ModelConfig(n_token=0, model="baseline")
    with pytest.raises(UsageError, match="passes no gradient"):
        Settings.of({"model": "baseline", "tgt_len": 4, "bptt_unrolls": 2})


# Data


@pytest.fixture
def damaged_corpus(tmp_path, corpus_folder):
    return shutil.copytree(corpus_folder, tmp_path / "damaged")


@pytest.fixture
def refused_text(refused, damaged_corpus, tmp_path):
    """The sentence for a damaged corpus, of which nothing may be kept encoded either."""

    def refused_text(*flags: object) -> str:
        flags = ["--model", "baseline", "--data", damaged_corpus, *flags]
        sentence = refused(*flags, "--encoded_dir", tmp_path / "encoded")
        assert not any((tmp_path / "encoded").rglob("*.bin"))
        return sentence

    return refused_text


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_missing_and_empty_files(refused_text, damaged_corpus, split):
    path = damaged_corpus / f"{split}.txt"
    path.write_text("")
    assert refused_text() == f"{path} is empty"
    path.unlink()
    assert refused_text().startswith(f"there is no file {path}")
    path.mkdir()
    assert refused_text().startswith(f"there is no file {path}")


def test_missing_data(refused, tmp_path):
    flags = ["--model", "baseline", "--data", tmp_path / "nowhere"]
    assert f"there is no wt103 data at {tmp_path}/nowhere" in refused(*flags)
    assert f"there is no text data at {tmp_path}/nowhere" in refused(*flags, "--dataset", "text")
    assert "getdata.sh enwik8" in refused(*flags, "--dataset", "enwik8")


def test_data_of_another_kind(refused, text_file, corpus_folder):
    flags = ["--model", "baseline"]
    assert "is a file; give the folder" in refused(*flags, "--data", text_file)
    assert "is not text8" in refused(*flags, "--data", text_file, "--dataset", "text8")
    assert "there is no file" in refused(*flags, "--data", corpus_folder, "--dataset", "enwik8")
    assert "leave out --data" in refused(*flags, "--dataset", "pydoc")


def test_a_word_that_train_lacks(refused_text, damaged_corpus):
    path = damaged_corpus / "valid.txt"
    lines = path.read_text().splitlines()
    lines[6] += " Zyzzyva w1"
    path.write_text("\n".join(lines))
    sentence = refused_text()
    assert sentence.startswith(f"{path}, line 7: the word 'Zyzzyva' does not occur")


def test_text_that_is_not_utf8(refused_text, damaged_corpus):
    path = damaged_corpus / "test.txt"
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" + whole[100:])
    sentence = refused_text()
    assert sentence == f"{path} is not UTF-8 text: byte 0xff at byte offset 100"


def test_a_file_cut_off_inside_a_character(refused_text, damaged_corpus):
    path = damaged_corpus / "valid.txt"
    path.write_bytes("w1 w2 é".encode()[:-1])
    assert "is not UTF-8 text: byte 0xc3 at byte offset 6" in refused_text()


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_file_too_short_for_the_batch(refused, damaged_corpus, split, tmp_path):
    path = damaged_corpus / f"{split}.txt"
    path.write_text("w1 w2\n")
    if split == "train":
        for name in ("valid", "test"):
            (damaged_corpus / f"{name}.txt").write_text("w1 w2\n" * 20)
    flags = ["--data", damaged_corpus, "--encoded_dir", tmp_path / "encoded"]
    sentence = refused("--model", "baseline", *flags)
    option = "batch_size 4" if split == "train" else f"in the {split} split, eval_batch_size 2"
    assert sentence.startswith(f"{option} is too large for 3 tokens of data")


def test_own_text_too_short(refused, tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("short")
    flags = ["--model", "baseline", "--dataset", "text", "--data", path]
    assert f"{path} is too short" in refused(*flags)


def test_real_text_cut_off_is_named(refused, tmp_path):
    """Truncated WikiText: the held-out files use words that a shortened train lacks."""
    folder = shutil.copytree(SAMPLES / "wikitext-103", tmp_path / "cut")
    os.truncate(folder / "train.txt", 2000)
    flags = ["--data", folder, "--encoded_dir", tmp_path / "encoded"]
    assert "does not occur in the training text" in refused("--model", "baseline", *flags)


# The run folder and restarts


def test_restart_without_a_checkpoint(refused, work_dir):
    assert refused(*RMT, "--restart") == f"there is no checkpoint in {work_dir}: train there first"
    sentence = refused(*RMT, "--restart", "--restart_dir", work_dir / "other")
    assert sentence == f"there is no checkpoint in {work_dir}/other: train there first"


def contents(folder) -> dict:
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_restart_from_damaged_checkpoints_only(tiny, finished_run):
    for name in ("step-00000002", "step-00000004"):
        (finished_run / "checkpoints" / name / "model.safetensors").write_bytes(b"nothing")
    before = contents(finished_run)
    outcome = run(train.main, *tiny, *RMT, "--work_dir", finished_run, "--restart")
    sentence = assert_one_sentence(outcome)
    reasons = "; ".join(f"step-0000000{n}: model.safetensors has changed" for n in (4, 2))
    assert f"every checkpoint in {finished_run} is damaged ({reasons}): train again" in sentence
    assert contents(finished_run) == before


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ("--mem_len 3", "mem_len was 2 there and is 3 now"),
        ("--model mt", "model was rmt there and is mt now"),
        ("--n_layer 3", "n_layer was 2 there and is 3 now"),
        ("--dropout 0.1", "dropout was 0.0 there and is 0.1 now"),
        ("--cutoffs 20", "cutoffs was [] there and is [20] now"),
        ("--batch_size 8", "batch_size was 4 there and is 8 now"),
        ("--mom 0.5", "mom was 0.0 there and is 0.5 now"),
        ("--tgt_len 4", "tgt_len was 8 there and is 4 now"),
        ("--bptt_unrolls 2", "bptt_unrolls was 0 there and is 2 now"),
        ("--bptt_mode window", "bptt_mode was replay there and is window now"),
        ("--varlen", "varlen was False there and is True now"),
        ("--optim sgd", "optim was adam there and is sgd now"),
        ("--seed 5", "seed was 1111 there and is 5 now"),
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["restart", "restart_dir"])
def test_restart_of_another_run(tiny, finished_run, work_dir, flags, part, elsewhere):
    before = contents(finished_run)
    where = ["--work_dir", finished_run]
    if elsewhere:
        where = ["--work_dir", work_dir, "--restart_dir", finished_run]
    outcome = run(train.main, *tiny, *RMT, "--restart", *where, *flags.split())
    sentence = assert_one_sentence(outcome)
    assert sentence.endswith(f"belongs to another run: {part}")
    assert contents(finished_run) == before
    assert not work_dir.exists()


def test_restart_on_another_text(tiny, finished_run, tmp_path):
    other = write_corpus(tmp_path / "other", seed=1)
    flags = [*tiny, *RMT, "--work_dir", finished_run, "--restart", "--data", other]
    assert "another run: the data was" in assert_one_sentence(run(train.main, *flags))


@pytest.mark.parametrize("flags", [[], ["--restart", "--restart_dir", "elsewhere"]])
def test_a_run_folder_is_never_used_twice(tiny, finished_run, flags):
    before = contents(finished_run)
    outcome = run(train.main, *tiny, *RMT, "--work_dir", finished_run, *flags)
    assert "already holds a run" in assert_one_sentence(outcome)
    assert contents(finished_run) == before


def test_a_work_dir_that_can_not_be(tiny, tmp_path):
    file = tmp_path / "file"
    file.write_text("precious")
    for path in (file, file / "sub", file / "sub" / "sub", "/proc/rmt", tmp_path / ("x" * 300)):
        outcome = run(train.main, *tiny, *RMT, "--work_dir", path)
        assert "choose another --work_dir" in assert_one_sentence(outcome)
    assert file.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [file]


def test_an_encoded_dir_that_can_not_be(refused, tmp_path):
    file = tmp_path / "file"
    file.write_text("precious")
    assert "cannot write the encoded corpus" in refused(*RMT, "--encoded_dir", file / "sub")
    assert file.read_text() == "precious"


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Where the package is installed: in a current folder without data/, with a home."""
    monkeypatch.setattr(store, "project_root", lambda: tmp_path / "current")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def no_home_folder(folder, monkeypatch):
    """HOME is not set, and the user has no entry in /etc/passwd, as in some containers."""

    def unknown(_):
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def a_file_as_home(folder, monkeypatch):
    (folder / "home").write_text("precious")


def a_home_that_can_not_be_written(folder, monkeypatch):
    monkeypatch.setenv("HOME", "/proc")


def a_cache_that_can_not_be_written(folder, monkeypatch):
    (folder / "home").mkdir()
    (folder / "home" / ".cache").symlink_to("/proc/nowhere")


def data_that_can_not_be_written(folder, monkeypatch):
    """Nor the home that is taken instead. Of root the system says that it may write anywhere."""
    (folder / "current" / "data").mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    a_file_as_home(folder, monkeypatch)


def encoded_data_that_can_not_be_written(folder, monkeypatch):
    (folder / "current" / "data").mkdir(parents=True)
    (folder / "current" / "data" / "encoded").write_text("precious")


NO_PLACES = {
    no_home_folder: "there is no home folder to keep the encoded data in",
    a_file_as_home: "{}/home/.cache/rmt/",
    a_home_that_can_not_be_written: "/proc/.cache/rmt/",
    a_cache_that_can_not_be_written: "{}/home/.cache/rmt/",
    data_that_can_not_be_written: "{}/home/.cache/rmt/",
    encoded_data_that_can_not_be_written: "{}/current/data/encoded/",
}


REVERSE = ["--data", "", *"--dataset reverse --n 3 --train_samples 90".split()]
REVERSE += "--valid_samples 9 --test_samples 9".split()


@pytest.mark.parametrize("what", NO_PLACES)
@pytest.mark.parametrize("flags", [[], REVERSE], ids=["text", "task"])
def test_no_place_for_encoded_data(refused, installed, monkeypatch, what, flags):
    what(installed, monkeypatch)
    sentence = refused(*RMT, "--encoded_dir", "", *flags)
    assert NO_PLACES[what].format(installed) in sentence
    assert sentence.endswith("name another place with --encoded_dir")


def test_eval_of_what_is_no_run(tmp_path, finished_run):
    def sentence(*flags):
        return assert_one_sentence(run(evaluation.main, *flags))

    assert "it has no config.json" in sentence("--work_dir", tmp_path / "nowhere")
    assert "it has no config.json" in sentence("--work_dir", tmp_path)
    for damaged in ("", "[]", "{}", '{"model": 3, "train": {}}', '{"model": {"n_token": 0}}'):
        (finished_run / "config.json").write_text(damaged)
        assert "config.json can't be used" in sentence("--work_dir", finished_run)


def test_as_processes(tiny, work_dir):
    """The same through the interpreter, where more can be printed at the end."""
    flags = [*tiny, "--work_dir", work_dir]
    outcome = run_process("rmt.train", *flags, "--model", "baseline", "--mem_len", 3)
    assert "the baseline has no memory" in assert_one_sentence(outcome)
    outcome = run_process("rmt.train", *flags, "--model", "baseline", "--data", work_dir)
    assert "there is no wt103 data" in assert_one_sentence(outcome)
    assert not work_dir.parent.exists()


# Text that the terminal's encoding lacks

ASCII = {
    "PYTHONIOENCODING": {"PYTHONIOENCODING": "ascii"},
    "locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.parametrize("encoding", ASCII)
def test_a_terminal_that_lacks_letters(tiny, tmp_path, encoding):
    """What a path or a sentence has of them is escaped."""
    settings = {"env": process_settings()["env"] | ASCII[encoding]}
    folder, encoded = tmp_path / "é" / "run", tmp_path / "é" / "encoded"
    shown = "\\xe9" if encoding == "PYTHONIOENCODING" else "\\udcc3\\udca9"
    flags = [*tiny, *RMT, "--work_dir", folder, "--encoded_dir", encoded]
    outcome = run_process("rmt.train", *flags, **settings)
    assert outcome.status == 0, outcome.err
    assert f" into {tmp_path}/{shown}/encoded/wt103-" in outcome.err
    assert outcome.err.count("\n") == 1
    line = next(line for line in outcome.out.splitlines() if "- encoded_dir : " in line)
    assert line.endswith(f"/{shown}/encoded")
    outcome = run_process("rmt.train", *flags, **settings)
    assert assert_one_sentence(outcome).startswith(f"{tmp_path}/{shown}/run already holds a run")
    outcome = run_process("rmt.eval", "--work_dir", folder, **settings)
    assert (outcome.status, outcome.err) == (0, "")
    assert f"{tmp_path}/{shown}/run/checkpoints" in outcome.out


# Too little memory


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"
        ),
        MemoryError(),
    ],
    ids=["GPU", "CPU", "Python"],
)
def test_out_of_memory_says_what_helps(tiny, work_dir, monkeypatch, error):
    def train_step(trainer, progress):
        raise error

    monkeypatch.setattr(Trainer, "train_step", train_step)
    sentence = assert_one_sentence(run(train.main, *tiny, *RMT, "--work_dir", work_dir))
    assert "out of memory: take the batch in parts (--batch_chunk)" in sentence


def test_other_programs_have_no_options_of_training(tiny, work_dir, monkeypatch):
    assert run(train.main, *tiny, *RMT, "--work_dir", work_dir).status == 0

    def forward(*_, **__):
        raise MemoryError

    monkeypatch.setattr(MemTransformerLM, "forward", forward)
    sentence = assert_one_sentence(run(evaluation.main, "--work_dir", work_dir))
    assert "out of memory: choose smaller batches, shorter segments" in sentence


def test_other_errors_of_pytorch_are_not_hidden(tiny, monkeypatch):
    def train_step(trainer, progress):
        raise RuntimeError("shapes")

    monkeypatch.setattr(Trainer, "train_step", train_step)
    with pytest.raises(RuntimeError, match="shapes"):
        run(train.main, *tiny, *RMT, "--debug")


# A full disk


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def torch_without_space(*_, **__):
    """Its first error is another one's, which it raises while it closes the file."""
    try:
        no_space()
    except OSError:
        raise RuntimeError(
            "[enforce fail at inline_container.cc:672] . unexpected pos 128 vs 0"
        ) from None


def safetensors_without_space(*_, **__):
    reason = f"{os.strerror(errno.ENOSPC)} (os error {errno.ENOSPC})"
    raise safetensors.SafetensorError(f"Error while serializing: I/O error: {reason}")


def safetensors_0_5_without_space(*_, **__):
    reason = (
        f"Os {{ code: {errno.ENOSPC}, kind: StorageFull, message: {os.strerror(errno.ENOSPC)} }}"
    )
    raise safetensors.SafetensorError(f"Error while serializing: IoError({reason})")


FULL_DISKS = [
    ("safetensors.torch.save_file", safetensors_without_space),
    ("safetensors.torch.save_file", safetensors_0_5_without_space),
    ("torch.save", torch_without_space),
    ("torch.save", no_space),
    ("os.fsync", no_space),
    ("os.replace", no_space),
    ("pathlib.Path.mkdir", no_space),
    ("pathlib.Path.write_text", no_space),
    ("pathlib.Path.symlink_to", no_space),
]


@pytest.mark.parametrize(("function", "failure"), FULL_DISKS)
def test_the_disk_is_full_while_saving(tiny, finished_run, monkeypatch, function, failure):
    earlier = weights_of(finished_run)
    real_save, started = checkpoint.save, []

    def save_on_full_disk(*args, **settings):
        started.append(True)
        with monkeypatch.context() as full:
            full.setattr(function, failure)
            return real_save(*args, **settings)

    monkeypatch.setattr(checkpoint, "save", save_on_full_disk)
    flags = [*tiny, *RMT, "--work_dir", finished_run, "--restart", "--max_step", 8]
    outcome = run(train.main, *flags, "--save_interval", 3)
    sentence = assert_one_sentence(outcome)
    assert started
    assert "the checkpoint of step 6 could not be written" in sentence
    assert "(No space left on device)" in sentence
    assert "free some space and --restart" in sentence
    assert not [p for p in (finished_run / "checkpoints").iterdir() if p.name.startswith(".")]

    found = checkpoint.find(finished_run, warn=pytest.fail)
    assert found.step in ((4, 6) if function == "pathlib.Path.symlink_to" else (4,))
    assert weights_of(finished_run).keys() == earlier.keys()
    assert all(torch.equal(weights_of(finished_run)[name], earlier[name]) for name in earlier)
    monkeypatch.setattr(checkpoint, "save", real_save)
    assert run(train.main, *flags).status == 0
    assert records(finished_run, "train")[-1]["step"] == 8


@pytest.mark.parametrize("name", ["log.txt", "events"])
def test_a_log_on_a_full_disk(tiny, work_dir, monkeypatch, name):
    work_dir.mkdir(parents=True)
    monkeypatch.setattr(run_folder, "events_name", lambda: "events")
    (work_dir / name).symlink_to("/dev/full")
    outcome = run(train.main, *tiny, *RMT, "--work_dir", work_dir)
    sentence = f"{work_dir / name} can't be written (No space left on device)"
    assert sentence in assert_one_sentence(outcome)


@pytest.mark.parametrize("name", ["config.json", "result.json", "metrics.jsonl"])
def test_a_small_file_on_a_full_disk(tiny, work_dir, monkeypatch, name):
    real_replace = os.replace

    def replace(source, target):
        if str(target).endswith(name):
            no_space()
        real_replace(source, target)

    monkeypatch.setattr(os, "replace", replace)
    outcome = run(train.main, *tiny, *RMT, "--work_dir", work_dir)
    assert f"{work_dir / name} can't be written" in assert_one_sentence(outcome)
    assert not list(work_dir.glob(f".{name}*"))


class Unwritable:
    def __reduce__(self):
        raise RuntimeError("shapes")


# In bytes; the smallest run's weights take 9,600, its training.pt 43,500 and the other files less.
@pytest.mark.parametrize("limit", [8000, 30000])
def test_files_that_can_not_grow(tiny, tmp_path, limit):
    """The kernel's own refusal, with which every library deals in its own way."""
    folder = tmp_path / "run"

    def limit_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    flags = [*tiny, *RMT, "--work_dir", folder, "--save_interval", 2]
    sentence = assert_one_sentence(run_process("rmt.train", *flags, preexec_fn=limit_files))
    assert sentence == (
        f"the checkpoint of step 2 could not be written to {folder / 'checkpoints'} (File too "
        "large); earlier checkpoints are untouched: let files grow larger (ulimit -f) and --restart"
    )
    assert list((folder / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space and --restart"),
        (errno.EDQUOT, "free some space and --restart"),
        (errno.EACCES, "make it writable and --restart"),
        (errno.EROFS, "make it writable and --restart"),
        (errno.EIO, "see to that disk and --restart"),
    ],
)
def test_a_checkpoint_that_can_not_be_written_says_why(tmp_path, monkeypatch, number, advice):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UsageError) as refusal:
        checkpoint.save(tmp_path, 1, {"weight": torch.ones(1)}, {}, {}, best=False)
    assert f"({os.strerror(number)}); earlier checkpoints are untouched" in str(refusal.value)
    assert str(refusal.value).endswith(advice)


def test_an_error_that_is_not_the_disks_is_not_hidden(tmp_path):
    """It is ours to mend, and no advice about disks would help."""
    with pytest.raises(RuntimeError, match="shapes"):
        checkpoint.save(tmp_path, 1, {"weight": torch.ones(1)}, {"place": Unwritable()}, {}, False)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_logs_that_can_not_grow(tiny, finished_run):
    """An event file would be the first to be too long; the checkpoint before it stays."""
    limit = 50_000

    def limit_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    flags = [*tiny, *RMT, "--work_dir", finished_run, "--restart", "--max_step", 2000]
    flags += ["--save_interval", 50, "--d_inner", 16]
    outcome = run_process("rmt.train", *flags, preexec_fn=limit_files)
    assert f"{finished_run}/" in assert_one_sentence(outcome)
    assert "can't be written (File too large): let files grow larger" in outcome.err
    found = checkpoint.find(finished_run, warn=pytest.fail)
    assert found.step >= 50
