#!/bin/bash
# down.sh [--wipe]: stop what up.sh started. --wipe also removes all state, but neither what was installed nor the logs.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
. "$HERE/guests.sh"

stop_guests
stop_all
[ "${1:-}" != --wipe ] || rm -rf "$STATE" "$ETC" "$RUN" "$TESTBED/clouds.yaml"
