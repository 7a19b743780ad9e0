# Real guests (NOVA_DRIVER=libvirt): libvirtd and QEMU, in a mount namespace of their own, so that the machine's
# directories of the same names are left alone. Sourced by up.sh and down.sh.

LIBVIRT_SOCKET=$RUN/libvirt/libvirt-sock

start_libvirt() {
    mkdir -p "$ETC"/libvirt/{qemu,storage,nwfilter,secrets} "$STATE"/libvirt/{lib,cache,log} "$RUN/libvirt" \
        /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /run/libvirt /etc/ceph
    cat >"$ETC/libvirt/libvirtd.conf" <<-END
	listen_tls = 0
	listen_tcp = 0
	auth_unix_ro = "none"
	auth_unix_rw = "none"
	unix_sock_group = "root"
	unix_sock_rw_perms = "0700"
	log_outputs = "3:stderr"
	END
    cat >"$ETC/libvirt/qemu.conf" <<-END
	user = "root"
	group = "root"
	dynamic_ownership = 0
	remember_owner = 0
	security_driver = "none"
	namespaces = []
	cgroup_controllers = []
	stdio_handler = "file"
	lock_manager = "nop"
	END
    # libvirtd insists on the user it was compiled with, which comes with a package that would bring systemd.
    { grep -v '^libvirt-qemu:' /etc/passwd; echo 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin'; } \
        >"$ETC/libvirt/passwd"
    { grep -v -e '^libvirt-qemu:' -e '^kvm:' /etc/group; printf 'libvirt-qemu:x:64055:\nkvm:x:64056:\n'; } \
        >"$ETC/libvirt/group"
    start libvirtd unshare -m --propagation private sh -ec '
        hide() { mount --bind "$1" "$2"; }
        hide "$ETC/libvirt/passwd" /etc/passwd
        hide "$ETC/libvirt/group" /etc/group
        hide "$ETC/libvirt" /etc/libvirt
        hide "$STATE/libvirt/lib" /var/lib/libvirt
        hide "$STATE/libvirt/cache" /var/cache/libvirt
        hide "$STATE/libvirt/log" /var/log/libvirt
        hide "$RUN/libvirt" /run/libvirt
        hide "$ETC/ceph" /etc/ceph
        exec libvirtd -f /etc/libvirt/libvirtd.conf --pid-file /run/libvirt/libvirtd.pid'
    await libvirtd virsh -c "qemu+unix:///system?socket=$LIBVIRT_SOCKET" version
}

# stop_guests: QEMU outlives libvirtd; libvirt keeps a pid file for each guest
stop_guests() {
    local file pid
    for file in "$RUN"/libvirt/qemu/*.pid; do
        [ -f "$file" ] || continue
        pid=$(cat "$file")
        grep -qa qemu-system "/proc/$pid/cmdline" 2>/dev/null && kill -KILL "$pid"
    done
}
