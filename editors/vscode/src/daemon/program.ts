// The program `pollinator` on this machine: where it is, where its daemon listens, and how that is started.

import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, isAbsolute, join } from "node:path";
import { DaemonError } from "./errors";

const TIMEOUT_MS = 40_000;

/** The reason of the error when there is no such program. */
export const NOT_INSTALLED = "not_installed";

/** What a command printed, and how it ended. */
export interface Ended {
  readonly code: number;
  readonly output: string;
  readonly messages: string;
}

/**
 * Path of the program.
 *
 * An editor that was started from a desktop may not have the PATH of the user's shell, so the place where
 * pipx and uv put programs is looked at as well.
 */
export async function findProgram(wanted: string): Promise<string> {
  if (isAbsolute(wanted)) {
    return wanted;
  }
  const folders = (process.env.PATH ?? "").split(delimiter).filter((each) => isAbsolute(each));
  for (const folder of [...folders, join(homedir(), ".local/bin")]) {
    const path = join(folder, wanted);
    try {
      await access(path, constants.X_OK);
      return path;
    } catch {
      // Not there; the next folder may have it.
    }
  }
  throw new DaemonError(
    `Pollinator is not installed: no program "${wanted}" was found`,
    NOT_INSTALLED,
    "Install it, for example with pipx, or name its path in the setting pollinator.program.",
  );
}

/** Run the program to its end. */
export async function call(program: string, ...words: string[]): Promise<Ended> {
  return await new Promise((resolve, reject) => {
    execFile(program, words, { timeout: TIMEOUT_MS, windowsHide: true }, (error, output, messages) => {
      if (error === null) {
        resolve({ code: 0, output, messages });
      } else if (typeof error.code === "number") {
        resolve({ code: error.code, output, messages });
      } else if (String(error.code) === "ENOENT") {
        reject(
          new DaemonError(`There is no program ${program}`, NOT_INSTALLED, "Look at pollinator.program."),
        );
      } else {
        reject(new DaemonError(`${program} ${words.join(" ")}: ${error.message}`));
      }
    });
  });
}

/** Where the daemon listens, or would. */
export async function daemonSocket(program: string): Promise<{ socket: string; running: boolean }> {
  // The exit code says again that it does not run.
  const answer = await call(program, "daemon", "status", "--json");
  let told: unknown;
  try {
    told = JSON.parse(answer.output);
  } catch {
    throw new DaemonError(answer.messages.trim() || `${program} does not say where its daemon is`);
  }
  const { socket, running } = told as { socket?: string; running?: boolean };
  if (socket === undefined) {
    throw new DaemonError(`${program} is too old for this extension`, "program_too_old", "Upgrade it.");
  }
  return { socket, running: running === true };
}

/** Start the daemon, unless it runs. */
export async function startDaemon(program: string): Promise<void> {
  const answer = await call(program, "daemon", "start");
  if (answer.code !== 0) {
    throw new DaemonError(answer.messages.trim() || "The daemon cannot be started", "daemon_start_failed");
  }
}
