/** The server's clock, in UTC as its windows are, and when a window opens by it. */

import { useEffect, useState } from "react";

import { nextOpening, until } from "../api/windows";
import { useApi } from "../app/Providers";

const TICK_MS = 1_000;
const LOOK_MS = 30_000;
const INSTANT = new Intl.DateTimeFormat("en-GB", {
  weekday: "short", day: "2-digit", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: "UTC",
});
const OPENING = new Intl.DateTimeFormat("en-GB", {
  weekday: "short", day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", timeZone: "UTC",
});

/** What the server's clock shows, looked at again and again. */
export function useServerNow(everyMs: number = LOOK_MS): Date {
  const { clockAheadMs } = useApi().config;
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return new Date(now + clockAheadMs);
}

export function ServerClock() {
  const now = useServerNow(TICK_MS);
  return <time dateTime={now.toISOString()}>{`${INSTANT.format(now)} UTC`}</time>;
}

/** The next time that a window opens: "Sun, 22 Nov, 05:00 UTC (in 2 d 3 h)". */
export function NextOpening({ window }: { window: string | undefined }) {
  const now = useServerNow();
  const next = nextOpening(window, now);
  if (!next) {
    return <>–</>;
  }
  return <>{next.open ? `open until ${OPENING.format(next.endsAt)} UTC` : `${OPENING.format(next.beginsAt)} UTC (${until(next.beginsAt, now)})`}</>;
}
