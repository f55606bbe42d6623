#!/bin/sh
# Makes dist/pollinator.vsix and holds it to what is asked of it: package.sh PYTHON
# PYTHON is that of the project's environment, which brings Node as well.
set -eu
POLLINATOR_PYTHON=$1
export POLLINATOR_PYTHON
cd "$(dirname "$0")/.."
PYTHON=$POLLINATOR_PYTHON
. ../node.sh
install_locked
npm run --silent generate
npm run --silent check
npm run --silent test
npm run --silent package
size=$(wc -c <dist/pollinator.vsix)
echo "pollinator.vsix: $size bytes"
if [ "$size" -ge 1000000 ]; then
	echo "pollinator.vsix must stay below 1 MB" >&2
	exit 1
fi
