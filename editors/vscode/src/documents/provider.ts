// Files of runs as a file system that cannot be written: what a run ran with opens like any other file.

import * as vscode from "vscode";
import { toDaemonError } from "../daemon/errors";
import type { RunFiles } from "./files";
import { partsOf, type Parts } from "./uris";

export class RunFileSystem implements vscode.FileSystemProvider {
  readonly #changed = new vscode.EventEmitter<vscode.FileChangeEvent[]>();

  /** Never: what a run ran with stays as it was. */
  readonly onDidChangeFile = this.#changed.event;

  constructor(private readonly files: RunFiles) {}

  watch(): vscode.Disposable {
    return new vscode.Disposable(() => undefined);
  }

  async stat(uri: vscode.Uri): Promise<vscode.FileStat> {
    const { id, path } = placeOf(uri);
    const entry = await asked(this.files.find(id, path));
    if (entry === undefined) {
      throw vscode.FileSystemError.FileNotFound(uri);
    }
    const type = entry.directory ? vscode.FileType.Directory : vscode.FileType.File;
    return { type, ctime: 0, mtime: 0, size: entry.size, permissions: vscode.FilePermission.Readonly };
  }

  async readDirectory(uri: vscode.Uri): Promise<[string, vscode.FileType][]> {
    const { id, path } = placeOf(uri);
    const entries = await asked(this.files.below(id, path));
    return entries.map((each) => [
      each.path.slice(each.path.lastIndexOf("/") + 1),
      each.directory ? vscode.FileType.Directory : vscode.FileType.File,
    ]);
  }

  async readFile(uri: vscode.Uri): Promise<Uint8Array> {
    const { id, path } = placeOf(uri);
    return await asked(this.files.read(id, path));
  }

  createDirectory(): never {
    throw readOnly();
  }

  writeFile(): never {
    throw readOnly();
  }

  delete(): never {
    throw readOnly();
  }

  rename(): never {
    throw readOnly();
  }
}

function placeOf(uri: vscode.Uri): Parts {
  const parts = partsOf(uri);
  if (parts === undefined) {
    throw vscode.FileSystemError.FileNotFound(uri);
  }
  return parts;
}

function readOnly(): vscode.FileSystemError {
  return vscode.FileSystemError.NoPermissions("files of runs stay as they were");
}

async function asked<A>(answer: Promise<A>): Promise<A> {
  try {
    return await answer;
  } catch (thrown) {
    throw vscode.FileSystemError.Unavailable(toDaemonError(thrown).text);
  }
}
