# Where the test bed keeps things, and how its processes are started, awaited and stopped. Sourced by its scripts.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TESTBED=${TESTBED:-$(cd "$HERE/../../.." && pwd)/.testbed}
ADDRESS=127.0.0.1
PASSWORD=testbed
NOVA_DRIVER=${NOVA_DRIVER:-fake}

ETC=$TESTBED/etc STATE=$TESTBED/state LOG=$TESTBED/log RUN=$TESTBED/run CACHE=$TESTBED/cache
VENV=$TESTBED/venv
SQL=$RUN/sql.sock
GUEST=$CACHE/guest-$(cat "$HERE"/guest/* | sha256sum | cut -c1-16).raw
export PATH=$HERE/bin:$VENV/bin:$PATH:/usr/sbin:/sbin
export CEPH_CONF=$ETC/ceph/ceph.conf
export OS_CLIENT_CONFIG_FILE=$TESTBED/clouds.yaml
# Everything talks to loopback; a proxy of the machine's is for installing only.
export no_proxy=$ADDRESS,localhost NO_PROXY=$ADDRESS,localhost

ROOM=8 # GiB
PATIENCE=300 # seconds for anything that takes ten on a quiet machine; what has ended is not waited for
STARTED=$(date +%s%N)

say() {
    local elapsed=$((($(date +%s%N) - STARTED) / 100000000))
    printf '[%3d.%ds] %s\n' $((elapsed / 10)) $((elapsed % 10)) "$*"
}

die() {
    echo "testbed: $*" >&2
    exit 1
}

# A process is known by a mark in its environment, which its children inherit. A number in a file would also fit a
# process that came later, and one that was killed and waits to be reaped, which has no environment any more.
MARK=TESTBED_SERVICE=$TESTBED
export SPT_NOENV=1 # gunicorn's title is not to be written over the environment

# running NAME: whether the process that was started under a name is alive
running() {
    local pid
    read -r pid 2>/dev/null <"$RUN/$1.pid" && grep -qszxF -e "$MARK:$1" "/proc/$pid/environ"
}

# marked [NAME]: the processes of one service, or of all
marked() {
    { grep -lszF -e "$MARK:${1:-}" /proc/[0-9]*/environ || true; } | cut -d/ -f3
}

# start NAME COMMAND...: in the background, in its own session, with a pid file and a log; running already is fine
start() {
    local name=$1 pid
    shift
    running "$name" && return 0
    # shellcheck disable=SC2046 # a list of numbers: what the service's death left behind
    kill -KILL $(marked "$name") 2>/dev/null || true
    env "$MARK:$name" setsid "$@" >>"$LOG/$name.log" 2>&1 </dev/null &
    pid=$!
    echo $pid >"$RUN/$name.pid"
    until running "$name" || ! kill -0 $pid 2>/dev/null; do sleep 0.01; done
}

# await NAME COMMAND...: until the command succeeds; ends early when the service of that name has ended
await() {
    local end=$((SECONDS + PATIENCE)) name=$1
    shift
    until "$@" >/dev/null 2>&1; do
        if ! running "$name"; then
            "$@" >/dev/null 2>&1 && return 0
            die "$name ended: $(tail -n 15 "$LOG/$name.log" 2>&1)"
        fi
        [ $SECONDS -lt $end ] || die "$name did not come up in $PATIENCE s: $(tail -n 15 "$LOG/$name.log" 2>&1)"
        sleep 0.2
    done
}

# once NAME COMMAND...: run a command the first time only
once() {
    local mark=$STATE/.done-$1
    shift
    [ -e "$mark" ] || { "$@" && touch "$mark"; }
}

# again COMMAND...: for downloads, up to four times
again() {
    local pause
    for pause in 5 15 30; do
        "$@" && return 0
        echo "testbed: $1 failed, once more in $pause s"
        sleep $pause
    done
    "$@"
}

# Ports and who of us listens there.
PORTS="3300:ceph-mon 6789:ceph-mon 4369:epmd 5672:rabbit 25672:rabbit 7480:radosgw 5000:keystone 8778:placement
    9696:neutron 9292:glance 8774:nova-api 8776:cinder-api"

# owned PORT:NAME: whether the port is free, or what listens there is ours
owned() { ! listens "${1%:*}" || running "${1#*:}"; }

# holder PORT:NAME: the processes that listen on a port, as far as the machine can tell
holder() { { ss -Hltnp "sport = :${1%:*}" 2>/dev/null || true; } | grep -o '"[^"]*",pid=[0-9]*' | sort -u | tr '\n' ' '; }

answers() { curl -s -o /dev/null --noproxy '*' --max-time 5 "$1"; }
listens() { (exec 3<>"/dev/tcp/$ADDRESS/$1") 2>/dev/null; }

# stop_all: everything that carries the mark; asks nicely, then does not
stop_all() {
    local signal left
    for signal in TERM KILL; do
        for _ in $(seq 50); do
            left=$(marked)
            [ -n "$left" ] || break 2
            # shellcheck disable=SC2086 # a list of numbers
            kill -$signal $left 2>/dev/null
            # Asking once is enough, but a stopped process has to be continued to hear of it.
            [ $signal = KILL ] || signal=CONT
            sleep 0.2
        done
    done
    rm -f "$RUN"/*.pid
}
