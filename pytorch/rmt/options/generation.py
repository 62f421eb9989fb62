"""Options of generation."""

import os
from dataclasses import dataclass

from rmt.options.option import check_at_least, check_choices, option
from rmt.runtime.errors import UsageError


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from the model's predictions."""

    temperature: float = option(
        1.0, "what logits are divided by: below 1 likely tokens become more likely still"
    )
    top_k: int = option(0, "draw among the k most likely tokens; 0: among all")
    top_p: float = option(
        1.0, "draw among the most likely tokens that together have this probability"
    )
    greedy: bool = option(False, "take the most likely token each time, without chance")
    seed: int = option(0, "random seed; the samples after the first have the seeds after it")

    def __post_init__(self):
        check_at_least(self, 0, "top_k", "seed")
        if self.seed >= 2**62:
            raise UsageError(f"seed must be below 2**62, but it is {self.seed}")
        if self.greedy:
            # A temperature of 0 says the same.
            unused = {"temperature": (0, 1), "top_k": (0,), "top_p": (1,)}
            for name, idle in unused.items():
                if getattr(self, name) not in idle:
                    raise UsageError(f"greedy takes the most likely token: leave out {name}")
        elif not 0 < self.temperature < float("inf"):
            raise UsageError(
                f"temperature must be above 0, but it is {self.temperature}: for the most likely "
                "token each time say greedy"
            )
        elif not 0 < self.top_p <= 1:
            raise UsageError(f"top_p must be above 0 and at most 1, but it is {self.top_p}")


@dataclass(frozen=True)
class GenerateConfig:
    """What is continued, by which model, and how far."""

    work_dir: str = option("", "run folder")
    checkpoint: str = option("best", "which checkpoint of the run", ("best", "last"))
    prompt: str = option("", "text to continue")
    prompt_file: str = option("", "file with the text to continue; - is the standard input")
    unk: bool = option(False, "take <unk> for words of the prompt that the vocabulary lacks")
    state_in: str = option("", "file of --state_out, to read on from where that stopped")
    state_out: str = option("", "file to keep what was read and said in, for --state_in")
    tokens: int = option(200, "how many tokens to say; 0: read only")
    samples: int = option(1, "how many continuations, one after the other")
    tgt_len: int = option(0, "segment length in tokens; 0: as in training, or in --state_in")
    cuda: bool = option(False, "run on the GPU")

    def __post_init__(self):
        check_choices(self)
        check_at_least(self, 0, "tokens", "tgt_len")
        check_at_least(self, 1, "samples")
        if not self.work_dir:
            raise UsageError("say which run: --work_dir")
        if self.prompt and self.prompt_file:
            raise UsageError("a prompt comes from --prompt or from --prompt_file: leave one out")
        if self.state_out and self.samples > 1:
            raise UsageError("--state_out keeps one continuation: leave out --samples")
        places = [os.path.realpath(name) for name in (self.state_out, self.prompt_file) if name]
        if len(set(places)) < len(places):
            raise UsageError(f"{self.state_out} is the prompt: write the state to another file")
        if not self.tokens and not self.state_out:
            raise UsageError("with --tokens 0 nothing is said: give --state_out, or more tokens")
