/**
 * The log of every call that this page has made: what was asked, what came back, how long it took.
 *
 * Bounded, in memory only. Values that are secrets never get in.
 */

export interface Call {
  id: number;
  operation: string;
  input: Record<string, unknown>;
  startedAt: Date;
  durationMs: number;
  requestId?: string;
  /** The error's code; undefined where the call succeeded. */
  errorCode?: string;
  errorMessage?: string;
}

export const CALLS_MAX = 300;
export const HIDDEN = "********";
const SECRETS = /password|authtoken|secret/i;

/** A copy of a call's input in which every secret is replaced. */
export function withoutSecrets(value: unknown, name = ""): unknown {
  if (value === undefined || value === null) {
    return value;
  }
  if (Array.isArray(value)) {
    return value.map((item) => withoutSecrets(item, name));
  }
  if (value instanceof Date) {
    return value.toISOString();
  }
  if (typeof value === "object") {
    return Object.fromEntries(
      Object.entries(value)
        .filter(([, inner]) => inner !== undefined)
        .map(([key, inner]) => [key, withoutSecrets(inner, key)]),
    );
  }
  const isSecret = typeof value === "string" && SECRETS.test(name) && !/status|strategy/i.test(name);
  return isSecret ? HIDDEN : value;
}

export class CallLog {
  private calls: readonly Call[] = [];
  private nextId = 1;
  private readonly listeners = new Set<() => void>();

  /** Newest first. The same array until something is added. */
  all = (): readonly Call[] => this.calls;

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  };

  add(call: Omit<Call, "id">): void {
    const input = withoutSecrets(call.input) as Record<string, unknown>;
    this.calls = [{ ...call, input, id: this.nextId++ }, ...this.calls].slice(0, CALLS_MAX);
    this.tell();
  }

  clear = (): void => {
    this.calls = [];
    this.tell();
  };

  private tell(): void {
    for (const listener of this.listeners) {
      listener();
    }
  }
}

export const callLog = new CallLog();
