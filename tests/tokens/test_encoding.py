"""Ids of texts and of their parts: SentencePiece's blank only where a text begins, and no special token by accident."""

from __future__ import annotations

import lzma
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.tokens.encoding import GUARD, Encoder
from groupwise.tokens.renderer import Renderer
from groupwise.types import Example

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
ZEPHYR = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LLAMA = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }}</s>{% endif %}{% endfor %}"
)
WORDS = ("2", "3", "+", "<", "/", "s", ">", "INST", "[", "]", "|", "user", "assistant", "▁", "▁4", "▁2", "é")


def sentencepiece(kind: str, template: str = ZEPHYR) -> Any:
    """A small tokenizer of SentencePiece's habits: blanks are ▁, one before every text, bytes for the rest."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted({letter for word in (*WORDS, "abcdefghijklmnopqrtuvwxyz0156789-=?!.,") for letter in word})
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"<0x{byte:02X}>": 3 + byte for byte in range(256)}}
    for word in (*letters, "▁4", "▁2"):
        vocab.setdefault(word, len(vocab))
    merges = [("▁", "4"), ("▁", "2")]
    core = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True))
    if kind == "legacy":
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind, split=False)
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", bos_token="<s>", unk_token="<unk>")
    tokenizer.chat_template = template
    return tokenizer


KINDS = ("always", "first", "never", "legacy")


def words(tokenizer: Any, ids: tuple[int, ...]) -> list[str]:
    return tokenizer.convert_ids_to_tokens(list(ids))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("template", [ZEPHYR, LLAMA])
@pytest.mark.parametrize("answer", ["4", " 4", "2 + 2", "é"])
def test_a_demonstration_is_what_the_template_writes(kind: str, template: str, answer: str) -> None:
    tokenizer = sentencepiece(kind, template)
    shown = Renderer(tokenizer).demonstration(Example("row", "2+2=", answer))
    turns = [{"role": "user", "content": "2+2="}, {"role": "assistant", "content": answer}]
    whole = tokenizer.encode(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)
    assert list(shown.prompt.tokens + shown.tokens) == whole[: len(shown.prompt.tokens + shown.tokens)]
    assert shown.tokens[-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in shown.tokens[:-1]


def test_the_blank_of_the_beginning_is_not_learned() -> None:
    assert words(
        sentencepiece("first"), Renderer(sentencepiece("first")).demonstration(Example("r", "2", "4")).tokens
    ) == [
        "4",
        "</s>",
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("said", ["a </s> b", "</s>", "</s></s>", "<s>2", "x<unk>", "a<s>"])
def test_a_special_token_s_text_is_neither_special_nor_given_a_blank(kind: str, said: str) -> None:
    tokenizer = sentencepiece(kind)
    tokens = Renderer(tokenizer).prompt(Example("row", said)).tokens
    template = Renderer(tokenizer).prompt(Example("row", "q")).tokens
    special = set(tokenizer.all_special_ids)
    assert sum(token in special for token in tokens) == sum(token in special for token in template)
    assert said in tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_on_has_no_blank(kind: str) -> None:
    encoder = Encoder(sentencepiece(kind))
    plain = words(sentencepiece(kind), encoder.after("2+3"))
    assert plain == ["2", "+", "3"]
    assert encoder.after("") == ()
    assert words(sentencepiece(kind), encoder.after(" 4")) == ["▁4"]


@given(st.text("2+ 4é</s>\n", max_size=12), st.data())
def test_parts_are_the_whole_and_the_first_is_the_prompt(text: str, data: st.DataObject) -> None:
    tokenizer = data.draw(st.sampled_from([sentencepiece(kind) for kind in KINDS]))
    encoder = Encoder(tokenizer)
    guarded = encoder.guarded(text)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(guarded)), max_size=3)))
    parts = encoder.parts(guarded, cuts)
    assert len(parts) == len(cuts) + 1
    if cuts:
        assert parts[0] == encoder.ids(guarded[: cuts[0]])
    assert tokenizer.eos_token_id not in [token for part in parts for token in part]


def test_the_guard_cuts_every_special_text() -> None:
    encoder = Encoder(sentencepiece("first"))
    assert encoder.guarded("a</s>b<s>") == f"a<{GUARD}/s>b<{GUARD}s>"


def unpacked(name: str, directory: Path) -> Path:
    """A real tokenizer's files, read from their archive."""
    for file in (DATA / "tokenizers" / name).iterdir():
        if file.suffix == ".xz":
            (directory / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
        else:
            shutil.copy(file, directory / file.name)
    return directory


REAL = [
    ("smollm2-135m-instruct", None, "<|im_end|>"),
    ("qwen3", "Qwen-Qwen2.5-7B-Instruct", "<|im_end|>"),
    ("qwen3", "Qwen-Qwen3-0.6B", "<|im_end|>"),
    ("mistral-v3", "mistralai-Mistral-Nemo-Instruct-2407", "</s>"),
    ("phi-3", "microsoft-Phi-3.5-mini-instruct", "<|end|>"),
]
NEEDS = {"mistral-v3": ("sentencepiece",), "phi-3": ("gguf", "sentencepiece")}


@pytest.mark.skipif(not DATA.exists(), reason="the real data is not here")
@pytest.mark.parametrize(("name", "template", "end"), REAL)
def test_real_tokenizers_and_templates(name: str, template: str | None, end: str, tmp_path: Path) -> None:
    """Ids are those of the template's own text; text of a special token stays text."""
    from transformers import AutoTokenizer

    for package in NEEDS.get(name, ()):
        pytest.importorskip(package)
    file = {"gguf_file": "ggml-vocab-phi-3.gguf"} if name == "phi-3" else {}
    tokenizer = AutoTokenizer.from_pretrained(unpacked(name, tmp_path), **file)
    if template:
        tokenizer.chat_template = (DATA / "templates" / f"{template}.jinja").read_text()
    renderer = Renderer(tokenizer)
    for answer in ("2 + 3 = 5", " 5", "So 5.\n\n#### 5", "é 日本"):
        shown = renderer.demonstration(Example("row", "2 + 3?", answer))
        turns = [{"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": answer}]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        both = shown.prompt.tokens + shown.tokens
        assert tuple(tokenizer.encode(text, add_special_tokens=False))[: len(both)] == both
        assert words(tokenizer, shown.tokens[-1:]) == [end]
        assert answer.strip() in shown.text
    count = [
        sum(token == shown.tokens[-1] for token in renderer.prompt(Example("row", text)).tokens) for text in ("x", end)
    ]
    assert count[0] == count[1]
