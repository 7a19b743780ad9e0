#!/bin/bash
# Start a real OpenStack, run the tests of its provider on it, stop it again. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/../.."

longest_socket_folder=60
TESTBED=${TESTBED:-$PWD/.testbed}
if [ ${#TESTBED} -gt $longest_socket_folder ]; then
    TESTBED=${TMPDIR:-/tmp}/csbsctl-testbed
fi
export TESTBED OS_CLIENT_CONFIG_FILE=$TESTBED/clouds.yaml

trap 'tests/openstack/testbed/down.sh' EXIT
tests/openstack/testbed/up.sh
.venv/bin/python -m pytest -m openstack tests/openstack tests/conformance/provider "$@"
