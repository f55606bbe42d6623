// The way to the daemon: found, started when it is missing, asked, and asked again after it came back.
//
// Every call that is made here is harmless to repeat, so one that was cut off is simply made again.

import {
  Client,
  Metadata,
  credentials,
  type CallOptions,
  type ClientReadableStream,
  type ServiceError,
} from "@grpc/grpc-js";
import { DaemonServiceService } from "../generated/pollinator/v1/daemon";
import { DaemonError, toDaemonError } from "./errors";
import { daemonSocket, findProgram, startDaemon } from "./program";

/** Deadline of a call that only looks things up. */
export const SHORT_MS = 30_000;
/** Deadline of a call that may move all bytes of a project. */
export const LONG_MS = 6 * 3600_000;

const API_VERSION = 1;
const PATIENCE_MS = 60_000;
/** A server that is alive sends at least a heartbeat within this time. */
const SILENCE_MS = 30_000;
const PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2_000;
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

/** One call of a service, as the generated code describes it. */
export interface Method<Q, A> {
  readonly path: string;
  readonly requestSerialize: (value: Q) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => A;
}

/** What the user's settings say about it. */
export interface Wishes {
  /** Name or path of the program. */
  program(): string;
  /** The daemon may be started when it is missing. */
  mayStart(): boolean;
}

/** The daemon of this user. */
export class Daemon {
  #client: Client | undefined;
  #finding: Promise<Client> | undefined;
  #closed = false;

  constructor(
    private readonly wishes: Wishes,
    private readonly log: (line: string) => void,
  ) {}

  /** Make a call; throws a DaemonError with what the daemon said. */
  async ask<Q, A>(method: Method<Q, A>, request: Q, timeoutMs = SHORT_MS): Promise<A> {
    const deadline = Date.now() + PATIENCE_MS;
    for (let pause = PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      let client: Client | undefined;
      try {
        client = await this.#connected();
        return await unary(client, method, request, timeoutMs);
      } catch (thrown) {
        const error = toDaemonError(thrown);
        if (!error.cut || this.#closed || Date.now() > deadline) {
          throw error;
        }
        this.#wasCut(client, method.path, error);
        await delay(pause);
      }
    }
  }

  /**
   * The messages of a stream, which goes on after cuts until it ends by itself or the signal is given.
   *
   * `next` makes the request from what was noted so far; `onCut` is told of each cut, and of the first word after.
   */
  async *stream<Q, A>(
    method: Method<Q, A>,
    next: () => Q,
    signal: AbortSignal,
    onCut?: (error: DaemonError | undefined) => void,
  ): AsyncGenerator<A, void, undefined> {
    let pause = PAUSE_MS;
    let cut = false;
    while (!isOver(signal) && !this.#closed) {
      let client: Client | undefined;
      try {
        client = await this.#connected();
        for await (const message of messages(client, method, next(), signal)) {
          if (cut) {
            cut = false;
            onCut?.(undefined);
          }
          pause = PAUSE_MS;
          yield message;
        }
        return;
      } catch (thrown) {
        const error = toDaemonError(thrown);
        if (isOver(signal)) {
          return;
        }
        if (!error.cut) {
          throw error;
        }
        this.#wasCut(client, method.path, error);
        cut = true;
        onCut?.(error);
      }
      await delay(pause);
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    }
  }

  /** Let go of the connection, for example because settings changed; the next call makes a new one. */
  reset(): void {
    this.#forget();
  }

  dispose(): void {
    this.#closed = true;
    this.#forget();
  }

  #wasCut(client: Client | undefined, path: string, error: DaemonError): void {
    this.log(`${path} was cut off: ${error.message}`);
    // Others may have been cut as well, and have a new one by now.
    if (client === this.#client) {
      this.#forget();
    }
  }

  #forget(): void {
    this.#client?.close();
    this.#client = undefined;
  }

  async #connected(): Promise<Client> {
    if (this.#client !== undefined) {
      return this.#client;
    }
    // Whoever asks meanwhile waits for the same one.
    this.#finding ??= this.#find().finally(() => {
      this.#finding = undefined;
    });
    return await this.#finding;
  }

  async #find(): Promise<Client> {
    const program = await findProgram(this.wishes.program());
    const { socket, running } = await daemonSocket(program);
    if (!running) {
      if (!this.wishes.mayStart()) {
        throw new DaemonError("The daemon does not run", "daemon_not_running", "pollinator daemon start");
      }
      this.log(`starting the daemon: ${program} daemon start`);
      await startDaemon(program);
    }
    const client = new Client(`unix:${socket}`, credentials.createInsecure(), {
      "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
      "grpc.use_local_subchannel_pool": 1,
      "grpc.default_authority": "localhost",
    });
    try {
      const info = await unary(client, DaemonServiceService.getInfo, {}, SHORT_MS);
      this.log(`connected to the daemon, version ${info.version}, process ${info.pid}, at ${socket}`);
      if (info.apiVersion < API_VERSION) {
        const text = `The daemon is version ${info.version}, too old for this extension`;
        throw new DaemonError(text, "daemon_too_old", "pollinator daemon restart; runs go on meanwhile");
      }
    } catch (thrown) {
      client.close();
      throw thrown;
    }
    this.#client = client;
    return client;
  }
}

async function unary<Q, A>(client: Client, method: Method<Q, A>, request: Q, timeoutMs: number): Promise<A> {
  return await new Promise((resolve, reject) => {
    const options: CallOptions = { deadline: Date.now() + timeoutMs };
    const done = (error: ServiceError | null, answer?: A): void => {
      if (error !== null) {
        reject(error);
      } else {
        resolve(answer as A);
      }
    };
    const { path, requestSerialize, responseDeserialize } = method;
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      new Metadata(),
      options,
      done,
    );
  });
}

async function* messages<Q, A>(
  client: Client,
  method: Method<Q, A>,
  request: Q,
  signal: AbortSignal,
): AsyncGenerator<A, void, undefined> {
  const call: ClientReadableStream<A> = client.makeServerStreamRequest(
    method.path,
    method.requestSerialize,
    method.responseDeserialize,
    request,
  );
  const cancel = (): void => {
    call.cancel();
  };
  signal.addEventListener("abort", cancel);
  let silence = setTimeout(cancel, SILENCE_MS);
  try {
    for await (const message of call) {
      clearTimeout(silence);
      yield message as A;
      silence = setTimeout(cancel, SILENCE_MS);
    }
  } finally {
    clearTimeout(silence);
    signal.removeEventListener("abort", cancel);
    cancel();
  }
}

/** Asked anew: it may have been given while something was awaited. */
function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}

async function delay(milliseconds: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
}
