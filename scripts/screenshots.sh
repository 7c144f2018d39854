#!/bin/bash
# Makes the screenshots in docs/images from containers with real software. It needs root, the
# images bb and corpus-*, chromium, and the daemon of DOCKER_HOST:
#
#   scripts/dockerd.sh run --purge /var/tmp/screenshots -- sh -ec 'scripts/images.sh
#       scripts/corpus-images.sh nginx postgresql redis postfix haproxy openvpn; scripts/screenshots.sh'
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
images=$repository/docs/images
directory=$(mktemp -d)
export PATH=$directory:$PATH

containers=()
clean_up() {
	docker rm --force --volumes "${containers[@]}" >/dev/null 2>&1 || true
	rm -r "$directory"
}
trap clean_up EXIT

# run NAME IMAGE OPTIONS... -- COMMAND... adds a container to the list of those to record.
run() {
	local name=$1 image=$2 options=()
	shift 2
	while [[ $1 != -- ]]; do
		options+=("$1")
		shift
	done
	shift
	containers+=("$name")
	docker tag "$image" "${image/#corpus-/debian/}"
	printf '%q ' docker run --detach --name "$name" --hostname "$name" "${options[@]}" "${image/#corpus-/debian/}" "$@" >>"$directory/start.sh"
	echo '>/dev/null' >>"$directory/start.sh"
}

# screenshot NAME PAGE FRAGMENT WIDTH,HEIGHT OPTIONS... writes docs/images/NAME.png.
screenshot() {
	local name=$1 page=$2 fragment=$3 size=$4
	shift 4
	chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --window-size="$size" "$@" \
		--screenshot="$images/$name.png" "file://$directory/$page.html#$fragment" 2>/dev/null
}

go build -C "$repository" -o "$directory/capmon" ./cmd/capmon
run web corpus-nginx -- nginx -g 'daemon off;'
run db corpus-postgresql --volume=/data -- entrypoint postgres
run cache corpus-redis --volume=/data --workdir=/data -- entrypoint redis-server
run mail corpus-postfix -- postfix start-fg
run proxy corpus-haproxy --cap-drop=ALL --cap-add=NET_BIND_SERVICE --cap-add=SETGID --cap-add=SETUID -- haproxy -W -db -f /etc/haproxy/test.cfg
run vpn corpus-openvpn --device=/dev/net/tun --cap-add=NET_ADMIN -- \
	openvpn --dev tun --ifconfig 10.99.0.1 10.99.0.2 --secret /etc/openvpn/static.key --cipher AES-256-CBC \
	--local 127.0.0.1 --user nobody --group nogroup --persist-tun --persist-key
run ci-runner bb --privileged -- sh -c 'mkdir -p /build && mount -t tmpfs none /build && exec sleep 3600'
run worker bb --user=1000 -- sleep 3600

# Redis was running before the recording began, so capmon did not see its start.
sed -n '/--name cache /p' "$directory/start.sh" >"$directory/before.sh"
sed -i '/--name cache /d' "$directory/start.sh"
sh -e "$directory/before.sh"
capmon profile cache --for 5s --save "$directory/running.json" >/dev/null
echo 'sleep 65; docker exec web wget -qO- http://127.0.0.1/ >/dev/null 2>&1 || true' >>"$directory/start.sh"
capmon profile --save "$directory/shop.json" -- sh -e "$directory/start.sh" >/dev/null

# The audit requires ten minutes by default. For a picture, one minute has to be enough.
cd "$directory" # the pages name the profiles
capmon report -o html ./*.json >report.html
capmon audit -o html --min-observed=1m --profile shop.json --profile running.json "${containers[@]}" >audit.html || [[ $? == 1 ]]

mkdir -p "$images"
screenshot audit audit '' 1600,850
screenshot container report container=db 1100,1000
screenshot dark report '' 1600,850 --blink-settings=preferredColorScheme=0
ls -l "$images"
