"""Methods as values. Each recipe's docstring numbers how it differs from what it replaces; none has logic."""

from groupwise.recipes.cispo import cispo
from groupwise.recipes.dapo import dapo
from groupwise.recipes.deepseek_r1 import deepseek_r1
from groupwise.recipes.deepseek_v3_2 import deepseek_v3_2
from groupwise.recipes.dpo import dpo
from groupwise.recipes.dpo_normalised import dpo_normalised
from groupwise.recipes.dppo import dppo
from groupwise.recipes.dppo_kl import dppo_kl
from groupwise.recipes.dr_grpo import dr_grpo
from groupwise.recipes.gdpo import gdpo
from groupwise.recipes.gigpo import gigpo
from groupwise.recipes.gmpo import gmpo
from groupwise.recipes.grpo import grpo
from groupwise.recipes.grpo_process import grpo_process
from groupwise.recipes.gspo import gspo
from groupwise.recipes.gspo_token import gspo_token
from groupwise.recipes.lite_ppo import lite_ppo
from groupwise.recipes.luspo import luspo
from groupwise.recipes.maxrl import maxrl
from groupwise.recipes.on_policy_distillation import on_policy_distillation
from groupwise.recipes.online_dpo import online_dpo
from groupwise.recipes.online_rft import online_rft
from groupwise.recipes.openrlhf_0_11 import openrlhf_0_11
from groupwise.recipes.openrlhf_0_11_ppo import openrlhf_0_11_ppo
from groupwise.recipes.opsd import opsd
from groupwise.recipes.ppo import ppo
from groupwise.recipes.pretrain import pretrain
from groupwise.recipes.process_reward_model import process_reward_model
from groupwise.recipes.process_reward_model_automatic import process_reward_model_automatic
from groupwise.recipes.reinforce_plus_plus import reinforce_plus_plus
from groupwise.recipes.reinforce_plus_plus_baseline import reinforce_plus_plus_baseline
from groupwise.recipes.remax import remax
from groupwise.recipes.reward_model import reward_model
from groupwise.recipes.reward_model_samples import reward_model_samples
from groupwise.recipes.rft import rft
from groupwise.recipes.rloo import rloo
from groupwise.recipes.rpg_fkl import rpg_fkl
from groupwise.recipes.rpg_rkl import rpg_rkl
from groupwise.recipes.rpg_ufkl import rpg_ufkl
from groupwise.recipes.rpg_urkl import rpg_urkl
from groupwise.recipes.sapo import sapo
from groupwise.recipes.sdft import sdft
from groupwise.recipes.sft import sft
from groupwise.recipes.trl_1_16 import trl_1_16
from groupwise.recipes.turn_to_go import turn_to_go
from groupwise.recipes.verl_0_9 import verl_0_9
from groupwise.recipes.verl_0_9_ppo import verl_0_9_ppo
from groupwise.recipes.vespo import vespo

__all__ = [
    "cispo",
    "dapo",
    "deepseek_r1",
    "deepseek_v3_2",
    "dpo",
    "dpo_normalised",
    "dppo",
    "dppo_kl",
    "dr_grpo",
    "gdpo",
    "gigpo",
    "gmpo",
    "grpo",
    "grpo_process",
    "gspo",
    "gspo_token",
    "lite_ppo",
    "luspo",
    "maxrl",
    "on_policy_distillation",
    "online_dpo",
    "online_rft",
    "openrlhf_0_11",
    "openrlhf_0_11_ppo",
    "opsd",
    "ppo",
    "pretrain",
    "process_reward_model",
    "process_reward_model_automatic",
    "reinforce_plus_plus",
    "reinforce_plus_plus_baseline",
    "remax",
    "reward_model",
    "reward_model_samples",
    "rft",
    "rloo",
    "rpg_fkl",
    "rpg_rkl",
    "rpg_ufkl",
    "rpg_urkl",
    "sapo",
    "sdft",
    "sft",
    "trl_1_16",
    "turn_to_go",
    "verl_0_9",
    "verl_0_9_ppo",
    "vespo",
]
