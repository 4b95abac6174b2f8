import {
  DescribeReservedCacheNodesCommand,
  DescribeReservedCacheNodesOfferingsCommand,
  PurchaseReservedCacheNodesOfferingCommand,
  type ReservedCacheNode,
  type ReservedCacheNodesOffering,
} from "@aws-sdk/client-elasticache";
import SpaceBetween from "@cloudscape-design/components/space-between";

import { useApi } from "../app/Providers";
import { usePage } from "../app/Shell";
import { number, orNone, text } from "../components/fields";
import { ResourcePage } from "../components/ResourcePage";
import type { Column } from "../components/ResourceTable";
import { Status } from "../components/Status";
import { moment, plural } from "../components/time";
import { PAGE_RECORDS, useListing } from "../hooks/queries";

const YEAR_S = 31_536_000;
const years = (seconds: number | undefined) => plural(Math.round((seconds ?? 0) / YEAR_S), "year");
const dollars = (amount: number | undefined) => `$${(amount ?? 0).toFixed(2)}`;
const hourly = (one: ReservedCacheNodesOffering) => one.RecurringCharges?.[0]?.RecurringChargeAmount;

const RESERVED: Column<ReservedCacheNode>[] = [
  { id: "id", header: "Reservation", cell: (one) => one.ReservedCacheNodeId, value: (one) => one.ReservedCacheNodeId ?? "", width: 240, rowHeader: true },
  { id: "state", header: "State", cell: (one) => <Status status={one.State} />, value: (one) => one.State ?? "", width: 140 },
  { id: "type", header: "Node type", cell: (one) => one.CacheNodeType, value: (one) => one.CacheNodeType ?? "", width: 160 },
  { id: "count", header: "Nodes", cell: (one) => one.CacheNodeCount, value: (one) => one.CacheNodeCount ?? 0, width: 100 },
  { id: "product", header: "Engine", cell: (one) => one.ProductDescription, value: (one) => one.ProductDescription ?? "", width: 120 },
  { id: "offering", header: "Offering", cell: (one) => one.OfferingType, value: (one) => one.OfferingType ?? "", width: 160 },
  { id: "term", header: "Term", cell: (one) => years(one.Duration), value: (one) => one.Duration ?? 0, width: 100 },
  { id: "start", header: "Start", cell: (one) => moment(one.StartTime), value: (one) => one.StartTime?.toISOString() ?? "", width: 200 },
];

const OFFERINGS: Column<ReservedCacheNodesOffering>[] = [
  { id: "type", header: "Node type", cell: (one) => one.CacheNodeType, value: (one) => one.CacheNodeType ?? "", width: 180, rowHeader: true },
  { id: "product", header: "Engine", cell: (one) => one.ProductDescription, value: (one) => one.ProductDescription ?? "", width: 120 },
  { id: "offering", header: "Offering", cell: (one) => one.OfferingType, value: (one) => one.OfferingType ?? "", width: 160 },
  { id: "term", header: "Term", cell: (one) => years(one.Duration), value: (one) => one.Duration ?? 0, width: 100 },
  { id: "fixed", header: "Upfront", cell: (one) => dollars(one.FixedPrice), value: (one) => one.FixedPrice ?? 0, width: 120 },
  { id: "hourly", header: "Hourly", cell: (one) => dollars(hourly(one)), value: (one) => hourly(one) ?? 0, width: 110 },
  { id: "id", header: "Offering ID", cell: (one) => one.ReservedCacheNodesOfferingId, value: (one) => one.ReservedCacheNodesOfferingId ?? "", width: 320 },
];

export default function ReservedNodes() {
  usePage({ text: "Reserved nodes" });
  const { client } = useApi();
  const reserved = useListing(["reserved", "nodes"], async (Marker, abortSignal) => {
    const reply = await client.send(new DescribeReservedCacheNodesCommand({ MaxRecords: PAGE_RECORDS, Marker }), { abortSignal });
    return { items: reply.ReservedCacheNodes ?? [], marker: reply.Marker };
  });
  const offerings = useListing(["reserved", "offerings"], async (Marker, abortSignal) => {
    const reply = await client.send(new DescribeReservedCacheNodesOfferingsCommand({ MaxRecords: PAGE_RECORDS, Marker }), { abortSignal });
    return { items: reply.ReservedCacheNodesOfferings ?? [], marker: reply.Marker };
  });
  return (
    <SpaceBetween size="l">
      <ResourcePage
        name="reserved"
        title="Reserved nodes"
        noun="reservation"
        variant="container"
        query={reserved}
        columns={RESERVED}
        nameOf={(one) => one.ReservedCacheNodeId ?? ""}
        arnOf={(one) => one.ReservationARN}
        changes={["reserved"]}
        empty="No reservations. Choose an offering below; nothing is paid here."
      />
      <ResourcePage
        name="offerings"
        title="Offerings"
        noun="offering"
        variant="container"
        query={offerings}
        columns={OFFERINGS}
        nameOf={(one) => one.ReservedCacheNodesOfferingId ?? ""}
        changes={["reserved"]}
        empty="Nothing is offered in this region."
        actions={[
          {
            id: "purchase",
            text: "Purchase",
            form: (one) => ({
              title: `Reserve ${one.CacheNodeType}`,
              submitLabel: "Purchase",
              intro: "Nothing is paid: the reservation is recorded, as on AWS.",
              initial: { id: "", count: "1" },
              fields: [
                { key: "id", kind: "text", label: "Reservation ID", optional: true, apiNames: ["ReservedCacheNodeId"], faults: [/ReservedCacheNodeAlreadyExists/] },
                { key: "count", kind: "number", label: "Number of nodes", apiNames: ["CacheNodeCount"], faults: [/ReservedCacheNodeQuota/] },
              ],
              submit: (values) =>
                client.send(
                  new PurchaseReservedCacheNodesOfferingCommand({
                    ReservedCacheNodesOfferingId: one.ReservedCacheNodesOfferingId,
                    ReservedCacheNodeId: orNone(text(values, "id")),
                    CacheNodeCount: number(values, "count"),
                  }),
                ),
              done: (values) => `${plural(number(values, "count") ?? 1, "node")} of ${one.CacheNodeType} reserved.`,
            }),
          },
        ]}
      />
    </SpaceBetween>
  );
}
