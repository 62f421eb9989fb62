"""Quadratic equations solved step by step (Bulatov et al. 2022, appendix A.3).

A sample is six stages of 30 characters: the equation; its canonical form, divided by the leading
coefficient; the discriminant; a line for each root; the answer, the smaller root first. An equation
without real roots ends after the discriminant, and its last three stages are padding.

Here the stages are one below the other, with the marks of the targets that count. A sample is
solved if the last stage, the answer, is right:

    -4*x^2+392*x-2208=0,__________  ..............................
    x^2-98*x+552=0;_______________  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    D=98^2-4*1*552=7396=86^2;_____  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    x=(98-86)/2=6;________________  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    x=(98+86)/2=92,_______________  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    6,92__________________________  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

An equation is drawn as three numbers: factor, b and c of factor * (x^2 + b*x + c) = 0.
"""

import math
from collections.abc import Iterable

import numpy as np

from rmt.data.tasks.task import Kind, SampleOptions, Task, TaskDataset

NAME = "quadratic"
PADDING = "_"
SYMBOLS = (PADDING, ">", *"0123456789+-*/^=()xD;,")  # the start token > does not occur
N_STAGES = 6
STAGE_SIZE = 30  # characters; the longest stage that there is takes 29
UNREAL_SHARE = 0.2  # of equations without real roots

_MAX_ROOT, _MAX_FACTOR = 100, 10
_MAX_B, _MAX_C = 2 * _MAX_ROOT - 1, _MAX_ROOT**2  # without real roots

_N_FACTORS = 2 * _MAX_FACTOR
_N_ROOTS = 2 * _MAX_ROOT + 1
N_REAL = _N_FACTORS * _N_ROOTS * (_N_ROOTS + 1) // 2
N_UNREAL = _N_FACTORS * sum(_MAX_C - b * b // 4 for b in range(-_MAX_B, _MAX_B + 1))

_ID_OF_CODE = bytes(max(0, "".join(SYMBOLS).find(chr(code))) for code in range(256))


def draw_real(random: np.random.Generator, n_samples: int) -> np.ndarray:
    """Equations with two real roots, each uniform in -100 .. 100: factor, b, c, int32 [N, 3]."""
    roots = random.integers(-_MAX_ROOT, _MAX_ROOT, (2, n_samples), endpoint=True)
    return _equations(random, -roots.sum(axis=0), roots.prod(axis=0))


def draw_unreal(random: np.random.Generator, n_samples: int) -> np.ndarray:
    """Equations without real roots: factor, b, c, int32 [N, 3].

    b is uniform in -199 .. 199, and c in what lies above b^2/4 up to 10000. (The paper doesn't
    say how these are drawn; here both stay within the range that they have with real roots.)
    """
    b = random.integers(-_MAX_B, _MAX_B, n_samples, endpoint=True)
    return _equations(random, b, random.integers(b * b // 4 + 1, _MAX_C, endpoint=True))


def _equations(random: np.random.Generator, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """With factors of 1 .. 10 and either sign: the paper says natural, but its example has -4."""
    factor = random.integers(1, _MAX_FACTOR, len(b), endpoint=True) * random.choice([-1, 1], len(b))
    return np.stack([factor, b, c], axis=1).astype(np.int32)


def assemble(equations: np.ndarray) -> np.ndarray:
    """Samples, uint8 [N, 180], of what draw_real and draw_unreal return."""
    text = "".join(padded(stages(*equation)) for equation in equations.tolist())
    ids = bytearray(text, "ascii").translate(_ID_OF_CODE)
    return np.frombuffer(ids, np.uint8).reshape(-1, N_STAGES * STAGE_SIZE)


def padded(texts: Iterable[str]) -> str:
    """Each text filled up to the size of a stage."""
    return "".join(text.ljust(STAGE_SIZE, PADDING) for text in texts)


def stages(factor: int, b: int, c: int) -> tuple[str, str, str, str, str, str]:
    """The stages of factor * (x^2 + b*x + c) = 0, without padding, in the paper's notation."""
    first = {1: "", -1: "-"}.get(factor, f"{factor}*")
    equation = f"{first}x^2{factor * b:+}*x{factor * c:+}=0,"
    canonical = f"x^2{b:+}*x{c:+}=0;"
    square = b * b - 4 * c
    discriminant = f"D={abs(b)}^2-4*1*{c}={square}"
    if square < 0:
        return equation, canonical, f"{discriminant};", "", "", ""
    root = math.isqrt(square)
    low, high = (-b - root) // 2, (-b + root) // 2
    return (
        equation,
        canonical,
        f"{discriminant}={root}^2;",
        f"x=({-b}-{root})/2={low};",
        f"x=({-b}+{root})/2={high},",
        f"{low},{high}",
    )


def make(options: SampleOptions | None = None) -> Task:
    """The task; its samples have one size."""
    real = Kind("equations with real roots", N_REAL, draw_real, 1 - UNREAL_SHARE)
    unreal = Kind("equations without real roots", N_UNREAL, draw_unreal, UNREAL_SHARE)
    return Task(
        NAME,
        symbols=SYMBOLS,
        length=N_STAGES * STAGE_SIZE,
        answer_size=(N_STAGES - 1) * STAGE_SIZE,
        final_size=STAGE_SIZE,
        kinds=(real, unreal),
        assemble=assemble,
        padding=SYMBOLS.index(PADDING),
    )


QUADRATIC = TaskDataset(
    NAME,
    make=make,
    held_out=(10_000, 20_000),
    headline="solve_rate",
    # Its samples can't be made shorter.
    fast={"curriculum": 0, "mem_init": "shared", "batch_size": 32, "eval_interval": 250},
)
