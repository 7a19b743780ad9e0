#!/bin/bash
# Start a real OpenStack from nothing, run the tests of its provider on it, stop it again. Arguments go to pytest.
#
#   JOBS=4   how many tests run side by side, each in a project of its own; four at most
set -euo pipefail
cd "$(dirname "$0")/../.."

longest_socket_folder=60
TESTBED=${TESTBED:-$PWD/.testbed}
if [ ${#TESTBED} -gt $longest_socket_folder ]; then
    TESTBED=${TMPDIR:-/tmp}/csbsctl-testbed
fi
export TESTBED OS_CLIENT_CONFIG_FILE=$TESTBED/clouds.yaml

# What an earlier run left is not to matter: its state goes first. The logs of this run stay until the next.
stop() { tests/openstack/testbed/down.sh "$@"; }
trap stop EXIT
trap 'exit 143' TERM HUP
trap 'exit 130' INT
stop --wipe
timeout --kill-after=30 900 tests/openstack/testbed/up.sh

run() { timeout --kill-after=60 1500 .venv/bin/python -m pytest -m openstack --durations=10 "$@"; }
outages=tests/openstack/test_openstack_outages.py
passed=0
run -n "${JOBS:-4}" --dist worksteal --ignore $outages tests/openstack tests/conformance/provider "$@" || passed=$?
# These kill services, so nothing may run beside them.
run $outages "$@" || passed=$?
exit $passed
