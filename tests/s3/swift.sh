#!/bin/sh
# A real S3 server whose create-if-absent is not atomic: one-node OpenStack Swift with s3api, from the package index.
#   swift.sh start DIR VENV   prints the endpoint; the key is "test:tester", the secret "testing"
#   swift.sh stop DIR         stops it and removes its data
set -eu
verb=$1 dir=$2 port=${SWIFT_PORT:-18180}

stop() {
	[ -e "$dir/pids" ] || return 0
	while read -r pid; do kill -- "-$pid" 2>/dev/null || true; done <"$dir/pids"
	sleep 1
	while read -r pid; do kill -9 -- "-$pid" 2>/dev/null || true; done <"$dir/pids"
	rm -rf "$dir"
}

if [ "$verb" = stop ]; then
	stop
	exit
fi
venv=$3
if [ ! -x "$venv/bin/swift-proxy-server" ]; then
	python3 -m venv "$venv" >&2
	"$venv/bin/pip" install --quiet 'setuptools<81' 'swift>=2.38,<3' >&2 ||
		{ echo "swift.sh: swift cannot be installed" >&2; rm -rf "$venv"; exit 77; }
fi
stop
mkdir -p "$dir/node/d1"
dir=$(cd "$dir" && pwd)
cat >"$dir/swift.conf" <<END
[swift-hash]
swift_hash_path_prefix = p
swift_hash_path_suffix = s
[storage-policy:0]
name = only
default = yes
END

# server NAME PORT
server() {
	cat >"$dir/$1.conf" <<END
[DEFAULT]
devices = $dir/node
mount_check = false
bind_ip = 127.0.0.1
bind_port = $2
workers = 1
swift_dir = $dir
user = $(id -un)
log_level = WARNING
log_address = /dev/null
[pipeline:main]
pipeline = $1-server
[app:$1-server]
use = egg:swift#$1
END
	(
		cd "$dir"
		"$venv/bin/swift-ring-builder" "$1.builder" create 4 1 0
		"$venv/bin/swift-ring-builder" "$1.builder" add "r1z1-127.0.0.1:$2/d1" 1
		"$venv/bin/swift-ring-builder" "$1.builder" rebalance || true
	) >/dev/null
}
server account $((port - 10))
server container $((port - 11))
server object $((port - 12))
filters="catch_errors gatekeeper healthcheck cache listing_formats s3api tempauth bulk slo symlink"
{
	cat <<END
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $port
workers = 2
swift_dir = $dir
user = $(id -un)
log_level = WARNING
log_address = /dev/null
[pipeline:main]
pipeline = $filters proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
END
	for filter in $filters; do
		echo "[filter:$filter]"
		case $filter in
		cache) echo "use = egg:swift#memcache" && echo "memcache_servers = 127.0.0.1:1" ;;
		s3api) echo "use = egg:swift#s3api" && echo "location = us-east-1" ;;
		tempauth) echo "use = egg:swift#tempauth" && echo "user_test_tester = testing .admin" ;;
		*) echo "use = egg:swift#$filter" ;;
		esac
	done
} >"$dir/proxy.conf"
export SWIFT_CONF="$dir"
for name in account container object proxy; do
	setsid "$venv/bin/swift-$name-server" "$dir/$name.conf" >"$dir/$name.log" 2>&1 </dev/null &
	echo $! >>"$dir/pids"
done
for _ in $(seq 60); do
	if python3 -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$port/healthcheck', timeout=1)" 2>/dev/null; then
		echo "http://127.0.0.1:$port"
		exit
	fi
	sleep 0.5
done
echo "swift.sh: no answer" >&2
tail -5 "$dir"/*.log >&2
stop
exit 1
