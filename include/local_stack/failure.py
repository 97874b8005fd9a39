"""What a person reads when a part of the stack failed."""

from __future__ import annotations

from local_stack.stack import StackFailed

LAST_LINES = 20


def explain(failure: StackFailed) -> str:
    """Return what failed, the last lines of its log and where all logs are."""
    try:
        lines = failure.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
    except OSError:
        lines = []
    shown = "\n".join(f"  | {line}" for line in lines) or "  | (nothing)"
    return (
        f"\n{failure.part} failed: {failure}\n"
        f"Last lines of {failure.log}:\n{shown}\n"
        f"All logs: {failure.log.parent}. Nothing is left running."
    )
