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
    compute) slurmd ;;
esac
: >/run/testbed-booted
while :; do sleep infinity & wait $!; done
