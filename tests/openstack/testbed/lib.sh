# Where the test bed keeps things, and how its processes are started, awaited and stopped. Sourced by up.sh and down.sh.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TESTBED=${TESTBED:-$(cd "$HERE/../../.." && pwd)/.testbed}
ADDRESS=127.0.0.1
PASSWORD=testbed
NOVA_DRIVER=${NOVA_DRIVER:-fake}

ETC=$TESTBED/etc STATE=$TESTBED/state LOG=$TESTBED/log RUN=$TESTBED/run CACHE=$TESTBED/cache
VENV=$TESTBED/venv
SQL=$RUN/sql.sock
export PATH=$HERE/bin:$VENV/bin:$PATH:/usr/sbin:/sbin
export CEPH_CONF=$ETC/ceph/ceph.conf
export OS_CLIENT_CONFIG_FILE=$TESTBED/clouds.yaml
# Everything talks to loopback; a proxy of the machine's is for installing only.
export no_proxy=$ADDRESS,localhost NO_PROXY=$ADDRESS,localhost

STARTED=$(date +%s%N)

say() {
    local elapsed=$((($(date +%s%N) - STARTED) / 100000000))
    printf '[%3d.%ds] %s\n' $((elapsed / 10)) $((elapsed % 10)) "$*"
}

die() {
    echo "testbed: $*" >&2
    exit 1
}

# running NAME: whether the process group of a pid file is alive
running() { [ -s "$RUN/$1.pid" ] && kill -0 -- "-$(cat "$RUN/$1.pid")" 2>/dev/null; }

# start NAME COMMAND...: in the background, in its own session, with a pid file and a log; running already is fine
start() {
    local name=$1
    shift
    running "$name" && return 0
    setsid "$@" >>"$LOG/$name.log" 2>&1 </dev/null &
    echo $! >"$RUN/$name.pid"
    echo "$name" >>"$RUN/order"
}

# await SECONDS WHAT COMMAND...: until the command succeeds
await() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || die "$what did not come up; see $LOG"
        sleep 0.2
    done
}

# once NAME COMMAND...: run a command the first time only
once() {
    local mark=$STATE/.done-$1
    shift
    [ -e "$mark" ] || { "$@" && touch "$mark"; }
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

# stop_all: everything that was started, last first; asks nicely, then does not
stop_all() {
    [ -f "$RUN/order" ] || return 0
    local signal name pid left
    for signal in TERM KILL; do
        for name in $(tac "$RUN/order" | awk '!seen[$0]++'); do
            pid=$(cat "$RUN/$name.pid" 2>/dev/null) || continue
            kill -0 -- "-$pid" 2>/dev/null && kill -$signal -- "-$pid" 2>/dev/null
        done
        for _ in $(seq 50); do
            left=0
            for name in $(sort -u "$RUN/order"); do running "$name" && left=1; done
            [ $left = 0 ] && break
            sleep 0.2
        done
    done
    rm -f "$RUN"/*.pid "$RUN/order"
}
