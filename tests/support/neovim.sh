#!/bin/sh
# Installs what tests of editors need besides VS Code: Debian's Neovim and luacheck, and the libraries of the
# example client in TypeScript. neovim.sh PYTHON: PYTHON is that of the project's environment, which brings Node.
set -eu
PYTHON=$1
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
. ../../../editors/node.sh
install_locked
