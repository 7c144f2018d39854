#!/bin/bash
# Records the screen of capmon top for the documentation: docs/top.svg. It starts some containers with the Docker daemon
# of DOCKER_HOST, capmon serve, and capmon top in tmux, and ends all of them again.
#
# It needs root, tmux, the image bb and a built bin/capmon. Use a private daemon, because the script replaces and then
# removes images such as nginx:1.27 and containers such as shop-db:
#
#   scripts/dockerd.sh run --purge /var/tmp/top-svg -- sh -ec 'scripts/images.sh
#       scripts/top-svg.sh'
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
capmon=$PWD/bin/capmon
directory=$(mktemp -d)
names=(shop-web-1 shop-web-2 shop-web-10 shop-db shop-metrics shop-backup shop-proxy)
terminal=(tmux -f /dev/null -S "$directory/tmux")

clean_up() {
	"${terminal[@]}" kill-server 2>/dev/null || true
	if [[ -n ${serve-} ]]; then
		kill "$serve" 2>/dev/null || true
		wait "$serve" || true
	fi
	docker rm -f "${names[@]}" >/dev/null 2>&1 || true
	for image in "${images[@]}"; do docker rmi "$image" >/dev/null 2>&1 || true; done
	rm -rf -- "$directory"
}

# start NAME IMAGE SCRIPT [OPTION...] starts a container that runs a shell script.
start() {
	local name=$1 image=$2 script=$3
	shift 3
	docker tag bb "$image"
	docker run -d --name "$name" "$@" "$image" sh -c "$script" >/dev/null 2>&1
}

images=(nginx:1.27 postgres:17 prom/node-exporter:v1.8 restic/restic:0.17 haproxy:3.0)
trap clean_up EXIT
docker rm -f "${names[@]}" >/dev/null 2>&1 || true

"$capmon" serve --db "$directory/capmon.db" --socket "$directory/s" --pins '' --rules builtin --ready-file "$directory/ready" 2>/dev/null &
serve=$!
until [[ -e $directory/ready ]]; do sleep 0.1; done

nginx='nc -l -p 80 & chown 5 /tmp; while :; do su user -c true; sleep 1; done'
start shop-web-1 nginx:1.27 "$nginx"
start shop-web-2 nginx:1.27 "$nginx"
start shop-web-10 nginx:1.27 "$nginx"
start shop-db postgres:17 'chown -R 70 /tmp; while :; do su user -c true; mount -t tmpfs none /mnt 2>/dev/null; sleep 2; done'
start shop-metrics prom/node-exporter:v1.8 'sleep 1000' --privileged
start shop-backup restic/restic:0.17 'while :; do ping -c1 127.0.0.1 >/dev/null; sleep 5; done' --cap-drop=ALL --cap-add=NET_RAW --cap-add=DAC_READ_SEARCH
start shop-proxy haproxy:3.0 'nc -l -p 443 & sleep 1000' --cap-drop=ALL --cap-add=NET_BIND_SERVICE

"${terminal[@]}" new-session -d -x 112 -y 16 env TERM=screen-256color "$capmon" top --socket "$directory/s" --filter shop
sleep 20 # until each container has used something
"${terminal[@]}" send-keys Down
sleep 3
"${terminal[@]}" capture-pane -p -e -N >"$directory/screen"
go run ./scripts/ansi2svg <"$directory/screen" >docs/top.svg
echo "top-svg.sh: wrote docs/top.svg" >&2
