#!/run/machine/busybox sh
# The kernel asks for modules; its own are not where the host's would be.
exec /run/machine/busybox chroot /run/machine /busybox modprobe "$@"
