"""What a run may take away by itself. A pure decision; `sync` counts and `approval` lets through."""

from __future__ import annotations

from bridge.keys import Guard


def judge(losses: int, lately: int, before: int, after: int, guard: Guard, of: str = "contacts") -> str:
    """Why these losses must wait, or "" if they may go.

    `lately`: losses that runs of the last day took by themselves; `before` and `after`: how many are held of what is
    counted (`of`).
    """
    if losses and before and not after:
        return f"the source reads empty: all {before} {of} would go"
    total, base = losses + lately, before + lately
    share = 100 * total / base if base else 0.0
    if not losses or total <= guard.floor or (share <= guard.percent and total <= guard.most):
        return ""
    slow = f", {lately} of them earlier within the last day" if lately else ""
    limit = f"{guard.percent:g} %" if share > guard.percent else f"{guard.most}"
    return f"{total} of {base} {of} would be lost{slow}: more than {limit} and more than {guard.floor}"
