#!/bin/sh
# Installs what the extension is tried in, for tests: code-server from npm, and Debian's Chromium.
# editors.sh PYTHON FOLDER: PYTHON brings the Node that code-server asks for, and FOLDER is where it goes.
set -eu
CODE_SERVER=4.139.1
PYTHON=$1
folder=$2
# The headers are for what code-server compiles when it is installed.
PACKAGES="chromium fonts-dejavu-core libkrb5-dev libsecret-1-dev libxkbfile-dev libx11-dev pkg-config g++ make"

headers() {
	for each in krb5 libsecret-1 xkbfile x11; do
		pkg-config --exists "$each" || return 1
	done
}
if ! type chromium pkg-config g++ make >/dev/null 2>&1 || ! headers; then
	if [ "$(id -u)" != 0 ] || ! type apt-get >/dev/null 2>&1; then
		echo "only root on Debian can install $PACKAGES here" >&2
		exit 1
	fi
	apt-get update --quiet
	# shellcheck disable=SC2086 # they are words
	DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends $PACKAGES
fi

[ "$(cat "$folder/.installed" 2>/dev/null)" != "$CODE_SERVER" ] || exit 0
. "$(dirname "$0")/../../editors/node.sh"
rm -rf "$folder"
mkdir -p "$folder/bin"
# What is installed calls these as programs.
for each in npm npx; do
	printf '#!/bin/sh\nexec "%s/bin/node" "%s/%s-cli.js" "$@"\n' \
		"$node_home" "${npm_cli%/*}" "$each" >"$folder/bin/$each"
done
chmod +x "$folder/bin/npm" "$folder/bin/npx"
PATH=$folder/bin:$PATH
# The headers of Node are in the wheel; they would be downloaded otherwise.
export npm_config_nodedir="$node_home"
npm install --prefix "$folder" --no-save --no-audit --no-fund --loglevel=error "code-server@$CODE_SERVER"
echo "$CODE_SERVER" >"$folder/.installed"
