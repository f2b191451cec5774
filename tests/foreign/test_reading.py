"""Scripts as they are written out there: what is read of them, and what is not and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from groupwise.errors import UserError
from groupwise.foreign.convert import convert
from groupwise.foreign.explain import explain
from groupwise.foreign.reading import read
from groupwise.foreign.script import DataPath, RewardCall, Script

HEAD = "from datasets import load_dataset\nfrom trl import *\nfrom peft import LoraConfig\n"


def python(tmp_path: Path, text: str) -> Script:
    path = tmp_path / "train.py"
    path.write_text(HEAD + text)
    return read([str(path)])


def values(script: Script) -> dict[str, Any]:
    return {setting.name: setting.value for setting in script.settings}


def test_names_arithmetic_and_texts_are_followed(tmp_path: Path) -> None:
    script = python(tmp_path, (
        "SIZE = 4\nRATE = 2e-6 / 2\nname = f'runs/{SIZE}-' + 'x'\n"
        "def main():\n    batch = SIZE * 2\n"
        "    config = GRPOConfig(output_dir=name, learning_rate=RATE, num_generations=SIZE, beta=-0.5 + 1,\n"
        "        per_device_train_batch_size=batch, lr_scheduler_kwargs=dict(min_lr_rate=0.1), bf16=True)\n"
        "    GRPOTrainer('model', reward_funcs='rm/dir', args=config, train_dataset=load_dataset('org/name')).train()\n"
        "if __name__ == '__main__':\n    main()\n"
    ))  # fmt: skip
    assert values(script) == {
        "model": "model", "output_dir": "runs/4-x", "learning_rate": 1e-6, "num_generations": 4, "beta": 0.5,
        "per_device_train_batch_size": 8, "lr_scheduler_kwargs": {"min_lr_rate": 0.1}, "bf16": True,
    }  # fmt: skip
    assert script.trainer == "GRPO"
    assert script.data == DataPath("org/name")
    assert script.rewards == [RewardCall("rm/dir", "model")]
    assert script.unread == []


def test_what_has_a_value_only_when_it_runs_is_told(tmp_path: Path) -> None:
    script = python(tmp_path, (
        "rate = args.lr\nif fast:\n    size = 4\nelse:\n    size = 8\nfor n in range(3):\n    seed = n\n"
        "SFTTrainer(model=load(), args=SFTConfig(learning_rate=rate, per_device_train_batch_size=size, seed=seed,\n"
        "    max_steps=int(args.steps), weight_decay=0.1, **more), train_dataset=make_rows(args))\n"
    ))  # fmt: skip
    assert values(script) == {"weight_decay": 0.1}
    told = "\n".join(script.unread)
    for part in ("model=load()", "learning_rate=rate", "batch_size=size", "seed=seed", "int(args.steps)", "**more"):
        assert part in told
    assert "make_rows(args)" in told
    assert script.data is None


def test_arguments_of_a_parser_are_told(tmp_path: Path) -> None:
    script = python(tmp_path, "a, b = TrlParser((X, Y)).parse_args_and_config()\nDPOTrainer('m', args=b)\n")
    assert script.trainer == "DPO"
    assert len(script.unread) == 1


ROWS = "GRPOTrainer('m', train_dataset={})\n"


@pytest.mark.parametrize(
    ("before", "expression", "path", "changes"),
    [
        ("", "load_dataset('org/name', 'main', split='train')", "org/name/main", 0),
        ("", "load_dataset('org/name', split='train[:100]')", "org/name", 1),
        ("", "load_dataset('org/name')['test']", "org/name:test", 0),
        ("", "load_dataset('json', data_files='a.jsonl')['train']", "a.jsonl", 0),
        ("", "load_dataset('json', data_files={'train': 'a.jsonl', 'test': 'b.jsonl'}, split='test')", "b.jsonl", 0),
        ("", "load_dataset(path='parquet', data_files=['a.parquet'], split='train')", "a.parquet", 0),
        ("", "load_from_disk('rows')", "rows", 0),
        ("", "Dataset.from_json('a.jsonl')", "a.jsonl", 0),
        ("d = load_dataset('o/n')\nd = d.map(f)\nd = d['train'].shuffle(seed=1)\ndef f(row): return row\n", "d",
            "o/n", 1),
        ("def rows(split='train'):\n    d = load_dataset('o/n')[split]\n    return d.map(lambda x: {'a': x['b']})\n",
            "rows('test')", "o/n:test", 1),
        ("", "load_dataset('o/n').filter(lambda r: r['ok']).select(range(5)).rename_column('a', 'b')", "o/n", 3),
    ],
)  # fmt: skip
def test_rows_are_followed_to_their_file(tmp_path: Path, before: str, expression: str, path: str, changes: int) -> None:
    script = python(tmp_path, before + ROWS.format(expression))
    assert script.data is not None, script.unread
    assert (script.data.path, len(script.data.changes)) == (path, changes)


@pytest.mark.parametrize(
    "expression",
    [
        "concatenate_datasets([a, b])",
        "load_dataset('o/n').map(f, batched=True)",
        "load_dataset('json', data_files=['a', 'b'])",
        "load_dataset(name)",
        "load_dataset('o/n', split='train[:10%]')",
        "load_dataset('o/n', split='train+test')",
        "unknown",
        "load_dataset('o/n').map(imported)",
        "[{'prompt': 'a'}]",
    ],
)
def test_rows_that_are_made_otherwise_are_told(tmp_path: Path, expression: str) -> None:
    script = python(tmp_path, "def f(row): return row\n" + ROWS.format(expression))
    assert script.data is None
    assert script.unread


def test_two_parts_of_one_split_are_a_fraction(tmp_path: Path) -> None:
    text = "d = load_dataset('o/n', split='train').train_test_split(test_size=0.05)\n"
    script = python(tmp_path, text + "SFTTrainer('m', train_dataset=d['train'], eval_dataset=d['test'])\n")
    assert script.data == DataPath("o/n", (), 0.05)
    assert script.held_out is None


def test_code_of_rewards_comes_with_all_that_it_needs(tmp_path: Path) -> None:
    script = python(tmp_path, (
        "import re\nfrom json import loads\nimport torch\nMARK = re.compile('#+')  # what an answer follows\n"
        "tokenizer = AutoTokenizer.from_pretrained('m')\n"
        "def helper(text):\n    # the last one\n    return MARK.split(text)[-1]\n"
        "def unused(): pass\n"
        "def good(completions, **kw):\n    return [float(helper(c) == loads('1')) for c in completions]\n"
        "def other(completions, **kw):\n    return [len(tokenizer(c)) for c in completions]\n"
        "GRPOTrainer('m', reward_funcs=[good, other], train_dataset=load_dataset('o/n'))\n"
    ))  # fmt: skip
    assert [reward.name for reward in script.rewards] == ["good", "other"]
    assert "# what an answer follows" in script.code
    assert "# the last one" in script.code
    assert script.code.startswith("import re\nfrom json import loads\n\n\nMARK")
    assert "unused" not in script.code
    assert "torch" not in script.code
    assert any(line.startswith("tokenizer, which other uses") for line in script.unread)
    compile(script.code, "carried", "exec")


def test_rewards_of_trl_itself_of_modules_and_of_nowhere(tmp_path: Path) -> None:
    script = python(tmp_path, (
        "from trl.rewards import accuracy_reward, get_soft_overlong_punishment\nfrom mine.rewards import exact\n"
        "long = get_soft_overlong_punishment(1280, soft_punish_cache=256)\n"
        "GRPOTrainer('m', reward_funcs=[accuracy_reward, long, exact, make(), lambda **k: 0])\n"
    ))  # fmt: skip
    assert script.rewards == [
        RewardCall("accuracy_reward", "named"),
        RewardCall("get_soft_overlong_punishment", "named", {"max_completion_len": 1280, "soft_punish_cache": 256}),
        RewardCall("mine.rewards:exact", "file"),
    ]
    assert len(script.unread) == 2


def test_models_that_are_loaded_by_themselves_and_adapters(tmp_path: Path) -> None:
    script = python(tmp_path, (
        "import torch\nmodel = AutoModelForCausalLM.from_pretrained('m', torch_dtype=torch.bfloat16)\n"
        "peft = LoraConfig(r=8, target_modules=['q_proj'])\nSFTTrainer(model=model, peft_config=peft)\n"
    ))  # fmt: skip
    assert values(script) == {
        "model": "m", "torch_dtype": "bfloat16", "peft_config": True, "r": 8, "target_modules": ["q_proj"],
    }  # fmt: skip
    script = python(tmp_path, (
        "from unsloth import FastLanguageModel\n"
        "model, tokenizer = FastLanguageModel.from_pretrained('m', load_in_4bit=True)\n"
        "model = FastLanguageModel.get_peft_model(model, r=4, random_state=3)\nSFTTrainer(model=model)\n"
    ))  # fmt: skip
    assert values(script) == {"model": "m", "load_in_4bit": True, "peft_config": True, "r": 4, "random_state": 3}
    assert script.unsloth


SHELL = """#!/bin/bash
set -x  # it's a comment
rate=1e-6  # not 1e-5
export HYDRA_FULL_ERROR=1
n=$(( 2 * (3 + 1) )); data="${DATA:-"${HOME}/data"}"
if [ $n -eq 8 ]; then
    steps=5
else
    steps=6
fi
MODEL=${1:-org/model}
FILES="['$data/a.parquet','$data/b.parquet']"

python3 -m verl.trainer.main_ppo --config-path=x \\
    algorithm.adv_estimator=grpo data.train_files="$FILES" \\
    +actor_rollout_ref.rollout.n=$n ++actor_rollout_ref.actor.optim.lr=$rate \\
    actor_rollout_ref.model.path=${MODEL} trainer.logger='["console","wandb"]' \\
    trainer.n_gpus_per_node=$(nproc) trainer.total_training_steps=$steps data.train_batch_size=$((n*4)) $@ \\
    2>&1 | tee log.txt
"""


def test_a_shell_script_with_variables(tmp_path: Path) -> None:
    path = tmp_path / "run.sh"
    path.write_text(SHELL)
    script = read([str(path)])
    assert (script.system, script.trainer) == ("verl", "PPO")
    assert values(script) == {
        "algorithm.adv_estimator": "grpo",
        "data.train_files": ["~/data/a.parquet", "~/data/b.parquet"],
        "actor_rollout_ref.rollout.n": 8,
        "actor_rollout_ref.actor.optim.lr": 1e-6,
        "actor_rollout_ref.model.path": "org/model",
        "trainer.logger": ["console", "wandb"],
        "data.train_batch_size": 32,
    }
    assert [line.partition(":")[0] for line in script.unread] == [
        "--config-path=x", "trainer.n_gpus_per_node=$(nproc)", "trainer.total_training_steps=$steps"
    ]  # fmt: skip


HEREDOC = """read -r -d '' training_commands <<EOF
openrlhf.cli.train_dpo \\
   --pretrain org/model \\
   --train_batch_size 256
EOF
deepspeed --module $training_commands
"""


def test_a_command_in_a_here_document(tmp_path: Path) -> None:
    path = tmp_path / "run.sh"
    path.write_text(HEREDOC)
    script = read([str(path)])
    assert (script.system, script.trainer) == ("OpenRLHF", "DPO")
    assert values(script) == {"pretrain": "org/model", "train_batch_size": 256}


@pytest.mark.parametrize(
    ("words", "system", "trainer", "devices"),
    [
        ("trl grpo --learning_rate 1e-5", "TRL", "GRPO", 1),
        ("trl dpo --learning-rate=1e-5", "TRL", "DPO", 1),
        ("accelerate launch --num_processes 4 --config_file z.yaml x/sft.py --learning_rate 1e-5", "TRL", "SFT", 4),
        ("torchrun --nproc_per_node=2 rloo.py --learning_rate 1e-5", "TRL", "RLOO", 2),
        ("python -m verl.trainer.main_ppo trainer.save_freq=1", "verl", "PPO", 1),
        ("python -m verl.trainer.sft_trainer optim.lr=1e-5", "verl", "SFT", 1),
        ("algorithm.adv_estimator=grpo trainer.save_freq=1", "verl", "PPO", 1),
        ("ray job submit -- python3 -m openrlhf.cli.train_ppo_ray --actor.adam.lr 1e-5", "OpenRLHF", "PPO", 1),
        ("deepspeed --module openrlhf.cli.train_dpo --adam.lr 1e-5", "OpenRLHF", "DPO", 1),
        ("deepspeed --module openrlhf.cli.train_rm --adam.lr 1e-5", "OpenRLHF", "Reward", 1),
    ],
)  # fmt: skip
def test_commands_are_known_by_what_they_launch(words: str, system: str, trainer: str, devices: int) -> None:
    script = read(words.split())
    assert (script.system, script.trainer, script.devices) == (system, trainer, devices)
    assert script.settings


def test_flags_alone_with_one_and_with_several_values() -> None:
    flags = "--use_vllm --beta -0.5 --reward_funcs a b --run-name=x --seed 3"
    script = read(["trl", "grpo", *flags.split()])
    assert values(script) == {"use_vllm": True, "beta": -0.5, "reward_funcs": ["a", "b"], "run_name": "x", "seed": 3}


@pytest.mark.parametrize(
    ("text", "trainer"),
    [
        ("num_generations: 4", "GRPO"),
        ("num_generations: 4\nnormalize_advantages: true", "RLOO"),
        ("beta: 0.1", "DPO"),
        ("packing: true", "SFT"),
        ("center_rewards_coefficient: 0.01", "Reward"),
    ],
)
def test_a_flat_configuration_is_of_the_trainer_that_has_its_options(tmp_path: Path, text: str, trainer: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"learning_rate: 1e-5\n{text}\n")
    script = read([str(path)])
    assert (script.system, script.trainer) == ("TRL", trainer)
    assert values(script)["learning_rate"] == 1e-5
    assert read([str(path)], "SFT").trainer == "SFT"


def test_a_nested_configuration_with_references_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "data: {train_batch_size: 32, max_response_length: 64}\n"
        "actor_rollout_ref:\n  actor: {ppo_mini_batch_size: '${data.train_batch_size}'}\n"
        "  rollout: {n: 4, response_length: '${oc.select:data.max_response_length,512}'}\n"
        "trainer: {project_name: '${oc.env:NAME}'}\n"
    )
    script = read([str(path), "++data.train_batch_size=8"])
    found = values(script)
    assert found["actor_rollout_ref.actor.ppo_mini_batch_size"] == 32
    assert found["actor_rollout_ref.rollout.response_length"] == 64
    assert found["data.train_batch_size"] == 8
    assert script.unread == ["trainer.project_name: ${oc.env:NAME}"]


@pytest.mark.parametrize(
    ("words", "idle"),
    [
        ("run_name=x num_generations=8 beta=0.1", ["run_name=x", "num_generations=8"]),
        ("mask_truncated_completions=perhaps num_generations=4", ["mask_truncated_completions=perhaps"]),
        ("importance_sampling_level=word beta=0.5", ["importance_sampling_level=word"]),
    ],
)
def test_what_changes_nothing_is_told(tmp_path: Path, words: str, idle: list[str]) -> None:
    """A default, an option of what isn't used, and a value that is none of the option's."""
    path = tmp_path / "trl.yaml"
    lines = ["model_name_or_path: m", "dataset_name: d.jsonl", "reward_funcs: [accuracy_reward]"]
    path.write_text("\n".join([*lines, *words.replace("=", ": ").split(" ")]).replace(":\n", ": "), "utf-8")
    found = convert(read([str(path)], "GRPO"), "x", "trl.yaml")
    assert list(found.idle) == idle
    assert "Without these the recipe is the same" in found.text


@pytest.mark.parametrize(
    ("file", "text", "system"),
    [
        ("nemo.yaml", "grpo: {num_prompts_per_step: 32}\npolicy: {model_name: m}\n", "NeMo-RL"),
        ("swift.sh", "CUDA_VISIBLE_DEVICES=0 swift rlhf --rlhf_type grpo --model m\n", "ms-swift"),
        ("llama.sh", "llamafactory-cli train examples/x.yaml\n", "LLaMA-Factory"),
        ("nemo.sh", "uv run examples/run_grpo_math.py --config x.yaml\n", "NeMo-RL"),
    ],
)
def test_files_of_systems_without_a_table_are_named(tmp_path: Path, file: str, text: str, system: str) -> None:
    path = tmp_path / file
    path.write_text(text, "utf-8")
    with pytest.raises(UserError, match=f"of {system}, which convert does not read"):
        read([str(path)])


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--rlhf_type", ": ms-swift's rlhf_type has no place here: the method is the first word: groupwise run grpo"),
        (
            "--grpo.num_generations_per_prompt",
            ": NeMo-RL's grpo.num_generations_per_prompt is --algorithm.source.group_size",
        ),
        ("--cluster.num_nodes", ": NeMo-RL's cluster.num_nodes has no place here"),
    ],
)
def test_their_options_are_explained(option: str, said: str) -> None:
    assert explain([option, "grpo"]).startswith(said)


def test_of_two_settings_that_say_the_same_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "verl.yaml"
    path.write_text(
        "actor_rollout_ref:\n  model: {path: m}\n"
        "  actor: {clip_ratio: 0.3, clip_ratio_low: 0.3, clip_ratio_high: 0.3}\n"
        "data: {train_files: d.parquet}\nalgorithm: {adv_estimator: grpo}\n",
        "utf-8",
    )
    found = convert(read([str(path)]), "x", "verl.yaml")
    assert [words for words in found.idle if "clip" in words] == ["actor_rollout_ref.actor.clip_ratio=0.3"]
