# Removes all that a node has left on the machine, and fails if something stays.
# $1: the node's folder. $2: the name of its link and of its cgroups.
folder=$1 name=$2 failed=0
pid=$(cat "$1/init.pid" 2>/dev/null)

# ours tells whether the process is the node's: the number may belong to another by now.
ours() {
	[ -n "$pid" ] && tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF "$folder/data"
} 2>/dev/null

# gone gives what ends by itself some seconds to do so.
gone() {
	tries=0
	while "$@"; do
		tries=$((tries + 1))
		[ "$tries" -lt 100 ] || return 1
		sleep 0.1
	done
}

running() {
	ours && kill -KILL "$pid"
}

linked() {
	ip link show "$name" >/dev/null 2>&1 && ! ip link delete "$name" 2>/dev/null
}

grouped() {
	left=
	for group in /sys/fs/cgroup/"$name" /sys/fs/cgroup/*/"$name"; do
		[ -d "$group" ] || continue
		find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null
		[ ! -d "$group" ] || left=$group
	done
	[ -n "$left" ]
}

gone running || { echo "the process $pid of the node does not end" >&2; failed=1; }
gone linked || { echo "the link $name stays" >&2; failed=1; }
gone grouped || { echo "the cgroup $left stays" >&2; failed=1; }
if [ -e "$folder/kernel" ]; then
	while read -r file value; do
		[ "$(cat "$file")" = "$value" ] || echo "$value" >"$file" || failed=1
	done <"$folder/kernel"
fi
if [ -e "$folder/controllers" ]; then
	cat "$folder/controllers" >/sys/fs/cgroup/cgroup.subtree_control || failed=1
fi
[ "$failed" = 1 ] || rm -rf "$folder" || rm -rf "$folder"
exit "$failed"
