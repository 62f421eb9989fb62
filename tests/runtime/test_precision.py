"""bf16 products on a CPU that has no instructions for them."""

import subprocess
import sys

import pytest
import torch

from helpers.programs import process_settings
from rmt.runtime import precision
from rmt.runtime.precision import PRODUCTS

# Run in a process of its own, for the replaced kernels stay.
SCRIPT = """
import torch
from rmt.runtime import precision

def results(dtype):
    numbers = torch.Generator().manual_seed(1)
    def made(*shape):
        return torch.randn(*shape, generator=numbers).bfloat16().to(dtype)
    x, y, z = made(3, 40, 70), made(3, 70, 50), made(3, 40, 50)
    found = {"mm": x[0] @ y[0], "bmm": x @ y}
    found["addmm"] = torch.addmm(z[0], x[0], y[0], beta=0.5, alpha=2)
    found["baddbmm"] = torch.baddbmm(z, x, y, beta=0.5, alpha=2)
    for name, first, others in (("addmm_", z[0], (x[0], y[0])), ("baddbmm_", z, (x, y))):
        place = first.clone()
        assert getattr(place, name)(*others, alpha=-1) is place
        found[name] = place
    weight = made(50, 70).requires_grad_()
    torch.nn.functional.linear(x, weight, made(50)).sum().backward()
    found["gradient of linear"] = weight.grad
    return found

used = set()

# In place of one of PyTorch's own kernels: keeps what it multiplies.
class Watched:
    def __init__(self, name, key):
        self.name, self.kernel = name.removeprefix("aten::"), get_kernel(name, key)

    def call_boxed(self, keys, first, *others, **scales):
        used.add((self.name, first.dtype))
        return self.kernel.call_boxed(keys, first, *others, **scales)

before = {dtype: results(dtype) for dtype in (torch.float32, torch.float64)}
get_kernel, torch.library.get_kernel = torch.library.get_kernel, Watched
precision.multiply_bf16_in_fp32()
after = {torch.bfloat16: results(torch.bfloat16)}
products = after[torch.bfloat16].keys() - {"gradient of linear"}
assert used == {(name, torch.float32) for name in products}, used
after |= {dtype: results(dtype) for dtype in before}
try:
    torch.ones(2, 2).bfloat16() @ torch.ones(2, 2)
except RuntimeError as error:
    assert "same dtype" in str(error), error
else:
    raise AssertionError("bf16 and fp32 have no product")
torch.save((before, after), "OUT")
"""


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    """Products of the same numbers by dtype, before and after the kernels are replaced."""
    out = tmp_path_factory.mktemp("precision") / "products.pt"
    script = SCRIPT.replace("OUT", str(out))
    done = subprocess.run([sys.executable, "-c", script], **process_settings())
    assert (done.returncode, done.stderr) == (0, "")
    return torch.load(out)


@pytest.mark.parametrize("name", [*PRODUCTS, "gradient of linear"])
def test_bf16_products_are_the_exact_ones_rounded(products, name):
    """To 8 bits; sums in fp32 may fall on the other side of a number in between."""
    before, after = products
    exact, rounded = before[torch.float64][name], after[torch.bfloat16][name]
    assert rounded.dtype == torch.bfloat16
    largest = exact.abs() * 2.0**-8 + 1e-4
    assert ((rounded.double() - exact).abs() <= largest).all()


def test_only_bf16_on_a_cpu_without_it_needs_that(monkeypatch):
    asked = []
    monkeypatch.setattr(precision, "multiply_bf16_in_fp32", lambda: asked.append(True))
    for there, name, expected in ((True, "bf16", 0), (False, "fp32", 0), (False, "bf16", 1)):
        monkeypatch.setattr(precision, "has_bf16", lambda there=there: there)
        asked.clear()
        with precision.autocast(torch.device("cpu"), name):
            assert len(asked) == expected


def test_other_products_are_what_they_were(products):
    before, after = products
    for dtype, found in before.items():
        assert all(torch.equal(after[dtype][name], found[name]) for name in found)
