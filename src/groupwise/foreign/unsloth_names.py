"""This module knows what Unsloth's FastLanguageModel calls its arguments; the trainers that it is used with are
TRL's."""

from __future__ import annotations

from groupwise.foreign.entry import Entry, none, option, section

UNSLOTH: tuple[Entry, ...] = section(
    "Unsloth",
    "FastLanguageModel",
    option("model_name", "--model"),
    option("max_seq_length", "--algorithm.source.max_completion_tokens", "prompt and completion together there; here the completion alone is bounded, by this and by the model's context"),
    option("r max_lora_rank lora_rank", "--learner.lora.rank", "0 trains every parameter"),
    option("lora_alpha", "--learner.lora.alpha"),
    option("target_modules", "--learner.lora.targets", "last names of linear layers"),
    option("use_gradient_checkpointing", "--learner.checkpointing", "True or unsloth is True"),
    option("random_state", "--seed"),
    option("dtype", "--learner.dtype", "float32 or bfloat16"),
    option("full_finetuning", "--learner.lora.rank", "0"),
    none("load_in_4bit load_in_8bit load_in_16bit load_in_fp8", "weights aren't quantised; --learner.dtype bfloat16 halves them"),
    option("lora_dropout", "--learner.lora.dropout", "drawn once an update, not once a token"),
    option("modules_to_save", "--learner.lora.modules_to_save"),
    option("use_rslora", "--learner.lora.rslora"),
    none("bias loftq_config finetune_*", "adapters are plain LoRA on linear layers"),
    none("fast_inference gpu_memory_utilization float8_kv_cache unsloth_vllm_standby enforce_eager", "completions are sampled by the run's own engine, from the learner's own weights"),
    none("token device_map rope_scaling fix_tokenizer trust_remote_code use_exact_model_name", "the learner opens the model itself; HF_TOKEN is the hub's variable"),
    none("unsloth_num_chunks unsloth_grpo_mini_batch unsloth_logit_chunk_multiplier", "--learner.tokens_per_micro_batch bounds what goes through the network at once"),
)  # fmt: skip
