import {
  CreateCacheSubnetGroupCommand,
  DeleteCacheSubnetGroupCommand,
  ModifyCacheSubnetGroupCommand,
  type CacheSubnetGroup,
} from "@aws-sdk/client-elasticache";
import Button from "@cloudscape-design/components/button";
import { useState } from "react";

import { useApi } from "../app/Providers";
import { usePage } from "../app/Shell";
import { DeleteDialog, FormDialog } from "../components/FormDialog";
import { text, type Field } from "../components/fields";
import { ResourceTable, type Column } from "../components/ResourceTable";
import { TagsDialog } from "../components/TagsDialog";
import { plural } from "../components/time";
import { useAction } from "../hooks/useAction";
import { useSubnetGroups } from "../hooks/queries";

const subnets = (group: CacheSubnetGroup) => (group.Subnets ?? []).map((one) => one.SubnetIdentifier ?? "").join(", ");
const zones = (group: CacheSubnetGroup) =>
  [...new Set((group.Subnets ?? []).map((one) => one.SubnetAvailabilityZone?.Name ?? ""))].join(", ");

const COLUMNS: Column<CacheSubnetGroup>[] = [
  { id: "name", header: "Name", cell: (group) => group.CacheSubnetGroupName, value: (group) => group.CacheSubnetGroupName ?? "", width: 220, rowHeader: true },
  { id: "description", header: "Description", cell: (group) => group.CacheSubnetGroupDescription, value: (group) => group.CacheSubnetGroupDescription ?? "", width: 260 },
  { id: "vpc", header: "VPC ID", cell: (group) => group.VpcId, value: (group) => group.VpcId ?? "", width: 180 },
  { id: "zones", header: "Availability zones", cell: zones, value: zones, width: 240 },
  { id: "subnets", header: "Subnets", cell: subnets, value: subnets, width: 320 },
  { id: "arn", header: "ARN", cell: (group) => group.ARN, value: (group) => group.ARN ?? "", width: 360, hidden: true },
];
const keyOf = (group: CacheSubnetGroup) => group.CacheSubnetGroupName ?? "";

const NAME: Field = { key: "name", kind: "text", label: "Name", apiNames: ["CacheSubnetGroupName"], faults: [/SubnetGroupAlreadyExists/] };
const DESCRIPTION: Field = { key: "description", kind: "text", label: "Description", apiNames: ["CacheSubnetGroupDescription"] };
const SUBNETS: Field = {
  key: "subnets",
  kind: "textarea",
  label: "Subnets",
  apiNames: ["SubnetIds", "subnet"],
  faults: [/Subnet(?!Group)/],
  placeholder: "subnet-0a1b2c3d subnet-1a2b3c4d",
  constraint: "IDs, separated by spaces or commas. Each subnet is in one availability zone.",
};

type Dialog = { type: "create" } | { type: "modify" | "delete" | "tags"; group: CacheSubnetGroup };

const ids = (typed: string) => typed.split(/[\s,]+/).filter(Boolean);

export default function SubnetGroups() {
  usePage({ text: "Subnet groups" });
  const { client } = useApi();
  const run = useAction();
  const query = useSubnetGroups();
  const [dialog, setDialog] = useState<Dialog>();
  const close = () => setDialog(undefined);
  return (
    <>
      <ResourceTable
        name="subnet-groups"
        title="Subnet groups"
        noun="subnet group"
        variant="full-page"
        items={query.data}
        columns={COLUMNS}
        keyOf={keyOf}
        loading={query.isPending}
        error={query.error}
        onRefresh={() => void query.refetch()}
        empty="No subnet groups. A cache whose group is not named is in the group default."
        actions={([group]) => (
          <>
            <Button disabled={!group} onClick={() => group && setDialog({ type: "tags", group })}>Manage tags</Button>
            <Button disabled={!group} onClick={() => group && setDialog({ type: "delete", group })}>Delete</Button>
            <Button disabled={!group} onClick={() => group && setDialog({ type: "modify", group })}>Edit</Button>
            <Button variant="primary" onClick={() => setDialog({ type: "create" })}>Create subnet group</Button>
          </>
        )}
      />
      {dialog?.type === "create" ? (
        <FormDialog
          title="Create subnet group"
          submitLabel="Create"
          initial={{ name: "", description: "", subnets: "" }}
          fields={[NAME, DESCRIPTION, SUBNETS]}
          submit={async (values) => {
            await run({
              throws: true,
              done: `Subnet group ${text(values, "name")} is created.`,
              changes: ["subnet-groups"],
              act: () =>
                client.send(
                  new CreateCacheSubnetGroupCommand({
                    CacheSubnetGroupName: text(values, "name"),
                    CacheSubnetGroupDescription: text(values, "description"),
                    SubnetIds: ids(text(values, "subnets")),
                  }),
                ),
            });
          }}
          onClose={close}
        />
      ) : null}
      {dialog?.type === "modify" ? (
        <FormDialog
          title={`Edit ${keyOf(dialog.group)}`}
          submitLabel="Save"
          initial={{ description: dialog.group.CacheSubnetGroupDescription ?? "", subnets: subnets(dialog.group) }}
          fields={[DESCRIPTION, SUBNETS]}
          submit={async (values) => {
            await run({
              throws: true,
              done: `Subnet group ${keyOf(dialog.group)} is saved.`,
              changes: ["subnet-groups"],
              act: () =>
                client.send(
                  new ModifyCacheSubnetGroupCommand({
                    CacheSubnetGroupName: keyOf(dialog.group),
                    CacheSubnetGroupDescription: text(values, "description"),
                    SubnetIds: ids(text(values, "subnets")),
                  }),
                ),
            });
          }}
          onClose={close}
        />
      ) : null}
      {dialog?.type === "delete" ? (
        <DeleteDialog
          noun="subnet group"
          names={[keyOf(dialog.group)]}
          remove={(name) => client.send(new DeleteCacheSubnetGroupCommand({ CacheSubnetGroupName: name }))}
          onDone={(names) => void run({ done: `${plural(names.length, "subnet group")} deleted.`, act: async () => undefined, changes: ["subnet-groups"] })}
          onClose={close}
        />
      ) : null}
      {dialog?.type === "tags" ? <TagsDialog arn={dialog.group.ARN ?? ""} name={keyOf(dialog.group)} onClose={close} /> : null}
    </>
  );
}
