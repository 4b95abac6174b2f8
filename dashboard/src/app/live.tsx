/**
 * Changes as they happen: one event stream for the whole page, that makes what it names stale.
 *
 * Where the server has no stream, pages ask again in intervals instead; `connected` says which.
 */

import { useQueryClient, type QueryClient } from "@tanstack/react-query";
import { createContext, useContext, useEffect, useState, type ReactNode } from "react";

import { toApiError } from "../api/errors";
import { familiesOf, type LiveChange } from "../api/changes";
import { useApi } from "./Providers";

export const STREAM_PATH = "/v1/events:stream";
const RECONNECT_MIN_MS = 500;
const RECONNECT_MAX_MS = 15_000;
/** Events come in bursts; a page looks once for each burst. */
const COALESCE_MS = 250;

interface Live {
  connected: boolean;
  /** The server has not answered for a while. */
  down: boolean;
}

const LiveContext = createContext<Live>({ connected: false, down: false });

export function useLive(): Live {
  return useContext(LiveContext);
}

export function LiveProvider({ children }: { children: ReactNode }) {
  const { v1 } = useApi();
  const queries = useQueryClient();
  const [live, setLive] = useState<Live>({ connected: false, down: false });
  useEffect(() => {
    const stop = new AbortController();
    const stale = new StaleSet(queries);
    void follow(stop.signal, stale);
    return () => stop.abort();

    async function follow(signal: AbortSignal, marks: StaleSet): Promise<void> {
      let lastId: string | undefined;
      let wait = RECONNECT_MIN_MS;
      while (!signal.aborted) {
        try {
          const headers: Record<string, string> = lastId === undefined ? {} : { "last-event-id": lastId };
          const events = v1.stream(STREAM_PATH, { signal, headers });
          let first = true;
          setLive({ connected: true, down: false });
          for await (const event of events) {
            if (first) {
              wait = RECONNECT_MIN_MS;
              first = false;
            }
            lastId = event.id ?? lastId;
            marks.add(familiesOf(event));
          }
        } catch (error) {
          const told = toApiError(error);
          if (signal.aborted) {
            return;
          }
          setLive({ connected: false, down: told.unreachable });
          if (!told.unreachable && (told.notFound || told.notImplemented)) {
            return;
          }
        }
        await pause(wait, signal);
        wait = Math.min(wait * 2, RECONNECT_MAX_MS);
      }
    }
  }, [v1, queries]);
  return <LiveContext.Provider value={live}>{children}</LiveContext.Provider>;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** Collects what is stale and has the open pages look again, a moment later, once. */
class StaleSet {
  private readonly waiting = new Map<string, LiveChange>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly queries: QueryClient) {}

  add(changes: readonly LiveChange[]): void {
    for (const change of changes) {
      this.waiting.set(JSON.stringify(change), change);
    }
    this.timer ??= setTimeout(() => this.flush(), COALESCE_MS);
  }

  private flush(): void {
    this.timer = undefined;
    const changes = [...this.waiting.values()];
    this.waiting.clear();
    for (const queryKey of changes) {
      void this.queries.invalidateQueries({ queryKey });
    }
  }
}
