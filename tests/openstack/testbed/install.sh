# Debian packages and the services' Python environment, side by side. Sourced by up.sh.

PACKAGES="ceph-common ceph-mgr ceph-mon ceph-osd curl mariadb-client-core mariadb-server-core python3-rados
    python3-rbd qemu-block-extra qemu-utils rabbitmq-server radosgw"
GUEST_PACKAGES="busybox-static cpio dosfstools gcc libc6-dev libvirt-clients libvirt-daemon libvirt-daemon-driver-qemu
    mtools python3-libvirt qemu-guest-agent qemu-system-x86 syslinux syslinux-common"

install_packages() {
    local wanted=$PACKAGES
    [ "$NOVA_DRIVER" = libvirt ] && wanted="$wanted $GUEST_PACKAGES"
    # shellcheck disable=SC2086 # a list of words
    dpkg -s $wanted >/dev/null 2>&1 && return 0
    # RUNLEVEL=1 keeps the packages from starting daemons of their own.
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 sh -c 'apt-get update -qq && apt-get install -y -qq \
        --no-install-recommends -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Use-Pty=0 "$@"' sh $wanted
}

install_python() {
    local stamp
    stamp=$(sha256sum "$HERE/requirements.txt" | cut -c1-16)
    [ -e "$VENV/.complete-$stamp" ] && return 0
    rm -rf "$VENV"
    # The bindings of librados and librbd are Debian's: the interpreter has to be of its version.
    /usr/bin/python3 -m venv "$TESTBED/tools" && /usr/bin/python3 -m venv --without-pip "$VENV"
    if "$TESTBED/tools/bin/pip" install -q uv; then
        UV_CACHE_DIR=$CACHE/uv "$TESTBED/tools/bin/uv" pip install -q --compile-bytecode \
            --python "$VENV/bin/python" -r "$HERE/requirements.txt"
    else
        "$TESTBED/tools/bin/pip" --python "$VENV/bin/python" install -q -r "$HERE/requirements.txt"
    fi
    touch "$VENV/.complete-$stamp"
}

# borrow_bindings: Debian's compiled modules, and our drivers for Neutron and Cinder, become part of the environment
borrow_bindings() {
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
