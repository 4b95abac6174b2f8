/** Windows of UTC, "sun:05:00-sun:06:00" and "03:00-04:00": when the next one begins. Pure. */

export interface Opening {
  beginsAt: Date;
  endsAt: Date;
  /** The window is open now. */
  open: boolean;
}

const DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MINUTE_MS = 60_000;
const DAY_MINUTES = 24 * 60;
const WEEK_MINUTES = 7 * DAY_MINUTES;
const MOMENT = /^(?:([a-z]{3}):)?(\d{2}):(\d{2})$/i;

/** The window that is open, or the next one; undefined where the text is none. */
export function nextOpening(text: string | undefined, now: Date): Opening | undefined {
  const [from, to, more] = (text ?? "").split("-");
  const begin = minutesOf(from);
  const end = minutesOf(to);
  if (begin === undefined || end === undefined || more !== undefined || begin.weekly !== end.weekly) {
    return undefined;
  }
  const period = begin.weekly ? WEEK_MINUTES : DAY_MINUTES;
  const lasts = (end.minutes - begin.minutes + period) % period || period;
  const midnight = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate());
  const start = midnight - (begin.weekly ? now.getUTCDay() * DAY_MINUTES : 0) * MINUTE_MS + begin.minutes * MINUTE_MS;
  for (const turns of [-1, 0, 1]) {
    const beginsAt = start + turns * period * MINUTE_MS;
    const endsAt = beginsAt + lasts * MINUTE_MS;
    if (endsAt > now.getTime()) {
      return { beginsAt: new Date(beginsAt), endsAt: new Date(endsAt), open: beginsAt <= now.getTime() };
    }
  }
  return undefined;
}

function minutesOf(text: string | undefined): { minutes: number; weekly: boolean } | undefined {
  const [, day, hour, minute] = MOMENT.exec(text ?? "") ?? [];
  if (hour === undefined || minute === undefined || Number(hour) > 23 || Number(minute) > 59) {
    return undefined;
  }
  const at = day === undefined ? 0 : DAYS.indexOf(day.toLowerCase());
  return at < 0 ? undefined : { minutes: at * DAY_MINUTES + Number(hour) * 60 + Number(minute), weekly: day !== undefined };
}

/** "in 2 d 3 h", "in 12 min". */
export function until(at: Date, now: Date): string {
  const minutes = Math.max(0, Math.ceil((at.getTime() - now.getTime()) / MINUTE_MS));
  const [days, hours] = [Math.floor(minutes / DAY_MINUTES), Math.floor((minutes % DAY_MINUTES) / 60)];
  const parts = days > 0 ? [`${days} d`, `${hours} h`] : hours > 0 ? [`${hours} h`, `${minutes % 60} min`] : [`${minutes} min`];
  return `in ${parts.filter((part) => !part.startsWith("0 ")).join(" ") || "a moment"}`;
}
