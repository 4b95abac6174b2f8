/** What went wrong, in the server's words, and which field of a form it is about. */

export interface ApiError {
  code: string;
  message: string;
  requestId?: string;
  /** The request never got an answer: nothing is known of what happened. */
  unreachable: boolean;
  notImplemented: boolean;
  notFound: boolean;
}

const UNREACHABLE = new Set(["TypeError", "TimeoutError", "AbortError", "NetworkError"]);

interface Thrown {
  name?: string;
  Code?: string;
  message?: string;
  $metadata?: { requestId?: string; httpStatusCode?: number };
}

export function toApiError(error: unknown): ApiError {
  const thrown = (error ?? {}) as Thrown;
  const code = thrown.name ?? "Error";
  const answered = thrown.$metadata?.httpStatusCode !== undefined;
  const unreachable = !answered && UNREACHABLE.has(code);
  return {
    code,
    message: unreachable
      ? "The server does not answer. What you typed is still here: try again when it is back."
      : (thrown.message ?? String(error)),
    ...(thrown.$metadata?.requestId ? { requestId: thrown.$metadata.requestId } : {}),
    unreachable,
    notImplemented: code.startsWith("NotImplemented") || thrown.$metadata?.httpStatusCode === 501,
    notFound: /NotFound/.test(code) || thrown.$metadata?.httpStatusCode === 404,
  };
}

export interface Placeable {
  key: string;
  /** Names that the API has for the field, as they occur in its messages. */
  apiNames?: readonly string[] | undefined;
  /** Faults that are always about this field. */
  faults?: readonly RegExp[] | undefined;
}

/**
 * The key of the field that an error is about; undefined where no field can be blamed.
 *
 * The fault decides first, then the longest of a field's API names that the message has as a word.
 */
export function placeError(error: ApiError, fields: readonly Placeable[]): string | undefined {
  const byFault = fields.find((field) => field.faults?.some((fault) => fault.test(error.code)));
  if (byFault) {
    return byFault.key;
  }
  const found = fields
    .flatMap((field) => [field.key, ...(field.apiNames ?? [])].map((name) => ({ field, name })))
    .filter(({ name }) => new RegExp(`\\b${escaped(name)}\\b`, "i").test(error.message))
    .sort((a, b) => b.name.length - a.name.length);
  return found[0]?.field.key;
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
}
