"""vLLM on the CPU, sampling alone: the same prompts and completion lengths, each token's log-probability asked for."""

from __future__ import annotations

import os
import time

from cases import GROUP
from talk import Channel, Ended

GIGABYTES = 2  # of key-value cache, more than any case needs


def main() -> None:
    channel = Channel()
    job = channel.hear()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(GIGABYTES))
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm import LLM, SamplingParams

    engine = LLM(
        job["model"], dtype="float32", max_model_len=job["context"], max_num_seqs=64, seed=0,
        enable_prefix_caching=True, max_logprobs=1, generation_config="vllm", disable_log_stats=True,
    )  # fmt: skip
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    channel.say(version=__import__("vllm").__version__)
    try:
        while True:
            order = channel.hear()
            lengths = [min(length, order["cut"]) for own in order["lengths"] for length in own]
            ids = [tokenizer(text)["input_ids"] for text in order["prompts"] for _ in range(GROUP)]
            params = [
                SamplingParams(temperature=1.0, max_tokens=length, ignore_eos=True, detokenize=False, logprobs=0)
                for length in lengths
            ]
            engine.reset_prefix_cache()  # the weights of a next step would be others
            begun = time.perf_counter()
            found = engine.generate([{"prompt_token_ids": row} for row in ids], params, use_tqdm=False)
            seconds = time.perf_counter() - begun
            channel.say(sampling=seconds, tokens=sum(len(one.outputs[0].token_ids) for one in found))
    except Ended:
        return


if __name__ == "__main__":
    main()
