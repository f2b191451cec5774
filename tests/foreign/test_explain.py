"""What is said of an option of another system."""

from __future__ import annotations

import pytest

from groupwise.foreign import convertible, explain, refusal

KNOWN = [
    "--steps", "--epochs", "--learner.betas", "--reward", "--seed", "--options", "--answer_column", "--held_out",
    "--prompt_column", "--learning_rate_floor", "--algorithm.kl.weight", "--algorithm.kl.coefficient",
    "--algorithm.advantage.epsilon", "--algorithm.objective.high", "--algorithm.source.group_size", "--warmup_steps",
    "--checkpoint_every", "--learner.max_grad_norm",
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (["--num_train_epochs", "3"], "--steps"),
        (["--beta", "0.001"], "--algorithm.kl.coefficient"),
        (["--epsilon_high", "0.28"], "--algorithm.objective.high"),
        (["--reward_weights", "1.0", "0.2"], "--reward 'math*0.5'"),
        (["--num_iterations", "2"], "--epochs"),
        (["--num_generations", "8"], "--algorithm.source.group_size"),
        (["--use_vllm"], "no place here"),
        (["--push_to_hub"], "hf upload"),
        (["--lora_r", "16"], "--learner.lora.rank"),
        (["--use_peft"], "--learner.lora.rank"),
        (["--save_steps", "10"], "--checkpoint_every"),
        (["--eval_steps", "10"], "--evaluate_every"),
        (["--report_to", "wandb"], "--sink (wandb, trackio, mlflow or tensorboard"),
        (["--trainer.save_freq", "10"], "--checkpoint_every"),
        (["--actor.clip_ratio_high", "0.28"], "--algorithm.objective.high"),
        (["data.train_files=x"], "--data"),
        # further ones of each kind
        (["--epsilon", "0.2"], "--algorithm.objective.low"),
        (["--max-completion-length=9"], "--algorithm.source.max_completion_tokens"),
        (["--logging_steps", "1"], "every step is logged"),
        (["--warmup_ratio", "0.1"], "--warmup_steps"),
        (["--per_device_train_batch_size", "4"], "--prompts_per_step"),
        (["--gradient_accumulation_steps", "4"], "--prompts_per_step"),
        (["--mask_truncated_completions", "True"], "--algorithm.truncated"),
        (["--actor_rollout_ref.rollout.n", "5"], "--algorithm.source.group_size"),
        (["--rollout.n_samples_per_prompt", "5"], "--algorithm.source.group_size"),
        (["--init_kl_coef", "0.01"], "--algorithm.kl.coefficient"),
        (["--max_seq_length", "2048"], "--long_prompts"),
        (["--vllm_gpu_memory_utilization", "0.5"], "no place here"),
        (["--deepspeed", "x.json"], "several processes are --processes N"),
        (["--rollout_func", "f"], "environment=play, tools=[search]"),
        (["--use_liger_loss", "true"], "the learner chooses how it computes"),
        (["--train.agent_func_path", "f.py"], "environment=play"),
    ],
)
def test_the_meaning_is_said_and_never_a_spelling(words: list[str], right: str) -> None:
    assert right in explain(words, KNOWN)
    assert "perhaps" not in explain(words, KNOWN)


def test_a_count_that_means_something_else_here_is_said_to() -> None:
    assert "--epochs is something else" in explain(["--num_train_epochs"], KNOWN)
    assert "--learner.betas" not in explain(["--beta"], KNOWN)


def test_of_a_family_the_name_that_was_typed_is_said() -> None:
    assert "TRL's vllm_nothing and OpenRLHF's vllm_nothing have no place here" in explain(["--vllm-nothing"], KNOWN)


def test_all_meanings_of_a_name_are_said() -> None:
    said = explain(["--beta", "0.1"], KNOWN)
    assert "TRL's beta (GRPO) is --algorithm.kl.coefficient" in said
    assert "TRL's beta (DPO) and OpenRLHF's beta (DPO) are --algorithm.objective.coefficient" in said
    first = explain(["--beta", "0.1"], ["--algorithm.objective.coefficient"])
    assert first.index("objective.coefficient") < first.index("kl.coefficient")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--loss_type", "dr_grpo"], "TRL's loss_type=dr_grpo (GRPO) is aggregation=ConstantLength(512) in a recipe"),
        (["--loss_type=ipo"], "TRL's loss_type=ipo (DPO) has no place here: of DPO's losses"),
        (["algorithm.adv_estimator=rloo"], "GroupRelative('none', baseline='others') in a recipe"),
        (["--advantage_estimator", "reinforce"], "advantage=RewardToGo()"),
        (["--actor.policy_loss_type", "gspo"], "ClippedSequenceRatio(3e-4, 4e-4)"),
    ],
)
def test_a_value_that_chooses_a_formula_is_explained_itself(words: list[str], said: str) -> None:
    assert said in explain(words, KNOWN)


def test_a_slip_in_a_foreign_name_is_taken_for_it_unless_ours_is_nearer() -> None:
    assert explain(["--num_train_epoch"], KNOWN).startswith(": perhaps TRL's num_train_epochs is --steps")
    assert explain(["--warmup_step"], KNOWN) == ""
    assert explain(["--nothing_like_it"], KNOWN) == ""
    assert explain(["--group_siz"], KNOWN) == ""


def test_options_of_another_command_are_said_to_be() -> None:
    assert explain(["--model_name_or_path"], ["--task"], "groupwise run").endswith("these are options of groupwise run")
    assert "these are" not in explain(["--model_name_or_path"], ["--model"], "groupwise run")
    assert "these are" not in explain(["--use_vllm"], ["--task"], "groupwise run")


@pytest.mark.parametrize("word", ["data.train_files=x", "+data.train_files=x", "++trainer.save_freq=3", "trainer.n=1"])
def test_overrides_of_verl_are_understood(word: str) -> None:
    said = refusal(["--seed", "1", word])
    assert said is not None
    assert said.startswith(f"unknown option {word.partition('=')[0]}: verl's ")
    assert "groupwise convert" in said
    assert convertible(word)
    assert refusal(["--dry_run", word]) == refusal(["--fresh", word]) == said


@pytest.mark.parametrize("words", [["--reward", "data.train_files=x"], ["a.b=c"], ["x.py"], ["key=value"], []])
def test_what_only_looks_like_one_is_let_be(words: list[str]) -> None:
    assert refusal(words) is None
