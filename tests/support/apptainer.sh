#!/bin/sh
# Installs Apptainer on Debian, for tests. Bookworm has none, and that of sid wants a newer C library than bookworm's:
# it is put beside the system with a library of its own. dpkg knows nothing of it; apt's own state is left alone.
# Where the system's packages have it, they are used.
set -eu
type apptainer >/dev/null 2>&1 && exit 0
apt-get install --quiet --yes --no-install-recommends apptainer 2>/dev/null && exit 0

LIBRARY=/opt/apptainer-glibc
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
mkdir -p lists/partial archives/partial unpacked
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null |
	sed -n 's/^URIs: *//p; s/^deb \(\[[^]]*\] \)\{0,1\}\(http[^ ]*\).*/\2/p' | head -n 1)
for suite in sid trixie; do
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror%/} $suite main"
done >sources.list
own() {
	apt-get -o Dir::Etc::sourcelist="$folder/sources.list" -o Dir::Etc::sourceparts=/nonexistent \
		-o Dir::State::lists="$folder/lists" -o Dir::Cache::archives="$folder/archives" \
		-o Dir::Cache::pkgcache="$folder/packages.bin" -o Dir::Cache::srcpkgcache="$folder/sources.bin" \
		-o APT::Sandbox::User=root --quiet "$@"
}
own update
own download apptainer libc6/trixie
mkdir -p "$LIBRARY"
dpkg-deb -x libc6_*.deb "$LIBRARY"
dpkg-deb -x apptainer_*.deb unpacked
triplet=$(basename "$(dirname "$(ls unpacked/usr/lib/*/apptainer/bin/starter | head -n 1)" | sed 's,/apptainer/bin,,')")
own_library=$LIBRARY/usr/lib/$triplet
loader=$(ls "$own_library"/ld-linux* | head -n 1)
for program in unpacked/usr/bin/apptainer "unpacked/usr/lib/$triplet/apptainer/bin/starter"; do
	patchelf --set-interpreter "$loader" --set-rpath "$own_library:/usr/lib/$triplet" "$program"
done
cp -a unpacked/etc/apptainer /etc/
cp -a "unpacked/usr/lib/$triplet/apptainer" "/usr/lib/$triplet/"
cp -a unpacked/usr/bin/apptainer /usr/bin/
ln -sf apptainer /usr/bin/singularity
mkdir -p /var/lib/apptainer/mnt/session
# Machines that keep a right from root refuse to give all of them.
sed -i 's/^root default capabilities.*/root default capabilities = file/' /etc/apptainer/apptainer.conf
apptainer --version
