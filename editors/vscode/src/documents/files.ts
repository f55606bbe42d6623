// Files of runs, read from the daemon. What a run ran with never changes, so its listing is asked for once.

import type { Daemon } from "../daemon/connection";
import {
  ListFilesRequest,
  ProjectServiceService,
  ReadFileRequest,
  type RunFile,
} from "../generated/pollinator/v1/project";

const PAGE = 1_000;
/** More entries than this are not shown in an editor. */
const AT_MOST = 20_000;
const KEPT = 50;

export interface Entry {
  /** From the project's cfs folder on. */
  readonly path: string;
  readonly size: number;
  readonly directory: boolean;
  /** Where it leads, if it is a symbolic link; empty otherwise. */
  readonly target: string;
}

const FOLDER = { size: 0, directory: true, target: "" };

export class RunFiles {
  readonly #listings = new Map<string, Promise<Entry[]>>();

  constructor(private readonly daemon: Daemon) {}

  /** What lies directly below a folder, folders first. */
  async below(id: string, path: string): Promise<Entry[]> {
    const inside = (await this.all(id, path)).filter((each) => each.path.startsWith(`${path}/`));
    const found = new Map<string, Entry>();
    for (const each of inside) {
      const [name = "", ...rest] = each.path.slice(path.length + 1).split("/");
      const child = `${path}/${name}`;
      // A folder is there as soon as something lies in it, whether or not it was listed itself.
      if (rest.length > 0) {
        found.set(child, { path: child, ...FOLDER });
      } else if (!found.has(child)) {
        found.set(child, each);
      }
    }
    return [...found.values()].sort(
      (one, other) => Number(other.directory) - Number(one.directory) || (one.path < other.path ? -1 : 1),
    );
  }

  /** One file or folder; undefined when there is none. */
  async find(id: string, path: string): Promise<Entry | undefined> {
    if (!path.includes("/")) {
      return { path, ...FOLDER };
    }
    const all = await this.all(id, path);
    const exact = all.find((each) => each.path === path);
    if (exact !== undefined) {
      return exact;
    }
    if (all.some((each) => each.path.startsWith(`${path}/`))) {
      return { path, ...FOLDER };
    }
    // Of a listing that was cut, whether there is such a file shows when it is read.
    return all.length >= AT_MOST ? { path, ...FOLDER, directory: false } : undefined;
  }

  /** The content of a file; that of a symbolic link is where it leads. */
  async read(id: string, path: string): Promise<Uint8Array> {
    const target = (await this.find(id, path))?.target ?? "";
    if (target !== "") {
      return Buffer.from(`${target}\n`);
    }
    const pieces: Uint8Array[] = [];
    const request = ReadFileRequest.fromPartial({ runId: id, path: Buffer.from(path) });
    const stop = new AbortController();
    const again = (): void => {
      pieces.length = 0;
    };
    for await (const piece of this.daemon.stream(
      ProjectServiceService.readFile,
      () => request,
      stop.signal,
      again,
    )) {
      pieces.push(piece.data);
    }
    return Buffer.concat(pieces);
  }

  /** Everything in the tree that a path is in. */
  async all(id: string, path: string): Promise<Entry[]> {
    const tree = path.split("/", 1)[0] ?? "";
    const key = `${id}/${tree}`;
    let listing = this.#listings.get(key);
    if (listing === undefined) {
      listing = this.#list(id, tree);
      this.#listings.set(key, listing);
      // One that failed is asked for again.
      listing.catch(() => this.#listings.delete(key));
      const [oldest] = this.#listings.keys();
      if (this.#listings.size > KEPT && oldest !== undefined) {
        this.#listings.delete(oldest);
      }
    }
    return await listing;
  }

  async #list(id: string, tree: string): Promise<Entry[]> {
    const found: Entry[] = [];
    let pageToken = "";
    do {
      const request = ListFilesRequest.fromPartial({ runId: id, tree, pageSize: PAGE, pageToken });
      const answer = await this.daemon.ask(ProjectServiceService.listFiles, request);
      found.push(...answer.files.map(entryOf));
      pageToken = answer.nextPageToken;
    } while (pageToken !== "" && found.length < AT_MOST);
    return found;
  }
}

function entryOf(file: RunFile): Entry {
  const text = new TextDecoder();
  const [path, target] = [text.decode(file.path), text.decode(file.target)];
  return { path, size: file.size, directory: file.directory, target };
}
