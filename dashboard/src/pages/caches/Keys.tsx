/** Keys of a chosen node, and a command line on it; read-only until somebody says otherwise. */

import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import FormField from "@cloudscape-design/components/form-field";
import Grid from "@cloudscape-design/components/grid";
import Header from "@cloudscape-design/components/header";
import Input from "@cloudscape-design/components/input";
import Select from "@cloudscape-design/components/select";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Table from "@cloudscape-design/components/table";
import Toggle from "@cloudscape-design/components/toggle";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { toShards } from "../../api/caches";
import { toApiError } from "../../api/errors";
import { shownItem, shownReply, splitWords, viewCommand } from "../../api/words";
import { useApi } from "../../app/Providers";
import { ErrorAlert } from "../../components/ErrorAlert";
import { bytes } from "../../components/time";
import type { CacheRecord } from "../../hooks/queries";
import "./topology.css";

interface KeyView {
  Key: string;
  Type: string;
  TtlMs: number | null;
  MemoryBytes: number | null;
}

interface KeyPage {
  Cursor: string;
  Keys: KeyView[];
}

const LINES_MAX = 100;
const PAGE_KEYS = 50;

export default function KeysTab({ record }: { record: CacheRecord }) {
  const memcached = record.cache.engine === "memcached";
  const nodes = toShards(record.cache, record.members).flatMap((shard) => shard.nodes);
  const [chosen, setChosen] = useState<string>();
  const node = nodes.find((one) => one.key === chosen) ?? nodes[0];
  if (!node) {
    return <Alert type="info">There are no nodes yet.</Alert>;
  }
  const path = `/v1/cache-clusters/${encodeURIComponent(node.clusterId)}/nodes/${encodeURIComponent(node.nodeId)}`;
  const options = nodes.map((one) => ({
    value: one.key,
    label: memcached ? `${one.clusterId} ${one.nodeId}` : one.clusterId,
    description: [one.role, one.shardId && `shard ${one.shardId}`, one.zone].filter(Boolean).join(", "),
  }));
  return (
    <SpaceBetween size="l">
      <FormField label="Node" description="Everything here is asked of this node alone, as the control plane.">
        <Select
          selectedOption={options.find((one) => one.value === node.key) ?? null}
          options={options}
          onChange={({ detail }) => setChosen(detail.selectedOption.value)}
        />
      </FormField>
      <Browser key={`keys ${path}`} path={path} memcached={memcached} />
      <CommandLine key={`shell ${path}`} path={path} name={memcached ? node.nodeId : node.clusterId} memcached={memcached} />
    </SpaceBetween>
  );
}

function Browser({ path, memcached }: { path: string; memcached: boolean }) {
  const { v1 } = useApi();
  const [draft, setDraft] = useState("*");
  const [match, setMatch] = useState("*");
  const [cursors, setCursors] = useState<string[]>(["0"]);
  const [selected, setSelected] = useState<KeyView>();
  const cursor = cursors.at(-1) ?? "0";
  const { data, error, isFetching, refetch } = useQuery({
    queryKey: ["keys", path, match, cursor],
    queryFn: ({ signal }) => v1.call<KeyPage>(`${path}/keys`, { query: { Cursor: cursor, Match: match, Count: PAGE_KEYS }, signal }),
  });
  const value = useQuery({
    queryKey: ["key", path, selected?.Key, selected?.Type],
    enabled: selected !== undefined,
    queryFn: ({ signal }) =>
      v1.call<{ Reply: unknown }>(`${path}/commands`, {
        method: "POST",
        body: { Words: viewCommand(selected?.Type ?? "", selected?.Key ?? "") },
        signal,
      }),
  });
  const search = () => {
    setCursors(["0"]);
    setSelected(undefined);
    setMatch(draft || "*");
  };
  return (
    <Grid gridDefinition={[{ colspan: { default: 12, m: 7 } }, { colspan: { default: 12, m: 5 } }]}>
      <Table
        header={
          <Header
            actions={
              <div className="buttons">
                <Button iconName="refresh" ariaLabel="Read the keys again" loading={isFetching} onClick={() => void refetch()} />
                <Button disabled={cursors.length < 2} onClick={() => setCursors(cursors.slice(0, -1))}>Back</Button>
                <Button disabled={!data || data.Cursor === "0"} onClick={() => data && setCursors([...cursors, data.Cursor])}>Next keys</Button>
              </div>
            }
          >
            Keys
          </Header>
        }
        filter={
          <form
            onSubmit={(event) => {
              event.preventDefault();
              search();
            }}
          >
            <Input type="search" value={draft} ariaLabel="Pattern of keys" placeholder="user:*" onChange={({ detail }) => setDraft(detail.value)} onBlur={search} />
          </form>
        }
        items={data?.Keys ?? []}
        trackBy="Key"
        selectionType="single"
        selectedItems={selected ? [selected] : []}
        onSelectionChange={({ detail }) => setSelected(detail.selectedItems[0])}
        ariaLabels={{ tableLabel: "Keys", selectionGroupLabel: "Select a key", itemSelectionLabel: (_, one) => `Select ${one.Key}` }}
        empty={error ? <ErrorAlert error={error} onRetry={() => void refetch()} /> : "No keys match on this node, as far as was looked."}
        columnDefinitions={[
          { id: "key", header: "Key", cell: (one) => <span className="breakable">{one.Key}</span>, isRowHeader: true },
          { id: "type", header: "Type", cell: (one) => one.Type },
          { id: "ttl", header: "TTL", cell: (one) => (one.TtlMs === null ? "–" : `${Math.ceil(one.TtlMs / 1000)} s`) },
          { id: "size", header: "Size", cell: (one) => (one.MemoryBytes === null ? "–" : bytes(one.MemoryBytes)) },
        ]}
      />
      <Container header={<Header>Value</Header>}>
        {selected ? (
          value.error ? (
            <ErrorAlert error={value.error} />
          ) : (
            <Output lines={[memcached ? shownItem(value.data?.Reply) : shownReply(value.data?.Reply ?? null)]} label={`Value of ${selected.Key}`} />
          )
        ) : (
          <Box color="text-body-secondary">Select a key. Of large values the beginning is shown.</Box>
        )}
      </Container>
    </Grid>
  );
}

function Output({ lines, label }: { lines: readonly string[]; label: string }) {
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- what scrolls is reachable by keyboard
    <section className="shell-output" tabIndex={0} aria-label={label} aria-live="polite">
      <pre>{lines.join("\n")}</pre>
    </section>
  );
}

function CommandLine({ path, name, memcached }: { path: string; name: string; memcached: boolean }) {
  const { v1 } = useApi();
  const [line, setLine] = useState("");
  const [lines, setLines] = useState<string[]>([]);
  const [history, setHistory] = useState<string[]>([]);
  const [at, setAt] = useState(0);
  const [writes, setWrites] = useState(false);
  const [busy, setBusy] = useState(false);
  const say = (...more: string[]) => setLines((before) => [...before, ...more].slice(-LINES_MAX));
  const submit = async () => {
    const typed = line.trim();
    if (typed === "" || busy) {
      return;
    }
    say(`${name}> ${typed}`);
    setBusy(true);
    try {
      const { Reply } = await v1.call<{ Reply: unknown }>(`${path}/commands`, {
        method: "POST",
        body: { Words: splitWords(typed), AllowWrites: writes },
      });
      say(memcached && typeof Reply === "string" ? Reply : shownReply(Reply));
      setLine("");
      setHistory((before) => [...before, typed].slice(-LINES_MAX));
      setAt(history.length + 1);
    } catch (error) {
      say(`(refused) ${toApiError(error).message}`);
    } finally {
      setBusy(false);
    }
  };
  const recall = (step: number) => {
    const next = Math.min(history.length, Math.max(0, at + step));
    setAt(next);
    setLine(history[next] ?? "");
  };
  return (
    <Container
      header={
        <Header
          description={
            memcached
              ? "One command at a time; a value is its last word, in quotes where it has spaces. What administers is refused."
              : "One command at a time. What blocks, administers or runs scripts is refused."
          }
          actions={<Toggle checked={writes} onChange={({ detail }) => setWrites(detail.checked)}>Allow writes</Toggle>}
        >
          Command line
        </Header>
      }
    >
      <SpaceBetween size="s">
        {lines.length > 0 ? <Output lines={lines} label="Replies" /> : null}
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void submit();
          }}
        >
          <Input
            value={line}
            ariaLabel={`Command for ${name}`}
            placeholder={memcached ? "stats items" : "INFO replication"}
            spellcheck={false}
            autoComplete={false}
            onChange={({ detail }) => setLine(detail.value)}
            onKeyDown={({ detail }) => {
              if (detail.key === "ArrowUp" || detail.key === "ArrowDown") {
                recall(detail.key === "ArrowUp" ? -1 : 1);
              }
            }}
          />
        </form>
      </SpaceBetween>
    </Container>
  );
}
