/** Films a shard while its primary is killed: who was what at which millisecond, and the outage. */

import { TestFailoverCommand } from "@aws-sdk/client-elasticache";
import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import Select from "@cloudscape-design/components/select";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useEffect, useRef, useState } from "react";

import type { Cache } from "../../api/caches";
import { lanesOf, outagesOf, windowOf, type FrameMessage, type Lane } from "../../api/film";
import type { Topology } from "../../api/topology";
import { useApi } from "../../app/Providers";
import { ErrorAlert } from "../../components/ErrorAlert";
import { useAction } from "../../hooks/useAction";

const FILM_S = 20;
const FRAMES_MAX = 2_000;
const TICK_MS = 250;

interface Film {
  frames: FrameMessage[];
  startedAt: number;
  running: boolean;
}

export function FilmPanel({ cache, topology }: { cache: Cache; topology: Topology }) {
  const { v1, client } = useApi();
  const run = useAction();
  const shards = topology.NodeGroups.map((shard) => shard.NodeGroupId ?? "");
  const [shard, setShard] = useState(shards[0] ?? "0001");
  const [film, setFilm] = useState<Film>();
  const [now, setNow] = useState(0);
  const [error, setError] = useState<unknown>();
  const stop = useRef<AbortController>(null);
  useEffect(() => () => stop.current?.abort(), []);
  useEffect(() => {
    if (!film?.running) {
      return undefined;
    }
    const timer = setInterval(() => setNow(performance.now()), TICK_MS);
    return () => clearInterval(timer);
  }, [film?.running]);

  const record = async (onBegin: () => void) => {
    stop.current?.abort();
    const controller = new AbortController();
    stop.current = controller;
    setError(undefined);
    setFilm({ frames: [], startedAt: performance.now(), running: true });
    try {
      const path = `/v1/replication-groups/${encodeURIComponent(cache.id)}/film:stream`;
      let begun = false;
      for await (const event of v1.stream(path, { query: { NodeGroupId: shard, Seconds: FILM_S }, signal: controller.signal })) {
        if (event.type === "frame") {
          const frame = JSON.parse(event.data) as FrameMessage;
          setFilm((before) => before && { ...before, frames: [...before.frames, frame].slice(0, FRAMES_MAX) });
          if (!begun && frame.Kind === "client") {
            begun = true;
            onBegin();
          }
        }
      }
    } catch (reason) {
      if (!controller.signal.aborted) {
        setError(reason);
      }
    } finally {
      if (stop.current === controller) {
        setFilm((before) => before && { ...before, running: false });
      }
    }
  };
  const failover = () =>
    void run({
      done: `The primary of shard ${shard} of ${cache.id} has been killed.`,
      changes: ["events"],
      act: () => client.send(new TestFailoverCommand({ ReplicationGroupId: cache.id, NodeGroupId: shard })),
    });
  const canFail = cache.autoFailover === "enabled" && cache.status === "available";
  return (
    <Container
      header={
        <Header
          variant="h2"
          description="The client asks the endpoint every 5 ms, as an application that keeps its connection. Nothing is written."
          actions={
            <div className="buttons">
              {shards.length > 1 ? (
                <Select
                  ariaLabel="Shard"
                  selectedOption={{ value: shard, label: `Shard ${shard}` }}
                  options={shards.map((id) => ({ value: id, label: `Shard ${id}` }))}
                  onChange={({ detail }) => setShard(detail.selectedOption.value ?? "0001")}
                />
              ) : null}
              <Button loading={film?.running ?? false} onClick={() => void record(() => undefined)}>Film only</Button>
              <Button disabled={!canFail || film?.running === true} onClick={() => void record(failover)}>Kill primary and film</Button>
            </div>
          }
        >
          Failover film
        </Header>
      }
    >
      <SpaceBetween size="m">
        {error === undefined ? null : <ErrorAlert error={error} />}
        {film ? <Timeline film={film} now={Math.max(now, film.startedAt)} /> : <Box color="text-body-secondary">{`A film takes ${FILM_S} s. Kill the primary, here or elsewhere, and see what happened at which millisecond.`}</Box>}
      </SpaceBetween>
    </Container>
  );
}

function Timeline({ film, now }: { film: Film; now: number }) {
  const nowMs = Math.min(FILM_S * 1000, now - film.startedAt);
  const lanes = lanesOf(film.frames, nowMs);
  const { fromMs, toMs } = windowOf(film.frames, nowMs);
  const outages = outagesOf(lanes);
  const total = outages.reduce((sum, span) => sum + span.toMs - span.fromMs, 0);
  return (
    <SpaceBetween size="s">
      {outages.length > 0 ? (
        <Alert type="info" header={`Clients were not served for ${total.toFixed(0)} ms`}>
          {outages.map((span) => `from ${span.fromMs} ms for ${(span.toMs - span.fromMs).toFixed(0)} ms (${span.detail})`).join("; ")}
        </Alert>
      ) : (
        <Box>{film.running ? "Clients are served. Recording." : "Clients were served all the time."}</Box>
      )}
      <div>
        {lanes.map((lane) => (
          <LaneRow key={`${lane.kind}/${lane.name}`} lane={lane} fromMs={fromMs} toMs={toMs} />
        ))}
        <div className="film-axis">
          <span>{`${fromMs.toFixed(0)} ms`}</span>
          <span>{`${toMs.toFixed(0)} ms`}</span>
        </div>
      </div>
      <details>
        <summary>What happened, in words</summary>
        <ol>
          {film.frames.map((frame, at) => (
            <li key={at}>{`${frame.AtMs} ms: ${frame.Kind === "client" ? "clients" : frame.Name} ${frame.State}${frame.Detail ? ` (${frame.Detail})` : ""}`}</li>
          ))}
        </ol>
      </details>
    </SpaceBetween>
  );
}

function LaneRow({ lane, fromMs, toMs }: { lane: Lane; fromMs: number; toMs: number }) {
  const width = Math.max(1, toMs - fromMs);
  const label = lane.kind === "client" ? `Client at ${lane.name}` : lane.name;
  return (
    <div className="film-lane">
      <span>{label}</span>
      <svg viewBox={`0 0 ${width} 10`} preserveAspectRatio="none" role="img" aria-label={`${label}: ${lane.spans.map((span) => span.state).join(", then ")}`}>
        {lane.spans.map((span) => {
          const from = Math.max(fromMs, span.fromMs);
          const to = Math.min(toMs, span.toMs);
          return to <= from ? null : (
            <rect key={span.fromMs} className={`film-${span.state}`} x={from - fromMs} y={0} width={to - from} height={10}>
              <title>{`${span.state}, ${span.fromMs} to ${span.toMs.toFixed(0)} ms`}</title>
            </rect>
          );
        })}
      </svg>
    </div>
  );
}
