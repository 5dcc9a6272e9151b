# Plain CRIU's dump of a session, run on its node: `dump.sh FOLDER ROOT_PID UID GID TREE...`.
# Prints when it began, when CRIU was done and when the folder was durable. CRIU's options are Stasis' own; the
# private folders, which to CRIU are of no concern, are packed before and not counted.
folder=$1 root=$2 uid=$3 gid=$4
shift 4
init=$(pgrep -x stasis-init)
in_capsule() { nsenter --target "$init" --pid --mount --net -- "$@"; }

rm -rf "$folder"
install -d -m 700 "$folder" "$folder/images"
number=0
for tree; do
    in_capsule tar -C "$tree" --create --file - . >"$folder/tree-$number.tar"
    number=$((number + 1))
done
# CRIU's own processes must not take a pid that the session could want.
in_capsule sh -c 'echo 30000 >/proc/sys/kernel/ns_last_pid'
sync -f "$folder"
begun=$EPOCHREALTIME
# The real ids are the user's, for prlimit(2) where CAP_SYS_RESOURCE is missing.
in_capsule setpriv --ruid "$uid" --rgid "$gid" --keep-groups -- \
    criu dump --images-dir "$folder/images" --log-file dump.log -v2 --tree "$root" --leave-running \
    --tcp-established --link-remap --file-locks --manage-cgroups=ignore \
    --network-lock skip --ghost-limit 64M --skip-in-flight ||
    { grep Error "$folder/images/dump.log" >&2; exit 1; }
dumped=$EPOCHREALTIME
sync -f "$folder"
echo "$begun $dumped $EPOCHREALTIME $(du -sb "$folder/images" | cut -f1)"
