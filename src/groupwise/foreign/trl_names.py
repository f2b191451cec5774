"""This module knows what TRL 1.16 and the TrainingArguments of transformers call their options; the last names in a row
are older ones."""

from __future__ import annotations

from groupwise.foreign.entry import Entry, in_order, none, option, recipe, section

ONLINE = "GRPO, RLOO"
OWN_ENGINE = "completions are sampled by the run's own engine, from the learner's own weights"
ONE_PROCESS = "several processes are --processes N, or torchrun; docs/scale.md has what they share"
ONE_LOOP = "a run has one loop, and this concerns how the Trainer runs its own"

TASK = section(
    "TRL",
    "Model, data and rewards",
    option("model_name_or_path model", "--model"),
    option("dataset_name train_dataset datasets data_files", "--data", "a file or a name of the hub, org/name[/config][:split]"),
    option("dataset_config dataset_train_split", "--data", "part of its name: org/name/config:split"),
    option("dataset_test_split eval_dataset test_split_size", "--held_out", "a file, or a fraction of --data such as 0.1"),
    option(
        "reward_funcs",
        "--reward",
        "once for each: math stands for accuracy_reward, file.py:function for a function of your own",
    ),
    option("reward_model_name_or_path", "--reward", "outcome:DIR, a reward model's directory"),
    option("reward_weights", "--reward", "each reward's weight stands behind a star: --reward 'math*0.5'"),
    recipe(
        "reward_clip_range",
        "as_reward(lambda completion: max(-1.0, min(1.0, f(completion))))",
        "a bound is a part of the reward",
        of="RLOO",
    ),
    recipe("chat_template_kwargs", "from_file('rows.jsonl', template_arguments={'enable_thinking': False})", "what the chat template is given beside the messages"),
    option("system_prompt", "--system", "of open-r1's configurations"),
    option("dataset_text_field", "--prompt_column"),
    option("processing_class", "--model", "the tokenizer of the model's directory is the one that is used"),
    recipe("chat_template_path", "Task('data', (), chat='always')", "the template is the one of the model's directory"),
    none("ref_model", "the reference is the model that the stage begins with; --algorithm.reference.model names another"),
    none("reward_processing_classes", "a reward model is opened with the tokenizer of its own directory"),
    none(
        "formatting_func dataset_kwargs dataset_num_proc data_collator preprocess_logits_for_metrics",
        "rows are read as they stand: write the text that the model should see into the file's columns",
    ),
    none("eos_token pad_token pad_token_id", "special tokens are those of the model's directory, and a mask says what is learned, never a token"),
    none("dataset_streaming streaming", "a data set is read whole before the first step"),
    none("remove_unused_columns", "every column stays, and reaches a reward that asks for it by name"),
    none("model_revision revision", "download the revision, and give its directory to --model"),
    none("trust_remote_code", "code that comes with a model is never run"),
    none("model_init_kwargs attn_implementation", "the learner opens the model itself, and chooses how attention is computed"),
    none("quantization_config load_in_4bit load_in_8bit bnb_* use_bnb_*", "weights aren't quantised; --learner.dtype bfloat16 halves them"),
    recipe("tools max_tool_calling_iterations environment_factory rollout_func", "from_file('rows.jsonl', reward, environment=play, tools=[search], turns=8)", "an environment and tools are functions of yours; docs/environments.md has the forms that are taken as they are"),
    none("callbacks compute_metrics", "metrics.jsonl has every number of every step, for any program to read"),
)  # fmt: skip

BUDGET = section(
    "TRL",
    "Budget and batches",
    option(
        "num_train_epochs",
        "--steps",
        "epochs x rows / prompts_per_step; --epochs is something else, passes over one draw",
    ),
    option("max_steps", "--steps", "there an optimiser update, here a draw: divide by minibatches x epochs"),
    option("num_generations", "--algorithm.source.group_size"),
    option("num_iterations", "--epochs", "passes over one draw"),
    option(
        "per_device_train_batch_size",
        "--prompts_per_step",
        "per_device_train_batch_size x gradient_accumulation_steps x devices are completions; divided by "
        "num_generations, prompts",
        of=ONLINE,
    ),
    option(
        "per_device_train_batch_size",
        "--prompts_per_step",
        "per_device_train_batch_size x gradient_accumulation_steps x devices; what goes through the network at once is "
        "--learner.tokens_per_micro_batch",
        of="SFT, DPO, Reward",
    ),
    option("generation_batch_size", "--prompts_per_step", "divided by num_generations: there completions, here prompts"),
    option(
        "gradient_accumulation_steps",
        "--prompts_per_step",
        "a factor of it; what goes through the network at once is --learner.tokens_per_micro_batch",
    ),
    option("steps_per_generation", "--minibatches", "divided by gradient_accumulation_steps"),
    none("auto_find_batch_size", "a micro-batch that is too large for the memory is halved without being asked"),
    none("per_device_eval_batch_size eval_accumulation_steps", "evaluations fill the engine by themselves: --engine.max_rows"),
    none("num_generations_eval", "evaluations have --evaluation.samples for each of --evaluation.sampled_problems"),
    none("ds3_gather_for_generation accelerator_config parallelism_config deepspeed fsdp* ddp_* local_rank", ONE_PROCESS),
    none(
        "shuffle_dataset group_by_length train_sampling_strategy length_column_name data_seed dataloader_drop_last",
        "rows are drawn in an order that the seed decides, each once before any twice",
    ),
    none("dataloader_* pad_to_multiple_of padding_free packing packing_strategy eval_packing", "rows are packed without padding wherever the model allows it"),
)  # fmt: skip

SAMPLING = section(
    "TRL",
    "Sampling",
    option("max_completion_length max_new_tokens response_length", "--algorithm.source.max_completion_tokens"),
    option("temperature", "--algorithm.source.temperature"),
    option("top_p", "--algorithm.source.top_p"),
    option("top_k", "--algorithm.source.top_k"),
    option(
        "max_prompt_length", "--long_prompts", "prompts are never cut: one that leaves no room is skipped, or an error"
    ),
    option("max_length max_seq_length truncation_mode", "--long_prompts", "nothing is cut: a row that doesn't fit the context is skipped, or an error", of="SFT, DPO, Reward"),
    option("min_p", "--algorithm.source.min_p"),
    none("repetition_penalty generation_kwargs", "the learner's log-probabilities are those that are sampled from, and this would make them differ"),
    none("cache_implementation use_transformers_paged use_transformers_continuous_batching transformers_continuous_batching_config", OWN_ENGINE),
    none("use_vllm vllm_*", OWN_ENGINE),
)  # fmt: skip

LOSS = section(
    "TRL",
    "Loss",
    option("beta kl_coef", "--algorithm.kl.coefficient", "0 means no KL and no reference", of="GRPO"),
    option("beta kl_coef", "--algorithm.kl.coefficient", "with --algorithm.kl.estimator k1 and --algorithm.kl.place reward", of="RLOO"),
    option("beta", "--algorithm.objective.coefficient", of="DPO"),
    option("epsilon", "--algorithm.objective.low --algorithm.objective.high", "there both sides unless epsilon_high is given"),
    option("epsilon_high", "--algorithm.objective.high", "with loss_type=cispo there the cap itself, here what is added to 1"),
    option("delta", "--algorithm.objective.ceiling"),
    option("scale_rewards", "--algorithm.advantage.scale", "group, batch or none; True is group, False is none"),
    option("mask_truncated_completions", "--algorithm.truncated", "True is mask, False is learn"),
    recipe("importance_sampling_level", "objective=ClippedSequenceRatio(3e-4, 4e-4)", "where it is sequence"),
    recipe("loss_type", "aggregation=TokenMean()", "each of its values is a slot of its own", of="GRPO"),
    recipe("loss_type", "objective=PreferenceMargin(0.1)", "each of its values is a slot of its own", of="DPO"),
    recipe("loss_type", "objective=LogLikelihood()", "nll alone", of="SFT"),
    recipe("multi_objective_aggregation", "advantage=NormalisedRewards()", "where it is normalize_then_sum"),
    recipe("normalize_advantages", "whitening=Whitening('sequences', ddof=1)", of="RLOO"),
    option("use_bias_correction_kl", "--algorithm.kl.weight", "True is live, False is none"),
    option("sapo_temperature_pos", "--algorithm.objective.positive", "of the method sapo"),
    option("sapo_temperature_neg", "--algorithm.objective.negative", "of the method sapo"),
    option("entropy_coef", "--algorithm.entropy.coefficient"),
    option("entropy_target", "--algorithm.entropy.target", "where use_adaptive_entropy is True"),
    option("entropy_coef_delta", "--algorithm.entropy.rate", "where use_adaptive_entropy is True"),
    option("use_adaptive_entropy", "--algorithm.entropy.target", "True: a target above 0"),
    none("entropy_coef_min entropy_coef_max", "an adaptive weight of the entropy is held above 0, and nowhere else"),
    recipe("off_policy_mask_threshold", "correction=OffPolicySequenceMask(delta=0.5)"),
    recipe(
        "vllm_importance_sampling_correction vllm_importance_sampling_mode vllm_importance_sampling_clip_max "
        "vllm_importance_sampling_clip_min vllm_importance_sampling_cap",
        "correction=RejectMismatch(0.0, 3.0, 'sequence')",
        "sampler and learner agree here, so that nothing needs to be corrected",
    ),
    option("ref_model_sync_steps sync_ref_model", "--algorithm.reference.refresh_every", "the present policy becomes the reference, whole"),
    none("ref_model_mixup_alpha", "a reference is replaced as a whole, never mixed"),
    option("center_rewards_coefficient", "--algorithm.objective.centring", of="Reward"),
    none("top_entropy_quantile", "every token that was sampled is learned from"),
    option("vespo_k_pos", "--algorithm.objective.k_positive", "of the method vespo"),
    option("vespo_lambda_pos", "--algorithm.objective.lam_positive", "of the method vespo"),
    option("vespo_k_neg", "--algorithm.objective.k_negative", "of the method vespo"),
    option("vespo_lambda_neg", "--algorithm.objective.lam_negative", "of the method vespo"),
    none("router_aux_loss_coef", "nothing is added for a mixture of experts"),
    none("ld_alpha f_divergence_type f_alpha_divergence_coef use_weighting discopop_tau loss_weights rpo_alpha", "of DPO's losses there are sigmoid and sigmoid_norm", of="DPO"),
    none("label_smoothing label_smoothing_factor", "labels are taken as they are"),
    none("precompute_ref_log_probs precompute_ref_batch_size", "the reference is asked as the rows come"),
    none("reference_free", "DPO has a reference", of="DPO"),
    recipe("assistant_only_loss completion_only_loss", "source=Demonstrations()", "only what follows the prompt is learned, always", of="SFT"),
    none("disable_dropout cast_lm_head_to_fp32", "dropout is off, and log-probabilities are computed in float32, always"),
)  # fmt: skip

OPTIMISER = section(
    "TRL",
    "Optimiser",
    option("learning_rate", "--learning_rate"),
    option("lr_scheduler_type", "--schedule", "linear, cosine or constant; constant_with_warmup is constant with --warmup_steps"),
    option("warmup_ratio", "--warmup_steps", "a share of the steps there, steps here"),
    option("warmup_steps", "--warmup_steps", "there updates (or, below 1, a share), here draws"),
    option("lr_scheduler_kwargs", "--learning_rate_floor", "min_lr_rate, or min_lr over the learning rate"),
    option("weight_decay", "--learner.weight_decay"),
    option("adam_beta1 adam_beta2", "--learner.betas", "both, with a space between"),
    option("max_grad_norm", "--learner.max_grad_norm"),
    option("optim", "--learner.optimizer_bits", "AdamW always; adamw_bnb_8bit and paged_adamw_8bit are 8"),
    none("adam_epsilon optim_args optim_target_modules optimizers", "AdamW has the epsilon 1e-8"),
    none("neftune_noise_alpha", "no noise is added to embeddings"),
)  # fmt: skip

ADAPTERS = section(
    "TRL",
    "Adapters and memory",
    option("use_peft peft_config lora_r r", "--learner.lora.rank", "0 trains every parameter"),
    option("lora_alpha", "--learner.lora.alpha"),
    option("lora_target_modules target_modules", "--learner.lora.targets", "last names of linear layers; all-linear is the default"),
    option("lora_dropout", "--learner.lora.dropout", "drawn once an update, not once a token"),
    option("lora_modules_to_save modules_to_save", "--learner.lora.modules_to_save"),
    option("use_rslora", "--learner.lora.rslora"),
    none("lora_target_parameters lora_task_type use_dora task_type bias", "adapters are plain LoRA on linear layers"),
    option("dtype torch_dtype bf16", "--learner.dtype", "bfloat16; half precision with a float32 copy that is stepped"),
    none("fp16 bf16_full_eval fp16_full_eval tf32", "parameters are float32 or bfloat16"),
    option("gradient_checkpointing activation_checkpointing", "--learner.checkpointing"),
    none("gradient_checkpointing_kwargs activation_checkpointing_kwargs activation_offloading", "checkpointing has no options"),
    option("use_cpu no_cuda", "--learner.device", "cpu"),
    none("torch_compile* use_liger_kernel use_liger_loss liger_kernel_config torch_empty_cache_steps use_cache", "the learner chooses how it computes"),
)  # fmt: skip

KEEPING = section(
    "TRL",
    "Evaluation, checkpoints and logs",
    option("output_dir", "--out", "models, checkpoints, metrics and the report lie in it"),
    option("run_name", "--out", "the directory names the run"),
    option("seed", "--seed"),
    option("save_steps save_strategy", "--checkpoint_every", "there updates, here draws; 0 is no"),
    option("save_total_limit", "--checkpoints.keep_last"),
    option("metric_for_best_model load_best_model_at_end greater_is_better", "--checkpoints.keep_best", "a metric of the quick evaluations, such as eval/accuracy"),
    option("eval_steps eval_strategy evaluation_strategy do_eval", "--evaluate_every", "there updates, here draws; 0 is no"),
    option("eval_on_start", "--evaluate_first", "on unless it is turned off, where held-out rows and a judge are there"),
    none("eval_delay", "quick evaluations come every --evaluate_every steps, from the first on"),
    option("overwrite_output_dir", "--fresh", "starts over"),
    none("resume_from_checkpoint ignore_data_skip save_only_model", "the same command again continues, to the same bits"),
    none("push_to_hub hub_* push_to_hub_*", "a model is a directory: hf upload NAME runs/NAME/models/STAGE"),
    option("report_to log_with project trackio_*", "--sink", "wandb, trackio, mlflow or tensorboard, repeatable, with a project after a colon; metrics.jsonl and report.html are always written"),
    none("logging_dir", "what is written lies in the run's directory, --out"),
    none("logging_steps logging_strategy logging_first_step log_level* disable_tqdm include_num_input_tokens_seen", "every step is logged"),
    none("log_completions num_completions_to_print log_unique_prompts log_multimodal log_completions_hub_repo", "every completion lies in ledger/, and the report shows groups of them"),
    none("full_determinism", "a run always comes to the same bits on the same machine"),
    none("skip_memory_metrics average_tokens_across_devices logging_nan_inf_filter enable_jit_checkpoint eval_do_concat_batches do_train do_predict prediction_loss_only label_names include_for_metrics batch_eval_metrics", ONE_LOOP),
)  # fmt: skip

TRL: tuple[Entry, ...] = in_order((TASK, BUDGET, SAMPLING, LOSS, OPTIMISER, ADAPTERS, KEEPING))
