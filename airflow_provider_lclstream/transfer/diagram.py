"""The state diagram of transfers, explored from the tables and drawn as Mermaid."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_provider_lclstream.transfer.states import (
    InvalidTransition,
    State,
    Stimulus,
    Transfer,
    step,
)


def reachable() -> Iterator[tuple[Transfer, Stimulus, Transfer]]:
    """Every step that can be taken from a new transfer on, each once."""
    todo, seen = [Transfer()], {Transfer()}
    while todo:
        here = todo.pop(0)
        for stimulus in Stimulus:
            try:
                there = step(here, stimulus)
            except InvalidTransition:
                continue
            yield here, stimulus, there
            if there not in seen:
                seen.add(there)
                todo.append(there)


def mermaid() -> str:
    """The state diagram of whole transfers, generated from the tables."""
    arrows: dict[tuple[State, State], set[str]] = {}
    for here, stimulus, there in reachable():
        if here.state is not there.state:
            arrows.setdefault((here.state, there.state), set()).add(stimulus)
    order = list(State)
    lines = ["stateDiagram-v2", f"    [*] --> {State.PROVISIONING}"]
    for (a, b), stimuli in sorted(
        arrows.items(), key=lambda item: (order.index(item[0][0]), order.index(item[0][1]))
    ):
        label = ", ".join(s for s in map(str, Stimulus) if s in stimuli)
        lines.append(f"    {a} --> {b}: {label}")
    lines += [f"    {state} --> [*]" for state in State if state.is_final]
    return "\n".join(lines) + "\n"
