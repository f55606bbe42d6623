// Writes the TypeScript code of the protocol from ../../proto into src/generated.
//
// The compiler is that of the project's own environment; POLLINATOR_PYTHON names another one.
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";

const here = resolve(import.meta.dirname, "..");
const proto = resolve(here, "../../proto");
const out = join(here, "src/generated");
const python = process.env.POLLINATOR_PYTHON ?? resolve(here, "../../.venv/bin/python");
const own = readdirSync(join(proto, "pollinator/v1")).filter((name) => name.endsWith(".proto"));
// Where the protocol of error details lies, as installed.
const installed = "import pathlib, google.rpc.status_pb2 as m; print(pathlib.Path(m.__file__).parents[2])";
const shared = execFileSync(python, ["-c", installed], { encoding: "utf8" }).trim();
const options = [
  "env=node",
  "esModuleInterop=true",
  "forceLong=number",
  "oneof=unions-value",
  "outputJsonMethods=false",
  "outputServices=grpc-js",
  "useDate=true",
];

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
execFileSync(
  python,
  [
    "-m",
    "grpc_tools.protoc",
    `-I${proto}`,
    `-I${shared}`,
    `--plugin=protoc-gen-ts_proto=${join(here, "node_modules/.bin/protoc-gen-ts_proto")}`,
    `--ts_proto_out=${out}`,
    `--ts_proto_opt=${options.join(",")}`,
    ...own.map((name) => `pollinator/v1/${name}`),
    "google/rpc/status.proto",
    "google/rpc/error_details.proto",
  ],
  // The plugin is started by the name of its interpreter.
  {
    stdio: "inherit",
    env: { ...process.env, PATH: dirname(process.execPath) + delimiter + process.env.PATH },
  },
);
