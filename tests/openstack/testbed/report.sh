#!/bin/bash
# report.sh: what the test bed's services are doing, and the last errors in their logs, for whoever has only this output.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

LINES_EACH=8
echo "---- test bed: $(df --output=avail -BG "$TESTBED" | tail -n 1 | tr -d ' ') free, load $(cut -d' ' -f1-3 /proc/loadavg), $(
    awk '/MemAvailable/ {print int($2 / 1024)}' /proc/meminfo) MiB of memory free"
for file in "$RUN"/*.pid; do
    [ -f "$file" ] || continue
    name=$(basename "$file" .pid)
    if ! running "$name"; then
        echo "---- $name has ended; its last words:"
        tail -n 15 "$LOG/$name.log" | cut -c1-300
    fi
done
for file in "$LOG"/*.log; do
    errors=$(grep -aE ' (ERROR|CRITICAL) |^(E: |error:|[A-Za-z.]*(Error|Exception):)' "$file" | tail -n $LINES_EACH | cut -c1-300)
    [ -z "$errors" ] || printf -- '---- errors in %s:\n%s\n' "$(basename "$file")" "$errors"
done
