#!/bin/bash
# install.sh: Debian packages and the services' Python environment, side by side. The only part that needs the network.
set -euo pipefail
export UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 # as pip: the certificates of the machine, under the name of today and of before
. "$(dirname "$0")/lib.sh"

PACKAGES="ca-certificates ceph-common ceph-mgr ceph-mon ceph-osd curl mariadb-client mariadb-server-core python3
    python3-rados python3-rbd python3-venv qemu-block-extra qemu-utils rabbitmq-server radosgw"
GUEST_PACKAGES="busybox-static cpio dosfstools gcc libc6-dev libvirt-clients libvirt-daemon libvirt-daemon-driver-qemu
    mtools python3-libvirt qemu-guest-agent qemu-system-x86 syslinux syslinux-common"

# packages NAME...: those that are missing; others may be installing too
packages() {
    dpkg -s "$@" >/dev/null 2>&1 && return 0
    # RUNLEVEL=1 keeps the packages from starting daemons of their own.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    local apt=(apt-get -qq -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
    "${apt[@]}" update &&
        "${apt[@]}" install -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io "$@"
}

# environment: made anew when the requirements changed, or when making it was interrupted
environment() {
    local stamp
    stamp=$VENV/.complete-$(sha256sum "$HERE/requirements.txt" | cut -c1-16)
    [ -e "$stamp" ] && return 0
    rm -rf "$VENV" "$TESTBED/tools"
    # The bindings of librados and librbd are Debian's: the interpreter has to be of its version.
    /usr/bin/python3 -m venv "$TESTBED/tools" && /usr/bin/python3 -m venv --without-pip "$VENV" || return 1
    if again "$TESTBED/tools/bin/pip" install -q --disable-pip-version-check uv; then
        UV_CACHE_DIR=$CACHE/uv again "$TESTBED/tools/bin/uv" pip install -q --compile-bytecode \
            --python "$VENV/bin/python" -r "$HERE/requirements.txt" || return 1
    else
        again "$TESTBED/tools/bin/pip" --python "$VENV/bin/python" install -q -r "$HERE/requirements.txt" || return 1
    fi
    touch "$stamp"
}

# borrow: Debian's compiled modules, and our drivers for Neutron and Cinder, become part of the environment
borrow() {
    local site dist module
    site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    for module in rados rbd; do ln -sf /usr/lib/python3/dist-packages/$module.cpython-*.so "$site/"; done
    if [ "$NOVA_DRIVER" = libvirt ]; then
        ln -sf /usr/lib/python3/dist-packages/libvirt.py "$site/"
        for module in libvirtmod libvirtmod_qemu; do
            ln -sf /usr/lib/python3/dist-packages/$module.cpython-*.so "$site/"
        done
    fi
    dist=$site/testbed_binder-1.dist-info
    mkdir -p "$dist"
    cp "$HERE"/testbed_{binder,backup}.py "$site/"
    printf 'Metadata-Version: 2.1\nName: testbed-binder\nVersion: 1\n' >"$dist/METADATA"
    printf '[neutron.ml2.mechanism_drivers]\ntestbed = testbed_binder:Binder\n' >"$dist/entry_points.txt"
}

[ "$(id -u)" = 0 ] || die "needs to be root: it installs Debian packages and runs Ceph, Nova and Cinder"
command -v apt-get >/dev/null || die "needs Debian 12: there is no apt-get"
mkdir -p "$LOG" "$CACHE"
wanted=$PACKAGES
[ "$NOVA_DRIVER" != libvirt ] || wanted="$wanted $GUEST_PACKAGES"
if ! /usr/bin/python3 -c 'import ensurepip' 2>/dev/null; then
    again packages python3 python3-venv ca-certificates >"$LOG/install-python.log" 2>&1 ||
        die "Python could not be installed: $(tail -n 5 "$LOG/install-python.log")"
fi
# shellcheck disable=SC2086 # a list of words
again packages $wanted >"$LOG/install-packages.log" 2>&1 & packages=$!
environment >"$LOG/install-environment.log" 2>&1 & environment=$!
wait $packages || die "packages could not be installed: $(tail -n 5 "$LOG/install-packages.log")"
wait $environment || die "the Python environment could not be made: $(tail -n 5 "$LOG/install-environment.log")"
borrow
if [ "$NOVA_DRIVER" = libvirt ] && ! [ -s "$GUEST" ]; then
    "$HERE/guest/build.sh" "$GUEST" >"$LOG/guest-build.log" 2>&1 ||
        die "the guest's image could not be built: $(tail -n 5 "$LOG/guest-build.log")"
fi
say "everything is installed"
