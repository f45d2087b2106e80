#!/bin/busybox sh
# The first process of a machine, in its initial RAM disk: makes a root file system that looks like the host's, and that
# can be written to without the host noticing, and moves there.
export PATH=/
for name in $(/bin/busybox --list); do /bin/busybox ln -s /bin/busybox "/$name" 2>/dev/null; done
say() { echo "machine: $*" >/dev/kmsg; }
must() { "$@" || { say "failed: $*"; poweroff -f; }; }

mkdir -p /proc /sys /dev /host /changes /new
must mount -t proc proc /proc
must mount -t sysfs sysfs /sys
must mount -t devtmpfs devtmpfs /dev
for module in $(cat /modules/order); do must insmod "/modules/$module"; done

must mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose root /host
must mount -t tmpfs -o mode=755 tmpfs /changes
mkdir /changes/upper /changes/work
must mount -t overlay -o lowerdir=/host,upperdir=/changes/upper,workdir=/changes/work root /new

# What the host keeps in these is its own business, but for what was asked for.
number=0
while read -r folder; do
    number=$((number + 1))
    mkdir -p "/keep/$number"
    must mount --bind "/new$folder" "/keep/$number"
done </shared
for folder in tmp run var/tmp; do mkdir -p "/new/$folder"; done
must mount -t tmpfs -o mode=1777 tmpfs /new/tmp
must mount -t tmpfs -o mode=1777 tmpfs /new/var/tmp
must mount -t tmpfs -o mode=755 tmpfs /new/run
number=0
while read -r folder; do
    number=$((number + 1))
    mkdir -p "/new$folder"
    must mount --move "/keep/$number" "/new$folder"
done </shared

here=/new/run/machine
mkdir -p $here/lib
cp /bin/busybox /begin /modprobe $here/
must mount --bind "/host$(cat /kernel)/lib" $here/lib
for folder in proc sys dev; do must mount --move /$folder /new/$folder; done
exec switch_root /new /run/machine/busybox sh /run/machine/begin
