#!/bin/bash
# up.sh: a real OpenStack on loopback, as plain processes of a Debian 12 machine. What runs already is left alone.
#
#   TESTBED=DIR        where everything is kept (.testbed in the checkout)
#   NOVA_DRIVER=fake   or libvirt: real guests under QEMU
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$HERE/stores.sh"
. "$HERE/guests.sh"

[ ${#TESTBED} -le 60 ] || die "the path $TESTBED is too long for Unix sockets: set TESTBED to a shorter one"
mkdir -p "$TESTBED"
if ! [ -d "$STATE" ]; then
    free=$(df --output=avail -BG "$TESTBED" | tail -n 1 | tr -dc 0-9)
    [ "$free" -ge $ROOM ] || die "$TESTBED has $free GiB free, and a test bed needs $ROOM: clear up, or set TESTBED"
    rm -rf "$LOG"
fi
"$HERE/install.sh"
for port in $PORTS; do
    owned "$port" || die "port ${port%:*}, wanted by ${port#*:}, is in use by something else: $(holder "$port")"
done
mkdir -p "$ETC" "$STATE"/{keystone,glance/images,glance/staging,cinder/conversion,nova/instances,tmp} "$LOG" "$RUN" "$CACHE"
export ETC STATE RUN

[ -s "$ETC/fsid" ] || cat /proc/sys/kernel/random/uuid >"$ETC/fsid"
case $NOVA_DRIVER in
fake) driver=fake.FakeDriver ;;
libvirt) driver=libvirt.LibvirtDriver ;;
*) die "NOVA_DRIVER is fake or libvirt, not $NOVA_DRIVER" ;;
esac
/usr/bin/python3 "$HERE/render.py" "$HERE/config" "$ETC" ADDRESS=$ADDRESS PASSWORD=$PASSWORD STATE="$STATE" LOG="$LOG" \
    RUN="$RUN" VENV="$VENV" SQL="$SQL" CEPH_CONF="$CEPH_CONF" FSID="$(cat "$ETC/fsid")" COMPUTE_DRIVER=$driver
ln -sf "$ETC/clouds/clouds.yaml" "$TESTBED/clouds.yaml"

(start_ceph) >"$LOG/ceph-setup.log" 2>&1 & ceph=$!
(start_rabbit) & rabbit=$!
start_sql
say "MariaDB answers"
[ $NOVA_DRIVER = fake ] || { start_libvirt; say "libvirt answers"; }
once databases make_databases
say "databases are there"

make_keys() {
    python - "$STATE/keystone" <<-'END'
	import pathlib, sys
	from cryptography.fernet import Fernet
	for folder in ("fernet-keys", "credential-keys"):
	    path = pathlib.Path(sys.argv[1], folder)
	    path.mkdir(mode=0o700, parents=True, exist_ok=True)
	    for number in "01":
	        (path / number).write_bytes(Fernet.generate_key())
	        (path / number).chmod(0o600)
	END
    keystone-manage --config-file "$ETC/keystone/keystone.conf" bootstrap --bootstrap-password $PASSWORD \
        --bootstrap-region-id RegionOne --bootstrap-public-url http://$ADDRESS:5000/v3 \
        --bootstrap-internal-url http://$ADDRESS:5000/v3 >>"$LOG/migrate-keystone.log" 2>&1
}
once keystone make_keys
serve() { # serve NAME PORT MODULE [ARGUMENT...]
    local name=$1
    shift
    start "$name" python "$HERE/serve.py" "$@"
}
export OS_KEYSTONE_CONFIG_DIR=$ETC/keystone OS_PLACEMENT_CONFIG_DIR=$ETC/placement OS_NOVA_CONFIG_DIR=$ETC/nova \
    OS_GLANCE_CONFIG_DIR=$ETC/glance-api OS_NEUTRON_CONFIG_DIR=$ETC/neutron OS_NEUTRON_CONFIG_FILES=neutron.conf
serve keystone 5000 keystone.wsgi.api
await keystone answers http://$ADDRESS:5000/v3
once identity python "$HERE/seed.py" identity
say "Keystone has users"

wait $rabbit || die "RabbitMQ did not come up"
nova="--config-file $ETC/nova/nova.conf" cinder="--config-file $ETC/cinder/cinder.conf"
ln -sf "$VENV/etc/nova/api-paste.ini" "$ETC/nova/api-paste.ini"
# shellcheck disable=SC2086 # lists of words, below too
start nova-conductor nova-conductor $nova
serve placement 8778 placement.wsgi.api
serve neutron 9696 neutron.wsgi.api
serve glance 9292 glance.wsgi.api
serve nova-api 8774 nova.wsgi.osapi_compute
serve cinder-api 8776 cinder.wsgi.api $cinder
wait $ceph || die "Ceph did not come up: $(tail -n 15 "$LOG/ceph-setup.log")"
start cinder-scheduler cinder-scheduler $cinder
start cinder-volume cinder-volume $cinder
start nova-scheduler nova-scheduler $nova
await radosgw answers http://$ADDRESS:7480/
once s3-user make_s3_user
# Ceph 16 does not know the checksums that boto3 sends unasked.
start cinder-backup env AWS_REQUEST_CHECKSUM_CALCULATION=when_required \
    AWS_RESPONSE_CHECKSUM_VALIDATION=when_required cinder-backup $cinder
await nova-conductor grep -q 'Starting conductor node' "$LOG/nova-conductor.log"
start nova-compute nova-compute $nova
for port in $PORTS; do
    case ${port#*:} in
    placement | neutron | glance | *-api) await "${port#*:}" answers "http://$ADDRESS:${port%:*}/" ;;
    esac
done
say "all APIs answer"
python "$HERE/seed.py" services
if [ $NOVA_DRIVER = libvirt ]; then
    python "$HERE/seed.py" guest "$GUEST"
fi
say "ready: export TESTBED=$TESTBED OS_CLIENT_CONFIG_FILE=$OS_CLIENT_CONFIG_FILE   (clouds: admin; demo, other, third, fourth, each with -reader)"
