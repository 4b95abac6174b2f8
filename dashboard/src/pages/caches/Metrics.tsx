/** Metrics of every node of a cache under AWS's names, as charts over a time range. */

import Box from "@cloudscape-design/components/box";
import Container from "@cloudscape-design/components/container";
import Grid from "@cloudscape-design/components/grid";
import Header from "@cloudscape-design/components/header";
import LineChart from "@cloudscape-design/components/line-chart";
import Multiselect from "@cloudscape-design/components/multiselect";
import SegmentedControl from "@cloudscape-design/components/segmented-control";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";

import type { Cache } from "../../api/caches";
import type { V1Client } from "../../api/v1";
import { useApi } from "../../app/Providers";
import { ErrorAlert } from "../../components/ErrorAlert";
import { bytes } from "../../components/time";

interface Series {
  CacheClusterId: string;
  CacheNodeId: string;
  MetricName: string;
  Unit: string;
  Statistic: string;
  Timestamps: string[];
  Values: number[];
}

interface Catalog {
  PeriodSeconds: number;
  Engines: { Engine: string; Metrics: { MetricName: string; Unit: string }[] }[];
}

const RANGES = [
  { id: "15m", text: "15 min", minutes: 15, period: 15 },
  { id: "1h", text: "1 h", minutes: 60, period: 60 },
  { id: "3h", text: "3 h", minutes: 180, period: 60 },
  { id: "12h", text: "12 h", minutes: 720, period: 300 },
  { id: "24h", text: "24 h", minutes: 1440, period: 600 },
] as const;

const SHOWN: Record<string, string[]> = {
  memcached: ["CPUUtilization", "CurrConnections", "BytesUsedForCacheItems", "CurrItems", "GetHits", "GetMisses", "Evictions", "NetworkBytesIn"],
  other: [
    "EngineCPUUtilization", "CurrConnections", "DatabaseMemoryUsagePercentage", "BytesUsedForCache",
    "CacheHits", "CacheMisses", "CurrItems", "Evictions", "NetworkBytesIn", "NetworkBytesOut", "ReplicationLag", "SwapUsage",
  ],
};
const REFETCH_MS = 15_000;
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
/** More lines than this cannot be told apart. */
const LINES_MAX = 20;

interface Data {
  StartTime: string;
  EndTime: string;
  Series: Series[];
}

function readMetrics(
  v1: V1Client,
  cache: Cache,
  names: string[],
  range: (typeof RANGES)[number],
  signal: AbortSignal,
): Promise<Data> {
  const end = new Date();
  return v1.call<Data>("/v1/metrics", {
    signal,
    query: {
      MetricName: names,
      ...(cache.kind === "group" ? { ReplicationGroupId: cache.id } : { CacheClusterId: cache.id }),
      StartTime: new Date(end.getTime() - range.minutes * 60_000).toISOString(),
      EndTime: end.toISOString(),
      Period: range.period,
    },
  });
}

export default function MetricsTab({ cache }: { cache: Cache }) {
  const { v1 } = useApi();
  const [range, setRange] = useState<(typeof RANGES)[number]>(RANGES[0]);
  const [chosen, setChosen] = useState<readonly string[]>(SHOWN[cache.engine] ?? SHOWN["other"] ?? []);
  const catalog = useQuery({
    queryKey: ["metrics", "catalog"],
    staleTime: Infinity,
    queryFn: ({ signal }) => v1.call<Catalog>("/v1/metrics/catalog", { signal }),
  });
  const known = catalog.data?.Engines.find((one) => one.Engine === cache.engine)?.Metrics.map((one) => one.MetricName) ?? [];
  const wanted = chosen.filter((name) => known.includes(name));
  const data = useQuery({
    queryKey: ["metrics", cache.key, range.id, wanted],
    enabled: wanted.length > 0,
    refetchInterval: REFETCH_MS,
    placeholderData: keepPreviousData,
    queryFn: ({ signal }) => readMetrics(v1, cache, wanted, range, signal),
  });
  const error = catalog.error ?? data.error;
  return (
    <SpaceBetween size="l">
      <Container
        header={
          <Header
            variant="h2"
            description="Measured at the nodes every 15 seconds and kept for a day."
            actions={
              <SegmentedControl
                label="Time range"
                selectedId={range.id}
                options={RANGES.map(({ id, text }) => ({ id, text }))}
                onChange={({ detail }) => setRange(RANGES.find(({ id }) => id === detail.selectedId) ?? RANGES[0])}
              />
            }
          >
            Metrics
          </Header>
        }
      >
        <Multiselect
          ariaLabel="Metrics"
          selectedOptions={wanted.map((name) => ({ value: name, label: name }))}
          options={known.map((name) => ({ value: name, label: name }))}
          filteringType="auto"
          tokenLimit={4}
          placeholder="Choose metrics"
          deselectAriaLabel={(option) => `Remove ${option.label ?? ""}`}
          onChange={({ detail }) => setChosen(detail.selectedOptions.map((option) => option.value ?? "").slice(0, LINES_MAX))}
        />
      </Container>
      {error ? <ErrorAlert error={error} onRetry={() => void data.refetch()} /> : null}
      <Grid gridDefinition={wanted.map(() => ({ colspan: { default: 12, s: 6, l: 4 } }))}>
        {wanted.map((name) => (
          <Chart key={name} name={name} series={(data.data?.Series ?? []).filter((one) => one.MetricName === name)} from={data.data?.StartTime} to={data.data?.EndTime} loading={data.isPending} />
        ))}
      </Grid>
    </SpaceBetween>
  );
}

interface ChartProps {
  name: string;
  series: readonly Series[];
  from: string | undefined;
  to: string | undefined;
  loading: boolean;
}

function Chart({ name, series, from, to, loading }: ChartProps) {
  const unit = series[0]?.Unit ?? "";
  const shown = (value: number) => (unit === "Bytes" ? bytes(value) : unit === "Percent" ? `${value.toFixed(1)} %` : String(Number(value.toFixed(3))));
  return (
    <Container header={<Header variant="h3" description={[unit, series[0]?.Statistic].filter(Boolean).join(", ")}>{name}</Header>}>
      <LineChart
        ariaLabel={name}
        height={160}
        hideFilter
        hideLegend={series.length > 6}
        xScaleType="time"
        {...(from && to ? { xDomain: [new Date(from), new Date(to)] } : {})}
        statusType={loading ? "loading" : "finished"}
        series={series.slice(0, LINES_MAX).map((one) => ({
          title: one.CacheNodeId === "0001" ? one.CacheClusterId : `${one.CacheClusterId}/${one.CacheNodeId}`,
          type: "line" as const,
          data: one.Timestamps.map((at, index) => ({ x: new Date(at), y: one.Values[index] ?? 0 })),
          valueFormatter: shown,
        }))}
        i18nStrings={{ xTickFormatter: (at) => CLOCK.format(at), yTickFormatter: shown }}
        empty={<Box textAlign="center" color="inherit">Nothing has been measured yet.</Box>}
      />
    </Container>
  );
}
