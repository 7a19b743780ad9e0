#!/bin/bash
# build.sh OUT: a bootable disk of 96 MiB made of Debian's packages only: kernel, busybox, guest agent, our writer.
# Layout of the 1 GiB volume it goes onto: FAT to boot from at 1 MiB, ext4 at 64 MiB, raw records from 320 MiB.
set -euo pipefail
out=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "$(dirname "$out")/guest.XXXXXX")
trap 'rm -rf "$work"' EXIT
export PATH=$PATH:/usr/sbin:/sbin MTOOLS_SKIP_CHECK=1
cd "$work"

kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ {print $2; exit}')
apt-get download -qq "$kernel"
dpkg-deb -x "$kernel"*.deb kernel
mkdir -p root/{bin,sbin,lib/modules,lib64,dev,proc,sys,etc}
cp /bin/busybox root/bin/
for applet in $(/bin/busybox --list | grep -vx busybox); do ln -sf busybox "root/bin/$applet"; done
rm -f root/bin/mke2fs root/bin/mkfs.ext2
for module in virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk virtio_console; do
    cp "$(find kernel/lib/modules -name $module.ko)" root/lib/modules/
done
for program in "$(command -v qemu-ga)" "$(command -v mke2fs)"; do
    cp "$program" root/sbin/
    ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
        case $library in
        */ld-linux*) cp "$library" root/lib64/ ;;
        *) cp "$library" root/lib/ ;;
        esac
    done
done
cp /etc/mke2fs.conf root/etc/
gcc -O2 -static -o root/bin/writer "$here/writer.c"
cp "$here/init" root/init
printf '#!/bin/sh\necho "GUEST freeze hook: $1" >/dev/console\n' >root/sbin/hook
printf '#!/bin/sh\nsync\npoweroff -f\n' >root/sbin/shutdown # what the agent calls when Nova stops the server
chmod 755 root/init root/sbin/hook root/sbin/shutdown
(cd root && find . | /bin/busybox cpio -o -H newc 2>/dev/null | gzip -1) >initrd

start=$((2048 * 512))
truncate -s 96M disk
mkfs.fat -F 32 --offset 2048 -s 1 disk 64512 >/dev/null
cat >syslinux.cfg <<END
DEFAULT guest
PROMPT 0
TIMEOUT 0
LABEL guest
  LINUX vmlinuz
  INITRD initrd
  APPEND console=ttyS0 quiet panic=5 mitigations=off
END
mcopy -i disk@@$start kernel/boot/vmlinuz-* ::vmlinuz
mcopy -i disk@@$start initrd ::initrd
mcopy -i disk@@$start syslinux.cfg ::syslinux.cfg
syslinux -t $start -i disk
dd if=/usr/lib/syslinux/mbr/mbr.bin of=disk conv=notrunc bs=440 count=1 status=none
python3 - disk <<'END'
import struct, sys
with open(sys.argv[1], "r+b") as disk:
    disk.seek(446)
    for boot, kind, start, sectors in ((0x80, 0x0C, 2048, 129024), (0, 0x83, 131072, 524288)):
        disk.write(struct.pack("<B3sB3sII", boot, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", start, sectors))
    disk.seek(510)
    disk.write(b"\x55\xaa")
END
mv disk "$out"
