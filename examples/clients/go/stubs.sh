#!/bin/sh
# Makes the package v1 from the protocol, beside follow.go. Needed: protoc, protoc-gen-go, protoc-gen-go-grpc.
set -eu
cd -P "$(dirname "$0")"
proto=../../../proto
set --
for file in "$proto"/pollinator/v1/*.proto; do
	name=pollinator/v1/$(basename "$file")
	for plugin in go go-grpc; do
		set -- "$@" "--${plugin}_opt=M$name=pollinator.dev/follow/v1"
	done
done
mkdir -p v1
protoc -I "$proto" --go_out=. --go-grpc_out=. --go_opt=module=pollinator.dev/follow \
	--go-grpc_opt=module=pollinator.dev/follow "$@" $(cd "$proto" && echo pollinator/v1/run.proto \
	pollinator/v1/spec.proto pollinator/v1/tree.proto pollinator/v1/store.proto pollinator/v1/colony.proto)
