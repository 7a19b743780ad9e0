#!/bin/bash
# run.sh [ARGUMENT... | measure [PART...]]: start a real OpenStack from nothing, run the tests of its provider on it, or
# measure it, and stop it again. Arguments go to pytest; with some, they say which tests.
#
#   JOBS=4            how many tests run side by side, each in a project of its own; four at most
#   TESTBED=DIR       where everything is kept; two runs need one each
#   NOVA_DRIVER=...   libvirt: real guests
#   LIMIT=2400        seconds after which the tests are given up
set -euo pipefail
cd "$(dirname "$0")/../.."
bed=tests/openstack/testbed
summary=()

# timed WHAT COMMAND...: run a command and note for the last line how long it took and how it ended
timed() {
    local what=$1 begun=$SECONDS code=0
    shift
    "$@" || code=$?
    summary+=("$what $((SECONDS - begun)) s$([ $code = 0 ] || echo " (failed: $code)")")
    return $code
}

finish() {
    local code=$?
    timed stopping $bed/down.sh --wipe || true
    printf -v line '%s, ' "${summary[@]}"
    echo "test bed: ${line%, }"
    exit $code
}

# limited SECONDS COMMAND...: hears the keyboard, and ends with this script
limited() { setpriv --pdeathsig TERM timeout --foreground --kill-after=60 "$@"; }

start() { limited 900 $bed/up.sh; }

run() {
    local limit=$1
    shift
    # The end of the session is asked for first: what has failed until then is listed. Why, was told when it failed.
    PYTHONPATH=$bed limited "$((limit + 300))" .venv/bin/python -m pytest -p cloudlog --tb=short -m openstack -ra -o faulthandler_timeout=0 \
        --durations=10 --session-timeout="$limit" "$@"
}

# prepare [ARGUMENT...]: what has to be done outside, then all else alone
prepare() {
    [ -e .venv/.dev ] || { echo "testbed: the tests' environment is missing: run \`make test-openstack\`" >&2; exit 1; }
    longest_socket_folder=60
    TESTBED=${TESTBED:-$PWD/.testbed}
    [ ${#TESTBED} -le $longest_socket_folder ] || TESTBED=${TMPDIR:-/tmp}/csbsctl-testbed
    export TESTBED OS_CLIENT_CONFIG_FILE=$TESTBED/clouds.yaml
    mkdir -p "$TESTBED"
    exec 9>"$TESTBED/lock"
    flock -n 9 || { echo "testbed: another run uses $TESTBED: wait for it, or set TESTBED" >&2; exit 1; }
    $bed/down.sh --wipe 9>&- # what an earlier run left, even one that was killed, is not to matter
    $bed/install.sh 9>&-
    exec $bed/alone.py "$0" --alone "$@"
}

# alone [ARGUMENT...]: start, run, stop
alone() {
    trap finish EXIT
    trap 'exit 143' TERM HUP
    trap 'exit 130' INT
    if ! timed starting start; then
        $bed/report.sh
        $bed/down.sh --wipe
        timed "starting again" start || { $bed/report.sh; exit 1; }
    fi
    local passed=0
    if [ "${1:-}" = measure ]; then
        timed measuring limited 3000 .venv/bin/python -W ignore tests/openstack/measure.py "${@:2}" || passed=$?
    elif [ $# -gt 0 ]; then
        timed tests run "${LIMIT:-3000}" "$@" || passed=$?
    else
        local outages=tests/openstack/test_openstack_outages.py
        timed tests run "${LIMIT:-2400}" -n "${JOBS:-4}" --dist load --maxschedchunk 1 --ignore $outages tests/openstack tests/conformance/provider ||
            passed=$?
        # These kill services, so nothing may run beside them.
        timed outages run 900 $outages || passed=$?
    fi
    [ $passed = 0 ] || $bed/report.sh
    exit $passed
}

case ${1:-} in
--alone) alone "${@:2}" ;;
*) prepare "$@" ;;
esac
