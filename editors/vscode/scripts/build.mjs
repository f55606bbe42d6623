// Bundles the extension, or its tests (--tests), into dist.
import { copyFileSync, mkdirSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { build } from "esbuild";

const here = resolve(import.meta.dirname, "..");
const tests = process.argv.includes("--tests");
const common = {
  absWorkingDir: here,
  bundle: true,
  platform: "node",
  format: "cjs",
  target: "node20",
  external: ["vscode"],
  logLevel: "warning",
};

if (tests) {
  const found = readdirSync(join(here, "test")).filter((name) => name.endsWith(".test.ts"));
  await build({ ...common, entryPoints: found.map((name) => `test/${name}`), outdir: "dist/test" });
} else {
  await build({ ...common, entryPoints: ["src/extension.ts"], outfile: "dist/extension.js", minify: true });
  mkdirSync(join(here, "dist"), { recursive: true });
  // What both have is kept once, where the command line has it.
  const data = resolve(here, "../../cli/pollinator/cli/data");
  copyFileSync(join(data, "project.schema.json"), join(here, "dist/project.schema.json"));
}
