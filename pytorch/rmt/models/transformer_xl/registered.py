"""The five models of the paper in the registry."""

from rmt.models.registry import ModelEntry
from rmt.models.transformer_xl.options import ModelConfig

HERE = "rmt.models.transformer_xl"
TOKENS = "memory tokens, the paper's MEMORY"
STATES = "cached hidden states of every layer, in tokens"


def _entry(name: str, means: dict[str, str], colour: str, marker: str) -> ModelEntry:
    return ModelEntry(
        name,
        ModelConfig,
        f"{HERE}.mem_transformer:MemTransformerLM",
        means=means,
        published_names=f"{HERE}.published_names",
        published_options=f"{HERE}.published_options",
        plain=f"{HERE}.plain:PlainModel",
        colour=colour,
        marker=marker,
    )


# Colours that are told apart with any colour vision (Okabe and Ito 2008).
ENTRIES = (
    _entry("baseline", {}, "#7f7f7f", "s"),
    _entry("mt", {"mem_len": TOKENS}, "#E69F00", "^"),
    _entry("trxl", {"mem_len": STATES}, "#0072B2", "D"),
    _entry("rmt", {"mem_len": TOKENS}, "#D55E00", "o"),
    _entry("trxl_rmt", {"mem_len": TOKENS, "cache_len": STATES}, "#009E73", "P"),
)
