"""Whatever a tokenizer makes of bytes, its pieces together are the text, and each character is where its bytes end."""

from __future__ import annotations

import time
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from groupwise.tokens.renderer import Renderer
from groupwise.tokens.segmentation import Lines, step_ends
from groupwise.tokens.token_text import Pieces

CORPUS = ["The answer is 12 .\nSo 3 + 4 = 7\n\n", "你好，世界。答案是四。\n", "😀😃😀 naïve café\n"] * 3
TEXTS = st.text(alphabet="Thesawr 12.\n+=你好世答😀é\u2028", max_size=30) | st.text(max_size=20)


def fast(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", clean_up_tokenization_spaces=False)


@cache
def byte_level(size: int) -> PreTrainedTokenizerFast:
    """As GPT-2, Llama 3 and Qwen cut: bytes, merged or not. ``size`` 257: a token a byte."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return fast(tokenizer)


@cache
def sentence_piece() -> PreTrainedTokenizerFast:
    """As Llama 2 cuts: words behind ``▁``, other characters as bytes, and the text's first space dropped."""
    words = ["<unk>", "<eos>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"Thesawr12.=+", "▁T", "▁a", "你"]
    vocabulary = {word: place for place, word in enumerate(words)}
    merges = [("▁", "T"), ("▁", "a")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    return fast(tokenizer)


@cache
def word_piece() -> PreTrainedTokenizerFast:
    """As BERT cuts: the decoder joins words by a space."""
    words = ["[UNK]", "<eos>", "the", "answer", "is", "1", "##2", ".", "a", "##b"]
    model = models.WordPiece({word: place for place, word in enumerate(words)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return fast(tokenizer)


TOKENIZERS = {
    "bytes": lambda: byte_level(257),
    "merged bytes": lambda: byte_level(330),
    "SentencePiece": sentence_piece,
    "WordPiece": word_piece,
}


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=TEXTS, data=st.data())
def test_the_pieces_together_are_what_is_decoded(name: str, text: str, data: st.DataObject) -> None:
    """Of real text, and of tokens drawn blindly, as an untrained model does: bytes that are no characters, EOS."""
    tokenizer = TOKENIZERS[name]()
    renderer = Renderer(tokenizer)
    blind = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=20))
    for tokens in (tokenizer.encode(text), blind, [*tokenizer.encode(text), tokenizer.eos_token_id]):
        pieces = renderer.pieces(tokens)
        assert len(pieces) == len(tokens)
        assert "".join(pieces) == renderer.decode(tokens)
        assert all(not piece for piece, token in zip(pieces, tokens, strict=True) if token == tokenizer.eos_token_id)


@pytest.mark.parametrize("name", ["bytes", "merged bytes", "SentencePiece"])
@given(text=TEXTS)
def test_a_step_ends_at_the_first_token_that_shows_it_whole(name: str, text: str) -> None:
    renderer = Renderer(TOKENIZERS[name]())
    tokens = renderer.tokenizer.encode(text)
    decoded = renderer.decode(tokens)
    found = step_ends(renderer.pieces(tokens), Lines().ends(decoded))
    ends = Lines().ends(decoded)
    shown = [
        next(place for place in range(len(tokens)) if renderer.decode(tokens[: place + 1]).startswith(decoded[:end]))
        for end in ends
    ]
    assert list(found) == sorted(set(shown))


def test_characters_of_several_tokens_by_hand() -> None:
    renderer = Renderer(byte_level(257))
    tokens = [*renderer.tokenizer.encode("好\né"), renderer.tokenizer.eos_token_id]
    assert renderer.pieces(tokens) == ["", "", "好", "\n", "", "é", ""]
    assert step_ends(renderer.pieces(tokens), Lines().ends("好\né")) == (2, 5)


@pytest.mark.parametrize("text", ["好" * 3000, "word 12\n" * 2000, "\ufffd" * 3000])
def test_time_is_linear(text: str) -> None:
    renderer = Renderer(byte_level(257))
    tokens = renderer.tokenizer.encode(text)
    started = time.process_time()
    assert "".join(renderer.pieces(tokens)) == text
    assert time.process_time() - started < 10


def test_bytes_that_never_make_a_character() -> None:
    tokenizer = byte_level(257)
    stray = tokenizer.encode("好")[0]
    pieces = Pieces(tokenizer).of([stray] * 5000)
    assert "".join(pieces) == "\ufffd" * 5000
