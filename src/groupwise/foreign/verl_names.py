"""This module knows what verl 0.9 calls its options: the paths of its configuration; the last names in a row are older
ones."""

from __future__ import annotations

from groupwise.foreign.entry import Entry, in_order, none, option, recipe, section

A, R, M = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.model"
OWN_ENGINE = "completions are sampled by the run's own engine, from the learner's own weights"
ONE_PROCESS = "several processes are --processes N, or torchrun; docs/scale.md has what they share"
ONE_NUMBER = "--learner.tokens_per_micro_batch bounds what goes through the network at once, and decides nothing else"

TASK = section(
    "verl",
    "Model, data and rewards",
    option(f"{M}.path critic.model.path {M}.tokenizer_path data.tokenizer", "--model"),
    option("data.train_files", "--data", "its parquet files are read as they are"),
    option("data.val_files", "--held_out"),
    option("data.prompt_key", "--prompt_column"),
    option("data.messages_key", "--prompt_column", of="SFT"),
    recipe("data.train_max_samples data.val_max_samples", "from_file('rows.parquet', limit=100)", "-1 is None"),
    option("data.max_prompt_length data.truncation data.filter_overlong_prompts data.filter_overlong_prompts_workers", "--long_prompts", "prompts are never cut: one that leaves no room is skipped, or an error"),
    option("data.max_length", "--long_prompts", "nothing is cut: a row that doesn't fit the context is skipped, or an error", of="SFT"),
    option("reward.custom_reward_function.path reward.custom_reward_function.name custom_reward_function.path custom_reward_function.name", "--reward", "path:name; compute_score's parameters are understood"),
    option("reward.reward_model.enable reward.reward_model.model_path reward_model.enable reward_model.model.path", "--reward", "outcome:DIR, a reward model's directory"),
    recipe("reward_model.reward_kwargs.overlong_buffer_cfg.* reward.reward_kwargs.overlong_buffer_cfg.enable reward.reward_kwargs.overlong_buffer_cfg.len reward.reward_kwargs.overlong_buffer_cfg.penalty_factor custom_reward_function.overlong_buffer.enable custom_reward_function.overlong_buffer.len custom_reward_function.overlong_buffer.penalty_factor reward_model.overlong_buffer.enable reward_model.overlong_buffer.len reward_model.overlong_buffer.penalty_factor reward.reward_kwargs.max_resp_len reward_model.reward_kwargs.max_resp_len", "LengthPenalty(max_tokens=512, cache_tokens=128, weight=1.0)", "a second reward: max_tokens is max_response_length, cache_tokens len, weight penalty_factor"),
    none("reward.reward_manager.* reward_model.reward_manager reward_model.* reward.reward_model.* reward.num_workers reward.* reward_manager.* sandbox_fusion.*", "rewards run in processes of their own, and the judge of programs in its own sandbox"),
    none("data.reward_fn_key", "a reward's function gets data_source itself"),
    none("data.shuffle data.seed data.validation_shuffle data.sampler.*", "rows are drawn in an order that the seed decides, each once before any twice"),
    none("data.image_key data.video_key data.audio_key data.image_patch_size data.mm_processor_kwargs data.return_multi_modal_inputs", "models of text alone are trained"),
    none("data.tool_config_path data.function_tool_path data.tools_key data.custom_cls.* data.datagen.* data.dataloader_num_workers data.num_workers data.use_shm data.return_raw_input_ids data.return_raw_chat data.return_full_prompt data.val_batch_size data.pad_mode data.balance_dp_token data.enable_thinking_key data.enable_thinking_default data.ignore_input_ids_mismatch", "rows are read whole, as they stand"),
    none(f"{M}.custom_chat_template", "the template is the one of the model's directory"),
    none(f"{M}.trust_remote_code data.trust_remote_code critic.model.trust_remote_code {M}.external_lib", "code that comes with a model is never run"),
    none(f"{M}.override_config.* {M}.override_config {M}.hf_config_path {M}.use_shm {M}.use_remove_padding {M}.use_fused_kernels {M}.use_liger {M}.fused_kernel_options.* {M}.tiled_mlp.* {M}.mtp.* {M}.enable_activation_offload", "the learner opens the model itself, and chooses how it computes"),
)  # fmt: skip

BUDGET = section(
    "verl",
    "Budget and batches",
    option("data.train_batch_size", "--prompts_per_step"),
    option("data.train_batch_size", "--prompts_per_step", "rows an update", of="SFT"),
    option(f"{A}.ppo_mini_batch_size critic.ppo_mini_batch_size", "--minibatches", "train_batch_size / ppo_mini_batch_size"),
    option(f"{A}.ppo_epochs critic.ppo_epochs", "--epochs", "passes over one draw"),
    option("trainer.total_epochs", "--steps", "epochs x rows / prompts_per_step; --epochs is something else, passes over one draw"),
    option("trainer.total_training_steps", "--steps"),
    option(f"{R}.n", "--algorithm.source.group_size"),
    option(f"{A}.ppo_max_token_len_per_gpu {A}.ppo_micro_batch_size_per_gpu {A}.ppo_micro_batch_size critic.ppo_micro_batch_size_per_gpu critic.ppo_micro_batch_size critic.ppo_max_token_len_per_gpu critic.forward_micro_batch_size_per_gpu critic.forward_max_token_len_per_gpu data.micro_batch_size_per_gpu data.max_token_len_per_gpu", "--learner.tokens_per_micro_batch", "in tokens; it decides memory and nothing else"),
    none(f"{A}.use_dynamic_bsz critic.use_dynamic_bsz data.use_dynamic_bsz {R}.log_prob_use_dynamic_bsz {R}.log_prob_micro_batch_size {R}.log_prob_micro_batch_size_per_gpu {R}.log_prob_max_token_len_per_gpu actor_rollout_ref.ref.log_prob_*", ONE_NUMBER),
    none(f"{A}.shuffle {A}.data_loader_seed critic.shuffle critic.data_loader_seed", "minibatches are drawn anew at every pass, whole groups in each"),
    option("algorithm.filter_groups.enable", "--algorithm.source.without_signal", "True is redraw"),
    option("algorithm.filter_groups.max_num_gen_batches algorithm.filter_groups.max_inflight_gen_batches data.gen_batch_size", "--algorithm.source.most_rounds", "rounds of sampling until a draw is full"),
    recipe("algorithm.filter_groups.metric", "source=OnPolicy(without_signal='redraw', signal=mixed)", "acc is mixed, which asks whether answers are right; a reward that differs is the default"),
    none("trainer.n_gpus_per_node trainer.nnodes trainer.device trainer.balance_batch trainer.ray_wait_register_center_timeout trainer.use_v1 trainer.v1.* actor_rollout_ref.nccl_timeout actor_rollout_ref.hybrid_engine ray_kwargs.* transfer_queue.*", ONE_PROCESS),
    none(f"{A}.strategy {A}.fsdp_config.* {A}.megatron.* {A}.ulysses_sequence_parallel_size {A}.qat.* critic.strategy critic.fsdp.* critic.model.fsdp_config.* critic.megatron.* critic.ulysses_sequence_parallel_size actor_rollout_ref.ref.fsdp_config.* actor_rollout_ref.ref.* engine.* model_engine", ONE_PROCESS),
)  # fmt: skip

SAMPLING = section(
    "verl",
    "Sampling",
    option(f"data.max_response_length {R}.response_length", "--algorithm.source.max_completion_tokens"),
    option(f"{R}.temperature", "--algorithm.source.temperature"),
    option(f"{R}.top_p", "--algorithm.source.top_p"),
    option(f"{R}.top_k", "--algorithm.source.top_k", "-1 is 0"),
    option(f"{R}.val_kwargs.n", "--evaluation.samples", "for each of --evaluation.sampled_problems"),
    option(f"{R}.val_kwargs.temperature", "--evaluation.temperature", "of the sampled completions; one more of each problem is greedy"),
    none(f"{R}.val_kwargs.do_sample {R}.val_kwargs.top_p {R}.val_kwargs.top_k {R}.do_sample", "training samples, an evaluation has one greedy completion and sampled ones"),
    option(f"{R}.max_num_seqs", "--engine.max_rows"),
    recipe(f"{R}.multi_turn.* {R}.agent.*", "from_file('rows.jsonl', reward, environment=play, tools=[search], turns=8)", "an environment and tools are functions of yours; docs/environments.md has the forms that are taken as they are"),
    none(f"{R}.name {R}.mode {R}.tensor_model_parallel_size {R}.data_parallel_size {R}.gpu_memory_utilization {R}.enforce_eager {R}.enable_chunked_prefill {R}.free_cache_engine {R}.load_format {R}.max_num_batched_tokens {R}.max_model_len {R}.engine_kwargs.* {R}.dtype {R}.prompt_length {R}.ignore_eos {R}.*", OWN_ENGINE),
)  # fmt: skip

LOSS = section(
    "verl",
    "Loss",
    recipe("algorithm.adv_estimator", "advantage=GroupRelative(epsilon=1e-6)", "grpo is the method verl_0_9, gae verl_0_9_ppo; each other value is a slot of its own"),
    option("algorithm.norm_adv_by_std_in_grpo", "--algorithm.advantage.scale", "True is group, False is none"),
    option("algorithm.gamma", "--algorithm.advantage.gamma", "of gae and reinforce_plus_plus"),
    option("algorithm.lam", "--algorithm.advantage.lam", "of gae"),
    option(f"{A}.clip_ratio", "--algorithm.objective.low --algorithm.objective.high", "both sides"),
    option(f"{A}.clip_ratio_low", "--algorithm.objective.low"),
    option(f"{A}.clip_ratio_high", "--algorithm.objective.high"),
    option(f"{A}.clip_ratio_c", "--algorithm.objective.dual"),
    option(f"{A}.tau_pos", "--algorithm.objective.positive", "of the method sapo"),
    option(f"{A}.tau_neg", "--algorithm.objective.negative", "of the method sapo"),
    recipe(f"{A}.policy_loss.loss_mode", "objective=ClippedRatio(0.2, 0.2, dual=3.0)", "each of its values is a slot of its own"),
    none(f"{A}.policy_loss.*", "the loss that it belongs to isn't among the objectives"),
    recipe(f"{A}.use_token_level_loss", "aggregation=TokenMean()", "False is SequenceMean()"),
    recipe(f"{A}.loss_agg_mode critic.loss_agg_mode", "aggregation=TokenMean()", "each of its values is a slot of its own"),
    option(f"{A}.loss_scale_factor critic.loss_scale_factor", "--algorithm.aggregation.length", "of the method dr_grpo"),
    option(f"{A}.use_kl_loss", "--algorithm.kl.coefficient", "False is 0"),
    option(f"{A}.kl_loss_coef", "--algorithm.kl.coefficient", "with --algorithm.kl.place objective"),
    option(f"{A}.kl_loss_type", "--algorithm.kl.estimator", "each of its values is a slot of its own"),
    option("algorithm.use_kl_in_reward", "--algorithm.kl.place", "True is reward, with --algorithm.kl.estimator k1"),
    option("algorithm.kl_ctrl.kl_coef critic.kl_ctrl.kl_coef", "--algorithm.kl.coefficient", "with --algorithm.kl.place reward"),
    option("algorithm.kl_penalty", "--algorithm.kl.estimator", "kl is k1, low_var_kl is k3, mse is k2, full is exact"),
    option("algorithm.kl_ctrl.type algorithm.kl_ctrl.target_kl", "--algorithm.kl.target", "adaptive: a target above 0; there nats a token, here a completion"),
    option("algorithm.kl_ctrl.horizon", "--algorithm.kl.horizon"),
    option(f"{A}.entropy_coeff", "--algorithm.entropy.coefficient"),
    none(f"{A}.calculate_entropy {A}.entropy_from_logits_with_chunking {A}.entropy_checkpointing {A}.calculate_sum_pi_squared {A}.entropy_from_logits_chunk_size", "the entropy is measured at every step"),
    option("critic.cliprange_value", "--algorithm.critic.clip"),
    option("critic.optim.lr", "--algorithm.critic.learning_rate_factor", "divided by the policy's rate"),
    none("critic.enable critic.*", "the critic has --algorithm.critic.network, .coefficient, .clip and .learning_rate_factor"),
    none("trainer.critic_warmup", "policy and critic learn from the first step"),
    recipe("algorithm.rollout_correction.rollout_is algorithm.rollout_correction.rollout_is_threshold", "correction=TruncateMismatch(2.0)", "sampler and learner agree here, so that nothing needs to be corrected"),
    none("algorithm.rollout_correction.*", "sampler and learner agree here, so that nothing needs to be corrected"),
    none("algorithm.use_pf_ppo algorithm.pf_ppo.* algorithm.gdpo_reward_keys distillation.*", "it isn't among the methods: groupwise methods lists those that are"),
)  # fmt: skip

OPTIMISER = section(
    "verl",
    "Optimiser, adapters and memory",
    option(f"{A}.optim.lr optim.lr", "--learning_rate"),
    option(f"{A}.optim.lr_warmup_steps optim.lr_warmup_steps", "--warmup_steps", "-1 is 0"),
    option(f"{A}.optim.lr_warmup_steps_ratio optim.lr_warmup_steps_ratio", "--warmup_steps", "a share of the steps there, steps here"),
    option(f"{A}.optim.lr_scheduler_type {A}.optim.warmup_style optim.lr_scheduler_type", "--schedule"),
    option(f"{A}.optim.min_lr_ratio optim.min_lr_ratio", "--learning_rate_floor"),
    option(f"{A}.optim.weight_decay optim.weight_decay", "--learner.weight_decay"),
    option(f"{A}.optim.betas optim.betas", "--learner.betas", "both, with a space between"),
    option(f"{A}.grad_clip {A}.optim.clip_grad critic.grad_clip optim.clip_grad", "--learner.max_grad_norm"),
    none(f"{A}.optim.* optim.* {A}.optim.total_training_steps", "the optimiser is AdamW, and a schedule ends with the steps"),
    option(f"{M}.enable_gradient_checkpointing model.enable_gradient_checkpointing", "--learner.checkpointing"),
    option(f"{M}.lora_rank {M}.lora.rank model.lora_rank", "--learner.lora.rank", "0 trains every parameter"),
    option(f"{M}.lora_alpha {M}.lora.alpha model.lora_alpha", "--learner.lora.alpha"),
    option(f"{M}.target_modules {M}.lora.target_modules model.target_modules", "--learner.lora.targets", "last names of linear layers; all-linear is the default"),
    none(f"{M}.lora.* {M}.exclude_modules {M}.lora_adapter_path", "adapters are plain LoRA on linear layers, new at the first step"),
    option(f"{A}.fsdp_config.model_dtype {A}.fsdp_config.dtype", "--learner.dtype"),
    none(f"{A}.use_torch_compile {A}.profiler.* {A}.checkpoint.* {A}.*", "the learner chooses how it computes"),
)  # fmt: skip

KEEPING = section(
    "verl",
    "Evaluation, checkpoints and logs",
    option("trainer.save_freq", "--checkpoint_every", "-1 is 0: only the model that the stage leaves"),
    option("trainer.test_freq", "--evaluate_every", "-1 is 0"),
    option("trainer.max_actor_ckpt_to_keep trainer.max_critic_ckpt_to_keep trainer.max_ckpt_to_keep", "--checkpoints.keep_last"),
    option("trainer.default_local_dir trainer.experiment_name", "--out", "models, checkpoints, metrics and the report lie in it"),
    option("trainer.seed", "--seed"),
    option("trainer.resume_mode", "--fresh", "disable is --fresh; without it the same command again continues, to the same bits"),
    none("trainer.resume_from_path trainer.del_local_ckpt_after_load trainer.default_hdfs_dir trainer.checkpoint_callback_class checkpoint.*", "the same command again continues, to the same bits"),
    option("trainer.val_before_train", "--evaluate_first"),
    none("trainer.val_only", "groupwise evaluate MODEL --task FILE evaluates any model"),
    option("trainer.logger trainer.project_name", "--sink", "wandb, trackio, mlflow or tensorboard, repeatable, with a project after a colon; metrics.jsonl and report.html are always written"),
    none("trainer.log_val_generations trainer.rollout_data_dir trainer.validation_data_dir", "every completion lies in ledger/, and the report shows groups of them"),
    none("trainer.esi_redundant_time trainer.profile_interval trainer.* global_profiler.* skip.*", "a run has none of it"),
)  # fmt: skip

VERL: tuple[Entry, ...] = in_order((TASK, BUDGET, SAMPLING, LOSS, OPTIMISER, KEEPING))
