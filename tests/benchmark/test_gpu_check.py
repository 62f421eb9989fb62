"""The check of a GPU: what it measures, what it says, and how it ends."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from helpers.programs import assert_one_sentence, run
from rmt import gpu_check
from rmt.benchmark import agreement, on_gpu
from rmt.benchmark.kernels import kind, summary
from rmt.benchmark.on_gpu import FORMS, measure_in_turn, planned, report_page

PASSED = {"passed": 7, "skipped": 1, "seconds": 3.0, "failures": {}}
ALIKE = [
    {"form": "as usual", "losses": [1.1, 0.4], "apart_from": None},
    {"form": "captured", "losses": [1.1, 0.41], "apart_from": None},
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nvjet_tst_128x256_64x4_2x1_v_bz_TNT", "products"),
        ("void cutlass::Kernel2<cutlass_80_wmma_tensorop_bf16>", "products"),
        ("void cublasLt::splitKreduce_kernel<32, 16>", "products"),
        ("void at::native::multi_tensor_apply_kernel<FusedAdamMathFunctor>", "optimizer"),
        ("triton_per_fused_add_native_dropout_native_layer_norm_3", "norm"),
        ("triton_per_fused__softmax_add_1", "softmax"),
        ("triton_poi_fused_native_dropout_relu_2", "dropout"),
        ("triton_tem_fused_flex_attention_0", "attention"),
        ("rmt_attention_backward_keys", "attention"),
        ("Memcpy DtoD (Device -> Device)", "copies"),
        ("void at::native::reduce_kernel<512, 1>", "sums"),
        ("triton_poi_fused_add_mul_0", "element-wise"),
        ("void at::native::vectorized_elementwise_kernel<4>", "element-wise"),
        ("something new", "other"),
    ],
)
def test_what_a_kernel_does_is_told_by_its_name(name, expected):
    assert kind(name) == expected


def test_kernels_are_summed_by_kind():
    named = [("Memset", 0.5), ("nvjet_a", 1.0), ("nvjet_b", 2.0)]
    expected = {"number": 3, "seconds": 3.5, "kinds": {"products": 3.0, "copies": 0.5}}
    assert summary(named) == expected


def test_the_papers_batches_are_measured_in_every_form():
    groups = list(planned(small=False, steps=10))
    cases = [each for group in groups for each in group.cases]
    assert all(each.train.cuda for each in cases)
    plain = [each for each in cases if each.model.attention == "auto"]
    assert len(plain) == 6 * 2 * len(FORMS)
    first = groups[0].cases[0]
    assert (first.name, first.model.model, first.model.mem_len) == ("enwik8", "rmt", 20)
    assert (first.train.batch_size, first.train.tgt_len, first.train.bptt_unrolls) == (64, 128, 1)
    assert (first.train.cuda_graph, first.train.precision) == ("on", "bf16")
    wt103 = groups[1].cases[0]
    assert (wt103.train.batch_size, wt103.train.bptt_unrolls, wt103.model.mem_len) == (128, 3, 10)
    assert wt103.model.cutoffs == (20_000, 40_000, 200_000)
    copy = groups[2].cases[0]
    assert (copy.settings.task.n, copy.train.segments, copy.train.batch_size) == (24, 6, 32)
    labels = [group.label for group in groups]
    assert len(set(labels)) == len(labels)


def test_of_a_case_that_fails_it_says_why_and_goes_on(monkeypatch):
    def measure(case):
        if case == "bad":
            raise RuntimeError("out of something\nand a long story")
        return {"name": case}

    monkeypatch.setattr(on_gpu, "measure", measure)
    monkeypatch.setattr(on_gpu, "label", str)
    found = measure_in_turn(["good", "bad", "good"])
    failed = {"name": "bad", "failed": "RuntimeError: out of something"}
    assert found == [{"name": "good"}, failed, {"name": "good"}]


@pytest.fixture
def checked(monkeypatch, tmp_path):
    """Run the check of two groups without measuring; results and tests are given."""

    def checked(tests: dict, results: list[list[dict]], *flags, forms=ALIKE):
        groups = [on_gpu.Planned(f"group {i}", (i,)) for i in range(len(results))]
        monkeypatch.setenv("RMT_DEVICE", "cpu")
        cases = [(each["form"], each, True) for each in forms]
        monkeypatch.setattr(gpu_check.agreement, "cases", lambda small: cases)
        monkeypatch.setattr(gpu_check.agreement, "compared", list)
        monkeypatch.setattr(gpu_check, "run_tests", lambda seconds, out: tests)
        monkeypatch.setattr(gpu_check, "planned", lambda **settings: groups)

        def in_new_process(function, *arguments, seconds):
            assert 0 < seconds <= 180
            return results[arguments[0][0]] if function is measure_in_turn else arguments[1]

        monkeypatch.setattr(gpu_check, "in_new_process", in_new_process)
        outcome = run(gpu_check.main, tmp_path / "out", *flags)
        report = json.loads((tmp_path / "out" / "gpu-check.json").read_text())
        page = (tmp_path / "out" / "gpu-check.md").read_text()
        return SimpleNamespace(outcome=outcome, report=report, page=page)

    return checked


FOUND = {
    "name": "copy",
    "model": {"model": "rmt"},
    "train": {
        "bptt_unrolls": -1,
        "batch_chunk": 1,
        "bptt_mode": "replay",
        "checkpoint_segments": False,
        "precision": "bf16",
    },
    "step_form": "captured",
    "seconds_per_step": 0.004,
    "fastest": 0.004,
    "slowest": 0.005,
    "tokens_per_s": 1000.0,
    "units": None,
    "utilization": None,
    "peak_memory_bytes": 2**30,
    "kernels": {"number": 2904, "seconds": 0.0035, "kinds": {"products": 0.002, "norm": 0.0015}},
}


def test_a_check_in_which_all_is_well(checked):
    found = checked(PASSED, [[FOUND], [FOUND]])
    assert found.outcome.status == 0, found.outcome.err
    assert "Tests: 7 passed, 0 failed, 1 skipped, in 3 s." in found.page
    assert "| copy | rmt | full, captured | bf16 | 4.0 |" in found.page
    assert "| copy | rmt | full, captured | bf16 | 2,904 | 3.5 | 2.0 | 1.5 |" in found.page
    assert found.report["results"] == [FOUND, FOUND]
    assert found.report["left_out"] == []
    assert found.report["stand_ins"]
    assert found.page in found.outcome.out


def test_it_fails_where_a_test_or_a_measurement_does(checked):
    failing = PASSED | {"failures": {"tests.gpu::test_a": "assert 1 == 2"}}
    found = checked(failing, [[FOUND]])
    assert found.outcome.status == 1
    assert "- failed: tests.gpu::test_a: assert 1 == 2" in found.page
    found = checked(PASSED, [[{"name": "copy rmt", "failed": "RuntimeError: no"}], [FOUND]])
    assert found.outcome.status == 1
    assert "- not measured: copy rmt: RuntimeError: no" in found.page
    assert "| copy | rmt |" in found.page, "the others are"


def test_it_fails_where_a_form_trains_in_another_way_or_not_at_all(checked):
    found = checked(PASSED, [[FOUND]])
    assert "| captured | 1.100 | 0.410 |  |" in found.page
    apart = [ALIKE[0], {"form": "captured", "losses": [1.1, 1.7], "apart_from": 50}]
    found = checked(PASSED, [[FOUND]], forms=apart)
    assert found.outcome.status == 1
    assert "| captured | 1.100 | 1.700 | 50 |" in found.page
    found = checked(PASSED, [[FOUND]], forms=[ALIKE[0], {"form": "captured", "failed": "no"}])
    assert found.outcome.status == 1
    assert "- not trained captured: no" in found.page
    assert found.report["agreement"][1] == {"form": "captured", "failed": "no"}


def test_where_training_goes_another_way():
    usual = [1.0, 0.5, 0.1]
    assert agreement.apart_from([1.1, 0.6, 0.2], usual) is None
    assert agreement.apart_from([1.0, 0.5, 0.4], usual) == 2 * agreement.WINDOW
    assert agreement.apart_from([1.0, 0.1, 0.1], usual) == agreement.WINDOW, "either may be wrong"
    assert agreement.apart_from([1.0, float("nan"), 0.1], usual) == agreement.WINDOW
    n_windows = agreement.STEPS // agreement.WINDOW
    assert agreement.apart_from([1.0] * n_windows, [1.0] * n_windows) == 550, "nothing was learned"


def test_forms_are_compared_with_the_usual_one():
    usual = {"form": agreement.USUAL, "losses": [1.0, 0.1]}
    other, failed = {"form": "captured", "losses": [1.0, 0.9]}, {"form": "compiled", "failed": "no"}
    found = agreement.compared([usual, other, failed])
    assert [each.get("apart_from", "none") for each in found] == [None, agreement.WINDOW, "none"]
    broken = {"form": agreement.USUAL, "failed": "no"}
    assert agreement.compared([broken, other]) == [broken, other], "nothing to compare with"


def test_a_form_is_trained_the_same_again():
    ((name, small, compiles),) = agreement.cases(small=True)
    assert name == agreement.USUAL
    losses = agreement.losses(small, compiles)
    assert len(losses) == small.steps
    assert losses[-1] < losses[0]
    found = agreement.trained(name, small, compiles)
    assert found == {"form": name, "losses": agreement.windows(losses)}


def test_forms_differ_by_how_they_run_alone():
    cases = [each for _, each, _ in agreement.cases(small=False)]
    assert all(each.train.cuda for each in cases)
    as_usual = [replace(each.train, cuda_graph="off", compile=False) for each in cases]
    assert all(each == as_usual[0] for each in as_usual)
    how = [(each.train.cuda_graph, each.train.compile) for each in cases]
    assert how == [("off", False), ("on", False), ("off", True), ("on", False)]


def test_of_a_form_that_fails_it_says_why(monkeypatch):
    def trainer_for(case, device, compiles):
        raise RuntimeError("out of something\nand a long story")

    monkeypatch.setattr(agreement, "trainer_for", trainer_for)
    ((name, small, compiles),) = agreement.cases(small=True)
    failed = {"form": name, "failed": "RuntimeError: out of something"}
    assert agreement.trained(name, small, compiles) == failed


@pytest.mark.parametrize(
    "log",
    [
        "[gw1] [  9%] PASSED tests/a.py::one[x, y]\n[gw0] [ 18%] FAILED tests/a.py::two[z]\n",
        "tests/a.py::one[x, y] PASSED [  9%]\ntests/a.py::two[z] FAILED [ 18%]\n",
    ],
)
def test_of_tests_that_are_stopped_it_keeps_what_came_out(log):
    found = gpu_check.stopped_tests("collecting\n" + log + "tests/a.py::three", 60.0)
    assert (found["passed"], found["skipped"]) == (1, 0)
    assert found["failures"] == {
        "the others": "they took longer than 60 seconds",
        "tests/a.py::two[z]": "see gpu-tests.txt",
    }


def test_what_there_was_no_time_for_is_named(checked):
    found = checked(PASSED, [[FOUND], [FOUND]], "--minutes", "0.5")
    assert found.outcome.status == 0
    assert found.report["results"] == found.report["agreement"] == []
    assert (
        "Left out, for lack of time: training as usual; training captured; group 0; group 1."
        in found.page
    )


def test_without_a_gpu_it_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.delenv("RMT_DEVICE", raising=False)
    monkeypatch.setattr(gpu_check.torch.cuda, "is_available", lambda: False)
    sentence = assert_one_sentence(run(gpu_check.main, tmp_path / "out"))
    assert sentence == (
        "PyTorch sees no GPU here: RMT_DEVICE=cpu goes through the check without one"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flags", ["--steps 0", "--minutes 0", "--minutes nan"])
def test_it_needs_time_and_steps(tmp_path, flags):
    sentence = assert_one_sentence(run(gpu_check.main, tmp_path / "out", *flags.split()))
    assert "must be above 0, but it is" in sentence
    assert not (tmp_path / "out").exists()


def test_a_page_without_results():
    report = {
        "date": "2026-01-01",
        "machine": {"cpu": "x", "gpu": "NVIDIA H100"},
        "versions": {"torch": "2.11"},
        "tests": PASSED,
        "results": [],
    }
    page = report_page(report)
    assert "NVIDIA H100, PyTorch 2.11." in page
    assert "Steps" not in page
