"""Batches, steps and schedules of a converted script, worked out by hand; there are 40 rows."""

from __future__ import annotations

import pytest

from groupwise.errors import UserError
from groupwise.foreign.reading import read

GRPO = "trl grpo --reward_funcs accuracy_reward --num_generations 4"


@pytest.mark.parametrize(
    ("flags", "devices", "stage"),
    [
        # 8 completions an update are 2 prompts; 3 passes over 40 rows
        ("", 1, {"prompts_per_step": 2, "minibatches": 1, "epochs": 1, "steps": 60}),
        ("--num_train_epochs 1", 1, {"steps": 20}),
        ("--num_train_epochs 0.5", 1, {"steps": 10}),
        ("--gradient_accumulation_steps 4", 1, {"prompts_per_step": 8, "steps": 15}),
        ("--gradient_accumulation_steps 4", 2, {"prompts_per_step": 16, "steps": 6}),
        # 8 passes of 8 completions a draw, 2 of them an update: 16 prompts in 4 updates
        ("--steps_per_generation 8 --gradient_accumulation_steps 2", 1, {"prompts_per_step": 16, "minibatches": 4}),
        ("--generation_batch_size 64 --gradient_accumulation_steps 2", 1, {"prompts_per_step": 16, "minibatches": 4}),
        # 100 updates at 4 a draw, twice over
        ("--steps_per_generation 8 --gradient_accumulation_steps 2 --num_iterations 2 --max_steps 100", 1,
            {"epochs": 2, "steps": 13}),
        # an update would be less than a group: whole groups, one
        ("--per_device_train_batch_size 1 --steps_per_generation 4", 1, {"prompts_per_step": 1, "minibatches": 1}),
        ("--warmup_ratio 0.1", 1, {"warmup_steps": 6}),
        ("--warmup_steps 0.1", 1, {"warmup_steps": 6}),
        ("--warmup_steps 7", 1, {"warmup_steps": 7}),
        ("--warmup_steps 8 --num_iterations 2", 1, {"warmup_steps": 4}),
        ("--save_steps 10", 1, {"checkpoint_every": 10}),
        ("--save_strategy no", 1, {"checkpoint_every": 0}),
        ("--save_strategy epoch", 1, {"checkpoint_every": 20}),
        ("", 1, {"checkpoint_every": 500, "evaluate_every": 0}),
        ("--eval_strategy steps --eval_steps 10", 1, {"evaluate_every": 10}),
        ("--eval_strategy epoch", 1, {"evaluate_every": 20}),
        ("--lr_scheduler_type cosine_with_min_lr --lr_scheduler_kwargs {\"min_lr_rate\":0.1}", 1,
            {"schedule": "cosine", "learning_rate_floor": 0.1}),
        ("--learning_rate 1e-5 --lr_scheduler_type cosine_with_min_lr --lr_scheduler_kwargs {\"min_lr\":1e-6}", 1,
            {"schedule": "cosine", "learning_rate_floor": 0.1}),
        ("--learning_rate 3e-5 --lr_scheduler_type cosine", 1, {"learning_rate": 3e-5, "schedule": "cosine"}),
        ("--lr_scheduler_type constant_with_warmup", 1, {"schedule": "constant"}),
    ],
)  # fmt: skip
def test_trl(made, flags: str, devices: int, stage: dict) -> None:
    run, _ = made(*GRPO.split(), *flags.split(), devices=devices)
    found = vars(run.stages[0])
    assert {name: found[name] for name in stage} == stage


@pytest.mark.parametrize("flags", ["--per_device_train_batch_size 6", "--num_generations 0", "--num_iterations 0"])
def test_batches_that_trl_refuses_are_refused(made, flags: str) -> None:
    with pytest.raises(UserError, match=r"num_generations=4|at least 1"):
        made(*GRPO.split(), *flags.split())


@pytest.mark.parametrize(
    ("trainer", "flags", "stage"),
    [
        ("sft", "", {"prompts_per_step": 8, "steps": 15, "learning_rate": 2e-5}),
        ("dpo", "--per_device_train_batch_size 3 --num_train_epochs 1", {"prompts_per_step": 3, "steps": 14}),
        ("reward", "--max_steps 9", {"steps": 9, "learning_rate": 1e-4}),
        ("rloo", "", {"prompts_per_step": 4, "steps": 30}),
    ],
)
def test_other_trainers_of_trl(made, trainer: str, flags: str, stage: dict) -> None:
    run, _ = made("trl", trainer, "--seed", "1", *flags.split())
    found = vars(run.stages[0])
    assert {name: found[name] for name in stage} == stage


def test_what_a_learner_is(made) -> None:
    flags = "--adam_beta2 0.99 --weight_decay 0.1 --max_grad_norm 0.2 --optim paged_adamw_8bit --bf16 --seed 7"
    adapters = "--use_peft --lora_r 4 --lora_target_modules q_proj v_proj"
    run, _ = made(*GRPO.split(), *flags.split(), *adapters.split())
    learner = run.learner
    assert (learner.betas, learner.weight_decay, learner.max_grad_norm) == ((0.9, 0.99), 0.1, 0.2)
    assert (learner.optimizer_bits, learner.dtype, run.seed) == (8, "bfloat16", 7)
    assert (learner.lora.rank, learner.lora.alpha, learner.lora.targets) == (4, 32.0, ("q_proj", "v_proj"))


VERL = "data.train_files=x algorithm.adv_estimator=grpo data.train_batch_size=8"


@pytest.mark.parametrize(
    ("overrides", "stage"),
    [
        # 30 passes over 5 draws of 8; one update of at most 8 prompts
        ("actor_rollout_ref.actor.ppo_mini_batch_size=8", {"prompts_per_step": 8, "minibatches": 1, "steps": 150}),
        ("actor_rollout_ref.actor.ppo_mini_batch_size=2 trainer.total_epochs=1", {"minibatches": 4, "steps": 5}),
        ("actor_rollout_ref.actor.ppo_mini_batch_size=2 actor_rollout_ref.actor.ppo_epochs=3", {"epochs": 3}),
        ("actor_rollout_ref.actor.ppo_mini_batch_size=8 trainer.total_training_steps=7", {"steps": 7}),
        ("actor_rollout_ref.actor.ppo_mini_batch_size=8 trainer.save_freq=-1 trainer.test_freq=5",
            {"checkpoint_every": 0, "evaluate_every": 5}),
        ("actor_rollout_ref.actor.ppo_mini_batch_size=8 actor_rollout_ref.actor.optim.lr_warmup_steps_ratio=0.1",
            {"warmup_steps": 15}),
    ],
)  # fmt: skip
def test_verl(made, overrides: str, stage: dict) -> None:
    run, _ = made(*VERL.split(), "actor_rollout_ref.rollout.n=4", *overrides.split())
    found = vars(run.stages[0])
    assert {name: found[name] for name in stage} == stage


def test_openrlhf(made) -> None:
    words = "python -m openrlhf.cli.train_ppo_ray --data.prompt_dataset x --algo.advantage.estimator group_norm"
    flags = "--rollout.batch_size 8 --rollout.n_samples_per_prompt 4 --train.batch_size 16 --train.num_episodes 2"
    run, _ = made(*words.split(), *flags.split())
    stage = run.stages[0]
    assert (stage.prompts_per_step, stage.minibatches, stage.steps, stage.warmup_steps) == (8, 2, 10, 1)
    assert stage.algorithm.source.group_size == 4


def test_rewards_have_the_script_s_weights(made) -> None:
    flags = (
        "--reward_funcs accuracy_reward think_format_reward get_soft_overlong_punishment --reward_weights 1.0 0.5 2.0"
    )
    run, _ = made("trl", "grpo", *flags.split())
    rewards = run.stages[0].task.rewards
    assert [(reward.name, reward.weight) for reward in rewards] == [
        ("math", 1.0), ("think_format_reward", 0.5), ("length", 2.0)
    ]  # fmt: skip
    assert (rewards[2].max_tokens, rewards[2].cache_tokens) == (1280, 256)


def test_verl_s_buffer_is_a_second_reward(made) -> None:
    buffer = "reward.reward_kwargs.overlong_buffer_cfg"
    words = f"data.max_response_length=64 +{buffer}.enable=True +{buffer}.len=16 +{buffer}.penalty_factor=0.5"
    run, _ = made(*VERL.split(), "actor_rollout_ref.actor.ppo_mini_batch_size=8", *words.split())
    length = run.stages[0].task.rewards[1]
    assert (length.max_tokens, length.cache_tokens, length.weight) == (64, 16, 0.5)


def test_dynamic_sampling_of_verl(made) -> None:
    from groupwise import mixed

    groups = "algorithm.filter_groups"
    words = [f"{groups}.enable=True", f"{groups}.metric=acc", f"{groups}.max_num_gen_batches=7"]
    run, _ = made(*VERL.split(), "actor_rollout_ref.actor.ppo_mini_batch_size=8", *words)
    source = run.stages[0].algorithm.source
    assert (source.without_signal, source.signal, source.most_rounds) == ("redraw", mixed, 7)


def test_what_has_no_place_is_listed_with_its_reason() -> None:
    from groupwise.foreign.convert import convert

    words = "trl grpo --use_vllm true --push_to_hub true --report_to wandb --gradient_checkpointing false --colour red"
    found = convert(read(words.split()), "recipe", "it")
    told = {line.partition("=")[0] for line in found.unplaced}
    assert told == {"use_vllm", "push_to_hub", "report_to", "colour"}
    assert found.missing == ("model", "data")


def test_a_mapping_of_a_yaml_file_is_one_option(made, tmp_path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "model_name_or_path: m\nreward_funcs: [accuracy_reward]\nnum_generations: 4\nlearning_rate: 1.0e-6\n"
        "lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr_rate: 0.2}\n"
        "chat_template_kwargs: {enable_thinking: false}\nmodel_init_kwargs: {torch_dtype: bfloat16}\n"
    )
    run, found = made(str(path))
    assert run.stages[0].learning_rate_floor == 0.2
    assert not any("no option of TRL" in line for line in found.unplaced)
    assert any("template_arguments" in line for line in found.unplaced)


def test_verls_older_names_of_an_overlong_buffer(made) -> None:
    buffer = "reward_model.reward_kwargs.overlong_buffer_cfg"
    run, found = made(
        *["algorithm.adv_estimator=grpo", "data.max_response_length=100", "data.train_batch_size=4"],
        *["actor_rollout_ref.actor.ppo_mini_batch_size=4", "actor_rollout_ref.rollout.n=2"],
        *f"+{buffer}.enable=True +{buffer}.len=20 +{buffer}.penalty_factor=0.5 +{buffer}.log=False".split(),
    )
    penalty = run.stages[0].task.rewards[1]
    assert (penalty.max_tokens, penalty.cache_tokens, penalty.weight) == (100, 20, 0.5)
    assert not any("overlong" in line for line in found.unplaced)
