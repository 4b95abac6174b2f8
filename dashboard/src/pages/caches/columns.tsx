import Box from "@cloudscape-design/components/box";
import Link from "@cloudscape-design/components/link";

import { cachePath, hostPort, type Cache } from "../../api/caches";
import { CopyCell } from "../../components/Copyable";
import type { Column } from "../../components/ResourceTable";
import { OnOff, sentence, Status } from "../../components/Status";
import { moment } from "../../components/time";

const onOff = (on: boolean) => (on ? "Enabled" : "Disabled");

export function cacheColumns(engine: string): Column<Cache>[] {
  const memcached = engine === "memcached";
  const columns: (Column<Cache> | false)[] = [
    {
      id: "id",
      header: "Cache name",
      cell: (cache) => <Link href={`#${cachePath(cache)}`}>{cache.id}</Link>,
      value: (cache) => cache.id,
      width: 200,
      rowHeader: true,
    },
    {
      id: "status",
      header: "Status",
      cell: (cache) => <Status status={cache.status} />,
      value: (cache) => cache.status,
      width: 140,
    },
    {
      id: "description",
      header: "Description",
      cell: (cache) => cache.description.trim() || "–",
      value: (cache) => cache.description,
      width: 200,
      hidden: true,
    },
    {
      id: "version",
      header: "Engine version",
      cell: (cache) => cache.engineVersion || "–",
      value: (cache) => cache.engineVersion,
      width: 160,
    },
    !memcached && {
      id: "mode",
      header: "Cluster mode",
      cell: (cache) => sentence(cache.clusterMode ?? "disabled"),
      value: (cache) => sentence(cache.clusterMode ?? "disabled"),
      width: 150,
    },
    {
      id: "nodeType",
      header: "Node type",
      cell: (cache) => cache.nodeType,
      value: (cache) => cache.nodeType,
      width: 160,
    },
    !memcached && {
      id: "shards",
      header: "Shards",
      cell: (cache) => cache.shardCount || "–",
      value: (cache) => cache.shardCount,
      width: 110,
    },
    {
      id: "nodes",
      header: "Nodes",
      cell: (cache) => cache.nodeCount,
      value: (cache) => cache.nodeCount,
      width: 110,
    },
    {
      id: "multiAz",
      header: "Multi-AZ",
      cell: (cache) => sentence(cache.multiAz),
      value: (cache) => sentence(cache.multiAz),
      width: 120,
    },
    !memcached && {
      id: "autoFailover",
      header: "Auto-failover",
      cell: (cache) => sentence(cache.autoFailover),
      value: (cache) => sentence(cache.autoFailover),
      width: 150,
    },
    {
      id: "transit",
      header: "Encryption in transit",
      cell: (cache) => <OnOff on={cache.transitEncryption} />,
      value: (cache) => onOff(cache.transitEncryption),
      width: 170,
      hidden: true,
    },
    {
      id: "atRest",
      header: "Encryption at rest",
      cell: (cache) => <OnOff on={cache.atRestEncryption} />,
      value: (cache) => onOff(cache.atRestEncryption),
      width: 170,
      hidden: true,
    },
    {
      id: "endpoint",
      header: "Endpoint",
      cell: (cache) => <CopyCell text={hostPort(cache.endpoint)} label={`endpoint of ${cache.id}`} />,
      value: (cache) => hostPort(cache.endpoint),
      width: 220,
    },
    {
      id: "created",
      header: "Created",
      cell: (cache) => moment(cache.createdAt),
      value: (cache) => cache.createdAt?.toISOString() ?? "",
      width: 180,
      hidden: true,
    },
    {
      id: "arn",
      header: "ARN",
      cell: (cache) => <Box variant="span">{cache.arn}</Box>,
      value: (cache) => cache.arn,
      width: 320,
      hidden: true,
    },
  ];
  return columns.filter((column) => column !== false);
}
