#!/bin/sh
# A real S3 server on loopback: one-node Ceph with radosgw, from Debian's packages.
#   radosgw.sh start DIR   prints the endpoint; the key is "csbsctl", the secret "csbsctl-secret"
#   radosgw.sh stop DIR    stops it and removes its data
set -eu
verb=$1 dir=$2
mon=${CEPH_MON_PORT:-13300} port=${RGW_PORT:-17480}

stop() {
	[ -e "$dir/pids" ] || return 0
	while read -r pid; do kill "$pid" 2>/dev/null || true; done <"$dir/pids"
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		alive=0
		while read -r pid; do if kill -0 "$pid" 2>/dev/null; then alive=1; fi; done <"$dir/pids"
		[ $alive = 1 ] || break
		sleep 0.5
	done
	while read -r pid; do kill -9 "$pid" 2>/dev/null || true; done <"$dir/pids"
	rm -rf "$dir"
}

# wait_for SECONDS COMMAND...
wait_for() {
	left=$1
	shift
	until "$@" >/dev/null 2>&1; do
		left=$((left - 1))
		[ "$left" -gt 0 ] || { echo "radosgw.sh: gave up waiting for: $*" >&2; return 1; }
		sleep 1
	done
}

# run NAME COMMAND...
run() {
	name=$1
	shift
	setsid "$@" >"$dir/$name.log" 2>&1 </dev/null &
	echo $! >>"$dir/pids"
}

osd_is_up() { timeout 10 ceph osd stat | grep -q "1 up"; }
answers() { python3 -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$port/', timeout=2)"; }

if [ "$verb" = stop ]; then
	stop
	exit
fi

if ! command -v radosgw >/dev/null || ! command -v ceph-osd >/dev/null || ! command -v ceph-mon >/dev/null; then
	[ "$(id -u)" = 0 ] || { echo "radosgw.sh: install ceph-mon, ceph-mgr, ceph-osd and radosgw, or run as root" >&2; exit 77; }
	{ apt-get update && apt-get install -y --no-install-recommends ceph-common ceph-mon ceph-mgr ceph-osd radosgw; } >&2 ||
		{ echo "radosgw.sh: the packages cannot be installed" >&2; exit 77; }
fi

stop
mkdir -p "$dir/mon" "$dir/mgr" "$dir/osd" "$dir/rgw" "$dir/modules" "$dir/run"
dir=$(cd "$dir" && pwd)
fsid=$(cat /proc/sys/kernel/random/uuid)
export CEPH_CONF="$dir/ceph.conf"
cat >"$CEPH_CONF" <<END
[global]
fsid = $fsid
mon_host = [v2:127.0.0.1:$mon,v1:127.0.0.1:$((mon + 1))]
public_network = 127.0.0.0/8
cluster_network = 127.0.0.0/8
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data_avail_warn = 2
mon_data_avail_crit = 1
ms_bind_ipv6 = false
ms_async_op_threads = 2
run_dir = $dir/run
admin_socket = $dir/run/\$name.asok
log_file = $dir/\$name.ceph.log
mon_cluster_log_file = $dir/cluster.log
crash_dir = $dir/run
mon_data = $dir/mon
mgr_data = $dir/mgr
mgr_module_path = $dir/modules
osd_data = $dir/osd
[osd]
osd_objectstore = bluestore
bluestore_block_size = 8589934592
bluestore_cache_autotune = false
bluestore_cache_size = 67108864
osd_op_num_shards = 2
osd_class_update_on_start = false
[client.rgw]
rgw_data = $dir/rgw
rgw_frontends = beast endpoint=127.0.0.1:$port
rgw_thread_pool_size = 32
rgw_enable_usage_log = false
END
{
	monmaptool --create --clobber --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon,v1:127.0.0.1:$((mon + 1))]" "$dir/monmap"
	ceph-mon -i a --mkfs --monmap "$dir/monmap"
	run mon ceph-mon -i a -f
	wait_for 60 timeout 10 ceph -s
	run mgr ceph-mgr -i x -f
	osd=$(cat /proc/sys/kernel/random/uuid)
	ceph osd new "$osd"
	ceph-osd -i 0 --mkfs --osd-uuid "$osd" --no-mon-config
	run osd ceph-osd -i 0 -f
	wait_for 60 osd_is_up
	run rgw radosgw -n client.rgw -f --ms_mon_client_mode=crc --auth_client_required=none
	wait_for 120 answers
	radosgw-admin user create --uid=csbsctl --display-name=csbsctl --access-key=csbsctl --secret-key=csbsctl-secret
} >"$dir/setup.log" 2>&1 || { tail -20 "$dir/setup.log" >&2; stop; exit 1; }
echo "http://127.0.0.1:$port"
