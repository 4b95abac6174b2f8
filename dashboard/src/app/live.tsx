/**
 * Changes as they happen: one event stream for the whole page, that makes what it names stale.
 *
 * Where the server has no stream, pages ask again in intervals instead; `connected` says which.
 */

import { useQueryClient } from "@tanstack/react-query";
import { createContext, useContext, useEffect, useState, type ReactNode } from "react";

import { changeOf, merged, type Change } from "../api/changes";
import { toApiError } from "../api/errors";
import type { V1Client } from "../api/v1";
import { Patcher } from "../hooks/patch";
import { useApi } from "./Providers";

export const STREAM_PATH = "/v1/events:stream";
const RECONNECT_MIN_MS = 500;
const RECONNECT_MAX_MS = 10_000;
/** Messages come in bursts; the page looks once for each burst. */
const COALESCE_MS = 250;

interface Live {
  connected: boolean;
  /** The server does not answer. */
  down: boolean;
}

const LiveContext = createContext<Live>({ connected: false, down: false });

export function useLive(): Live {
  return useContext(LiveContext);
}

export function LiveProvider({ children }: { children: ReactNode }) {
  const { v1, client } = useApi();
  const queries = useQueryClient();
  const [live, setLive] = useState<Live>({ connected: false, down: false });
  useEffect(() => {
    const stop = new AbortController();
    const patcher = new Patcher(client, queries);
    const burst = new Burst((change) => void patcher.apply(change));
    void follow(v1, stop.signal, burst, setLive);
    return () => {
      stop.abort();
      burst.stop();
      patcher.stop();
    };
  }, [v1, client, queries]);
  return <LiveContext.Provider value={live}>{children}</LiveContext.Provider>;
}

async function follow(
  v1: V1Client,
  signal: AbortSignal,
  burst: Burst,
  setLive: (live: Live) => void,
): Promise<void> {
  let lastId: string | undefined;
  let wait = RECONNECT_MIN_MS;
  while (!signal.aborted) {
    try {
      const headers: Record<string, string> = lastId === undefined ? {} : { "last-event-id": lastId };
      for await (const event of v1.stream(STREAM_PATH, { signal, headers })) {
        if (event.type === "ready" || event.type === "gap") {
          setLive({ connected: true, down: false });
          wait = RECONNECT_MIN_MS;
        }
        lastId = event.id ?? lastId;
        burst.add(changeOf(event));
      }
      setLive({ connected: false, down: false });
    } catch (error) {
      if (signal.aborted) {
        return;
      }
      const told = toApiError(error);
      setLive({ connected: false, down: told.unreachable });
      if (told.notFound || told.notImplemented) {
        return;
      }
    }
    await pause(wait, signal);
    wait = Math.min(wait * 2, RECONNECT_MAX_MS);
  }
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

/** Collects changes and passes them on together, a moment after the first. */
class Burst {
  private waiting: Change | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly pass: (change: Change) => void) {}

  add(change: Change): void {
    this.waiting = this.waiting ? merged(this.waiting, change) : change;
    this.timer ??= setTimeout(() => {
      const all = this.waiting;
      this.timer = undefined;
      this.waiting = undefined;
      if (all) {
        this.pass(all);
      }
    }, COALESCE_MS);
  }

  stop(): void {
    clearTimeout(this.timer);
  }
}
