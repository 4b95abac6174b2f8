import Box from "@cloudscape-design/components/box";
import Container from "@cloudscape-design/components/container";
import FormField from "@cloudscape-design/components/form-field";
import Header from "@cloudscape-design/components/header";
import Input from "@cloudscape-design/components/input";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { countSlots, ownerOf, parseClusterNodes, parseRanges, SLOT_COUNT, slotOf, type SlotRange } from "../../api/slots";
import { roleNow, type Topology } from "../../api/topology";
import { useApi } from "../../app/Providers";

const POLL_MS = 700;
const HUES = [205, 95, 30, 280, 350, 165, 55, 235, 130, 320, 15, 185];

/** A shard's color: the same everywhere, and another lightness when the hues have been used up. */
function colorOf(at: number): string {
  const lightness = 45 + (Math.floor(at / HUES.length) % 3) * 12;
  return `hsl(${HUES[at % HUES.length] ?? 0} 55% ${lightness}%)`;
}

/** Who has which slots, as one of the nodes sees it; while slots move they are seen moving. */
export function SlotMap({ topology }: { topology: Topology }) {
  const [key, setKey] = useState("");
  const ranges = useSlots(topology);
  const shards = topology.NodeGroups.map((shard, at) => ({ id: shard.NodeGroupId ?? "", color: colorOf(at) }));
  const counts = countSlots(ranges);
  const colors = new Map(shards.map(({ id, color }) => [id, color]));
  const slot = slotOf(key);
  const owner = ownerOf(slot, ranges);
  return (
    <Container header={<Header variant="h2" description={`${SLOT_COUNT} hash slots, as the nodes have them now.`}>Slot map</Header>}>
      <SpaceBetween size="m">
        <div>
          <svg className="slot-bar" viewBox={`0 0 ${SLOT_COUNT} 100`} preserveAspectRatio="none" role="img" aria-label={shards.map(({ id }) => `Shard ${id}: ${counts.get(id) ?? 0} slots`).join(", ")}>
            {ranges.map(({ first, last, owner: id }) => (
              <rect key={first} x={first} y={0} width={last - first + 1} height={100} fill={colors.get(id) ?? "gray"} />
            ))}
            {key ? <rect x={Math.max(0, slot - 12)} y={0} width={24} height={100} fill="var(--cf-text)" /> : null}
          </svg>
          <div className="legend">
            {shards.map(({ id, color }) => (
              <span key={id} className="legend-item">
                <span className="legend-color" style={{ background: color }} />
                {`Shard ${id}: ${counts.get(id) ?? 0} slots`}
              </span>
            ))}
          </div>
        </div>
        <FormField label="Which slot is this key in?" constraintText="What stands in braces decides: {user1}.name and {user1}.mail are in one slot.">
          <Input value={key} placeholder="user:1000" onChange={({ detail }) => setKey(detail.value)} />
        </FormField>
        {key ? <Box data-testid="key-slot">{`Slot ${slot}, ${owner ? `on shard ${owner}` : "which nobody has"}`}</Box> : null}
      </SpaceBetween>
    </Container>
  );
}

function useSlots(topology: Topology): SlotRange[] {
  const { v1 } = useApi();
  const moving = topology.Status === "modifying";
  const asked = topology.NodeGroups.flatMap((shard) => shard.Nodes).find((node) => roleNow(node) === "primary");
  const live = useQuery({
    queryKey: ["topology", "slots", topology.Name, asked?.CacheClusterId],
    enabled: moving && asked !== undefined,
    refetchInterval: POLL_MS,
    retry: false,
    queryFn: async ({ signal }) => {
      const { Reply } = await v1.call<{ Reply: unknown }>(
        `/v1/cache-clusters/${encodeURIComponent(asked?.CacheClusterId ?? "")}/nodes/${asked?.CacheNodeId ?? "0001"}/commands`,
        { method: "POST", body: { Words: ["CLUSTER", "NODES"] }, signal },
      );
      return typeof Reply === "string" ? Reply : "";
    },
  });
  if (moving && live.data) {
    const shardOf = new Map<string, string>(
      topology.NodeGroups.flatMap((shard) =>
        shard.Nodes.map((node) => [`${node.Address}:${node.Port}`, shard.NodeGroupId ?? ""] as const),
      ),
    );
    return parseClusterNodes(live.data).map((range) => ({ ...range, owner: shardOf.get(range.owner) ?? "" }));
  }
  return topology.NodeGroups.flatMap((shard) => parseRanges(shard.Slots, shard.NodeGroupId ?? "")).sort(
    (a, b) => a.first - b.first,
  );
}
