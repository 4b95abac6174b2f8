import { CreateUserGroupCommand, DeleteUserGroupCommand, ModifyUserGroupCommand, type UserGroup } from "@aws-sdk/client-elasticache";

import { useApi } from "../app/Providers";
import { usePage } from "../app/Shell";
import { list, orNone, text, type Field } from "../components/fields";
import { ResourcePage } from "../components/ResourcePage";
import type { Column } from "../components/ResourceTable";
import { Status } from "../components/Status";
import { useUserGroups, useUsers } from "../hooks/queries";

const uses = (group: UserGroup) => [...(group.ReplicationGroups ?? []), ...(group.ServerlessCaches ?? [])].join(", ");
const users = (group: UserGroup) => (group.UserIds ?? []).join(", ");

const COLUMNS: Column<UserGroup>[] = [
  { id: "id", header: "User group ID", cell: (group) => group.UserGroupId, value: (group) => group.UserGroupId ?? "", width: 200, rowHeader: true },
  { id: "status", header: "Status", cell: (group) => <Status status={group.Status} />, value: (group) => group.Status ?? "", width: 130 },
  { id: "engine", header: "Engine", cell: (group) => group.Engine, value: (group) => group.Engine ?? "", width: 110 },
  { id: "users", header: "Users", cell: users, value: users, width: 320 },
  { id: "caches", header: "Used by", cell: (group) => uses(group) || "–", value: uses, width: 220 },
];

export default function UserGroups() {
  usePage({ text: "User group management" });
  const { client } = useApi();
  const known = useUsers();
  const members: Field = {
    key: "users",
    kind: "multiselect",
    label: "Users",
    apiNames: ["UserIds", "user"],
    faults: [/User(NotFound|Name)|DefaultUser/],
    loading: known.isPending,
    options: (known.data ?? []).map(({ UserId = "", UserName = "" }) => ({ value: UserId, label: UserId, description: `name ${UserName}` })),
  };
  return (
    <ResourcePage
      name="user-groups"
      title="User group management"
      noun="user group"
      query={useUserGroups()}
      columns={COLUMNS}
      nameOf={(group) => group.UserGroupId ?? ""}
      arnOf={(group) => group.ARN}
      changes={["user-groups", "users", "caches"]}
      empty="No user groups. A cache with encryption in transit takes its users from a group."
      create={{
        label: "Create user group",
        form: () => ({
          title: "Create user group",
          submitLabel: "Create",
          initial: { id: "", engine: "valkey", users: [] },
          fields: [
            { key: "id", kind: "text", label: "User group ID", apiNames: ["UserGroupId"], faults: [/UserGroupAlreadyExists/] },
            { key: "engine", kind: "radio", label: "Engine", apiNames: ["Engine"], options: [{ value: "valkey", label: "Valkey" }, { value: "redis", label: "Redis OSS" }] },
            members,
          ],
          submit: (values) =>
            client.send(new CreateUserGroupCommand({ UserGroupId: text(values, "id"), Engine: text(values, "engine"), UserIds: orNone(list(values, "users")) })),
          done: (values) => `The user group ${text(values, "id")} is created.`,
        }),
      }}
      actions={[
        {
          id: "modify",
          text: "Modify",
          form: (group) => ({
            title: `Users of ${group.UserGroupId}`,
            submitLabel: "Modify",
            initial: { users: group.UserIds ?? [] },
            fields: [members],
            submit: (values) =>
              client.send(
                new ModifyUserGroupCommand({
                  UserGroupId: group.UserGroupId,
                  UserIdsToAdd: orNone(list(values, "users").filter((id) => !(group.UserIds ?? []).includes(id))),
                  UserIdsToRemove: orNone((group.UserIds ?? []).filter((id) => !list(values, "users").includes(id))),
                }),
              ),
            done: () => `The user group ${group.UserGroupId} is being modified.`,
          }),
        },
      ]}
      remove={{ act: (name) => client.send(new DeleteUserGroupCommand({ UserGroupId: name })) }}
    />
  );
}
