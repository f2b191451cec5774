"""Environments: worlds that talk with the model for several turns, and tools that it may call."""

from groupwise.environments.as_environment import as_environment, schemas_of
from groupwise.environments.forms.gymnasium import Gymnasium
from groupwise.environments.forms.mcp import MCP
from groupwise.environments.forms.openenv import OpenEnv
from groupwise.environments.forms.openrlhf import OpenRLHF
from groupwise.environments.forms.skyrl_gym import SkyRLGym
from groupwise.environments.forms.textarena import TextArena
from groupwise.environments.forms.trl import TRL
from groupwise.environments.protocol import Call, Ended, Environment, Reply, Says, Utterance
from groupwise.environments.tools import Tools
from groupwise.environments.turns import Turns

__all__ = [
    "MCP",
    "TRL",
    "Call",
    "Ended",
    "Environment",
    "Gymnasium",
    "OpenEnv",
    "OpenRLHF",
    "Reply",
    "Says",
    "SkyRLGym",
    "TextArena",
    "Tools",
    "Turns",
    "Utterance",
    "as_environment",
    "schemas_of",
]
