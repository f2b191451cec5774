"""Real tokenizers under real chat templates: fifteen conversations each, id for id what transformers writes."""

from __future__ import annotations

import lzma
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from groupwise.errors import UserError
from groupwise.tokens.renderer import Renderer
from groupwise.types import Example, Message

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the real data is not here")
NEEDS = {"mistral-v3": ("sentencepiece",), "phi-3": ("gguf", "sentencepiece")}
TOKENIZERS = ("smollm2-135m-instruct", "qwen3", "mistral-v3", "phi-3")
OWN = "the tokenizer's own"
TEMPLATES = (OWN, *(path.stem for path in sorted((DATA / "templates").glob("*.jinja"))))
REWRITES = ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "Qwen-QwQ-32B")
"""Their prompts open a thought, which is gone once an answer follows."""
MOVES = "mistralai-Mistral-Nemo-Instruct-2407"
"""It writes the system message into a last user's message alone, so that it is gone once an answer follows."""


def said(*turns: str) -> tuple[Message, ...]:
    """``s:``, ``u:`` and ``a:`` before what each says."""
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return tuple({"role": roles[turn[0]], "content": turn[2:]} for turn in turns)


CONVERSATIONS: tuple[tuple[Message, ...], ...] = (
    said("u:2 + 3?"),
    said("s:Be brief.", "u:2 + 3?"),
    said("u:2 + 3?", "a:5", "u:And 4 + 4?"),
    said("s:Be brief.", "u:Hi", "a:Hello!", "u:2 + 3?", "a:5", "u:Why?"),
    said("u:  two blanks before, one behind "),
    said("u:Was ist größer, π oder 3½? 日本語 🙂👍🏽 e\u0301"),
    said("u:Mend this:\n\n```python\ndef f(x):\n\treturn  x\n```\n"),
    said("u:a\n\n\nb", "a:<think>\nwell\n</think>\n\nc", "u:1234567890 ١٢٣"),
    said("u:{{ messages }} {% raw %} <b>&amp;</b> \\n"),
    said("s:", "u:2 + 3?"),
    said("u:2 + 3?", "u:And 4 + 4?"),
    said("u:2 + 3?", "a:5", "a:Yes, 5.", "u:Why?"),
    said("u:Hi", "a:Hello!", "s:Be brief from now on.", "u:2 + 3?"),
    said("u:\u200bzero\u200d \u202ertl עברית العربية 👩\u200d👩\u200d👧 \ufeff\u00a0\u2028end"),
    said("u:tab\tcr\r\nvt\x0bdel\x7f"),
)
ANSWERS = ("5", " 2 + 3 = 5", "So 5.\n\n#### 5", "é 日本 🙂")


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Any]:
    """A tokenizer under a template; each is read once."""
    from transformers import AutoTokenizer

    known: dict[str, tuple[Any, Any]] = {}

    def loaded(name: str, template: str) -> Any:
        if name not in known:
            directory = tmp_path_factory.mktemp(name)
            for file in (DATA / "tokenizers" / name).iterdir():
                if file.suffix == ".xz":
                    (directory / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
                else:
                    shutil.copy(file, directory / file.name)
            file = {"gguf_file": "ggml-vocab-phi-3.gguf"} if name == "phi-3" else {}
            tokenizer = AutoTokenizer.from_pretrained(directory, **file)
            known[name] = tokenizer, tokenizer.chat_template
        tokenizer, own = known[name]
        tokenizer.chat_template = (
            own if template == OWN else (DATA / "templates" / f"{template}.jinja").read_text(encoding="utf-8")
        )
        if tokenizer.chat_template is None:
            pytest.skip("it has no template of its own")
        return tokenizer

    return loaded


@pytest.fixture(params=TOKENIZERS)
def name(request: Any) -> str:
    for package in NEEDS.get(request.param, ()):
        pytest.importorskip(package)
    return str(request.param)


def theirs(tokenizer: Any, messages: Any, generate: bool) -> list[int] | None:
    """None: the template refuses."""
    conversation = [dict(message) for message in messages]
    try:
        text = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=generate)
        ids = tokenizer.apply_chat_template(
            conversation, tokenize=True, add_generation_prompt=generate, return_dict=False
        )
    except Exception:
        return None
    assert ids == tokenizer.encode(text, add_special_tokens=False)
    return list(ids)


@pytest.mark.parametrize("template", TEMPLATES)
def test_prompts_and_answers_are_what_the_template_writes(
    name: str, template: str, load: Callable[[str, str], Any]
) -> None:
    tokenizer = load(name, template)
    renderer = Renderer(tokenizer)
    for place, messages in enumerate(CONVERSATIONS):
        expected, row = theirs(tokenizer, messages, generate=True), Example("row", messages)
        if expected is None:
            with pytest.raises(UserError, match="the chat template of the model refuses the conversation"):
                renderer.prompt(row)
            continue
        assert list(renderer.prompt(row).tokens) == expected, place
        answer = ANSWERS[place % len(ANSWERS)]
        whole = theirs(tokenizer, (*messages, {"role": "assistant", "content": answer}), generate=False)
        shown = Example("row", messages, answer)
        if template in REWRITES or (template == MOVES and messages[0]["role"] == "system"):
            with pytest.raises(UserError, match='demonstrations="appended"'):
                renderer.demonstration(shown)
            continue
        rollout = renderer.demonstration(shown)
        both = [*rollout.prompt.tokens, *rollout.tokens]
        assert whole is not None
        end = len(both) - (not renderer._turn_end.ids)  # a tokenizer that has not the template's ends a text by itself
        assert both[:end] == whole[:end], place
        assert answer.strip() in rollout.text
        assert rollout.tokens[-1] in renderer.stop_tokens


@pytest.mark.parametrize("template", [*REWRITES, MOVES])
def test_where_an_answer_rewrites_its_prompt_it_is_appended_by_option(
    name: str, template: str, load: Callable[[str, str], Any]
) -> None:
    """The prompt that the model is asked, the answer, and what ends its turn; nothing of the answer is dropped."""
    tokenizer = load(name, template)
    renderer = Renderer(tokenizer, demonstrations="appended")
    for messages in CONVERSATIONS:
        prompt = theirs(tokenizer, messages, generate=True)
        if prompt is None:
            continue
        thought = "2 and 3\n</think>\n\nSo 5."
        rollout = renderer.demonstration(Example("row", messages, thought))
        assert list(rollout.prompt.tokens) == prompt
        assert tokenizer.decode(rollout.tokens[:-1]).strip() == thought
        assert rollout.tokens[-1] in renderer.stop_tokens


@pytest.mark.parametrize("template", ["openai-gpt-oss-120b"])
def test_a_date_that_stands_still(template: str, load: Callable[[str, str], Any]) -> None:
    tokenizer = load("qwen3", template)
    texts = {
        tokenizer.decode(Renderer(tokenizer, today=date(2025, 8, day)).prompt(Example("row", "hi")).tokens)
        for day in (5, 5, 6)
    }
    assert len(texts) == 2
    assert any("2025-08-05" in text for text in texts)


@pytest.mark.parametrize(
    ("template", "arguments", "writes"),
    [
        ("Qwen-Qwen3-0.6B", {"enable_thinking": False}, "<think>\n\n</think>"),
        ("ibm-granite-granite-3.3-2B-Instruct", {"thinking": True}, "<think></think>"),
        ("openai-gpt-oss-120b", {"reasoning_effort": "high"}, "Reasoning: high"),
    ],
)
def test_arguments_that_real_templates_read(
    template: str, arguments: dict[str, Any], writes: str, load: Callable[[str, str], Any]
) -> None:
    tokenizer = load("qwen3", template)
    without = tokenizer.decode(Renderer(tokenizer).prompt(Example("row", "hi")).tokens)
    given = Renderer(tokenizer, template_arguments=arguments).prompt(Example("row", "hi")).tokens
    expected = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], add_generation_prompt=True, return_dict=False, **arguments
    )
    assert list(given) == expected
    assert writes in tokenizer.decode(given)
    assert writes not in without


def test_what_a_template_adds_is_told_from_what_it_drops(load: Callable[[str, str], Any]) -> None:
    """Qwen3 writes an empty thought before a plain last answer, and keeps one that is there."""
    renderer = Renderer(load("qwen3", "Qwen-Qwen3-0.6B"))
    assert renderer.transcript(Example("row", "2 + 3?", "5")).added == "<think>\n\n</think>"
    assert renderer.transcript(Example("row", "2 + 3?", "<think>\nwell\n</think>\n\n5")).added == ""
