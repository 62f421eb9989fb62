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

Lessons, which the paper has not, begin with smaller roots: what is learned first is how a solution
is written, and arithmetic with few digits.
"""

import math
from collections.abc import Iterable
from functools import partial

import numpy as np

from rmt.data.tasks.curriculum import Lesson, growing_lessons
from rmt.data.tasks.task import Kind, SampleOptions, Task, TaskDataset

NAME = "quadratic"
PADDING = "_"
SYMBOLS = (PADDING, ">", *"0123456789+-*/^=()xD;,")  # the start token > does not occur
N_STAGES = 6
STAGE_SIZE = 30  # characters; the longest stage that there is takes 29
UNREAL_SHARE = 0.2  # of equations without real roots

LARGEST_ROOT = 100
_MAX_FACTOR = 10
# The largest roots of the usual lessons before the last.
_FIRST_LESSON, _SECOND_LESSON = 9, 30
# The loss counts every character, and most are known. Of a sample it is 1.5 nats altogether.
_LEARNED_AT = 0.01

_ID_OF_CODE = bytes(max(0, "".join(SYMBOLS).find(chr(code))) for code in range(256))


def n_real(largest: int) -> int:
    """How many different equations there are with two real roots."""
    n_roots = 2 * largest + 1
    return 2 * _MAX_FACTOR * n_roots * (n_roots + 1) // 2


def n_unreal(largest: int) -> int:
    """How many there are without."""
    most_b, most_c = _most_unreal(largest)
    return 2 * _MAX_FACTOR * sum(most_c - b * b // 4 for b in range(-most_b, most_b + 1))


def _most_unreal(largest: int) -> tuple[int, int]:
    """The largest b and c without real roots."""
    return 2 * largest - 1, largest**2


def draw_real(
    random: np.random.Generator, n_samples: int, largest: int = LARGEST_ROOT
) -> np.ndarray:
    """Equations with two real roots, each uniform up to `largest`, with either sign, or 0.

    Returns factor, b and c: int32 [N, 3].
    """
    roots = random.integers(-largest, largest, (2, n_samples), endpoint=True)
    return _equations(random, -roots.sum(axis=0), roots.prod(axis=0))


def draw_unreal(
    random: np.random.Generator, n_samples: int, largest: int = LARGEST_ROOT
) -> np.ndarray:
    """Equations without real roots: factor, b, c, int32 [N, 3].

    b is uniform in -199 .. 199 (for roots of at most 100), and c in what lies above b^2/4 up to
    10000. (The paper doesn't say how these are drawn; here both stay within the range that they
    have with real roots.)
    """
    most_b, most_c = _most_unreal(largest)
    b = random.integers(-most_b, most_b, n_samples, endpoint=True)
    return _equations(random, b, random.integers(b * b // 4 + 1, most_c, endpoint=True))


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


def shortened(samples: np.ndarray, largest: int) -> np.ndarray:
    """The equations of samples [N, 180] with roots of at most `largest`: int32 [N, 3].

    Factors and signs stay. Roots are taken modulo largest + 1, so that uniform ones stay nearly
    so. Of equations without real roots b is made smaller alike, and how much c is above b^2/4.
    """
    factor, b, c = np.array([_equation_of(sample) for sample in samples]).T
    square = b**2 - 4 * c
    root = np.sqrt(np.maximum(square, 0)).astype(int)  # exact where roots are whole numbers
    low, high = (_modulo((-b + one) // 2, largest + 1) for one in (-root, root))
    small_b = _modulo(b, 2 * largest)
    least, small_least = b**2 // 4 + 1, small_b**2 // 4 + 1
    small_c = small_least + (c - least) % (largest**2 - small_least + 1)
    is_real = square >= 0
    b, c = np.where(is_real, -low - high, small_b), np.where(is_real, low * high, small_c)
    return np.stack([factor, b, c], axis=1).astype(np.int32)


def _modulo(numbers: np.ndarray, divisor: int) -> np.ndarray:
    """Of their sizes; signs stay."""
    return np.sign(numbers) * (abs(numbers) % divisor)


def _equation_of(sample: np.ndarray) -> tuple[int, int, int]:
    """Its factor, b and c."""
    equation, canonical = (
        "".join(SYMBOLS[i] for i in stage) for stage in sample[: 2 * STAGE_SIZE].reshape(2, -1)
    )
    factor = equation.split("x^2")[0].removesuffix("*")
    b, c = canonical.removeprefix("x^2").split("=")[0].split("*x")
    return int({"": "1", "-": "-1"}.get(factor, factor)), int(b), int(c)


def _lessons(n_first: int, tgt_len: int, largest: int) -> tuple[Lesson, ...]:
    """From roots of at most n_first (-1: of one digit) to those of at most `largest`."""
    first = _FIRST_LESSON if n_first < 0 else n_first
    return growing_lessons(largest, (_SECOND_LESSON,), min(first, largest), tgt_len)


def make(options: SampleOptions | None = None) -> Task:
    """The task; its samples have one size."""
    return _with_roots(LARGEST_ROOT)


def _with_roots(largest: int) -> Task:
    real = Kind(
        "equations with real roots",
        n_real(largest),
        partial(draw_real, largest=largest),
        1 - UNREAL_SHARE,
    )
    unreal = Kind(
        "equations without real roots",
        n_unreal(largest),
        partial(draw_unreal, largest=largest),
        UNREAL_SHARE,
    )
    return Task(
        NAME,
        symbols=SYMBOLS,
        length=N_STAGES * STAGE_SIZE,
        answer_size=(N_STAGES - 1) * STAGE_SIZE,
        final_size=STAGE_SIZE,
        kinds=(real, unreal),
        assemble=assemble,
        padding=SYMBOLS.index(PADDING),
        n=largest,
        resized=_with_roots,
        shorten=shortened,
        lessons=partial(_lessons, largest=largest),
        learned_at=_LEARNED_AT,
    )


QUADRATIC = TaskDataset(
    NAME,
    make=make,
    held_out=(10_000, 20_000),
    headline="solve_rate",
    fast={"curriculum": 0, "mem_init": "shared", "batch_size": 32, "eval_interval": 250},
    has_lessons=True,
)
