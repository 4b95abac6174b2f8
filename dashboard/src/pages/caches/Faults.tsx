/** Breaks nodes on purpose, for a time, and takes it back. */

import Button from "@cloudscape-design/components/button";
import ButtonDropdown from "@cloudscape-design/components/button-dropdown";
import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import Select from "@cloudscape-design/components/select";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Table from "@cloudscape-design/components/table";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import type { Cache } from "../../api/caches";
import { roleNow, type Topology } from "../../api/topology";
import { useApi } from "../../app/Providers";
import { ErrorAlert } from "../../components/ErrorAlert";
import { Status } from "../../components/Status";
import { moment } from "../../components/time";
import { useAction } from "../../hooks/useAction";

interface FaultView {
  FaultId: string;
  Kind: string;
  State: "requested" | "active" | "ended" | "failed";
  DurationSeconds: number;
  CreatedAt: string;
  EndsAt: string;
  Target: { CacheClusterId?: string | null; ReplicationGroupId?: string | null; AvailabilityZone?: string | null };
  Nodes: { CacheClusterId: string; CacheNodeId: string; Note: string }[];
}

const POLL_MS = 2_000;
const KINDS = [
  { id: "kill", text: "Kill (kill -9)", description: "Started again at once", body: { Kind: "kill" } },
  { id: "kill-30", text: "Kill and keep down for 30 s", body: { Kind: "kill", DurationSeconds: 30 } },
  { id: "stop", text: "Freeze for 30 s", body: { Kind: "stop", DurationSeconds: 30 } },
  { id: "slow", text: "Slow down for 30 s", body: { Kind: "slow", DurationSeconds: 30 } },
  { id: "partition", text: "Cut off from everybody for 30 s", body: { Kind: "partition", DurationSeconds: 30 } },
  { id: "partition-nodes", text: "Cut off from other nodes for 30 s", body: { Kind: "partition", Cut: "nodes", DurationSeconds: 30 } },
] as const;

export function FaultsPanel({ cache, topology }: { cache: Cache; topology: Topology }) {
  const { v1 } = useApi();
  const run = useAction();
  const nodes = topology.NodeGroups.flatMap((shard) => shard.Nodes);
  const zones = [...new Set(nodes.map((node) => node.AvailabilityZone))].sort();
  const targets = [
    ...nodes.map((node) => ({
      value: `node ${node.CacheClusterId} ${node.CacheNodeId}`,
      label: `${node.CacheClusterId}${cache.kind === "cluster" ? `/${node.CacheNodeId}` : ""}`,
      description: roleNow(node),
      body: { CacheClusterId: node.CacheClusterId, CacheNodeId: node.CacheNodeId },
    })),
    ...(cache.kind === "group"
      ? zones.map((zone) => ({
          value: `zone ${zone}`,
          label: `All nodes in ${zone}`,
          description: "availability zone",
          body: { ReplicationGroupId: cache.id, AvailabilityZone: zone },
        }))
      : []),
  ];
  const [chosen, setChosen] = useState<string>();
  const target = targets.find((one) => one.value === chosen) ?? targets[0];
  const members = new Set(nodes.map((node) => node.CacheClusterId));
  const faults = useQuery({
    queryKey: ["faults"],
    queryFn: ({ signal }): Promise<{ Faults: FaultView[] }> => v1.call("/v1/faults", { query: { MaxRecords: 20 }, signal }),
    refetchInterval: ({ state }) => (state.error ? false : POLL_MS),
  });
  const own = (faults.data?.Faults ?? []).filter((fault) => fault.Nodes.some((node) => members.has(node.CacheClusterId)));
  return (
    <Container
      header={
        <Header
          variant="h2"
          description="Real ones: processes are killed, frozen and cut off. Everything is undone by itself."
          actions={
            <div className="buttons">
              <Select
                ariaLabel="What is hit"
                selectedOption={target ? { value: target.value, label: target.label } : null}
                options={targets.map(({ value, label, description }) => ({ value, label, description }))}
                onChange={({ detail }) => setChosen(detail.selectedOption.value)}
              />
              <ButtonDropdown
                disabled={!target}
                items={KINDS.map(({ id, text }) => ({ id, text }))}
                onItemClick={({ detail }) => {
                  const kind = KINDS.find(({ id }) => id === detail.id);
                  if (kind && target) {
                    void run({
                      done: `${kind.text}: ${target.label}`,
                      changes: ["faults", "topology", "events"],
                      act: () => v1.call("/v1/faults", { method: "POST", body: { ...target.body, ...kind.body } }),
                    });
                  }
                }}
              >
                Break
              </ButtonDropdown>
            </div>
          }
        >
          Faults
        </Header>
      }
    >
      <SpaceBetween size="s">
        {faults.error ? <ErrorAlert error={faults.error} onRetry={() => void faults.refetch()} /> : null}
        <Table
          variant="embedded"
          items={own}
          trackBy="FaultId"
          ariaLabels={{ tableLabel: "Faults" }}
          empty="Nothing has been broken on purpose."
          columnDefinitions={[
            { id: "kind", header: "Fault", cell: (fault) => fault.Kind, isRowHeader: true },
            { id: "state", header: "State", cell: (fault) => <Status status={fault.State === "ended" ? "stopped" : fault.State} /> },
            { id: "nodes", header: "Nodes", cell: (fault) => fault.Nodes.map((node) => node.CacheClusterId).join(", ") },
            { id: "began", header: "Began", cell: (fault) => moment(new Date(fault.CreatedAt)) },
            {
              id: "undo",
              header: "Undo",
              cell: (fault) =>
                fault.State === "active" || fault.State === "requested" ? (
                  <Button
                    variant="inline-link"
                    ariaLabel={`Undo ${fault.Kind} of ${fault.Nodes.map((node) => node.CacheClusterId).join(", ")}`}
                    onClick={() =>
                      void run({
                        done: `The fault ${fault.Kind} is being undone.`,
                        changes: ["faults", "topology"],
                        act: () => v1.call(`/v1/faults/${fault.FaultId}`, { method: "DELETE" }),
                      })
                    }
                  >
                    Undo
                  </Button>
                ) : (
                  "–"
                ),
            },
          ]}
        />
      </SpaceBetween>
    </Container>
  );
}
