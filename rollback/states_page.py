"""The page about the states, drawn from the table of transitions: `rollback policy diagram` prints it."""

from __future__ import annotations

from rollback.core.transitions import FACTS, mermaid


def states_page() -> str:
    """`docs/states.md` as it must be: a title, one sentence, and a Mermaid diagram for each severity."""
    facts = ", ".join(sorted(fact.__name__ for fact in FACTS))
    return (
        "# States\n\n"
        "An incident changes its state only as drawn here: `DisableCommanded` is accepted in every open state and "
        "makes the case critical, `SeverityRaised` goes on in the diagram of the new severity, facts leave every open "
        f"state as it is ({facts}), and every other event that is not drawn is refused and changes nothing.\n\n"
        f"{mermaid()}"
    )
