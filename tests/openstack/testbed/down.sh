#!/bin/bash
# down.sh [--wipe]: stop what up.sh started, by its pid files. --wipe also removes all state, not what was installed.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
. "$HERE/guests.sh"

stop_guests
stop_all
[ "${1:-}" != --wipe ] || rm -rf "$STATE" "$LOG" "$ETC" "$RUN" "$TESTBED/clouds.yaml"
