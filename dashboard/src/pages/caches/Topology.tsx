/** What the nodes say now: roles, offsets, slots; and a film of what happens to them. */

import Badge from "@cloudscape-design/components/badge";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useQuery } from "@tanstack/react-query";

import type { Cache } from "../../api/caches";
import { lagOf, roleNow, type Topology, type TopologyNode, type TopologyShard } from "../../api/topology";
import { useApi } from "../../app/Providers";
import { ErrorAlert } from "../../components/ErrorAlert";
import { Status } from "../../components/Status";
import { bytes, plural } from "../../components/time";
import { FaultsPanel } from "./Faults";
import { FilmPanel } from "./Film";
import { SlotMap } from "./SlotMap";
import "./topology.css";

const POLL_MS = 1_000;

export function useTopology(cache: Cache) {
  const { v1 } = useApi();
  const path = cache.kind === "group" ? "replication-groups" : "cache-clusters";
  return useQuery({
    queryKey: ["topology", cache.kind, cache.id],
    queryFn: ({ signal }) => v1.call<Topology>(`/v1/${path}/${encodeURIComponent(cache.id)}/topology`, { signal }),
    refetchInterval: ({ state }) => (state.error ? false : POLL_MS),
  });
}

export default function TopologyTab({ cache }: { cache: Cache }) {
  const { data, error, refetch } = useTopology(cache);
  if (!data) {
    return error ? <ErrorAlert error={error} onRetry={() => void refetch()} /> : <Box>Asking the nodes</Box>;
  }
  return (
    <SpaceBetween size="l">
      <Container
        header={
          <Header
            variant="h2"
            description="Asked of the nodes every second, not read from the record."
            actions={<Button iconName="refresh" ariaLabel="Ask the nodes" onClick={() => void refetch()} />}
          >
            Topology
          </Header>
        }
      >
        <div className="topology">
          {data.NodeGroups.map((shard) => (
            <Shard key={shard.NodeGroupId ?? "nodes"} shard={shard} />
          ))}
        </div>
      </Container>
      {data.ClusterMode === "enabled" ? <SlotMap topology={data} /> : null}
      <FaultsPanel cache={cache} topology={data} />
      {cache.kind === "group" ? <FilmPanel cache={cache} topology={data} /> : null}
    </SpaceBetween>
  );
}

function Shard({ shard }: { shard: TopologyShard }) {
  const primaries = shard.Nodes.filter((node) => roleNow(node) === "primary" || roleNow(node) === "node");
  const others = shard.Nodes.filter((node) => !primaries.includes(node));
  const name = shard.NodeGroupId ? `Shard ${shard.NodeGroupId}` : "Nodes";
  return (
    <section className="shard" aria-label={name}>
      <Box variant="h3" padding="n">
        {name} {shard.Slots ? <Badge>{shard.Slots}</Badge> : null}
      </Box>
      <div className="shard-nodes">
        <div className="node-column">{primaries.map((node) => <NodeCard key={node.CacheClusterId + node.CacheNodeId} node={node} shard={shard} />)}</div>
        {others.length > 0 ? (
          <div className="node-column replicas">
            {others.map((node) => <NodeCard key={node.CacheClusterId + node.CacheNodeId} node={node} shard={shard} />)}
          </div>
        ) : null}
      </div>
    </section>
  );
}

function NodeCard({ node, shard }: { node: TopologyNode; shard: TopologyShard }) {
  const role = roleNow(node);
  const said = node.Reported;
  const lag = role === "replica" ? lagOf(node, shard) : undefined;
  return (
    <article className={`node node-${role}`} aria-label={`${node.CacheClusterId} ${role}`}>
      <div className="node-title">
        <strong>{shard.NodeGroupId ? node.CacheClusterId : `${node.CacheClusterId}/${node.CacheNodeId}`}</strong>
        <span className="node-role">{role}</span>
      </div>
      <Status status={node.Recovering ? "recovering" : node.Status} />
      <div className="node-facts">
        <span>{node.AvailabilityZone}</span>
        <span>{node.Address ? `${node.Address}:${node.Port}` : "no address"}</span>
        {said ? (
          <>
            <span>{`${said.ServerName} ${said.ServerVersion}, pid ${said.ProcessId ?? "?"}`}</span>
            <span>{`${bytes(said.MemoryUsedBytes ?? 0)} of ${bytes(said.MemoryMaxBytes ?? 0)}, ${plural(said.Clients ?? 0, "client")}`}</span>
            {said.ReplicationOffset === undefined || said.ReplicationOffset === null ? null : (
              <span>
                {`offset ${said.ReplicationOffset}`}
                {lag === undefined ? "" : lag === 0 ? ", in sync" : `, ${bytes(lag)} behind`}
                {said.LinkUp === false ? ", link down" : ""}
                {said.SyncInProgress ? ", syncing" : ""}
              </span>
            )}
          </>
        ) : (
          <span>does not answer</span>
        )}
      </div>
    </article>
  );
}
