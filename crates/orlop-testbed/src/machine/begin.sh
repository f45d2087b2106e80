# The first process of a machine, on its root file system: what an init system prepares, then the test's command, then
# its exit code and the end. What the command writes goes to the host over a port of its own; what this script and the
# kernel say goes to the console.
busybox=/run/machine/busybox
say() { echo "machine: $*" >/dev/kmsg; }
must() { "$@" || { say "failed: $*"; $busybox poweroff -f; }; }

$busybox mkdir -p /dev/pts /dev/mqueue /dev/shm
must $busybox mount -t tmpfs -o mode=1777 tmpfs /dev/shm
must $busybox mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
must $busybox mount -t mqueue mqueue /dev/mqueue
# Version 2 and nothing else.
must $busybox mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
# As an init system shares them: what is mounted in one namespace is seen in others.
must $busybox mount --make-rshared /
echo /run/machine/modprobe >/proc/sys/kernel/modprobe
must $busybox ip link set lo up
$busybox hostname machine
if [ -b /dev/vda ]; then
    must $busybox mkdir -p "$MACHINE_DISK"
    must $busybox mount -t ext4 /dev/vda "$MACHINE_DISK"
fi
for port in /dev/vport*; do must [ -c "$port" ]; done

say "begins"
(
    cd "$MACHINE_FOLDER" || exit 125
    run
) </dev/null >"$port" 2>&1
code=$?
say "ended with $code"
# Whoever still writes to the disk is of the test; it has had its chance.
$busybox sync
$busybox umount "$MACHINE_DISK" 2>/dev/null
printf '%s %s\n' "$MACHINE_MARK" "$code" >"$port"
$busybox poweroff -f
