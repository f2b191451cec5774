"""groupwise fetch writes a model directory; a GGUF file is a model wherever one is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from groupwise.cli import main
from groupwise.learners.loading import load_model


@pytest.fixture
def packed(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small model as a GGUF file, and a cache of the test's own."""
    gguf = pytest.importorskip("gguf")
    from transformers import AutoTokenizer

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    writer = gguf.GGUFWriter(tmp_path / "small.gguf", "qwen3")
    config = model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_tokenizer_model("gpt2")
    vocabulary = tokenizer.get_vocab()
    ordered = sorted(vocabulary, key=lambda token: vocabulary[token])
    writer.add_token_list(ordered)
    writer.add_token_types([3 if token in tokenizer.all_special_tokens else 1 for token in ordered])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        stem, _, kind = name.rpartition(".")
        if name != "lm_head.weight":
            writer.add_tensor(f"{names.get_name(stem)}.{kind}", weight.numpy())
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    return tmp_path / "small.gguf"


def test_a_directory_that_is_trained(
    packed: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "made"
    assert main(["fetch", str(target), "--from", str(packed)]) == 0
    assert f"now: groupwise chat {target}" in capsys.readouterr().out
    ours, theirs = load_model(target).state_dict(), load_model(tiny_model).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(weight.equal(theirs[name]) for name, weight in ours.items())
    assert main(["fetch", str(target), "--from", str(packed)]) == 2
    assert "is there already; --fresh writes over it" in capsys.readouterr().err
    assert main(["fetch", str(target), "--from", str(packed), "--fresh"]) == 0
    for wrong in (["smollm", str(tmp_path / "x")], ["smollm2"], ["smollm2", "a", "b"]):
        assert main(["fetch", *wrong]) == 2
        assert "expected one of smollm2 and a directory" in capsys.readouterr().err


def test_a_gguf_file_wherever_a_model_is_named(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made into a directory once, and again where the file is another one."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "rows.jsonl"
    data.write_text('{"prompt": "2+3", "answer": "5"}\n' * 4)
    assert main(["chat", str(packed), "--prompt", "2+3", "--max_completion_tokens", "3"]) == 0
    assert "GGUF, made into a model directory once" in capsys.readouterr().err
    short = ["--steps", "1", "--learner.threads", "1", "--algorithm.source.max_completion_tokens", "4"]
    given = ["--data", str(data), "--reward", "math", "--model", str(packed), *short]
    assert main(["check", "grpo", *given]) in (0, 1)
    assert main(["run", "grpo", *given, "--prompts_per_step", "2", "--evaluation.problems", "2"]) == 0
    assert main(["evaluate", str(packed), "--task", "stepwise", "--problems", "2", "--sampled_problems", "0"]) in (0, 2)
    assert "made into a model directory" not in capsys.readouterr().err
    assert len(list((tmp_path / "cache/groupwise/gguf").glob("small-*"))) == 1
    packed.touch()
    load_model(packed.parent)
    assert len(list((tmp_path / "cache/groupwise/gguf").glob("small-*"))) == 2
