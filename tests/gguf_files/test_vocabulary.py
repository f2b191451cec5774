"""Tokenizers out of GGUF files give the ids of the tokenizers that were put in."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken

from groupwise.errors import UserError
from groupwise.gguf_files.reading import GgufFile
from groupwise.gguf_files.vocabulary import merges_of, template_of, tokenizer_of

DATA = Path(__file__).resolve().parents[2] / "../shared/data/tokenizers"
TEXTS = (
    "Hello  world\n\n\tx ", "12345 + 678 = 1,234.50", "naïve “quotes” don't I'LL", "日本語 text 数字",
    "½ ² ١٢٣ é e\u0301",
    "def f(x):\n    return x\n\n", "<|im_start|>user\nhi<|im_end|>", "<think>\nso</think>", "", " a",
    "\r\n\r\n", "🙂👍🏽",
)  # fmt: skip


def write(path: Path, values: dict[str, Any], architecture: str = "llama") -> GgufFile:
    """A file with a tokenizer alone."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(128)
    for name, value in values.items():
        key = f"tokenizer.{name}"
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}[type(value)]
            add(key, value)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    return GgufFile(path)


def values_of(core: dict[str, Any], pre: str) -> dict[str, Any]:
    """What llama.cpp's converter keeps of a byte-level tokenizer.json; rows beyond it are filled up."""
    added = {token["id"]: token for token in core["added_tokens"]}
    vocabulary = {**core["model"]["vocab"], **{token["content"]: number for number, token in added.items()}}
    by_number = {number: token for token, number in vocabulary.items()}
    size = len(by_number) + 3
    kinds = [
        {True: 3, False: 4}[added[n]["special"]] if n in added else 1 if n in by_number else 5 for n in range(size)
    ]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in core["model"]["merges"]]
    return {
        "ggml.model": "gpt2",
        "ggml.pre": pre,
        "ggml.tokens": [by_number.get(number, f"[PAD{number}]") for number in range(size)],
        "ggml.token_type": kinds,
        "ggml.merges": merges,
    }


@pytest.mark.skipif(not DATA.exists(), reason="the real data is not here")
@pytest.mark.parametrize(("name", "pre"), [("qwen3", "qwen2"), ("smollm2-135m-instruct", "default")])
def test_ids_of_a_real_tokenizer(name: str, pre: str, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    text = lzma.decompress((DATA / name / "tokenizer.json.xz").read_bytes()).decode()
    original = Tokenizer.from_str(text)
    made = tokenizer_of(write(tmp_path / "t.gguf", values_of(json.loads(text), pre)))
    for said in TEXTS:
        ids = original.encode(said, add_special_tokens=False).ids
        assert made.encode(said, add_special_tokens=False) == ids, said
        assert made.decode(ids, skip_special_tokens=False) == original.decode(ids, skip_special_tokens=False), said
    assert len(made) == original.get_vocab_size()
    again = made.backend_tokenizer.get_added_tokens_decoder()
    assert {token.content for token in again.values()} == {
        token.content for token in original.get_added_tokens_decoder().values()
    }


def letters(*more: str) -> dict[str, Any]:
    """A byte-level vocabulary of letters, digits, a blank and further tokens, whose merges are left to right."""
    base = [*"abcdefgh0123456789", "Ġ"]
    merges = [f"{word[:-1]} {word[-1]}" for word in more if word[:-1] in base or word[:-1] in more]
    return {"ggml.model": "gpt2", "ggml.tokens": [*base, *more], "ggml.merges": merges or ["a b"]}


def test_the_way_of_cutting_is_the_file_s(tmp_path: Path) -> None:
    """Digits one by one, in threes, or as many as there are."""
    values = letters("12", "123", "1234", "ab")
    expected = {"smollm": ["1", "2", "3", "4"], "qwen2": ["1", "2", "3", "4"], "llama-bpe": ["123", "4"]}
    for way, pieces in {**expected, "gpt-2": ["1234"], "starcoder": ["1", "2", "3", "4"]}.items():
        made = tokenizer_of(write(tmp_path / f"{way}.gguf", values | {"ggml.pre": way}))
        assert made.convert_ids_to_tokens(made.encode("1234", add_special_tokens=False)) == pieces, way
    with pytest.raises(
        UserError, match="its text is cut in the way poro-chat, which is not known here; expected one of"
    ):
        tokenizer_of(write(tmp_path / "x.gguf", values | {"ggml.pre": "poro-chat"}))


def test_a_whole_word_of_llama_3_is_one_token(tmp_path: Path) -> None:
    """``abc`` is a token that no merge makes."""
    values = letters("ab", "bc", "abc") | {"ggml.merges": ["b c", "a b"]}
    for way, pieces in {"llama-bpe": ["abc"], "tekken": ["abc"], "qwen2": ["a", "bc"]}.items():
        made = tokenizer_of(write(tmp_path / f"{way}.gguf", values | {"ggml.pre": way}))
        assert made.convert_ids_to_tokens(made.encode("abc", add_special_tokens=False)) == pieces, way


def test_what_begins_a_text_and_what_is_special(tmp_path: Path) -> None:
    tokens = [*"abc", "Ġ", "<s>", "<think>", "ab", "[PAD7]"]
    said = {"ggml.tokens": tokens, "ggml.token_type": [1, 1, 1, 1, 3, 4, 1, 5], "ggml.merges": ["a b"]}
    values = {"ggml.model": "gpt2", "ggml.pre": "default", "ggml.bos_token_id": 4, "ggml.add_bos_token": True, **said}
    values |= {"chat_template": "{{ messages }}", "chat_template.tool_use": "{{ tools }}"}
    file = write(tmp_path / "a.gguf", values)
    made = tokenizer_of(file)
    assert made.encode("ab") == [4, 6]
    assert made.encode("c<think><s>", add_special_tokens=False) == [2, 5, 4]
    assert made.decode([2, 5, 4], skip_special_tokens=True) == "c<think>"
    assert len(made) == 7
    assert template_of(file) == {"default": "{{ messages }}", "tool_use": "{{ tools }}"}
    assert tokenizer_of(write(tmp_path / "b.gguf", values | {"ggml.add_bos_token": False})).encode("ab") == [6]
    with pytest.raises(UserError, match="a token is in the vocabulary twice"):
        tokenizer_of(write(tmp_path / "c.gguf", values | {"ggml.tokens": [*tokens[:-2], "a", "b"]}))
    with pytest.raises(UserError, match=r"a tokenizer of kind bert; expected gpt2 \(byte-level\) or llama"):
        tokenizer_of(write(tmp_path / "d.gguf", values | {"ggml.model": "bert"}))


def test_merges_are_made_of_scores() -> None:
    """The best token first; of two ways to one, the longer beginning first."""
    assert merges_of(["a", "b", "ab", "c", "bc", "abc"], [0, 0, -1, 0, -2, -3]) == [
        ("a", "b"),
        ("b", "c"),
        ("ab", "c"),
        ("a", "bc"),
    ]


def sentencepiece(tmp_path: Path, architecture: str, **more: Any) -> Any:
    words = ["▁", "▁a", "b", "a", "▁ab", "c", "  " if architecture == "gemma" else "▁▁", "<turn>"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    kinds = [2, 3, 3, *[6] * 256, *[1] * 7, 4]
    scores = [0.0] * 259 + [-5.0, -1.0, -3.0, -4.0, -2.0, -6.0, -0.5, 0.0]
    said = {"ggml.tokens": tokens, "ggml.token_type": kinds, "ggml.scores": scores, "ggml.unknown_token_id": 0}
    values = {"ggml.model": "llama", **said, "ggml.bos_token_id": 1, "ggml.eos_token_id": 2, **more}
    return tokenizer_of(write(tmp_path / f"{architecture}{len(more)}.gguf", values, architecture))


def test_sentencepiece_has_a_blank_where_a_text_begins_and_bytes_for_the_rest(tmp_path: Path) -> None:
    made = sentencepiece(tmp_path, "llama")
    pieces = made.convert_ids_to_tokens(made.encode("ab<turn>b  é"))
    assert pieces == ["<s>", "▁ab", "<turn>", "b", "▁▁", "<0xC3>", "<0xA9>"]
    assert made.decode(made.encode("ab<turn>b  é"), skip_special_tokens=True) == "ab<turn>b  é"
    bare = sentencepiece(tmp_path, "llama", **{"ggml.add_space_prefix": False})
    assert bare.convert_ids_to_tokens(bare.encode("ab", add_special_tokens=False)) == ["a", "b"]
    gemma = sentencepiece(tmp_path, "gemma")
    assert gemma.convert_ids_to_tokens(gemma.encode("b  c é")) == ["<s>", "b", "▁▁", "c", "▁", "<0xC3>", "<0xA9>"]
    assert gemma.decode(gemma.encode(" ab"), skip_special_tokens=True) == " ab"


@pytest.mark.skipif(not DATA.exists(), reason="the real data is not here")
def test_ids_of_phi_3_are_those_of_transformers(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(DATA / "phi-3", gguf_file="ggml-vocab-phi-3.gguf")
    ours = tokenizer_of(GgufFile(DATA / "phi-3" / "ggml-vocab-phi-3.gguf"))
    for text in TEXTS:
        if text.strip() and not text[0].isspace():
            assert ours.encode(text, add_special_tokens=False) == theirs.encode(text, add_special_tokens=False), text
    assert AddedToken("<|end|>", special=True).content in ours.all_special_tokens + list(ours.get_added_vocab())
