/** A list page as data: columns, what can be done to one thing, how one is created. */

import Button, { type ButtonProps } from "@cloudscape-design/components/button";
import ButtonDropdown from "@cloudscape-design/components/button-dropdown";
import type { UseQueryResult } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";

import { useAction } from "../hooks/useAction";
import { DeleteDialog, FormDialog } from "./FormDialog";
import type { Field, Values } from "./fields";
import { ResourceTable, type Column } from "./ResourceTable";
import { TagsDialog } from "./TagsDialog";

/** A form and what it does. */
export interface FormSpec {
  title: string;
  submitLabel: string;
  intro?: ReactNode;
  fields: readonly Field[] | ((values: Values) => readonly Field[]);
  initial: Values;
  submit: (values: Values) => Promise<unknown>;
  /** What has been done, said afterwards. */
  done: (values: Values) => string;
}

export interface ItemAction<T> {
  id: string;
  text: string;
  /** Why it cannot be done now; undefined where it can. */
  disabled?: (item: T) => boolean;
  form?: (item: T) => FormSpec;
  go?: (item: T) => void;
}

export interface ResourcePageProps<T> {
  name: string;
  title: string;
  noun: string;
  description?: ReactNode;
  query: UseQueryResult<T[]>;
  columns: readonly Column<T>[];
  nameOf: (item: T) => string;
  arnOf?: (item: T) => string | undefined;
  create?: { label: string; form: () => FormSpec; icon?: ButtonProps["iconName"] };
  actions?: readonly ItemAction<T>[];
  remove?: {
    act: (name: string, values: Values) => Promise<unknown>;
    allowed?: (item: T) => boolean;
    fields?: readonly Field[];
    initial?: Values;
    warning?: string;
  };
  /** First parts of the query keys that a change makes stale. */
  changes: readonly string[];
  empty: ReactNode;
  variant?: "full-page" | "container";
}

export type OpenItem<T> = { type: "form"; spec: FormSpec } | { type: "delete" | "tags"; item: T };

export function ResourcePage<T>(props: ResourcePageProps<T>) {
  const [open, setOpen] = useState<OpenItem<T>>();
  const { query, create, remove, arnOf, nameOf } = props;
  const close = () => setOpen(undefined);
  return (
    <>
      <ResourceTable
        name={props.name}
        title={props.title}
        noun={props.noun}
        description={props.description}
        variant={props.variant ?? "full-page"}
        items={query.data}
        columns={props.columns}
        keyOf={nameOf}
        loading={query.isPending}
        error={query.error}
        onRefresh={() => void query.refetch()}
        empty={props.empty}
        emptyAction={create && !query.error ? <Button onClick={() => setOpen({ type: "form", spec: create.form() })}>{create.label}</Button> : undefined}
        selection={props.actions || remove || arnOf ? "single" : "none"}
        actions={([item]) => (
          <>
            {props.actions || remove || arnOf ? (
              <ButtonDropdown
                disabled={item === undefined}
                items={[
                  ...(props.actions ?? []).map(({ id, text, disabled }) => ({
                    id,
                    text,
                    disabled: item === undefined || (disabled?.(item) ?? false),
                  })),
                  ...(arnOf ? [{ id: "tags", text: "Manage tags", disabled: item === undefined || !arnOf(item) }] : []),
                  ...(remove ? [{ id: "delete", text: "Delete", disabled: item === undefined || remove.allowed?.(item) === false }] : []),
                ]}
                onItemClick={({ detail }) => {
                  if (item === undefined) {
                    return;
                  }
                  const action = props.actions?.find((one) => one.id === detail.id);
                  if (detail.id === "delete" || detail.id === "tags") {
                    setOpen({ type: detail.id, item });
                  } else if (action?.form) {
                    setOpen({ type: "form", spec: action.form(item) });
                  } else {
                    action?.go?.(item);
                  }
                }}
              >
                Actions
              </ButtonDropdown>
            ) : null}
            {create ? (
              <Button variant="primary" onClick={() => setOpen({ type: "form", spec: create.form() })}>
                {create.label}
              </Button>
            ) : null}
          </>
        )}
      />
      <ItemDialog open={open} noun={props.noun} nameOf={nameOf} arnOf={arnOf} remove={remove} changes={props.changes} onClose={close} />
    </>
  );
}

interface ItemDialogProps<T> extends Pick<ResourcePageProps<T>, "noun" | "nameOf" | "changes"> {
  open: OpenItem<T> | undefined;
  arnOf: ResourcePageProps<T>["arnOf"] | undefined;
  remove: ResourcePageProps<T>["remove"] | undefined;
  onClose: () => void;
}

/** The dialog that is open about one thing: a form, its deletion, its tags; nothing where none is. */
export function ItemDialog<T>({ open, noun, nameOf, arnOf, remove, changes, onClose }: ItemDialogProps<T>) {
  const run = useAction();
  if (open?.type === "form") {
    const { spec } = open;
    return (
      <FormDialog
        title={spec.title}
        submitLabel={spec.submitLabel}
        intro={spec.intro}
        fields={spec.fields}
        initial={spec.initial}
        submit={async (values) => {
          await run({ throws: true, done: spec.done(values), changes, act: () => spec.submit(values) });
        }}
        onClose={onClose}
      />
    );
  }
  if (open?.type === "delete" && remove) {
    return (
      <DeleteDialog
        noun={noun}
        names={[nameOf(open.item)]}
        warning={remove.warning}
        fields={remove.fields ?? []}
        initial={remove.initial ?? {}}
        remove={remove.act}
        onDone={([name]) => void run({ done: `The ${noun} ${name ?? ""} is being deleted.`, act: async () => undefined, changes })}
        onClose={onClose}
      />
    );
  }
  return open?.type === "tags" ? <TagsDialog arn={arnOf?.(open.item) ?? ""} name={nameOf(open.item)} onClose={onClose} /> : null;
}
