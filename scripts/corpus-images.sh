#!/bin/bash
# Makes the images of the corpus, without a registry: Debian packages on a base from
# debootstrap, in the daemon of DOCKER_HOST. Needs root.
#
#   corpus-images.sh all           one image for each directory in corpus/workloads
#   corpus-images.sh fast          the images for make test ("fast" in workload.json)
#   corpus-images.sh NAME...       the images of these workloads
#
# The image of NAME is corpus-NAME. It has the packages that workload.json lists, the program
# of corpus/programs that workload.json names, and files/ copied to /. Then install.sh runs in
# it as root. The script does nothing for an image that already exists with the same recipe.
# It keeps the images in .cache/corpus, for daemons that start empty.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
workloads=$repository/corpus/workloads
cache=$repository/.cache/corpus
label=com.github.capmon.recipe
suite=bookworm # the results of the corpus are for the software of this release
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

die() {
	echo "corpus-images.sh: $*" >&2
	exit 2
}

short_hash() {
	sha256sum | head -c 16
}

# recipe_of IMAGE prints the recipe of the daemon's image. It prints nothing if there is no such image.
recipe_of() {
	docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$1" 2>/dev/null || true
}

# field NAME EXPRESSION prints the result of a jq expression on the workload.json of NAME.
field() {
	jq --raw-output "$2" "$workloads/$1/workload.json"
}

# selected prints the names of the workloads that the arguments select.
selected() {
	local path name
	case $* in
	all | fast)
		for path in "$workloads"/*/workload.json; do
			name=$(basename "$(dirname "$path")")
			if [[ $1 == all || $(field "$name" .fast) == true ]]; then echo "$name"; fi
		done
		;;
	*)
		for name; do
			if [[ ! -e $workloads/$name/workload.json ]]; then die "unknown workload $name: see corpus/workloads"; fi
			echo "$name"
		done
		;;
	esac
}

# recipe NAME prints a checksum of everything that the image depends on, except the state of
# the package archive: with the archive, the recipe would change every day.
recipe() {
	local name=$1 program
	program=$(field "$name" '.program // empty')
	{
		echo "$base_recipe"
		installation "$name"
		cd "$workloads/$name"
		find . -path './files/*' -type f | sort | xargs -r sha256sum
		if [[ -n $program ]]; then sha256sum <"$repository/corpus/programs/$program/main.go"; fi
	} | short_hash
}

make_base_archive() {
	tree=$(mktemp -d /var/tmp/capmon-corpus.XXXXXX)
	debootstrap --variant=minbase --include=curl,netcat-openbsd,procps "$suite" "$tree" >"$cache/debootstrap.log" ||
		die "debootstrap failed, see $cache/debootstrap.log"
	cat >"$tree/etc/dpkg/dpkg.cfg.d/small" <<-END
		force-unsafe-io
		path-exclude=/usr/share/doc/*
		path-exclude=/usr/share/man/*
		path-exclude=/usr/share/locale/*
	END
	cat >"$tree/etc/apt/apt.conf.d/small" <<-END
		Acquire::Languages "none";
		APT::Sandbox::User "root";
		Dir::Cache::pkgcache "";
		Dir::Cache::srcpkgcache "";
	END
	# Without this file, packages start their services when they are installed.
	printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
	chmod +x "$tree/usr/sbin/policy-rc.d"
	chroot "$tree" apt-get -q update >>"$cache/debootstrap.log"
	rm -rf "$tree"/usr/share/{doc,man,locale}/* "$tree"/var/cache/apt/*
	tar --create --file "$1.part" --directory "$tree" --numeric-owner --exclude './dev/*' .
	mv "$1.part" "$1"
	clean_up
}

# clean_up removes the temporary directory and the temporary container.
tree="" container=""
clean_up() {
	if [[ -n $tree ]]; then rm -rf --one-file-system -- "$tree"; fi
	if [[ -n $container ]]; then docker rm --force "$container" >/dev/null; fi
	tree="" container=""
}
trap clean_up EXIT

make_base() {
	local archive=$cache/base-$base_recipe.tar
	if [[ $(recipe_of corpus-base) == "$base_recipe" ]]; then return; fi
	if [[ ! -e $archive ]]; then make_base_archive "$archive"; fi
	docker import \
		--change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive' \
		--change "LABEL $label=$base_recipe" \
		"$archive" corpus-base >/dev/null
}

# installation NAME prints the installation script, which runs in the image.
installation() {
	local name=$1 packages
	packages=$(field "$name" '.packages // [] | join(" ")')
	if [[ -n $packages ]]; then
		cat <<-END
			get() { apt-get -qq install -y --no-install-recommends $packages </dev/null; }
			get || { apt-get -qq update && get; }
			unset -f get
		END
	fi
	if [[ -e $workloads/$name/install.sh ]]; then cat "$workloads/$name/install.sh"; fi
}

# copy_files NAME puts the files and the program into the container.
copy_files() {
	local name=$1 program
	if [[ -d $workloads/$name/files ]]; then
		tar --create --directory "$workloads/$name/files" --owner=0 --group=0 . | docker cp - "$container:/"
	fi
	program=$(field "$name" '.program // empty')
	if [[ -n $program ]]; then
		(cd "$repository" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$cache/$program" "./corpus/programs/$program")
		docker cp -q "$cache/$program" "$container:/usr/local/bin/$program"
	fi
}

make_image() {
	local name=$1 recipe
	recipe=$(recipe "$name")
	if [[ $(recipe_of "corpus-$name") == "$recipe" ]]; then return; fi
	make_base
	# Use the host's network, since the daemon may have no network that leads out.
	container=$(docker create --interactive --network=host \
		--volume "$cache/archives:/var/cache/apt/archives" corpus-base sh -es)
	copy_files "$name"
	installation "$name" | docker start --attach --interactive "$container" >"$cache/$name.log" 2>&1 ||
		die "installing $name failed: see $cache/$name.log"
	docker commit --change "LABEL $label=$recipe" "$container" "corpus-$name" >/dev/null
	clean_up
	echo "corpus-images.sh: made corpus-$name" >&2
}

main() {
	local names=() images=() recipes="" archive name
	mapfile -t names < <(selected "$@")
	if ((${#names[@]} == 0)); then die "no workload matches $*: see corpus/workloads"; fi
	for name in "${names[@]}"; do
		images+=("corpus-$name")
		recipes+="$(recipe "$name") "
	done
	archive=$cache/images-$1-$(short_hash <<<"$recipes").tar

	if [[ -e $archive && -z $(recipe_of "${images[0]}") ]]; then
		docker load --quiet --input "$archive" >/dev/null
	fi
	for name in "${names[@]}"; do make_image "$name"; done
	# Archives of single images would all contain the base. Single images are made quickly.
	if [[ ! -e $archive && ($* == all || $* == fast) ]]; then
		rm -f "$cache/images-$1"-*.tar # with earlier recipes
		docker save --output "$archive" "${images[@]}"
	fi
}

for tool in docker debootstrap jq; do
	command -v "$tool" >/dev/null || die "$tool not found: run scripts/setup.sh"
done
if (($# == 0)); then
	sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
	exit 2
fi
mkdir -p "$cache/archives"
base_recipe=$( (declare -f make_base_archive; echo "$suite") | short_hash)
main "$@"
