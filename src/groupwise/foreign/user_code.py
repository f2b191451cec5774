"""A Python script's names, and the code that a recipe takes over from it: functions and what they need."""

from __future__ import annotations

import ast
import builtins
import copy
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from groupwise.foreign.literals import Unknown, value_of

MOST_HOPS = 40
THEIR_OWN = {"trl", "transformers", "unsloth", "peft", "accelerate", "torch", "datasets", "wandb", "vllm", "deepspeed"}


class Module:
    """This knows what the names of a script stand for where a call is made, as far as that is known without running
    it."""

    call: ast.Call | ast.Return
    """Where its names are asked for."""

    def __init__(self, tree: ast.Module, call: ast.Call, text: str) -> None:
        self.tree, self.call, self.lines = tree, call, text.splitlines()
        self.lambdas: list[str] = []
        around = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and call in set(ast.walk(node))]
        self.functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        self.functions |= {
            node.name: node for scope in around for node in scope.body if isinstance(node, ast.FunctionDef)
        }
        self.imports = {
            (alias.asname or alias.name).partition(".")[0]: node
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        self.assigned: dict[str, list[tuple[int, ast.expr | None]]] = {}
        scopes: list[ast.Module | ast.FunctionDef] = [tree, *around]
        for scope in scopes:
            for node, sure in _assignments(scope.body):
                self._assign(node, sure)

    def _assign(self, node: ast.stmt, sure: bool) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]  # type: ignore[attr-defined]
        value: ast.expr | None = node.value if sure and not isinstance(node, ast.AugAssign) else None  # type: ignore[attr-defined]
        for target in targets:
            if isinstance(target, ast.Name):
                self.assigned.setdefault(target.id, []).append((node.lineno, value))
            elif isinstance(target, ast.Tuple) and target.elts and isinstance(target.elts[0], ast.Name):
                first = target.elts[0]  # model, tokenizer = ...from_pretrained(...)
                kept = value if isinstance(value, ast.Call) else None
                self.assigned.setdefault(first.id, []).append((node.lineno, kept))

    def assigned_to(self, name: str, before: int) -> ast.expr | None:
        """The expression that was last assigned to a name before a line; None where that is not known."""
        earlier = [value for line, value in self.assigned.get(name, []) if line < before]
        return earlier[-1] if earlier else None

    def followed(self, node: ast.expr | None, before: ast.AST | None = None) -> ast.expr | None:
        """Returns what stands behind names, through several assignments."""
        line = (before or self.call).lineno  # type: ignore[attr-defined]
        for _ in range(MOST_HOPS):
            found = self.assigned_to(node.id, line) if isinstance(node, ast.Name) else None
            if found is None:
                break
            node, line = found, min(line, found.lineno)
        return node

    def inside(self, function: ast.FunctionDef, call: ast.Call) -> tuple[Module, ast.expr]:
        """The names as they are where a function of the script returns, called so; and what it returns. Raises Unknown
        where it returns at several places, or nothing."""
        returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
        if len(returns) != 1 or returns[0].value is None:
            raise Unknown(f"{function.name}(...), which returns at {len(returns)} places")
        inner = copy.copy(self)
        inner.call, inner.assigned = returns[0], {name: list(found) for name, found in self.assigned.items()}
        names = [each.arg for each in function.args.args]
        given: dict[str, ast.expr] = dict(zip(reversed(names), reversed(function.args.defaults), strict=False))
        given |= dict(zip(names, call.args, strict=False))
        given |= {each.arg: each.value for each in call.keywords if each.arg}
        for name, value in given.items():
            inner.assigned[name] = [(function.lineno, self.followed(value, call))]
        inner.functions = self.functions | {
            each.name: each for each in function.body if isinstance(each, ast.FunctionDef)
        }
        for node, sure in _assignments(function.body):
            inner._assign(node, sure)
        return inner, returns[0].value

    def as_function(self, node: ast.Lambda) -> str:
        """The name of a function that a recipe has for a lambda of the script."""
        name = f"changed_{len(self.lambdas) + 1}" if self.lambdas else "changed"
        body = ast.get_source_segment("\n".join(self.lines), node.body) or ast.unparse(node.body)
        self.lambdas.append(f"def {name}({ast.unparse(node.args)}):\n    return ({body})")
        return name

    def text(self, node: Any) -> str:
        """The lines of a statement, comments and decorators with them."""
        first = min([node.lineno, *(each.lineno for each in vars(node).get("decorator_list", ()))])
        return textwrap.dedent("\n".join(self.lines[first - 1 : node.end_lineno]))

    def value(self, name: str) -> Any:
        """Returns the value of a name. Raises Unknown."""
        return self._value(name, self.call.lineno, 0)

    def _value(self, name: str, line: int, hops: int) -> Any:
        found = self.assigned_to(name, line)
        if found is None or hops > MOST_HOPS:
            raise Unknown(name)
        return value_of(found, lambda inner: self._value(inner, found.lineno, hops + 1))


def _assignments(body: Sequence[ast.stmt]) -> Iterator[tuple[ast.stmt, bool]]:
    """In order; not sure: what stands under a condition or in a loop. ``if __name__ == "__main__":`` is none."""
    for node in body:
        if isinstance(node, ast.Assign | ast.AugAssign) or (isinstance(node, ast.AnnAssign) and node.value):
            yield node, True
        elif isinstance(node, ast.If):
            main = "__name__" in ast.unparse(node.test)
            for inner, sure in [*_assignments(node.body), *_assignments(node.orelse)]:
                yield inner, sure and main
        elif isinstance(node, ast.With | ast.Try):
            yield from _assignments(node.body)
        elif isinstance(node, ast.For | ast.While):
            yield from ((inner, False) for inner, _ in _assignments(node.body))


def carry_over(module: Module, needed: Sequence[ast.AST]) -> tuple[str, list[str]]:
    """The code of ``needed`` functions and of what they use, in the script's order; and what is missing, in words."""
    nodes: dict[int, ast.AST] = {}
    missing: dict[str, str] = {}
    waiting = list(needed)
    wanted = {id(node) for node in needed if isinstance(node, ast.FunctionDef)}
    while waiting:
        node = waiting.pop()
        if id(node) in nodes:
            continue
        nodes[id(node)] = node
        own = _bound(node)
        for name in sorted(
            {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} - own - set(dir(builtins))
        ):
            found = _definition(module, name)
            if found is None:
                missing.setdefault(
                    name, f"{name}, which {_called(node)} uses: not carried over, define it in the recipe"
                )
            else:
                waiting.append(found)
                wanted.add(id(found))
    kept = [node for node in nodes.values() if id(node) in wanted]
    kept.sort(key=lambda node: (not isinstance(node, ast.Import | ast.ImportFrom), node.lineno))  # type: ignore[attr-defined]
    lines = dict.fromkeys(module.text(node) for node in kept)
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    rest = [line for line in lines if line not in imports]
    parts = ["\n".join(imports), *rest, *module.lambdas]
    return "\n\n\n".join(part for part in parts if part), list(missing.values())


def _definition(module: Module, name: str) -> ast.AST | None:
    """A function, an import of something other than a training library, or a constant."""
    if name in module.functions:
        return module.functions[name]
    if name in module.imports:
        node = module.imports[name]
        tops = {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            tops = {(node.module or "").partition(".")[0]}
        return None if tops & THEIR_OWN else node
    for statement in module.tree.body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            return statement
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            plain = isinstance(statement, ast.Assign) and _harmless(module, statement.value)
            return statement if plain else None
    return None


def _harmless(module: Module, value: ast.expr) -> bool:
    """Says whether it calls the standard library at most: ``re.compile(...)``."""
    for call in (node for node in ast.walk(value) if isinstance(node, ast.Call)):
        root: ast.expr = call.func
        while isinstance(root, ast.Attribute):
            root = root.value
        name = root.id if isinstance(root, ast.Name) else ""
        node = module.imports.get(name)
        source = (node.module if isinstance(node, ast.ImportFrom) else name) or ""
        if name and source.partition(".")[0] not in sys.stdlib_module_names and name not in dir(builtins):
            return False
    return True


def _bound(node: ast.AST) -> set[str]:
    """Names that the code itself binds: parameters, assignments, loops, inner functions and imports."""
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load)}
    names |= {part.arg for part in ast.walk(node) if isinstance(part, ast.arg)}
    names |= {part.name for part in ast.walk(node) if isinstance(part, ast.FunctionDef | ast.ClassDef)}
    names |= {part.name for part in ast.walk(node) if isinstance(part, ast.ExceptHandler) and part.name}
    inside = (part for part in ast.walk(node) if isinstance(part, ast.Import | ast.ImportFrom))
    return names | {(alias.asname or alias.name).partition(".")[0] for part in inside for alias in part.names}


def _called(node: ast.AST) -> str:
    return node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else " ".join(ast.unparse(node).split())[:60]
