"""What is asked of a Hugging Face model before memory is put around it."""

import torch
from torch import Tensor, nn

from rmt.models.pretrained import hub
from rmt.runtime.errors import UsageError

N_SAMPLED = 4096  # words whose embeddings say how large embeddings are


def bare(hf_model: nn.Module) -> nn.Module:
    """The model itself where peft has put adapters into it."""
    return hf_model.get_base_model() if hasattr(hf_model, "get_base_model") else hf_model


def check_is_model(hf_model: object) -> None:
    """Raise UsageError for what is no model of the transformers library."""
    kind = hub.transformers().PreTrainedModel
    if not isinstance(hf_model, nn.Module) or not isinstance(bare(hf_model), kind):
        raise UsageError(
            f"a model of the transformers library is needed, as AutoModel.from_pretrained gives, "
            f"not {type(hf_model).__name__}"
        )


def classifies(hf_model: nn.Module) -> bool:
    """Whether it has a classifier of its own, of sequences."""
    return type(bare(hf_model)).__name__.endswith("ForSequenceClassification")


def text_config(hf_model: nn.Module):
    """The configuration of the part that reads text."""
    return bare(hf_model).config.get_text_config()


def most_rows(hf_model: nn.Module) -> int | None:
    """How many rows a backbone has positions for; None where it has no such limit."""
    most = getattr(text_config(hf_model), "max_position_embeddings", None)
    if not most or most < 0:
        return None
    # RoBERTa's family counts positions from behind that of padding.
    embeddings = getattr(bare(hf_model).base_model, "embeddings", None)
    if hasattr(embeddings, "create_position_ids_from_input_ids"):
        return most - embeddings.padding_idx - 1
    return most


def check_rows(n_rows: int, most: int | None, what: str) -> None:
    """Raise UsageError for a segment that is too long; what: its rows, for people."""
    if most is not None and n_rows > most:
        raise UsageError(
            f"the backbone has positions for {most} rows, and {what} are {n_rows}: choose a "
            "shorter segment or fewer memory tokens"
        )


@torch.no_grad()
def initial_memory(embedding: nn.Module, mem_len: int) -> Tensor:
    """Distinct random rows, as far spread as the embeddings of words: [m, D].

    The embeddings are looked up, for some backbones scale what they have stored.
    """
    n_words = embedding.weight.shape[0]
    step = max(1, n_words // N_SAMPLED)
    words_ND = embedding(torch.arange(0, n_words, step, device=embedding.weight.device))
    spread = words_ND.float().std()
    drawn = torch.randn(mem_len, words_ND.shape[1])
    return drawn.to(words_ND) * spread.to(words_ND.dtype)


def check_sizes(embedding: nn.Module, d_model: int) -> None:
    """Raise UsageError where a last hidden state can't take the place of an embedding."""
    with torch.no_grad():
        first = embedding(torch.zeros(1, dtype=torch.int64, device=embedding.weight.device))
    if first.shape[-1] != d_model:
        raise UsageError(
            f"the backbone's embeddings have {first.shape[-1]} numbers and its hidden states "
            f"{d_model}: memory needs one size, so choose a backbone that has it"
        )
