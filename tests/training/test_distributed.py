"""Two processes train and score as one does.

Called as a program, this file is one of the processes: it runs rmt.train for each of a list of
jobs. All jobs share two processes, because starting them takes longer than the jobs.
"""

import contextlib
import faulthandler
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from torch.distributed.run import config_from_args

from helpers import pretrained
from helpers.labelled import texts as made_up_texts
from helpers.labelled import write_encoder, write_lines
from helpers.models import tiny_model, tiny_segments
from helpers.programs import (
    ARMT,
    DOCUMENTS,
    RMT,
    ROOT,
    TRXL,
    Outcome,
    assert_one_sentence,
    command,
    process_settings,
    records,
    result,
    run,
    steps_saved,
    weights_of,
)
from rmt import eval as evaluation
from rmt import launch, train
from rmt.data.batches import SegmentBatches
from rmt.evaluation.workloads import load_workload
from rmt.models.transformer_xl.layers import Layer
from rmt.runs import checkpoint
from rmt.runs.run_folder import RunFolder
from rmt.runs.settings import Settings
from rmt.runs.text import load_text
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError
from rmt.training import run as training
from rmt.training.recurrence import Stream, Unrolled
from rmt.training.trainer import Trainer

# Gradients are summed in another order, so float32 would drift apart within a few steps of Adam.
DTYPE = torch.float64
TOLERANCE = {"rtol": 1e-8, "atol": 1e-10}

REPLAY = [*RMT, "--bptt_unrolls", "2"]
# 10 streams of about 200 tokens: 26 segments of 8 tokens, so the second epoch begins at step 27.
COMMON = "--batch_size 10 --max_step 30 --eval_interval 10 --eval_batch_size 3".split()
SHORT = ["--max_step", "6"]
CLUSTERS = [*RMT, "--batch_size", "4", "--tgt_len", "4", "--cutoffs", "15", "47", *SHORT]
CHUNKS = ["--batch_size", "8", "--batch_chunk", "2"]
# The empty --data takes back that of the text. 12 inputs in segments of 4; the answer is 8 long.
TASK = ["--data", "", *"--train_samples 60 --valid_samples 10 --test_samples 10".split()]
TASK += [*RMT, *"--dataset copy --n 4 --tgt_len 4 --max_step 8 --eval_interval 4".split()]
SAME_AS_ONE = {
    "rmt, replay": REPLAY,
    "clusters without tokens": CLUSTERS,
    "rmt, window, chunks": [*REPLAY, "--bptt_mode", "window", *CHUNKS, *SHORT],
    "trxl, chunks": [*TRXL, *CHUNKS, *SHORT],
    "trxl_rmt": [*REPLAY, "--model", "trxl_rmt", "--cache_len", "4", *SHORT],
    "mt": ["--model", "mt", "--mem_len", "2", *SHORT],
    "mt as published": ["--model", "mt", "--mem_len", "2", "--published_memory", *SHORT],
    "armt": [*ARMT, "--bptt_unrolls", "2", *SHORT],
    "armt without unrolls": [*ARMT, *SHORT],
    "checkpoint_segments": [*REPLAY, "--checkpoint_segments", *SHORT],
    "varlen": [*REPLAY, "--varlen", *SHORT],
    "documents": [*REPLAY, *DOCUMENTS, *SHORT],
    "documents, window, chunks": [*REPLAY, *DOCUMENTS, "--bptt_mode", "window", *CHUNKS, *SHORT],
    "documents, trxl": [*TRXL, *DOCUMENTS, *SHORT],
    "one stream to score": [*RMT, "--eval_batch_size", "1", *SHORT],
    "compiled layers": [*REPLAY, "--compile", *SHORT],
    "a loss that is not a number": [*REPLAY, *SHORT],
    "task": [*TASK, "--bptt_unrolls", "-1"],
    "task, the initial memory in some backward passes": [*TASK, "--bptt_unrolls", "1"],
    "task, lessons": [*TASK, *"--bptt_unrolls -1 --curriculum 2 --batch_chunk 5".split()],
}
# Around a backbone, which is float32: by steps that don't make more of rounding.
BY_SGD = "--optim sgd --lr 0.05 --scheduler constant --log_interval 1 --eval_interval 2".split()
BY_SGD += "--mem_len 2 --tgt_len 8 --batch_size 4 --eval_batch_size 3 --max_step 4".split()
PRETRAINED = {
    "backbone": ["--bptt_unrolls", "2"],
    "backbone, lora": ["--lora_rank", "2", "--bptt_unrolls", "1"],
    "backbone, armt": "--model armt --d_mem 4 --bptt_unrolls 1".split(),
    "backbone, encoder": ["--model", "encoder"],
}
PACKAGES = {"backbone, lora": "peft"}  # beside transformers
SCHEDULE = "--scheduler constant --dropout 0.1 --eval_interval 4 --save_interval 3".split()
RESUMED = [*REPLAY, *SCHEDULE]


# One of the processes


def run_jobs(rank: int, n_processes: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(DTYPE)
    written = []

    def watch(event: str, args: tuple) -> None:
        if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
            written.append(str(args[0]))
        elif event in ("os.mkdir", "os.rename", "os.symlink", "os.remove", "os.rmdir"):
            written.append(str(args[1 if event == "os.symlink" else 0]))

    sys.addaudithook(watch)
    outcomes = []
    for i, job in enumerate(json.loads((folder / "jobs.json").read_text())):
        store = f"file://{folder}/store{i}"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=n_processes)
        written.clear()
        faulthandler.dump_traceback_later(120, exit=True)  # a deadlock says where it is
        with contextlib.ExitStack() as stack:
            for name, where in job.get("events", {}).items():
                stack.enter_context(EVENTS[name](rank, *where))
            outcome = asdict(run(PROGRAMS[job.get("program", "train")], *job["flags"]))
        inside = [path for path in written if path.startswith(str(folder))]
        outcomes.append(outcome | {"written": [p for p in inside if "/store" not in p]})
    (folder / f"outcomes{rank}.json").write_text(json.dumps(outcomes))


def nan_at(rank: int, at_rank: int, at_call: int):
    """Let the loss of one process not be a number in one step."""
    real, calls = Stream.step, []

    def step(stream, *inputs):
        calls.append(1)
        losses = real(stream, *inputs)
        return losses * float("nan") if (rank, len(calls)) == (at_rank, at_call) else losses

    return patch.object(Stream, "step", step)


def signal_at(rank: int, at_rank: int, at_step: int):
    """Interrupt one process after one step."""
    real = Trainer.train_step

    def train_step(trainer, progress):
        real(trainer, progress)
        if (rank, trainer.place.step) == (at_rank, at_step):
            os.kill(os.getpid(), signal.SIGTERM)

    return patch.object(Trainer, "train_step", train_step)


def compiled_without_its_last_stage(rank: int):
    """--compile without the last stage of the compiler, which is slow; run by hand it passes."""
    real = Layer.compile

    def compile_(layer, **options):
        real(layer, **options | {"backend": "aot_eager"})

    return patch.object(Layer, "compile", compile_)


@contextlib.contextmanager
def locked(rank: int, folder: str):
    """Another process is writing the run."""
    other = RunFolder(Path(folder)) if rank == 0 else None
    yield
    if other:
        other.close()


def unreadable_for(rank: int, at_rank: int):
    """The data are not on one process's machine."""
    real = load_workload

    def load(*args, **options):
        if rank == at_rank:
            raise UsageError("there is no data here")
        return real(*args, **options)

    return patch.object(training, "load_workload", load)


def disk_is_full(rank: int):
    def save(*args, **options):
        raise UsageError("the disk is full")

    return patch.object(checkpoint, "save", save)


PROGRAMS = {"train": train.main, "eval": evaluation.main}
EVENTS = {
    "nan": nan_at,
    "signal": signal_at,
    "compile": compiled_without_its_last_stage,
    "locked": locked,
    "unreadable": unreadable_for,
    "full": disk_is_full,
}
# What goes wrong in one process, and what both say.
FAILURES = {
    "locked": "another process is writing the run",
    "unreadable for the first": "there is no data here",
    "unreadable for the second": "there is no data here",
    "full": "the disk is full",
}


# The tests


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("distributed")


def missing(name: str) -> str | None:
    """The package without which a pretrained model can't be had here."""
    for package in ("transformers", PACKAGES.get(name, "transformers")):
        if find_spec(package) is None:
            return package
    return None


@pytest.fixture(scope="module")
def pretrained_flags(tiny, folder) -> dict[str, list[str]]:
    """For random backbones without dropout, whose masks no two processes share."""
    if find_spec("transformers") is None:
        return {}
    none = ("resid_pdrop", "embd_pdrop", "attn_pdrop")
    gpt2 = pretrained.backbone("gpt2", vocab_size=60, **dict.fromkeys(none, 0.0)).float()
    gpt2.save_pretrained(folder / "gpt2")
    none = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    bert = str(write_encoder(folder / "bert", **dict.fromkeys(none, 0.0)))
    texts = str(write_lines(folder / "texts.jsonl", made_up_texts(30)))
    text = [*tiny[:6], "--backbone", str(folder / "gpt2")]
    labelled = ["--dataset", "classify", "--data", texts, *tiny[4:6], "--backbone", bert]
    labelled += ["--tokenizer", f"hf:{bert}"]
    return {
        name: [*(labelled if "encoder" in name else text), *BY_SGD, *changes]
        for name, changes in PRETRAINED.items()
        if not missing(name)
    }


@pytest.fixture(scope="module")
def jobs(tiny, folder, pretrained_flags) -> dict:
    """What the two processes do, in this order, each in the run folder of its name."""
    flags = [*tiny, *COMMON]
    jobs = {name: {"flags": [*flags, *changes]} for name, changes in SAME_AS_ONE.items()}
    jobs["a loss that is not a number"]["events"] = {"nan": [1, 3]}
    jobs["compiled layers"]["events"] = {"compile": []}
    jobs |= {name: {"flags": flags} for name, flags in pretrained_flags.items()}
    jobs |= {
        "whole": {"flags": [*flags, *RESUMED, "--max_step", "12"]},
        "stopped": {
            "flags": [*flags, *RESUMED, "--max_step", "12"],
            "events": {"signal": [1, 8]},
        },
        "restarted": {"flags": [*flags, *RESUMED, "--max_step", "12", "--restart"]},
        "uneven": {"flags": [*flags, *RMT, "--batch_size", "5"]},
        "uneven chunks": {"flags": [*flags, *RMT, "--batch_chunk", "10"]},
    }
    events = {
        "locked": {"locked": [str(folder / "locked")]},
        "unreadable for the first": {"unreadable": [0]},
        "unreadable for the second": {"unreadable": [1]},
        "full": {"full": []},
    }
    jobs |= {name: {"flags": [*flags, *RMT], "events": events[name]} for name in FAILURES}
    scores = str(folder / "scores.json")
    jobs["scored"] = {"program": "eval", "flags": ["--json", scores, "--batch_size", "3"]}
    kept_in = {"restarted": "stopped", "scored": "whole"}
    for name, job in jobs.items():
        job["flags"] += ["--work_dir", str(folder / kept_in.get(name, name))]
    return jobs


@pytest.fixture(scope="module")
def outcomes(jobs, folder) -> dict[str, list[Outcome]]:
    """Of each job, how it ended in the first and in the second process."""
    (folder / "jobs.json").write_text(json.dumps(list(jobs.values())))
    settings = process_settings() | {"stderr": subprocess.STDOUT}
    path = f"{ROOT / 'tests'}{os.pathsep}{settings['env']['PYTHONPATH']}"
    settings["env"] |= {"PYTHONPATH": path, "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen([sys.executable, __file__, str(rank), "2", str(folder)], **settings)
        for rank in range(2)
    ]
    try:
        printed = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(printed)
    ends = [json.loads((folder / f"outcomes{rank}.json").read_text()) for rank in range(2)]
    return dict(zip(jobs, zip(*ends, strict=True), strict=True))


@pytest.fixture
def double_precision():
    torch.set_default_dtype(DTYPE)
    yield
    torch.set_default_dtype(torch.float32)


def measured(entry: dict) -> dict[str, float]:
    """The numbers of a line in metrics.jsonl, but for times."""
    timing = ("seconds", "tokens_per_s")
    numbers = {name: value for name, value in entry.items() if isinstance(value, int | float)}
    return {name: value for name, value in numbers.items() if name not in timing}


def assert_as_good_as_one(outcomes, jobs, folder, name: str, rel: float, **tolerance) -> dict:
    """Returns the weights."""
    assert [end["status"] for end in outcomes[name]] == [0, 0], outcomes[name]
    alone = folder / f"{name}, alone"
    flags = [flag for flag in jobs[name]["flags"] if flag != "--compile"]
    outcome = run(train.main, *flags, "--work_dir", alone)
    assert outcome.status == 0, outcome.err

    for kind in ("train", "valid", "test"):
        mine, theirs = records(alone, kind), records(folder / name, kind)
        assert [entry["step"] for entry in mine] == [entry["step"] for entry in theirs]
        for one, other in zip(mine, theirs, strict=True):
            assert measured(other) == pytest.approx(measured(one), rel=rel)
    one, other = weights_of(alone), weights_of(folder / name)
    assert one.keys() == other.keys()
    for weight in one:
        torch.testing.assert_close(other[weight], one[weight], **tolerance)
    assert result(folder / name)["processes"] == 2
    return other


@pytest.mark.parametrize("name", [name for name in SAME_AS_ONE if "number" not in name])
def test_two_processes_are_as_good_as_one(outcomes, jobs, folder, double_precision, name):
    weights = assert_as_good_as_one(outcomes, jobs, folder, name, rel=1e-8, **TOLERANCE)
    assert {weight.dtype for weight in weights.values()} == {DTYPE}


@pytest.mark.parametrize("name", PRETRAINED)
def test_so_they_are_around_a_backbone(outcomes, jobs, folder, double_precision, name):
    if package := missing(name):
        pytest.skip(f"no {package}: pretrained models need rmt[hf]")
    assert_as_good_as_one(outcomes, jobs, folder, name, rel=1e-4, rtol=0, atol=1e-5)
    losses = [entry["loss"] for entry in records(folder / name, "train")]
    assert len(set(losses)) == len(losses) == 4


def test_some_clusters_had_no_token(jobs, tiny):
    """Otherwise the job named after them shows nothing."""
    settings = Settings.of({"data": tiny[3], "encoded_dir": tiny[5], "mem_len": 1})
    ids = load_text(settings).splits["train"]
    empty = set()
    for step, (_, targets) in enumerate(SegmentBatches(ids, 4, 4)):
        if step < 6:
            for low, high in ((15, 47), (47, 51)):
                in_cluster = ((targets >= low) & (targets < high)).view(2, -1)
                empty.add(tuple(in_cluster.any(dim=1).tolist()))
    assert {(False, False), (True, False), (False, True)} <= empty


def test_the_second_process_writes_nothing(outcomes):
    for name, (first, second) in outcomes.items():
        assert second["written"] == [], name
        assert second["out"] == "", name
        assert first["written"] or first["status"] == 2, name


def test_both_skip_the_step_in_which_one_has_no_number(outcomes, folder):
    name = "a loss that is not a number"
    assert [end["status"] for end in outcomes[name]] == [0, 0]
    assert result(folder / name)["n_nonfinite"] == 1
    losses = [entry["loss"] for entry in records(folder / name, "train")]
    assert [loss != loss for loss in losses] == [False, False, True, False, False, False]


def test_both_refuse_a_batch_that_they_can_not_share(outcomes, folder):
    for name, part in (
        ("uneven", "batch_size 5 does not divide among 2 processes"),
        ("uneven chunks", "the 5 streams of each process do not divide into 10 chunks"),
    ):
        for end in outcomes[name]:
            end = Outcome(end["status"], end["out"], end["err"])
            assert part in assert_one_sentence(end)
        assert not (folder / name).exists()


@pytest.mark.parametrize("name", FAILURES)
def test_both_end_where_one_fails(outcomes, name):
    """With one sentence, which the first process alone prints, and without a traceback."""
    for end in outcomes[name]:
        end = Outcome(end["status"], "", end["err"])
        assert FAILURES[name] in assert_one_sentence(end)


def test_two_processes_score_as_one_does(outcomes, folder, double_precision):
    assert [end["status"] for end in outcomes["scored"]] == [0, 0], outcomes["scored"]
    alone = folder / "alone.json"
    flags = ["--work_dir", folder / "whole", "--batch_size", 3, "--json", alone]
    assert run(evaluation.main, *flags).status == 0
    one, other = (json.loads(file.read_text()) for file in (alone, folder / "scores.json"))
    for mine, theirs in zip(one["scores"], other["scores"], strict=True):
        assert theirs["loss"] == pytest.approx(mine["loss"], rel=1e-8)


def test_an_interruption_of_one_stops_both(outcomes, folder):
    first, second = outcomes["stopped"]
    assert (first["status"], second["status"]) == (0, 0)
    assert "interrupted after step 8, saved" in first["out"]


def test_a_restart_with_two_processes_is_exact(outcomes, folder):
    assert "continuing after step 8" in outcomes["restarted"][0]["out"]
    whole, again = weights_of(folder / "whole"), weights_of(folder / "stopped")
    assert all(torch.equal(whole[name], again[name]) for name in whole | again)
    for kind in ("train", "valid", "test"):
        mine, theirs = records(folder / "whole", kind), records(folder / "stopped", kind)
        # The save at step 8 rounds the sum of the losses logged, nothing else.
        assert [e["loss"] for e in mine] == pytest.approx([e["loss"] for e in theirs], rel=1e-12)
        assert [e["step"] for e in mine] == [e["step"] for e in theirs]
    assert steps_saved(folder / "stopped") == steps_saved(folder / "whole")


def test_every_process_has_dropout_masks_of_its_own(outcomes, folder):
    path = folder / "whole" / "last" / "training.pt"
    states = torch.load(path, weights_only=True)["random"]["cpu"]
    assert len(states) == 2
    assert not torch.equal(*states)


def test_one_process_goes_on_where_two_stopped(outcomes, jobs, folder, double_precision):
    """Not exactly, with dropout; but from the same place."""
    flags = [*jobs["whole"]["flags"], "--max_step", "13", "--work_dir", folder / "fewer"]
    more = ["--restart", "--restart_dir", folder / "whole"]
    outcome = run(train.main, *flags, *more)
    assert outcome.status == 0, outcome.err
    assert "continuing after step 12" in outcome.out
    assert [entry["step"] for entry in records(folder / "fewer", "train")] == [13]


@pytest.fixture
def group_of_one():
    """As if torchrun had started this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("n_unrolls", [0, 2])
def test_gradients_are_exchanged_while_others_are_computed(group_of_one, n_unrolls):
    """Buckets, of a MiB and more, go out as soon as the layers that are in them are done."""
    model = tiny_model("rmt", n_layer=2, d_inner=20_000)  # 2.5 MiB a layer
    replica = distributed.replica(Unrolled(model), find_unused_parameters=True)
    events = []

    def exchange(_, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        events.append("bucket")
        exchanged = torch.futures.Future()
        exchanged.set_result(bucket.buffer())
        return exchanged

    replica.register_comm_hook(None, exchange)
    model.layers[0].register_full_backward_hook(lambda *_: events.append("first layer"))
    *replayed, predicted = tiny_segments([6] * (n_unrolls + 1))
    for _ in range(2):
        events.clear()
        model.zero_grad(set_to_none=True)
        with model.accumulating_gradients():
            losses, _ = replica([*((tokens, None) for tokens, _ in replayed), predicted])
            losses.mean().backward()
        # A weight's gradient is complete when the first segment's, which comes last, is.
        assert events[: n_unrolls + 2] == ["first layer"] * n_unrolls + ["bucket", "first layer"]


def test_layers_are_compiled_in_one_piece(group_of_one):
    """Also those that are larger than a bucket."""
    model, graphs = tiny_model("rmt", n_layer=1, d_inner=20_000), []  # 2.5 MiB

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    model.compile(backend=backend)
    replica = distributed.replica(Unrolled(model), find_unused_parameters=True)
    losses, _ = replica(tiny_segments([6]))
    losses.mean().backward()
    assert len(graphs) == 1


@pytest.mark.parametrize(("n_streams", "n_processes"), [(10, 1), (10, 2), (10, 3), (10, 4), (3, 5)])
def test_streams_are_shared_out(monkeypatch, n_streams, n_processes):
    monkeypatch.setattr(distributed, "world_size", lambda: n_processes)
    shares = []
    for rank in range(n_processes):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(range(n_streams)[distributed.own_streams(n_streams)])
    assert [stream for share in shares for stream in share] == list(range(n_streams))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_torchrun(tiny, tmp_path):
    """The command that the run scripts give."""
    flags = [*tiny, *REPLAY, "--max_step", "2", "--work_dir", str(tmp_path / "run")]
    launched = command("rmt.launch", "--standalone", "--nproc_per_node=2", "--", *flags)
    settings = process_settings() | {"stderr": subprocess.STDOUT}
    settings["env"] |= {"GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(launched, timeout=120, **settings)
    assert done.returncode == 0, done.stdout
    assert result(tmp_path / "run")["processes"] == 2
    assert done.stdout.count("End of training") == 1


def seconds_to_save(monkeypatch, *options: str) -> int | None:
    """How long torchrun waits before it kills; None where it does not say."""
    ran = []
    monkeypatch.setattr(launch, "run", lambda args: ran.append(config_from_args(args)[0]))
    assert launch.main([*options, "--nproc_per_node=2", "--", "--debug"]) == 0
    return getattr(ran[0], "shutdown_timeout", None)


def test_processes_have_the_time_to_save(monkeypatch):
    """With every version of torchrun it starts; with those that can be told, it waits."""
    with patch.dict(os.environ):
        os.environ.pop("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", None)
        seconds = seconds_to_save(monkeypatch)
        assert seconds in (launch.SECONDS_TO_SAVE, None)
        if seconds is not None:
            assert seconds_to_save(monkeypatch, "--shutdown_timeout", "7") == 7


if __name__ == "__main__":
    run_jobs(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
