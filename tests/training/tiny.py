"""A random Llama and a byte-level tokenizer, made offline, small enough for a test."""

import os
import warnings
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's client is imported: no test looks anything up

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

with warnings.catch_warnings():  # third-party deprecations at import are not this test's concern
    warnings.simplefilter("ignore")
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
WORDS = ("Ġyes", "Ġno", "Ġthe", "Ġis", "Ġgood", "Ġbad", "Ġtea", "token", "ise", "tea", "the", "good")
MERGES_ACROSS = (("token", "ise"),)
"""Prompt "token" and completion "ise" become one token, and so do a prompt's last space and "yes"."""

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% "
    "endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _merges() -> list[tuple[str, str]]:
    """Left-to-right merges that build every word from its bytes, each once."""
    chain = {(word[:i], word[i]): None for word in WORDS for i in range(1, len(word))}
    return [*chain, *MERGES_ACROSS]


def tiny_tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Byte-level BPE with about 300 tokens; end of text pads and `<|im_end|>` ends a turn, as in
    SmolLM2-Instruct.
    """
    merges = _merges()
    pieces = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges)]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    core = Tokenizer(BPE(vocab=vocab, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(piece, special=True) for piece in SPECIAL])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>", bos_token="<|im_start|>"
    )
    tokenizer.chat_template = template
    return tokenizer


def tiny_llama(seed: int = 0, dtype: torch.dtype = torch.float32, **config) -> LlamaForCausalLM:
    """A random Llama, hidden 32, 2 layers, whose logits spread by about a nat; `config` overrides
    LlamaConfig.
    """
    settings = {
        "vocab_size": 320,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(**(settings | config)))
    return model.to(dtype).eval()


def save_tiny(path: Path | str, seed: int = 0, dtype: torch.dtype = torch.float32, **config) -> Path:
    """Write model and tokenizer as a directory that `from_pretrained` reads."""
    path = Path(path)
    tiny_llama(seed, dtype, **config).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path
