"""Changes of a manifest in a line of text each, such as `train.lr=1e-4`."""

from __future__ import annotations

from tlhub.diagnostics import Position, Problem, quoted
from tlhub.errors import ManifestError
from tlhub.parts import ROLES
from tlhub.yaml_tree import Node, error_at, read_text


def override(tree: Node, text: str) -> None:
    """Change the tree as `--set` asks; raises ManifestError where the text is no change or finds no place."""
    position = Position(f"--set {text}")
    path, equals, value = text.partition("=")
    steps = path.strip().split(".")
    if not equals or not all(steps):
        raise error_at(position, "this is not a change", "write it like `train.lr=1e-4`")
    try:
        new = _moved(read_text(value, position.file), position)
    except ManifestError as error:
        raise ManifestError([Problem(each.message, position.file, hint=each.hint) for each in error.problems]) from None
    node = tree
    for number, step in enumerate(steps):
        here = quoted(".".join(steps[:number]))
        child: Node | None
        if isinstance(node.value, list):
            if not step.isdecimal() or int(step) >= len(node.value):
                count = f"a list of {len(node.value)}, counted from 0"
                raise error_at(position, f"{here} is {count}: there is no {quoted(step)} in it")
            child = node.value[int(step)]
        elif isinstance(node.value, dict):
            child = node.value.get(step)
            if child is None or number == len(steps) - 1:
                node.keys[step] = position
        else:
            raise error_at(position, f"{here} is a single value, there is no {quoted(step)} in it")
        last = number == len(steps) - 1
        if last or child is None or child.value is None:
            child = new if last else Node({}, position)
        elif isinstance(child.value, str) and steps[0] in ROLES:
            child = Node({"use": child}, child.position, {"use": child.position})  # a bare name gets settings
        if isinstance(node.value, list):
            node.value[int(step)] = child
        else:
            node.value[step] = child
        node = child


def _moved(node: Node, position: Position) -> Node:
    """The same values, all at one position."""
    if isinstance(node.value, dict):
        children = {key: _moved(child, position) for key, child in node.value.items()}
        return Node(children, position, dict.fromkeys(children, position))
    return Node(
        [_moved(child, position) for child in node.value] if isinstance(node.value, list) else node.value, position
    )
