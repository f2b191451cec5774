"""Calls of tools: written by each model's template and read back, and what is wrong with those that cannot be read."""

from __future__ import annotations

import json
import lzma
import re
from pathlib import Path
from typing import Any

import pytest

from groupwise.environments import Call
from groupwise.errors import UserError
from groupwise.learners.new_model import byte_tokenizer
from groupwise.tokens.call_formats import FORMATS, CallFormat
from groupwise.tokens.calls import MOST_UNREADABLE, CallReader, types_of, with_ids, without_thoughts
from groupwise.tokens.renderer import Renderer
from groupwise.types import Example

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
TEMPLATES = DATA / "templates"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "calculate",
            "description": "Evaluates.",
            "parameters": {
                "type": "object",
                "properties": {
                    "expression": {"type": "string", "description": "What."},
                    "places": {"type": "integer", "description": "Digits."},
                    "exact": {"type": "boolean", "description": "Whether."},
                },
                "required": ["expression"],
            },
        },
    }
]
CALL = Call("calculate", {"expression": "3*4 \"so\"\n'é'", "places": 2, "exact": True})
ENDS = {
    "Qwen": "<|im_end|>",
    "deepseek": "<｜end▁of▁sentence｜>",
    "ibm": "<|end_of_text|>",
    "mistralai": "</s>",
    "microsoft": "<|end|>",
    "moonshotai": "<|im_end|>",
    "openai": "<|return|>",
}
FAMILY = {
    "Qwen-Qwen2.5-7B-Instruct": "Hermes",
    "Qwen-Qwen3-0.6B": "Hermes",
    "ibm-granite-granite-3.3-2B-Instruct": "Granite",
    "mistralai-Mistral-Nemo-Instruct-2407": "Mistral",
    "moonshotai-Kimi-K2": "Kimi",
    "openai-gpt-oss-120b": "gpt-oss",
}
QWEN3_CODER = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls or [] %}"
    "<tool_call>\n<function={{ c.function.name }}>\n{% for k, v in c.function.arguments.items() %}"
    "<parameter={{ k }}>\n{{ v }}\n</parameter>\n{% endfor %}</function>\n</tool_call>{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if tools %}{% endif %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GLM = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% for c in m.tool_calls or [] %}"
    "<tool_call>{{ c.function.name }}\n{% for k, v in c.function.arguments.items() %}<arg_key>{{ k }}</arg_key>\n"
    "<arg_value>{{ v if v is string else v | tojson }}</arg_value>\n{% endfor %}</tool_call>{% endfor %}<|im_end|>"
    "{% endfor %}{% if tools %}{% endif %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LLAMA = (
    "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{% if m.tool_calls %}"
    '{"name": "{{ m.tool_calls[0].function.name }}", "parameters": {{ m.tool_calls[0].function.arguments | tojson }}}'
    "{% else %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}{% if tools %}{% endif %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
DEEPSEEK = (
    "{% for m in messages %}<｜{{ m.role }}｜>{{ m.content }}{% if m.tool_calls %}<｜tool▁calls▁begin｜>"
    "{% for c in m.tool_calls %}<｜tool▁call▁begin｜>{{ c.function.name }}<｜tool▁sep｜>"
    "{{ c.function.arguments | tojson }}<｜tool▁call▁end｜>{% endfor %}<｜tool▁calls▁end｜>{% endif %}<|im_end|>"
    "{% endfor %}{% if tools %}{% endif %}{% if add_generation_prompt %}<｜assistant｜>{% endif %}"
)
MISTRAL_ARGS = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% elif m.role == 'tool' %}"
    "[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]{% else %}{{ m.content }}{% for c in m.tool_calls or [] %}[TOOL_CALLS]"
    "{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}{% endfor %}<|im_end|>{% endif %}{% endfor %}"
    "{% if tools %}{% endif %}"
)
LFM2 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}{% if m.tool_calls %}<|tool_call_start|>["
    "{% for c in m.tool_calls %}{{ c.function.name }}({% for k, v in c.function.arguments.items() %}{{ k }}="
    "{% if v is string %}{{ v | tojson }}{% else %}{{ v }}{% endif %}{% if not loop.last %}, {% endif %}{% endfor %})"
    "{% if not loop.last %}, {% endif %}{% endfor %}]<|tool_call_end|>{% endif %}<|im_end|>\n{% endfor %}"
    "{% if tools %}{% endif %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MINIMAX = (
    "{% for m in messages %}]~b]{{ m.role }}\n{{ m.content }}{% if m.tool_calls %}\n<minimax:tool_call>\n"
    '{% for c in m.tool_calls %}<invoke name="{{ c.function.name }}">\n{% for k, v in c.function.arguments.items() %}'
    '<parameter name="{{ k }}">{{ v if v is string else v | tojson }}</parameter>\n{% endfor %}</invoke>\n{% endfor %}'
    "</minimax:tool_call>{% endif %}<|im_end|>\n{% endfor %}{% if tools %}{% endif %}"
    "{% if add_generation_prompt %}]~b]assistant\n{% endif %}"
)
OTHERS = {
    "MiniMax": MINIMAX,
    "LFM2": LFM2,
    "Qwen3-Coder": QWEN3_CODER,
    "GLM": GLM,
    "Llama 3": LLAMA,
    "DeepSeek": DEEPSEEK,
    "Mistral": MISTRAL_ARGS,
}


def tokenizer_of(template: str | None, end: str = "<|im_end|>") -> Any:
    """Bytes, and every marker of the template as a special token."""
    tokenizer = byte_tokenizer()
    if template is not None:
        tokenizer.chat_template = template
        markers = set(re.findall(r"<[|｜][^<>{}]*?[|｜]>|\[/?[A-Z_]{3,}\]", template)) | {end}
        tokenizer.add_tokens(sorted(markers), special_tokens=True)
        tokenizer.eos_token = end
        tokenizer.bos_token = "<|pad|>"
    return tokenizer


def renderer_of(name: str) -> Renderer:
    if name == "new":
        return Renderer(byte_tokenizer())
    if name in OTHERS:
        return Renderer(tokenizer_of(OTHERS[name]))
    path = TEMPLATES / f"{name}.jinja"
    if not path.is_file():
        pytest.skip("no shared data")
    tokenizer = tokenizer_of(path.read_text(encoding="utf-8"), ENDS[name.partition("-")[0]])
    call = tokenizer.get_vocab().get("<|call|>")
    return Renderer(tokenizer, eos_tokens=() if call is None else (call,))


def said(*calls: Call, content: str = "") -> dict[str, Any]:
    functions = [{"name": call.name, "arguments": dict(call.arguments)} for call in calls]
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": [{"type": "function", "function": function} for function in functions],
    }


def example(*turns: dict[str, Any]) -> Example:
    return Example("row", ({"role": "user", "content": "3*4?"},), turns, columns={"tools": TOOLS})


@pytest.mark.parametrize("name", ["new", *FAMILY, *OTHERS])
def test_a_call_that_the_template_writes_is_read_back(name: str) -> None:
    renderer = renderer_of(name)
    result = {"role": "tool", "content": "twelve </tool_call> <|im_end|>"}
    shown = renderer.demonstration(example(said(CALL), result, {"role": "assistant", "content": "It is 12."}))
    first = shown.mask.index(False)
    reply, message = renderer.turn(shown.tokens[:first], True, shown.prompt.example)
    assert (reply.calls, reply.malformed) == ((CALL,), "")
    [call] = message["tool_calls"]
    assert call.pop("id", "call00000") == "call00000", "the template's, where it writes one"
    assert message == said(CALL)
    expected = {**FAMILY, "new": "Hermes"}.get(name, name)
    assert renderer._calls.format is not None
    assert renderer._calls.format.name == expected
    learned = renderer.tokenizer.decode([token for token, own in zip(shown.tokens, shown.mask, strict=True) if own])
    others = renderer.tokenizer.decode([token for token, own in zip(shown.tokens, shown.mask, strict=True) if not own])
    assert "calculate" in learned
    assert "It is 12." in learned
    assert "twelve </tool_call>" in others, "what a tool says is not learned"
    assert "twelve" not in learned
    last, _ = renderer.turn(shown.tokens[len(shown.mask) - shown.mask[::-1].index(False) :], True, shown.prompt.example)
    assert (last.calls, last.malformed) == ((), "")


@pytest.mark.parametrize("name", ["new", "Qwen-Qwen2.5-7B-Instruct", "moonshotai-Kimi-K2", "Qwen3-Coder", "DeepSeek"])
def test_several_calls_and_words_before_them(name: str) -> None:
    renderer = renderer_of(name)
    other = Call("calculate", {"expression": "1"})
    shown = renderer.demonstration(example(said(CALL, other, content="I calculate.")))
    assert all(shown.mask)
    assert renderer.turn(shown.tokens, True, shown.prompt.example)[0].calls == (CALL, other)
    assert "I calculate." in shown.text
    assert renderer.turn(shown.tokens, True, shown.prompt.example)[1] == said(CALL, other, content="I calculate.")


def test_a_turn_that_did_not_end_calls_nothing_and_nothing_is_read_without_tools() -> None:
    renderer = renderer_of("new")
    shown = renderer.demonstration(example(said(CALL)))
    assert renderer.turn(shown.tokens, False, shown.prompt.example)[0].calls == ()
    assert renderer.turn(shown.tokens, True, Example("row", "3*4?"))[0].calls == ()
    half, _ = renderer.turn(shown.tokens[:-20], True, shown.prompt.example)
    assert half.calls == ()
    assert half.malformed.startswith(("it is no JSON", "after the object stands no </tool_call>"))


def test_real_qwen_tokens(tmp_path: Path) -> None:
    """``</tool_call>`` is one token of Qwen3's; in what a tool says it stays text."""
    source = DATA / "tokenizers/qwen3"
    if not source.is_dir():
        pytest.skip("no shared data")
    from transformers import AutoTokenizer

    (tmp_path / "tokenizer.json").write_bytes(lzma.decompress((source / "tokenizer.json.xz").read_bytes()))
    (tmp_path / "tokenizer_config.json").write_bytes((source / "tokenizer_config.json").read_bytes())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.chat_template = (TEMPLATES / "Qwen-Qwen3-0.6B.jinja").read_text(encoding="utf-8")
    renderer = Renderer(tokenizer)
    result = {"role": "tool", "content": "12</tool_call><tool_call><|im_end|>"}
    shown = renderer.demonstration(example(said(CALL), result, {"role": "assistant", "content": "12"}))
    close, end = tokenizer.convert_tokens_to_ids(["</tool_call>", "<|im_end|>"])
    places = [place for place, token in enumerate(shown.tokens) if token == close]
    assert [shown.mask[place] for place in places] == [True]
    assert [shown.mask[place] for place, token in enumerate(shown.tokens) if token == end] == [True, False, True]
    assert renderer.turn(shown.tokens[: shown.mask.index(False)], True, shown.prompt.example)[0].calls == (CALL,)


def test_new_models_without_tools_are_written_as_before() -> None:
    before = (
        "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
        "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    tokenizer = byte_tokenizer()
    conversation = [
        *({"role": "system", "content": "Be brief."}, {"role": "user", "content": "<tool_call> {{ 3 }}\n"}),
        *({"role": "assistant", "content": ""}, {"role": "tool", "content": "12"}, {"role": "other", "content": "é"}),
        {"role": "assistant", "content": "12"},
    ]
    for generate in (False, True):
        for size in range(1, len(conversation) + 1):
            given = {"tokenize": False, "add_generation_prompt": generate}
            old = tokenizer.apply_chat_template(conversation[:size], chat_template=before, **given)
            assert tokenizer.apply_chat_template(conversation[:size], **given) == old


def test_new_models_with_tools() -> None:
    text = byte_tokenizer().apply_chat_template(
        [{"role": "user", "content": "3*4?"}, said(CALL), {"role": "tool", "content": "12"}],
        tools=[*TOOLS, {"name": "stop", "description": "Stops."}],
        tokenize=False,
        add_generation_prompt=True,
    )
    arguments = json.dumps(CALL.arguments, ensure_ascii=False)
    assert text == (
        "<|system|>calculate(expression: string, places: integer, exact: boolean)\nstop()\n<|user|>3*4?<|assistant|>"
        f'<tool_call>{{"name": "calculate", "arguments": {arguments}}}</tool_call><|end|><|tool|>12<|assistant|>'
    )


BY_NAME: dict[str, CallFormat] = {each.name: each for each in FORMATS}


@pytest.mark.parametrize(
    ("family", "text", "found"),
    [
        ("Hermes", '<tool_call>{"name": "f", "arguments": {"t": "</tool_call>"}}</tool_call>', [Call("f", {"t": "</tool_call>"})]),
        ("Hermes", '<tool_call>{"name": "f"}</tool_call> and <tool_call>\n{"name": "g"}\n</tool_call>', [Call("f"), Call("g")]),
        ("Hermes", '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>', [Call("f", {"a": 1})]),
        ("Hermes", '<tool_call>{"name": "f", "arguments": {"a": "two\nlines"}}</tool_call>', [Call("f", {"a": "two\nlines"})]),
        ("Hermes", '<tool_call>{"name": "f", "arguments": {"a": NaN}}</tool_call>', "it is no JSON"),
        ("Hermes", '<tool_call>{"name": "f", "arguments": {"a": 1e999}}</tool_call>', "it is no JSON"),
        ("Hermes", '<tool_call>{"name": "f", "arguments": {"a": "\\ud800"}}</tool_call>', "it holds a lone surrogate"),
        ("Hermes", '<tool_call>{"name": "f", "arguments": [1]}</tool_call>', "the arguments of f are a list"),
        ("Hermes", '<tool_call>{"nom": "f"}</tool_call>', "the object has no name; it has nom"),
        ("Hermes", '<tool_call>{"name": 3}</tool_call>', "the tool's name is a number"),
        ("Hermes", '<tool_call>{"name": "f", "args": {"a": 1}}</tool_call>', "the object has no arguments; beside the name it has args"),
        ("Hermes", '<tool_call>{"name": "f", "id": "1", "type": "function"}</tool_call>', [Call("f")]),
        ("GLM", "<tool_call>f<arg_key>a</arg_key></tool_call>", "the argument a has no value"),
        ("Llama 3", '{"type": "function", "function": {"name": "f", "parameters": {"a": 1}}}', [Call("f", {"a": 1})]),
        ("Llama 3", '{"name": "f", "parameters": {"a": 1}', "it is no JSON"),
        ("Llama 3", '{"a": 1', []),
        ("gpt-oss", "<|channel|>commentary to=functions.f", "behind to=functions.f stands no <|message|>"),
        ("gpt-oss", "I set it to=5", []),
        ("Hermes", '<tool_call>["f"]</tool_call>', "it is a list; expected an object"),
        ("Hermes", '<tool_call>{"name": "f"}', "after the object stands no </tool_call>"),
        ("Hermes", "<tool_call>" + "[" * 100_000, "its values are nested too deeply"),
        ("Hermes", "no call, </tool_call> alone", []),
        ("Qwen3-Coder", "<tool_call><function=f><parameter=n>\n2\n</parameter></function></tool_call>", [Call("f", {"n": 2})]),
        ("Qwen3-Coder", "<function=f></function>", [Call("f")]),
        ("Qwen3-Coder", "<function=f><parameter=n>2", "a tag is not closed"),
        ("Qwen3-Coder", "<function=f><parameter=n>2</parameter>", "the call of f is not closed"),
        ("Qwen3-Coder", "<function=f><parameter=s>\n<b>\n\n</parameter></function>", [Call("f", {"s": "<b>\n"})]),
        ("GLM", "<tool_call>f<arg_key>n</arg_key><arg_value>2</arg_value></tool_call>", [Call("f", {"n": 2})]),
        ("GLM", "<tool_call>f</tool_call><tool_call>g\n</tool_call>", [Call("f"), Call("g")]),
        ("GLM", "<tool_call>f<arg_key>n</arg_key>2</tool_call>", "the call of f is not closed"),
        ("Mistral", '[TOOL_CALLS] [{"name": "f", "arguments": {"n": 2}}, {"name": "g"}]', [Call("f", {"n": 2}), Call("g")]),
        ("Mistral", '[TOOL_CALLS]f[CALL_ID]abc[ARGS]{"n": 2}[TOOL_CALLS]g{}', [Call("f", {"n": 2}), Call("g")]),
        ("Mistral", "[TOOL_CALLS]f", "after [TOOL_CALLS] stand neither"),
        ("Mistral", "[TOOL_CALLS][]", "the list of calls is empty"),
        ("Llama 3", '{"name": "f", "parameters": {"n": 2}}; {"name": "g", "arguments": {}}', [Call("f", {"n": 2}), Call("g")]),
        ("Llama 3", '<|python_tag|>{"name": "f", "parameters": {}}', [Call("f")]),
        ("Llama 3", "<|python_tag|>print(3)", "after <|python_tag|> stands no object"),
        ("Llama 3", '{"answer": 3}', []),
        ("Llama 3", "The answer is {3}.", []),
        (
            "DeepSeek",
            '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{"n": 2}\n```<｜tool▁call▁end｜>',
            [Call("f", {"n": 2})],
        ),
        ("DeepSeek", "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜>", [Call("f")]),
        ("DeepSeek", "<｜tool▁call▁begin｜>f", "there is no <｜tool▁sep｜>"),
        ("DeepSeek", "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}", "after the object stands no <｜tool▁call▁end｜>"),
        ("Kimi", "<|tool_call_begin|>functions.a.b:3<|tool_call_argument_begin|>{}<|tool_call_end|>", [Call("a.b")]),
        ("Kimi", "<|tool_call_begin|>functions.f:0", "there is no <|tool_call_argument_begin|>"),
        (
            "gpt-oss",
            "<|channel|>analysis<|message|>I call.<|end|><|start|>assistant<|channel|>commentary to=functions.f "
            '<|constrain|>json<|message|>{"n": 2}',
            [Call("f", {"n": 2})],
        ),
        ("gpt-oss", "<|channel|>final<|message|>to=functions.f", []),
        ("gpt-oss", " to=functions.f<|channel|>commentary json<|message|>{", "it is no JSON"),
        ("LFM2", "<|tool_call_start|>[f(n=2, s='a]'), g.h()]<|tool_call_end|> so", [Call("f", {"n": 2, "s": "a]"}), Call("g.h")]),
        ("LFM2", '<|tool_call_start|>f(n=-2, o={"k": [true, None]})<|tool_call_end|>', [Call("f", {"n": -2, "o": {"k": [True, None]}})]),
        ("LFM2", '<|tool_call_start|>[{"name": "f", "arguments": {}}]<|tool_call_end|>', [Call("f")]),
        ("LFM2", "<|tool_call_start|>[f(n=2)]", "behind <|tool_call_start|> stands no <|tool_call_end|>"),
        ("LFM2", "<|tool_call_start|>[f(2)]<|tool_call_end|>", "f: an argument has no name"),
        ("LFM2", "<|tool_call_start|>[f(**{})]<|tool_call_end|>", "f: an argument has no name"),
        ("LFM2", "<|tool_call_start|>[f(n=open('x').read())]<|tool_call_end|>", 'f: the argument n is "open('),
        ("LFM2", "<|tool_call_start|>[f(n=1e999)]<|tool_call_end|>", "f: the argument n is '1e309'"),
        ("LFM2", "<|tool_call_start|>[f(n=-1e999)]<|tool_call_end|>", "the arguments of f: it is no JSON (Out of range"),
        ("LFM2", "<|tool_call_start|>[f(n=0x1" + "0" * 5000 + ")]<|tool_call_end|>", "the arguments of f: it is no JSON ("),
        ("LFM2", "<|tool_call_start|>[f(n=2]<|tool_call_end|>", "it is no call of Python's ("),
        ("LFM2", "<|tool_call_start|>import os<|tool_call_end|>", "it is 'import os'; expected name(argument=value)"),
        ("LFM2", "<|tool_call_start|>(lambda: 1)()<|tool_call_end|>", "it calls 'lambda: 1'; expected the name of a tool"),
        ("LFM2", "<|tool_call_start|> <|tool_call_end|>", "there is no call"),
        ("LFM2", "<|tool_call_start|>" + "[" * 50_000 + "<|tool_call_end|>", "it is no call of Python's ("),
        ("LFM2", "<|tool_call_start|>f(n=" + "-" * 60_000 + "1)<|tool_call_end|>", ""),
        ("LFM2", "<|tool_call_start|>" + "f()\n" * 20_000 + "<|tool_call_end|>", "the calls have 80,000 letters; at most"),
        ("MiniMax", '<minimax:tool_call>\n<invoke name="f">\n<parameter name="n">2</parameter>\n<parameter name="s"><b></parameter>\n</invoke>\n</minimax:tool_call>', [Call("f", {"n": 2, "s": "<b>"})]),
        ("MiniMax", '<invoke name="f"></invoke><invoke name="g"></invoke>', [Call("f"), Call("g")]),
        ("MiniMax", '<invoke name="f"><parameter name="n">2</parameter>', "the call of f is not closed"),
        ("MiniMax", '<invoke name="f"><parameter name="n">2', "a tag is not closed"),
        ("MiniMax", "<invoke name=></invoke>", "the tool's name is a text; expected a name"),
        ("DeepSeek-V3.2", '<｜DSML｜invoke name="f"><｜DSML｜parameter name="s" string="true">2</｜DSML｜parameter></｜DSML｜invoke>', [Call("f", {"s": "2"})]),
        ("DeepSeek-V3.2", '<｜DSML｜invoke name="f"><｜DSML｜parameter name="n" string="false">{</｜DSML｜parameter></｜DSML｜invoke>', "the argument n: it is no JSON"),
        ("DeepSeek-V3.2", '<｜DSML｜invoke name="f"><｜DSML｜parameter name="o" string="false">[2]</｜DSML｜parameter></｜DSML｜invoke>', [Call("f", {"o": [2]})]),
        ("DeepSeek-V3.2", '<｜DSML｜invoke name="f"><｜DSML｜parameter name="s" string="false">2</｜DSML｜parameter></｜DSML｜invoke>', [Call("f", {"s": "2"})]),
        ("OLMo 3", "<function_calls>\nf(n=2)\nf(s=\"x\")\n</function_calls>", [Call("f", {"n": 2}), Call("f", {"s": "x"})]),
        ("Llama 3", '[f(n=2), g(k="v")]', [Call("f", {"n": 2}), Call("g", {"k": "v"})]),
        ("Llama 3", "[f(n=]", "it is no call of Python's ("),
        ("Llama 3", "[1, 2]", []),
        ("Llama 3", "[f(n=2)](a link)", []),
        ("Granite", '<|tool_call|>[{"name": "f", "arguments": {}}]', [Call("f")]),
        ("Granite", "<|tool_call|>f()", "it is no JSON"),
    ],
)  # fmt: skip
def test_readers(family: str, text: str, found: list[Call] | str) -> None:
    types = {"f": {"n": {"type": "integer"}, "s": {"type": "string"}}}
    read = list(BY_NAME[family].read(text, types))
    if isinstance(found, str):
        assert len(read) == 1
        assert str(read[0]).startswith(found)
    else:
        assert read == found


@pytest.mark.filterwarnings("error")
def test_what_python_warns_of_in_a_call_is_read_and_warns_nobody() -> None:
    text = r"<|tool_call_start|>[f(s='\d+'), f(s=r'\w')]<|tool_call_end|>"
    assert list(BY_NAME["LFM2"].read(text, {})) == [Call("f", {"s": r"\d+"}), Call("f", {"s": r"\w"})]


def test_so_many_unreadable_calls_and_no_more() -> None:
    reader = renderer_of("new")._calls
    text = "<tool_call>x" * MOST_UNREADABLE + '<tool_call>{"name": "f"}</tool_call>'
    assert reader.read(text, TOOLS)[0] == []
    calls, wrong = reader.read(text[len("<tool_call>x") :], TOOLS)
    assert calls == [Call("f")]
    assert wrong.startswith("it is no JSON (Expecting value at character 0): 'x<tool_call>x")


@pytest.mark.parametrize(
    ("text", "thinks", "rest"),
    [
        ("<think>a<tool_call></think>b", False, "b"),
        ("<think>a<tool_call>", False, ""),
        ("a</think>b", True, "b"),
        ("a</think>b", False, "a</think>b"),
        ("b", True, "b"),
        ("<think>a</think>\n<think><tool_call></think>b", False, "b"),
        ("a</think><think><tool_call>", True, ""),
        ("b <think>c", True, "b <think>c"),
    ],
)
def test_thoughts_call_nothing(text: str, thinks: bool, rest: str) -> None:
    assert without_thoughts(text, thinks) == rest


def test_a_response_template_goes_first() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.response_template = {
        "start_anchor": "<|assistant|>",
        "fields": {
            "tool_calls": {
                "open": "@",
                "close": ";",
                "repeats": True,
                "content": "json",
                "transform": {"type": "function", "function": "{content}"},
            }
        },
    }
    reader = Renderer(tokenizer)._calls
    calls, wrong = reader.read('so @{"name": "f", "arguments": {"n": 2}}; yes', TOOLS)
    assert (calls, wrong) == ([Call("f", {"n": 2})], "")
    calls, wrong = reader.read("@{;", TOOLS)
    assert calls == []
    assert wrong
    tokenizer.response_template = {"fields": {}}
    with pytest.raises(UserError, match="the response_template of the model's tokenizer cannot be used: "):
        reader.read("x", TOOLS)


def test_a_template_that_writes_calls_otherwise_is_an_error() -> None:
    strange = (
        "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}CALL {{ c }}{% endfor %}{% endfor %}"
    )
    reader = Renderer(tokenizer_of(strange), name="the model m")._calls
    with pytest.raises(UserError, match=r"the chat template of the model m writes calls of tools in no known way"):
        reader.read("x", TOOLS)


def test_results_belong_to_calls() -> None:
    messages = [
        said(CALL, CALL),
        *({"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}),
        {**said(CALL), "tool_calls": [{**said(CALL)["tool_calls"][0], "id": "call_abcdefghijk"}]},
        {"role": "tool", "content": "3", "tool_call_id": "call_abcdefghijk"},
    ]
    found = with_ids(messages)
    assert [call["id"] for call in found[0]["tool_calls"]] == ["call00000", "call00001"]
    assert [each.get("tool_call_id") for each in found] == [None, "call00000", "call00001", None, "call00002"]
    assert "id" not in messages[0]["tool_calls"][0], "the given messages stay as they are"
    assert with_ids([{"role": "tool", "content": "1"}])[0]["tool_call_id"] == "call00000"


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        (["Vvv0Dy9mT", "Vvv0Dy9mT", None], ["Vvv0Dy9mT", "call00001", "call00002"]),
        (["call00001", None], ["call00001", "call00002"]),
        ([None, "call00000"], ["call00000", "call00001"]),
    ],
)
def test_no_two_calls_have_one_id_whatever_a_model_writes(given: list[str | None], ids: list[str]) -> None:
    [call] = said(CALL)["tool_calls"]
    messages = [{**said(CALL), "tool_calls": [{**call, **({"id": id} if id else {})}]} for id in given]
    assert [each["tool_calls"][0]["id"] for each in with_ids(messages)] == ids


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ('See [1] and {2}.\n<|python_tag|>{"name": "f", "parameters": {}}', "See [1] and {2}."),
        ('<think>[1]</think>{"name": "f", "parameters": {"n": [1]}}', "<think>[1]</think>"),
        ('[f(s={"a": 1})]', ""),
    ],
)
def test_what_is_said_before_calls_is_kept_whole(text: str, content: str) -> None:
    renderer = renderer_of("Llama 3")
    tokens = renderer.tokenizer.encode(text, add_special_tokens=False)
    reply, message = renderer.turn(tokens, True, example())
    assert [call.name for call in reply.calls] == ["f"]
    assert message["content"] == content


def test_types_of_whatever_a_column_holds() -> None:
    assert types_of([*TOOLS, {"name": "g"}, {}, "x", {"function": 3}]).keys() == {"calculate", "g"}


def test_a_template_that_leaves_tools_out() -> None:
    left_out = "{% for m in messages %}{% if m.role != 'tool' %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}"
    row = example(said(CALL), {"role": "tool", "content": "twelve"}, {"role": "assistant", "content": "12"})
    renderer = Renderer(tokenizer_of(left_out), name="m")
    with pytest.raises(UserError, match=r"row: the chat template of m leaves out what a tool says \('twelve'\)"):
        renderer.demonstration(Example(row.id, row.prompt, row.completion))


def test_a_reader_needs_no_template(tmp_path: Path) -> None:
    reader = CallReader(byte_tokenizer(), "m", lambda messages, example, generate: "", False)
    assert reader.read('<tool_call>{"name": "f"}</tool_call>', TOOLS)[0] == [Call("f")]
