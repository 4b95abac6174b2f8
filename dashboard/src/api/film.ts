/** A film of a failover: what nodes and a client saw at which millisecond. Pure. */

export interface FrameMessage {
  AtMs: number;
  Kind: "node" | "client";
  Name: string;
  State: string;
  Offset: number | null;
  Detail: string;
}

export interface Span {
  fromMs: number;
  toMs: number;
  state: string;
  detail: string;
}

export interface Lane {
  kind: "node" | "client";
  name: string;
  spans: Span[];
}

/** One lane for the client and each node; the last state of each goes on until *nowMs*. */
export function lanesOf(frames: readonly FrameMessage[], nowMs: number): Lane[] {
  const lanes = new Map<string, Lane>();
  for (const frame of frames) {
    const key = `${frame.Kind}/${frame.Name}`;
    const lane = lanes.get(key) ?? { kind: frame.Kind, name: frame.Name, spans: [] };
    const last = lane.spans.at(-1);
    if (last) {
      last.toMs = frame.AtMs;
    }
    lane.spans.push({ fromMs: frame.AtMs, toMs: Math.max(nowMs, frame.AtMs), state: frame.State, detail: frame.Detail });
    lanes.set(key, lane);
  }
  return [...lanes.values()].sort((a, b) => a.kind.localeCompare(b.kind) || a.name.localeCompare(b.name));
}

/** Every time that the client was not served: from when, and for how many milliseconds. */
export function outagesOf(lanes: readonly Lane[]): Span[] {
  return lanes.filter((lane) => lane.kind === "client").flatMap((lane) => lane.spans.filter((span) => span.state === "not-served"));
}

/** The part of the film worth looking at: from shortly before the first change to after the last. */
export function windowOf(frames: readonly FrameMessage[], nowMs: number): { fromMs: number; toMs: number } {
  const firstOf = new Map<string, number>();
  for (const frame of frames) {
    const key = `${frame.Kind}/${frame.Name}`;
    firstOf.set(key, Math.min(firstOf.get(key) ?? Infinity, frame.AtMs));
  }
  const changes = frames.filter((frame) => frame.AtMs > (firstOf.get(`${frame.Kind}/${frame.Name}`) ?? 0));
  const first = changes[0];
  const last = changes.at(-1);
  if (!first || !last) {
    return { fromMs: 0, toMs: Math.max(nowMs, 1000) };
  }
  const margin = Math.max(20, (last.AtMs - first.AtMs) * 0.15);
  return { fromMs: Math.max(0, first.AtMs - margin), toMs: last.AtMs + margin };
}
