import { CreateUserCommand, DeleteUserCommand, ModifyUserCommand, type User } from "@aws-sdk/client-elasticache";
import Box from "@cloudscape-design/components/box";

import { useApi } from "../app/Providers";
import { usePage } from "../app/Shell";
import { orNone, tagsOf, text, type Field, type Values } from "../components/fields";
import { ResourcePage } from "../components/ResourcePage";
import type { Column } from "../components/ResourceTable";
import { Status } from "../components/Status";
import { useUsers } from "../hooks/queries";

const COLUMNS: Column<User>[] = [
  { id: "id", header: "User ID", cell: (user) => user.UserId, value: (user) => user.UserId ?? "", width: 180, rowHeader: true },
  { id: "name", header: "User name", cell: (user) => user.UserName, value: (user) => user.UserName ?? "", width: 160 },
  { id: "status", header: "Status", cell: (user) => <Status status={user.Status} />, value: (user) => user.Status ?? "", width: 130 },
  { id: "engine", header: "Engine", cell: (user) => user.Engine, value: (user) => user.Engine ?? "", width: 110 },
  { id: "access", header: "Access string", cell: (user) => <Box variant="code">{user.AccessString}</Box>, value: (user) => user.AccessString ?? "", width: 260 },
  { id: "auth", header: "Authentication", cell: (user) => user.Authentication?.Type, value: (user) => user.Authentication?.Type ?? "", width: 150 },
  { id: "groups", header: "User groups", cell: (user) => (user.UserGroupIds ?? []).join(", ") || "–", value: (user) => (user.UserGroupIds ?? []).join(", "), width: 180 },
];

const ACCESS: Field = { key: "access", kind: "text", label: "Access string", apiNames: ["AccessString", "access string"], placeholder: "on ~app:* +@read" };
const MODE: Field = {
  key: "mode",
  kind: "radio",
  label: "Authentication mode",
  apiNames: ["AuthenticationMode"],
  options: [
    { value: "password", label: "Password" },
    { value: "iam", label: "IAM authentication" },
    { value: "no-password-required", label: "No password required" },
  ],
};
const PASSWORDS: Field = {
  key: "passwords",
  kind: "password",
  label: "Password",
  apiNames: ["Passwords", "password"],
  constraint: "16 to 128 characters; two passwords, separated by a space, for a rotation.",
  visible: (values) => text(values, "mode") === "password",
};

function mode(values: Values) {
  const type = text(values, "mode") as "password" | "iam" | "no-password-required";
  return { Type: type, Passwords: type === "password" ? orNone(text(values, "passwords").split(/\s+/).filter(Boolean)) : undefined };
}

export default function Users() {
  usePage({ text: "User management" });
  const { client } = useApi();
  return (
    <ResourcePage
      name="users"
      title="User management"
      noun="user"
      query={useUsers()}
      columns={COLUMNS}
      nameOf={(user) => user.UserId ?? ""}
      arnOf={(user) => user.ARN}
      changes={["users", "user-groups"]}
      empty="No users. Users say who may run which commands on which keys."
      create={{
        label: "Create user",
        form: () => ({
          title: "Create user",
          submitLabel: "Create",
          initial: { id: "", name: "", engine: "valkey", access: "on ~* +@all", mode: "password", passwords: "", tags: [] },
          fields: [
            { key: "id", kind: "text", label: "User ID", apiNames: ["UserId"], faults: [/UserAlreadyExists/] },
            { key: "name", kind: "text", label: "User name", apiNames: ["UserName", "user name"], faults: [/DuplicateUserName/] },
            { key: "engine", kind: "radio", label: "Engine", apiNames: ["Engine"], options: [{ value: "valkey", label: "Valkey" }, { value: "redis", label: "Redis OSS" }] },
            ACCESS,
            MODE,
            PASSWORDS,
            { key: "tags", kind: "tags", label: "Tags", optional: true, faults: [/Tag/] },
          ],
          submit: (values) =>
            client.send(
              new CreateUserCommand({
                UserId: text(values, "id"),
                UserName: text(values, "name"),
                Engine: text(values, "engine"),
                AccessString: text(values, "access"),
                AuthenticationMode: mode(values),
                Tags: orNone(tagsOf(values)),
              }),
            ),
          done: (values) => `The user ${text(values, "id")} is created.`,
        }),
      }}
      actions={[
        {
          id: "modify",
          text: "Modify",
          form: (user) => ({
            title: `Modify ${user.UserId}`,
            submitLabel: "Modify",
            initial: { access: user.AccessString ?? "", mode: "keep", passwords: "" },
            fields: [ACCESS, { ...MODE, options: [{ value: "keep", label: "Keep as it is" }, ...(MODE.options ?? [])] }, PASSWORDS],
            submit: (values) =>
              client.send(
                new ModifyUserCommand({
                  UserId: user.UserId,
                  AccessString: text(values, "access") === user.AccessString ? undefined : text(values, "access"),
                  AuthenticationMode: text(values, "mode") === "keep" ? undefined : mode(values),
                }),
              ),
            done: () => `The user ${user.UserId} is being modified.`,
          }),
        },
      ]}
      remove={{ act: (name) => client.send(new DeleteUserCommand({ UserId: name })), allowed: (user) => user.UserId !== "default" }}
    />
  );
}
