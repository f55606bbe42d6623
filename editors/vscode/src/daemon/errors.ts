// What the daemon says when it refuses something, taken from the status of a call and its details.

import { status, type ServiceError } from "@grpc/grpc-js";
import { BadRequest, ErrorInfo, Help } from "../generated/google/rpc/error_details";
import { Status } from "../generated/google/rpc/status";

/** An error with what a person needs: what, where, what to do. */
export class DaemonError extends Error {
  constructor(
    message: string,
    /** Stable word, or empty for an error of the connection. */
    readonly reason = "",
    /** What to do, or empty. */
    readonly hint = "",
    /** Each thing that is wrong, with its place. */
    readonly violations: readonly string[] = [],
    /** The connection broke or was never made; says nothing about what was asked. */
    readonly cut = false,
  ) {
    super(message);
    this.name = "DaemonError";
  }

  /** All of it, one line for each thing. */
  get text(): string {
    const hint = this.hint === "" ? [] : [this.hint];
    return [this.message, ...this.violations, ...hint].join("\n");
  }
}

/** The error of whatever was thrown. */
export function toDaemonError(thrown: unknown): DaemonError {
  if (thrown instanceof DaemonError) {
    return thrown;
  }
  if (!isServiceError(thrown)) {
    return new DaemonError(thrown instanceof Error ? thrown.message : String(thrown));
  }
  let reason = "";
  let hint = "";
  const violations: string[] = [];
  for (const each of details(thrown)) {
    if (each.typeUrl.endsWith("google.rpc.ErrorInfo")) {
      reason = ErrorInfo.decode(each.value).reason;
    } else if (each.typeUrl.endsWith("google.rpc.Help")) {
      hint = Help.decode(each.value)
        .links.map((link) => link.description)
        .join("\n");
    } else if (each.typeUrl.endsWith("google.rpc.BadRequest")) {
      const wrong = BadRequest.decode(each.value).fieldViolations;
      violations.push(...wrong.map((one) => `${one.field}: ${one.description}`));
    }
  }
  // The daemon gives a reason with each of its own errors; without one it is the line that broke.
  const broken = thrown.code === status.UNAVAILABLE || thrown.code === status.CANCELLED;
  const cut = broken && (reason === "" || reason === "unavailable");
  return new DaemonError(thrown.details || thrown.message, reason, hint, violations, cut);
}

function isServiceError(thrown: unknown): thrown is ServiceError {
  return thrown instanceof Error && "code" in thrown && "metadata" in thrown;
}

function details(error: ServiceError): { typeUrl: string; value: Uint8Array }[] {
  const [packed] = error.metadata.get("grpc-status-details-bin");
  if (!(packed instanceof Buffer)) {
    return [];
  }
  try {
    return Status.decode(packed).details;
  } catch {
    return [];
  }
}
