# The node's own boot, inside it: the daemons, then an init that reaps. If one fails to start the node dies,
# and boot.log on the host tells why.
role=$1
umount -l /mnt # the host's root
cd /

mkdir -p /run/lock
install -d -o munge -g munge -m 755 /run/munge
install -d -o munge -g munge -m 700 /etc/munge /var/log/munge /var/lib/munge
chown munge:munge /etc/munge/munge.key
chmod 400 /etc/munge/munge.key
setpriv --reuid munge --regid munge --init-groups munged

case $role in
    controller) slurmctld ;;
    # Without a clock of its own the node says in this way that it was switched off.
    compute) if [ -e /proc/self/ns/time ]; then slurmd; else slurmd -b; fi ;;
esac
: >/run/testbed-booted
while :; do sleep infinity & wait $!; done
