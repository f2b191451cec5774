"""This module knows what OpenRLHF 0.11 calls its options; the last names in a row are those of its earlier releases."""

from __future__ import annotations

from groupwise.foreign.entry import Entry, in_order, none, option, recipe, section

OWN_ENGINE = "completions are sampled by the run's own engine, from the learner's own weights"
ONE_PROCESS = "several processes are --processes N, or torchrun; docs/scale.md has what they share"

TASK = section(
    "OpenRLHF",
    "Model, data and rewards",
    option("actor.model_name_or_path model.model_name_or_path pretrain", "--model"),
    option("data.prompt_dataset prompt_data", "--data", "a file or a name of the hub, org/name[/config][:split]"),
    option("data.dataset dataset", "--data", "a file or a name of the hub, org/name[/config][:split]", of="SFT, DPO, Reward"),
    option("data.prompt_split data.dataset_split prompt_split dataset_split", "--data", "part of its name: org/name:split"),
    option("eval.dataset eval.split eval_dataset", "--held_out"),
    option("data.input_key data.prompt_key input_key prompt_key", "--prompt_column"),
    option("data.label_key data.output_key label_key output_key", "--answer_column"),
    recipe("data.max_samples max_samples", "from_file('rows.jsonl', limit=100)"),
    recipe("data.input_template data.apply_chat_template data.tokenizer_chat_template input_template apply_chat_template tokenizer_chat_template", "Task('data', (), chat='always')", "the template is the one of the model's directory, and is used where it is there"),
    option("reward.remote_url remote_rm_url", "--reward", "file.py:function, the function that the file scores with"),
    option("reward.model_name_or_path reward_pretrain", "--reward", "outcome:DIR, a reward model's directory"),
    recipe("reward.overlong_buffer_len reward.overlong_penalty_factor overlong_buffer_len overlong_penalty_factor", "LengthPenalty(max_tokens=1024, cache_tokens=128, weight=1.0)", "a second reward"),
    recipe("reward.clip_range reward_clip_range", "as_reward(lambda completion: max(-10.0, min(10.0, f(completion))))", "a bound is a part of the reward"),
    none("reward.normalize_enable normalize_reward reward.stop_properly_penalty_coef stop_properly_penalty_coef", "what a completion is worth is said by a reward alone: write it into the function"),
    option("data.prompt_probs data.dataset_probs prompt_data_probs dataset_probs", "--data", "several, each with its weight: --data a.jsonl --data 'b.jsonl*0.3'"),
    none("data.chosen_key data.rejected_key chosen_key rejected_key", "the columns of pairs are called chosen and rejected"),
    none("data.multiturn multiturn data.image_key data.max_images_per_prompt actor.freeze_visual_encoder data.disable_fast_tokenizer data.dataloader_num_workers model.pretrain_mode_enable", "rows are read whole, as they stand"),
    recipe("train.agent_func_path agent_func_path", "from_file('rows.jsonl', reward, environment=play, tools=[search], turns=8)", "an environment and tools are functions of yours; docs/environments.md has the forms that are taken as they are"),
    none("critic.model_name_or_path critic_pretrain ref.model_name_or_path ref_pretrain", "critic and reference begin as the policy does; --algorithm.reference.model names another reference"),
    none("ds.value_head_prefix value_head_prefix", "a scorer's head has one name"),
)  # fmt: skip

BUDGET = section(
    "OpenRLHF",
    "Budget and batches",
    option("rollout.batch_size rollout_batch_size", "--prompts_per_step", "prompts a draw"),
    option("train.batch_size train_batch_size", "--minibatches", "rollout.batch_size x n_samples_per_prompt / train.batch_size: there completions an update", of="PPO"),
    option("train.batch_size train_batch_size", "--prompts_per_step", of="SFT, DPO, Reward"),
    option("train.max_epochs max_epochs", "--epochs", "passes over one draw", of="PPO"),
    option("train.max_epochs max_epochs", "--steps", "epochs x rows / prompts_per_step", of="SFT, DPO, Reward"),
    option("train.num_episodes num_episodes", "--steps", "episodes x rows / prompts_per_step"),
    option("rollout.n_samples_per_prompt n_samples_per_prompt", "--algorithm.source.group_size"),
    option("train.max_tokens_per_gpu train_max_tokens_per_gpu train.micro_batch_size micro_train_batch_size", "--learner.tokens_per_micro_batch", "in tokens; it decides memory and nothing else"),
    none("rollout.micro_batch_size micro_rollout_batch_size rollout.max_tokens_per_gpu train.dynamic_batch_enable use_dynamic_batch rollout.vllm_generate_batch_size ds.packing_samples packing_samples", "--engine.max_rows and --learner.tokens_per_micro_batch bound what is computed at once, and decide nothing else"),
    option("algo.dynamic_filtering_enable dynamic_filtering", "--algorithm.source.without_signal", "redraw"),
    recipe("algo.dynamic_filtering_range dynamic_filtering_reward_range", "source=OnPolicy(without_signal='redraw', signal=mixed)", "a range of 0 to 1 is mixed: some answers right and some wrong"),
    none("actor.num_nodes actor.num_gpus_per_node critic.num_nodes critic.num_gpus_per_node ref.num_nodes ref.num_gpus_per_node reward.num_nodes reward.num_gpus_per_node actor_num_nodes actor_num_gpus_per_node critic_num_* ref_num_* reward_num_* train.colocate_* colocate_* local_rank", ONE_PROCESS),
    none("ds.* zero_stage adam_offload zpg flash_attn bf16 ring_* ref.offload reward.offload ref_reward_offload use_ms", ONE_PROCESS),
    none("train.async_enable train.async_queue_size train.partial_rollout_enable async_train train.full_determinism_enable", "a step samples and then learns; a run always comes to the same bits on the same machine"),
    none("train.enable_ema train.ema_beta enable_ema", "no average of weights is kept"),
)  # fmt: skip

SAMPLING = section(
    "OpenRLHF",
    "Sampling",
    option("rollout.max_new_tokens generate_max_len", "--algorithm.source.max_completion_tokens"),
    option("data.max_len max_len prompt_max_len", "--long_prompts", "prompts are never cut: one that leaves no room is skipped, or an error"),
    option("rollout.temperature temperature", "--algorithm.source.temperature"),
    option("rollout.top_p top_p", "--algorithm.source.top_p"),
    option("eval.n_samples_per_prompt eval_n_samples_per_prompt", "--evaluation.samples", "for each of --evaluation.sampled_problems"),
    option("eval.temperature eval_temperature", "--evaluation.temperature", "of the sampled completions; one more of each problem is greedy"),
    none("vllm.* vllm_num_engines vllm_tensor_parallel_size vllm_gpu_memory_utilization vllm_*", OWN_ENGINE),
    none("enforce_eager enable_prefix_caching", OWN_ENGINE),
)  # fmt: skip

LOSS = section(
    "OpenRLHF",
    "Loss",
    recipe("algo.advantage.estimator advantage_estimator", "advantage=GroupRelative(epsilon=1e-9)", "group_norm is the method openrlhf_0_11, gae openrlhf_0_11_ppo; each other value is a slot of its own"),
    option("algo.advantage.gamma gamma", "--algorithm.advantage.gamma", "of gae and reinforce"),
    option("algo.advantage.lambd lambd", "--algorithm.advantage.lam", "of gae"),
    none("algo.advantage.no_std_norm no_advantage_std_norm", "whitening divides by the standard deviation, or isn't there"),
    option("actor.eps_clip eps_clip", "--algorithm.objective.low --algorithm.objective.high", "both sides"),
    option("actor.eps_clip_low_high eps_clip_low_high", "--algorithm.objective.low --algorithm.objective.high", "low, then high"),
    option("actor.dual_clip dual_clip", "--algorithm.objective.dual"),
    recipe("actor.policy_loss_type policy_loss_type", "objective=ClippedRatio(0.2, 0.2)", "each of its values is a slot of its own"),
    recipe("actor.loss_agg_mode", "aggregation=TokenMean()", "each of its values is a slot of its own"),
    option("algo.kl.init_coef init_kl_coef", "--algorithm.kl.coefficient"),
    option("algo.kl.estimator kl_estimator", "--algorithm.kl.estimator"),
    option("algo.kl.use_loss use_kl_loss", "--algorithm.kl.place", "objective; without it reward for gae, and advantage for groups"),
    option("algo.kl.target kl_target", "--algorithm.kl.target", "there nats a token, here a completion"),
    option("algo.kl.horizon kl_horizon", "--algorithm.kl.horizon"),
    none("algo.kl.unbiased_gradient", "--algorithm.kl.weight live is the unbiased form of k3"),
    option("actor.entropy_coef entropy_loss_coef", "--algorithm.entropy.coefficient"),
    option("critic.value_clip value_clip", "--algorithm.critic.clip"),
    none("critic.freezing_steps freezing_actor_steps critic.save_value_network save_value_network", "policy and critic learn from the first step, and the policy is what is kept"),
    recipe("algo.advantage.is_correction_level enable_vllm_is_correction", "correction=RejectMismatch(0.5, 5.0)", "sampler and learner agree here, so that nothing needs to be corrected"),
    none("algo.advantage.is_correction_* vllm_is_truncated_threshold", "sampler and learner agree here, so that nothing needs to be corrected"),
    option("model.beta beta", "--algorithm.objective.coefficient", of="DPO"),
    none("model.ipo_enable ipo model.label_smoothing label_smoothing model.nll_loss_coef nll_loss_coef model.loss_type model.margin_loss_enable margin_loss model.compute_fp32_loss_enable", "of losses on pairs there are DPO's sigmoid and a reward model's Bradley-Terry"),
    none("actor.aux_loss_coef model.aux_loss_coef aux_loss_coef", "nothing is added for a mixture of experts"),
)  # fmt: skip

OPTIMISER = section(
    "OpenRLHF",
    "Optimiser, adapters and memory",
    option("actor.adam.lr adam.lr actor_learning_rate", "--learning_rate"),
    option("critic.adam.lr critic_learning_rate", "--algorithm.critic.learning_rate_factor", "divided by the policy's rate"),
    option("actor.lr_scheduler lr_scheduler", "--schedule", "cosine_with_min_lr is cosine with --learning_rate_floor"),
    option("actor.lr_warmup_ratio lr_warmup_ratio", "--warmup_steps", "a share of the steps there, steps here"),
    option("actor.min_lr_ratio min_lr_ratio", "--learning_rate_floor"),
    option("actor.adam.weight_decay adam.weight_decay l2", "--learner.weight_decay"),
    option("actor.adam.betas adam.betas adam_betas", "--learner.betas", "both, with a space between"),
    option("actor.max_norm max_norm", "--learner.max_grad_norm"),
    none("actor.optim optim actor.adam.eps adam.eps actor.muon.* muon.* critic.muon.* critic.optim critic.adam.* critic.lr_scheduler critic.lr_warmup_ratio critic.min_lr_ratio critic.max_norm critic.*", "the optimiser is AdamW, and a critic's differs in its rate alone"),
    option("ds.lora.rank lora_rank", "--learner.lora.rank", "0 trains every parameter"),
    option("ds.lora.alpha lora_alpha", "--learner.lora.alpha"),
    option("ds.lora.target_modules target_modules", "--learner.lora.targets", "last names of linear layers; all-linear is the default"),
    option("ds.lora.dropout lora_dropout", "--learner.lora.dropout", "drawn once an update, not once a token"),
    none("ds.load_in_4bit load_in_4bit", "weights aren't quantised"),
    option("actor.gradient_checkpointing_enable model.gradient_checkpointing_enable gradient_checkpointing", "--learner.checkpointing"),
    none("actor.gradient_checkpointing_reentrant model.gradient_checkpointing_reentrant", "checkpointing has no options"),
    option("ds.param_dtype", "--learner.dtype", "bf16 is bfloat16"),
)  # fmt: skip

KEEPING = section(
    "OpenRLHF",
    "Evaluation, checkpoints and logs",
    option("ckpt.output_dir ckpt.path save_path ckpt_path", "--out", "models, checkpoints, metrics and the report lie in it"),
    option("ckpt.save_steps save_steps", "--checkpoint_every", "-1 is 0: only the model that the stage leaves"),
    option("eval.steps eval_steps", "--evaluate_every", "-1 is 0"),
    option("ckpt.max_num max_ckpt_num", "--checkpoints.keep_last"),
    option("ckpt.best_metric_key", "--checkpoints.keep_best", "a metric of the quick evaluations, such as eval/accuracy"),
    option("train.seed seed", "--seed"),
    none("ckpt.load_enable load_checkpoint ckpt.save_hf save_hf_ckpt ckpt.disable_ds disable_ds_ckpt ckpt.max_mem max_ckpt_mem", "the same command again continues, to the same bits, and every model is a Hugging Face directory"),
    option("logger.* use_wandb use_tensorboard wandb_*", "--sink", "wandb, trackio, mlflow or tensorboard, repeatable; metrics.jsonl and report.html are always written"),
    none("logging_steps", "every step is written"),
)  # fmt: skip

OPENRLHF: tuple[Entry, ...] = in_order((TASK, BUDGET, SAMPLING, LOSS, OPTIMISER, KEEPING))
