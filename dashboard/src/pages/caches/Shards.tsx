import Button from "@cloudscape-design/components/button";
import ButtonDropdown from "@cloudscape-design/components/button-dropdown";
import Header from "@cloudscape-design/components/header";
import Table from "@cloudscape-design/components/table";
import { useState, type ReactNode } from "react";

import { hostPort, toShards, type NodeRow, type ShardRow } from "../../api/caches";
import { Copyable } from "../../components/Copyable";
import { sentence, Status } from "../../components/Status";
import { plural } from "../../components/time";
import type { CacheRecord } from "../../hooks/queries";
import type { CacheDialog } from "./dialogs";

type Row = { key: string; shard: ShardRow; node?: NodeRow };

interface Props {
  record: CacheRecord;
  onDialog: (dialog: CacheDialog) => void;
  disabled: boolean;
}

export function ShardsTab({ record, onDialog, disabled }: Props) {
  const { cache, members } = record;
  const shards = toShards(cache, members);
  const [closed, setClosed] = useState<readonly string[]>([]);
  const [selectedKey, setSelectedKey] = useState<string>();
  const rows: Row[] = shards.map((shard) => ({ key: shard.id, shard }));
  const children = (row: Row): Row[] => row.shard.nodes.map((node) => ({ key: node.key, shard: row.shard, node }));
  const selected = [...rows, ...rows.flatMap(children)].find((row) => row.key === selectedKey);
  const grouped = cache.kind === "group";
  const promotable = cache.clusterMode === "disabled" && selected?.node !== undefined && selected.node.role !== "primary";
  const cell = (ofShard: (shard: ShardRow) => ReactNode, ofNode: (node: NodeRow) => ReactNode) => (row: Row) =>
    row.node ? ofNode(row.node) : ofShard(row.shard);
  return (
    <Table
      items={rows}
      trackBy="key"
      resizableColumns
      selectionType="single"
      selectedItems={selected ? [selected] : []}
      onSelectionChange={({ detail }) => setSelectedKey(detail.selectedItems[0]?.key)}
      expandableRows={{
        getItemChildren: (row) => (row.node ? [] : children(row)),
        isItemExpandable: (row) => !row.node && row.shard.nodes.length > 0,
        expandedItems: rows.filter((row) => !closed.includes(row.key)),
        onExpandableItemToggle: ({ detail }) =>
          setClosed((now) =>
            detail.expanded ? now.filter((key) => key !== detail.item.key) : [...now, detail.item.key],
          ),
      }}
      ariaLabels={{
        tableLabel: "Shards and nodes",
        selectionGroupLabel: "Select a shard or node",
        itemSelectionLabel: (_, row) => `Select ${row.key}`,
        expandButtonLabel: (row) => `Show the nodes of ${row.key}`,
        collapseButtonLabel: (row) => `Hide the nodes of ${row.key}`,
        resizerRoleDescription: "Resize button",
      }}
      header={
        <Header
          counter={grouped ? `(${shards.length})` : ""}
          actions={
            <div className="buttons">
              {grouped ? (
                <>
                  <Button
                    disabled={disabled || selected === undefined || cache.autoFailover !== "enabled"}
                    onClick={() => selected && onDialog({ type: "failover", cache, shard: selected.shard })}
                  >
                    Failover primary
                  </Button>
                  <Button
                    disabled={disabled || !promotable}
                    onClick={() => selected?.node && onDialog({ type: "promote", cache, node: selected.node })}
                  >
                    Promote
                  </Button>
                </>
              ) : null}
              <ButtonDropdown
                disabled={disabled}
                items={[
                  { id: "reboot", text: "Reboot nodes" },
                  { id: "replicas", text: "Add or delete replicas", disabled: !grouped },
                  { id: "shards", text: "Add or delete shards", disabled: cache.clusterMode !== "enabled" },
                ]}
                onItemClick={({ detail }) => onDialog({ type: detail.id as "reboot", cache })}
              >
                Actions
              </ButtonDropdown>
            </div>
          }
        >
          {cache.engine === "memcached" ? "Nodes" : "Shards and nodes"}
        </Header>
      }
      columnDefinitions={[
        {
          id: "name",
          header: "Name",
          width: 220,
          isRowHeader: true,
          cell: cell(
            (shard) => (cache.engine === "memcached" ? "All nodes" : `Shard ${shard.id}`),
            (node) => (grouped ? node.clusterId : node.nodeId),
          ),
        },
        { id: "status", header: "Status", width: 150, cell: cell((shard) => <Status status={shard.status} />, (node) => <Status status={node.status} />) },
        { id: "role", header: "Role", width: 110, cell: cell((shard) => plural(shard.nodes.length, "node"), (node) => sentence(node.role || "–")) },
        { id: "slots", header: "Slots", width: 150, cell: cell((shard) => shard.slots || "–", () => "") },
        { id: "zone", header: "Zone", width: 120, cell: cell(() => "", (node) => node.zone || "–") },
        {
          id: "endpoint",
          header: "Endpoint",
          width: 220,
          cell: cell(() => "", (node) => <Copyable text={hostPort(node.endpoint)} label={`endpoint of ${node.clusterId}`} />),
        },
        { id: "parameters", header: "Parameters", width: 150, cell: cell(() => "", (node) => <Status status={node.parameterStatus} />) },
      ]}
      empty={cache.status === "creating" ? "The nodes are being started." : "No nodes."}
    />
  );
}
