"""A tokenizer out of a GGUF file: its vocabulary and merges, and how text is cut before them.

A file only names the way of cutting (``tokenizer.ggml.pre``); the patterns are those of the models' own tokenizer.json.
An unknown name is refused: a wrong pattern gives wrong ids in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from groupwise.errors import UserError
from groupwise.gguf_files.reading import GgufFile

CONTROL, DEFINED, UNUSED = 3, 4, 5
"""Kinds of tokens, as GGUF numbers them."""
BLANK = "\u2581"
"""SentencePiece's space."""
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CASES = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS = {
    "llama-bpe": _WORDS + r"\p{N}{1,3}" + _REST,
    "qwen2": _WORDS + r"\p{N}" + _REST,
    "tekken": _CASES,
}
"""Regular expressions whose matches are cut apart."""
SAME = {
    "llama3": "llama-bpe",
    "llama-v3": "llama-bpe",
    "smaug-bpe": "llama-bpe",
    "deepseek-r1-qwen": "qwen2",
    "starcoder": "smollm",
    "refact": "smollm",
    "command-r": "smollm",
    "gpt-2": "default",
}
"""Other names of the same way."""
WHOLE_FIRST = ("llama-bpe", "tekken")
"""Ways in which a word that is a token is one, whatever the merges make of it."""
KNOWN = (*SPLITS, "smollm", "default")


def tokenizer_of(file: GgufFile) -> Any:
    """Makes a transformers tokenizer with the file's chat template. Raises UserError for a kind that is not known."""
    from transformers import PreTrainedTokenizerFast

    kind = file.values.get("tokenizer.ggml.model")
    tokens = file.values.get("tokenizer.ggml.tokens")
    if kind not in ("gpt2", "llama") or not tokens:
        raise UserError(f"{file.path}: a tokenizer of kind {kind}; expected gpt2 (byte-level) or llama (SentencePiece)")
    made = _byte_level(file, tokens) if kind == "gpt2" else _sentencepiece(file, tokens)
    ids = {name: file.values.get(f"tokenizer.ggml.{key}_token_id") for name, key in NAMED.items()}
    named = {name: tokens[int(number)] for name, number in ids.items() if number is not None}
    _add_special(file, made, tokens)
    _open_with(made, named.get("bos_token"), ids["bos_token"], _begins(file, kind))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made,
        clean_up_tokenization_spaces=False,
        model_max_length=file.count("context_length"),
        **named,
    )
    fast.chat_template = template_of(file)
    return fast


NAMED = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def template_of(file: GgufFile) -> Any:
    """Returns the chat template, or all of them by their names; None: there is none."""
    key = "tokenizer.chat_template"
    first = file.values.get(key)
    others = {name.removeprefix(f"{key}."): text for name, text in file.values.items() if name.startswith(f"{key}.")}
    return {"default": first, **others} if first and others else first


def turn_ends(file: GgufFile) -> list[int]:
    """Lists the ids that end a completion, the text's end first."""
    keys = ("eos", "eot", "eom")
    found = [file.values.get(f"tokenizer.ggml.{key}_token_id") for key in keys]
    return list(dict.fromkeys(int(number) for number in found if number is not None))


def merges_of(tokens: Sequence[str], rank: Sequence[float]) -> list[tuple[str, str]]:
    """Lists the pairs of tokens that make a token, best first: those that make one of higher rank."""
    known = {token: number for number, token in enumerate(tokens)}
    pairs = [
        (-rank[number], -cut, token[:cut], token[cut:])
        for token, number in known.items()
        for cut in range(1, len(token))
        if token[:cut] in known and token[cut:] in known
    ]
    pairs.sort(key=lambda pair: pair[:2])
    return [(left, right) for _, _, left, right in pairs]


def _byte_level(file: GgufFile, tokens: Sequence[str]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    said = file.values.get("tokenizer.ggml.pre", "default")
    way = SAME.get(said, said)
    if way not in KNOWN:
        raise UserError(
            f"{file.path}: its text is cut in the way {said}, which is not known here; expected one of "
            f"{', '.join((*KNOWN, *SAME))}"
        )
    merges = [tuple(merge.split(" ", 1)) for merge in file.values.get("tokenizer.ggml.merges", ())]
    made = Tokenizer(models.BPE(vocab=_vocabulary(file, tokens), merges=merges, ignore_merges=way in WHOLE_FIRST))
    if way == "qwen2":
        made.normalizer = normalizers.NFC()
    first: Any = {"smollm": pre_tokenizers.Digits(individual_digits=True)}.get(way)
    if way in SPLITS:
        first = pre_tokenizers.Split(Regex(SPLITS[way]), behavior="isolated")
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=way not in SPLITS)
    made.pre_tokenizer = pre_tokenizers.Sequence([first, letters]) if first else letters
    made.decoder = decoders.ByteLevel()
    return made


def _sentencepiece(file: GgufFile, tokens: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    gemma = file.architecture.startswith("gemma")
    spelled = [BLANK * len(token) if gemma and token and not token.strip(" ") else token for token in tokens]
    scores = file.values.get("tokenizer.ggml.scores", ())
    # Gemma's scores are not the order of its merges; that of its vocabulary is.
    rank = [float(-number) for number in range(len(tokens))] if gemma else [float(score) for score in scores]
    if len(rank) != len(tokens):
        raise UserError(f"{file.path}: {len(tokens)} tokens and {len(rank)} scores; expected as many")
    unknown = file.values.get("tokenizer.ggml.unknown_token_id", 0)
    model = models.BPE(
        vocab=_vocabulary(file, spelled),
        merges=merges_of(spelled, rank),
        unk_token=tokens[int(unknown)],
        fuse_unk=True,
        byte_fallback=True,
    )
    made = Tokenizer(model)
    ends = [decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse()]
    if file.values.get("tokenizer.ggml.add_space_prefix", not gemma):
        made.pre_tokenizer = pre_tokenizers.Metaspace(replacement=BLANK, prepend_scheme="first", split=False)
        ends.append(decoders.Strip(content=" ", left=1))
    else:
        made.normalizer = normalizers.Replace(" ", BLANK)
    made.decoder = decoders.Sequence(ends)
    return made


def _vocabulary(file: GgufFile, tokens: Sequence[str]) -> dict[str, int]:
    """Numbers the tokens, without the rows that only fill an embedding up. Raises UserError for a token that is there
    twice."""
    kinds = file.values.get("tokenizer.ggml.token_type", ())
    filling = {number for number, kind in enumerate(kinds) if kind == UNUSED and tokens[number] == f"[PAD{number}]"}
    found = {token: number for number, token in enumerate(tokens) if number not in filling}
    if len(found) != len(tokens) - len(filling):
        raise UserError(f"{file.path}: a token is in the vocabulary twice; expected each once")
    return found


def _add_special(file: GgufFile, made: Any, tokens: Sequence[str]) -> None:
    """Adds the tokens that text is cut at before anything else."""
    from tokenizers import AddedToken

    kinds = list(file.values.get("tokenizer.ggml.token_type", ()))
    for number, kind in enumerate(kinds):
        if kind == CONTROL:
            made.add_special_tokens([AddedToken(tokens[number], special=True, normalized=False)])
    plain = [AddedToken(tokens[number], normalized=False) for number, kind in enumerate(kinds) if kind == DEFINED]
    made.add_tokens([token for token in plain if token.content in made.get_vocab()] if plain else [])


def _begins(file: GgufFile, kind: str) -> bool:
    """Says whether plain text begins with BOS."""
    pre = SAME.get(file.values.get("tokenizer.ggml.pre", ""), file.values.get("tokenizer.ggml.pre", ""))
    return bool(file.values.get("tokenizer.ggml.add_bos_token", kind == "llama" or pre in WHOLE_FIRST))


def _open_with(made: Any, bos: str | None, number: Any, begins: bool) -> None:
    from tokenizers import processors

    if begins and bos is not None:
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, int(number))]
        )
