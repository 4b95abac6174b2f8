import { CreateCacheParameterGroupCommand, DeleteCacheParameterGroupCommand, type CacheParameterGroup } from "@aws-sdk/client-elasticache";
import Button from "@cloudscape-design/components/button";
import Link from "@cloudscape-design/components/link";
import { useState } from "react";

import { useApi } from "../../app/Providers";
import { usePage } from "../../app/Shell";
import { DeleteDialog, FormDialog } from "../../components/FormDialog";
import { text } from "../../components/fields";
import { ResourceTable, type Column } from "../../components/ResourceTable";
import { TagsDialog } from "../../components/TagsDialog";
import { useAction } from "../../hooks/useAction";
import { useEngineVersions, useParameterGroups } from "../../hooks/queries";

const nameOf = (group: CacheParameterGroup) => group.CacheParameterGroupName ?? "";
const isDefault = (group: CacheParameterGroup) => nameOf(group).startsWith("default.");

const COLUMNS: Column<CacheParameterGroup>[] = [
  {
    id: "name",
    header: "Name",
    cell: (group) => <Link href={`#/parameter-groups/${encodeURIComponent(nameOf(group))}`}>{nameOf(group)}</Link>,
    value: nameOf,
    width: 260,
    rowHeader: true,
  },
  { id: "family", header: "Family", cell: (group) => group.CacheParameterGroupFamily, value: (group) => group.CacheParameterGroupFamily ?? "", width: 150 },
  { id: "type", header: "Type", cell: (group) => (isDefault(group) ? "Default" : "Custom"), value: (group) => (isDefault(group) ? "Default" : "Custom"), width: 110 },
  { id: "description", header: "Description", cell: (group) => group.Description, value: (group) => group.Description ?? "", width: 360 },
  { id: "arn", header: "ARN", cell: (group) => group.ARN, value: (group) => group.ARN ?? "", width: 360, hidden: true },
];

type Dialog = { type: "create" } | { type: "delete" | "tags"; group: CacheParameterGroup };

export default function ParameterGroups() {
  usePage({ text: "Parameter groups" });
  const { client } = useApi();
  const run = useAction();
  const query = useParameterGroups();
  const versions = useEngineVersions();
  const [dialog, setDialog] = useState<Dialog>();
  const close = () => setDialog(undefined);
  const families = [...new Set((versions.data ?? []).map((version) => version.CacheParameterGroupFamily ?? ""))];
  return (
    <>
      <ResourceTable
        name="parameter-groups"
        title="Parameter groups"
        noun="parameter group"
        variant="full-page"
        items={query.data}
        columns={COLUMNS}
        keyOf={nameOf}
        loading={query.isPending}
        error={query.error}
        onRefresh={() => void query.refetch()}
        actions={([group]) => (
          <>
            <Button disabled={!group || isDefault(group)} onClick={() => group && setDialog({ type: "tags", group })}>Manage tags</Button>
            <Button disabled={!group || isDefault(group)} onClick={() => group && setDialog({ type: "delete", group })}>Delete</Button>
            <Button variant="primary" onClick={() => setDialog({ type: "create" })}>Create parameter group</Button>
          </>
        )}
      />
      {dialog?.type === "create" ? (
        <FormDialog
          title="Create parameter group"
          submitLabel="Create"
          initial={{ name: "", family: "", description: "" }}
          fields={[
            { key: "name", kind: "text", label: "Name", apiNames: ["CacheParameterGroupName"], faults: [/ParameterGroupAlreadyExists/] },
            { key: "family", kind: "select", label: "Family", apiNames: ["CacheParameterGroupFamily"], loading: versions.isPending, options: families.map((value) => ({ value, label: value })) },
            { key: "description", kind: "text", label: "Description", apiNames: ["Description"] },
          ]}
          submit={async (values) => {
            await run({
              throws: true,
              done: `Parameter group ${text(values, "name")} is created.`,
              changes: ["parameter-groups"],
              act: () =>
                client.send(
                  new CreateCacheParameterGroupCommand({
                    CacheParameterGroupName: text(values, "name"),
                    CacheParameterGroupFamily: text(values, "family"),
                    Description: text(values, "description"),
                  }),
                ),
            });
          }}
          onClose={close}
        />
      ) : null}
      {dialog?.type === "delete" ? (
        <DeleteDialog
          noun="parameter group"
          names={[nameOf(dialog.group)]}
          remove={(name) => client.send(new DeleteCacheParameterGroupCommand({ CacheParameterGroupName: name }))}
          onDone={([name]) => void run({ done: `Parameter group ${name ?? ""} is deleted.`, act: async () => undefined, changes: ["parameter-groups"] })}
          onClose={close}
        />
      ) : null}
      {dialog?.type === "tags" ? <TagsDialog arn={dialog.group.ARN ?? ""} name={nameOf(dialog.group)} onClose={close} /> : null}
    </>
  );
}
