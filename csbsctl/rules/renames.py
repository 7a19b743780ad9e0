"""Whose a backup is: the policy that made it, under the name it has now (``moved:``), and of which stack.

Names are reused: a policy may get the name that another one had, and stacks of one vault name theirs alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from csbsctl.model.backup import Backup
from csbsctl.model.control import StackState


def under_present_names(backups: Sequence[Backup], state: StackState, stack: str) -> tuple[Backup, ...]:
    """Return the backups as one stack knows them: those of a policy that was renamed carry its present name.

    Those that another stack made, and that were not imported with their policy, carry ``STACK/NAME``: no policy here
    judges them.
    """
    names = {old: new for new, olds in state.former.items() for old in olds}
    if not names and all(backup.stack in (None, stack) for backup in backups):
        return tuple(backups)
    return tuple(_presented(backup, names, state, stack) for backup in backups)


def _presented(backup: Backup, names: dict[str, str], state: StackState, stack: str) -> Backup:
    if backup.policy is None:
        return backup
    recorded = backup.policy if backup.stack in (None, stack) else f"{backup.stack}/{backup.policy}"
    since = state.reused.get(recorded)
    present = recorded if since and backup.started_at >= since else names.get(recorded, recorded)
    return backup if present == backup.policy else backup.model_copy(update={"policy": present})
