// Bundles the extension, or its tests (--tests), into dist.
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
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
  const { metafile } = await build({
    ...common,
    entryPoints: ["src/extension.ts"],
    outfile: "dist/extension.js",
    minify: true,
    metafile: true,
  });
  mkdirSync(join(here, "dist"), { recursive: true });
  writeFileSync(join(here, "dist/THIRD-PARTY-NOTICES.txt"), noticesOf(Object.keys(metafile.inputs)));
  // What both have is kept once, where the command line has it.
  const data = resolve(here, "../../cli/pollinator/cli/data");
  copyFileSync(resolve(here, "../../LICENSE"), join(here, "dist/LICENSE.txt"));
  copyFileSync(join(data, "project.schema.json"), join(here, "dist/project.schema.json"));
}

// The licences of all that is in the bundle.
function noticesOf(inputs) {
  const packages = new Set(
    inputs.flatMap((path) => path.match(/^.*node_modules\/(?:@[^/]+\/)?[^/]+/)?.slice(0, 1) ?? []),
  );
  return [...packages]
    .sort()
    .map((folder) => {
      const about = JSON.parse(readFileSync(join(here, folder, "package.json"), "utf8"));
      const files = readdirSync(join(here, folder)).filter((name) => /^(licen[cs]e|notice)/i.test(name));
      const texts = files.map((name) => readFileSync(join(here, folder, name), "utf8").trim());
      return [`${about.name} ${about.version} (${about.license})`, ...texts].join("\n\n");
    })
    .join(`\n\n${"-".repeat(70)}\n\n`);
}
