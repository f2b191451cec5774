"""A Python script that trains with TRL, alone or with Unsloth: read as a syntax tree, never run."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from groupwise.errors import UserError
from groupwise.foreign.literals import Unknown, shown, value_of
from groupwise.foreign.rows import data_path
from groupwise.foreign.script import DataPath, RewardCall, Script, Setting
from groupwise.foreign.user_code import Module, carry_over

TRAINERS = {"GRPOTrainer": "GRPO", "RLOOTrainer": "RLOO", "DPOTrainer": "DPO", "SFTTrainer": "SFT"}
TRAINERS |= {"RewardTrainer": "Reward"}
DEEP = "its expressions are nested too deeply to be read"
SCRIPT_ARGUMENTS = "as its command line says it"
OWN_REWARDS = {
    "accuracy_reward",
    "reasoning_accuracy_reward",
    "think_format_reward",
    "get_soft_overlong_punishment",
    "get_cosine_scaled_reward",
    "get_repetition_penalty_reward",
}


def read_python(text: str, path: str) -> Script:
    """Reads the script of its first trainer. Raises UserError where it is no Python, or makes no trainer that there is
    a method for."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
        raise UserError(f"{path}: not Python that can be read{line}: {str(error).split(' (')[0]}") from error
    except (RecursionError, MemoryError) as error:
        raise UserError(f"{path}: {DEEP}") from error
    try:
        return _read(tree, text, path)
    except RecursionError as error:
        raise UserError(f"{path}: {DEEP}") from error


def _read(tree: ast.Module, text: str, path: str) -> Script:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    made = [call for call in calls if last_name(call.func) in TRAINERS]
    if not made:
        others = sorted({last_name(call.func) for call in calls if last_name(call.func).endswith("Trainer")})
        seen = f"; it makes {', '.join(others)}" if others else ""
        raise UserError(f"{path}: makes none of {', '.join(TRAINERS)}{seen}; there is a recipe for those alone")
    call = min(made, key=lambda call: call.lineno)
    return _Reader(Module(tree, call, text), call).script()


def last_name(node: ast.expr) -> str:
    """Returns the last name of an expression: ``GRPOTrainer`` of ``trl.GRPOTrainer``; empty where it is no name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


class _Reader:
    """One trainer's arguments, followed to where they are made."""

    def __init__(self, module: Module, call: ast.Call) -> None:
        self.module, self.call = module, call
        self.settings: list[Setting] = []
        self.unread: list[str] = []
        self.needed: list[ast.AST] = []
        """Functions and expressions whose code a recipe needs."""

    def script(self) -> Script:
        """What the whole call says."""
        trainer = TRAINERS[last_name(self.call.func)]
        given = {keyword.arg: keyword.value for keyword in self.call.keywords if keyword.arg}
        order = ["model", "reward_funcs", "args", "train_dataset", "eval_dataset"]
        order = (
            order if trainer in ("GRPO", "RLOO") else ["model", "ref_model", "args"] if trainer == "DPO" else ["model"]
        )
        given |= dict(zip(order, self.call.args, strict=False))
        self._model(given.pop("model", None))
        self._made(given.pop("args", None), "")
        self._made(given.pop("peft_config", None), "lora")
        rewards = self._rewards(given.pop("reward_funcs", None))
        data, held_out = self._rows(given.pop("train_dataset", None)), self._rows(given.pop("eval_dataset", None))
        if data and held_out and data.held_out_fraction and held_out.path == data.path:
            held_out = None  # the other part of one split
        for name in ("processing_class", "tokenizer"):
            given.pop(name, None)
        self._settings(given.items())
        code, missing = carry_over(self.module, self.needed)
        unread = [*self.unread, *missing]
        unsloth = any(line.lstrip().startswith(("from unsloth", "import unsloth")) for line in self.module.lines)
        return Script("TRL", trainer, self.settings, data, held_out, rewards, code, unread, unsloth=unsloth)

    def _settings(self, pairs: Any) -> None:
        for name, node in pairs:
            try:
                self.settings.append(Setting(name, value_of(node, self.module.value), f"line {node.lineno}"))
            except Unknown as unknown:
                self.unread.append(f"{name}={shown(node)} (line {node.lineno}){_because(unknown, node)}")

    def _made(self, node: ast.expr | None, prefix: str) -> None:
        """The keywords of ``GRPOConfig(...)`` or ``LoraConfig(...)``, wherever it is made."""
        node = self.module.followed(node)
        if node is None or (isinstance(node, ast.Constant) and node.value is None):
            return
        if not isinstance(node, ast.Call) or not last_name(node.func).endswith(("Config", "Arguments", "dict")):
            self.unread.append(f"{shown(node)} (line {node.lineno}): {SCRIPT_ARGUMENTS}")
            return
        keywords = [(each.arg, each.value) for each in node.keywords if each.arg]
        if prefix:
            self.settings.append(Setting("peft_config", True))
        elif node.args:
            keywords.insert(0, ("output_dir", node.args[0]))
        self._settings(keywords)
        for each in (each.value for each in node.keywords if not each.arg):
            try:
                found = value_of(self.module.followed(each) or each, self.module.value)
                self.settings += [Setting(str(name), value, f"line {each.lineno}") for name, value in found.items()]
            except (Unknown, AttributeError):
                self.unread.append(f"**{shown(each)} (line {each.lineno})")

    def _model(self, node: ast.expr | None) -> None:
        """A text; ``AutoModel....from_pretrained("name", dtype=...)``; ``FastLanguageModel.get_peft_model(...)``."""
        node = self.module.followed(node)
        if isinstance(node, ast.Call) and last_name(node.func) == "get_peft_model":
            inner = node.args[0] if node.args else next((k.value for k in node.keywords if k.arg == "model"), None)
            self._model(self.module.followed(inner, before=node))
            self.settings.append(Setting("peft_config", True))
            if len(node.args) > 1:
                self._made(node.args[1], "lora")
            self._settings((each.arg, each.value) for each in node.keywords if each.arg not in (None, "model"))
        elif isinstance(node, ast.Call) and last_name(node.func) == "from_pretrained":
            keywords = [(each.arg, each.value) for each in node.keywords if each.arg]
            named = dict(keywords)
            first = node.args[0] if node.args else named.get("model_name") or named.get("pretrained_model_name_or_path")
            skip = {"model_name", "pretrained_model_name_or_path"}
            self._settings([("model", first)] if first is not None else [])
            self._settings((name, part) for name, part in keywords if name not in skip)
        elif node is not None:
            self._settings([("model", node)])

    def _rewards(self, node: ast.expr | None) -> list[RewardCall]:
        node = self.module.followed(node)
        if node is None:
            return []
        items: Sequence[ast.expr] = node.elts if isinstance(node, ast.List | ast.Tuple) else [node]
        return [found for item in items if (found := self._reward(item))]

    def _reward(self, item: ast.expr) -> RewardCall | None:
        if isinstance(item, ast.Constant) and isinstance(item.value, str):
            return RewardCall(item.value, "model")
        name = last_name(item.func) if isinstance(item, ast.Call) else last_name(item)
        if isinstance(item, ast.Name) and name in self.module.functions:
            self.needed.append(self.module.functions[name])
            return RewardCall(name)
        if name in OWN_REWARDS:
            try:
                keywords = item.keywords if isinstance(item, ast.Call) else []
                plain = {str(each.arg): value_of(each.value, self.module.value) for each in keywords}
                order = ("max_completion_len", "soft_punish_cache")
                values = [
                    value_of(each, self.module.value) for each in (item.args if isinstance(item, ast.Call) else [])
                ]
                return RewardCall(name, "named", plain | dict(zip(order, values, strict=False)))
            except Unknown as unknown:
                self.unread.append(f"the reward {shown(item)} (line {item.lineno}): {unknown}")
                return None
        followed = self.module.followed(item)
        if followed is not None and followed is not item and not isinstance(followed, ast.Name):
            return self._reward(followed)
        module = self.module.imports.get(name)
        if isinstance(module, ast.ImportFrom) and module.module and not module.level:
            return RewardCall(f"{module.module}:{name}", "file")
        self.unread.append(f"the reward {shown(item)} (line {item.lineno}): not a function of this file")
        return None

    def _rows(self, node: ast.expr | None) -> DataPath | None:
        if node is None or (isinstance(node, ast.Constant) and node.value is None):
            return None
        try:
            return data_path(node, self.module, self.needed)
        except Unknown as unknown:
            self.unread.append(str(unknown))
            return None


def _because(unknown: Unknown, node: ast.AST) -> str:
    return "" if str(unknown) == shown(node) else f": {unknown} has no value without running it"
