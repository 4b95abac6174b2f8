/** Forms as data: what a field is called, what it takes, what the API calls it in its messages. */

import Checkbox from "@cloudscape-design/components/checkbox";
import FormField from "@cloudscape-design/components/form-field";
import Input from "@cloudscape-design/components/input";
import Multiselect from "@cloudscape-design/components/multiselect";
import RadioGroup from "@cloudscape-design/components/radio-group";
import Select from "@cloudscape-design/components/select";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Textarea from "@cloudscape-design/components/textarea";
import Tiles from "@cloudscape-design/components/tiles";
import type { ReactNode } from "react";

import type { Placeable } from "../api/errors";
import { TagRows, type Tag } from "./TagRows";

export type Value = string | boolean | string[] | Tag[];
export type Values = Record<string, Value>;

export interface Option {
  value: string;
  label: string;
  description?: string;
  disabled?: boolean;
}

export interface Field extends Placeable {
  label: string;
  kind: "text" | "number" | "password" | "textarea" | "select" | "multiselect" | "radio" | "tiles" | "check" | "tags";
  description?: ReactNode;
  constraint?: string;
  placeholder?: string;
  optional?: boolean;
  options?: readonly Option[];
  loading?: boolean;
  disabled?: boolean;
  /** Whether the field is there at all, given the others. */
  visible?: (values: Values) => boolean;
  /** Why a value is refused before it is sent; undefined where it is not. */
  check?: (text: string, values: Values) => string | undefined;
}

export function text(values: Values, key: string): string {
  const value = values[key];
  return typeof value === "string" ? value.trim() : "";
}

export function flag(values: Values, key: string): boolean {
  return values[key] === true;
}

export function list(values: Values, key: string): string[] {
  const value = values[key];
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];
}

export function tagsOf(values: Values, key = "tags"): Tag[] {
  const value = values[key];
  return Array.isArray(value) ? value.filter((item): item is Tag => typeof item === "object") : [];
}

/** The number in a field; undefined where it is empty. */
export function number(values: Values, key: string): number | undefined {
  const value = text(values, key);
  return value === "" ? undefined : Number(value);
}

/** *value* unless it is empty: the API takes a missing parameter, not an empty one. */
export function orNone<T extends string | unknown[]>(value: T): T | undefined {
  return value.length === 0 ? undefined : value;
}

export function isVisible(field: Field, values: Values): boolean {
  return field.visible?.(values) ?? true;
}

/** What is wrong with the values, by field; empty where nothing is. */
export function checkFields(fields: readonly Field[], values: Values): Record<string, string> {
  const found: Record<string, string> = {};
  for (const field of fields) {
    if (!isVisible(field, values)) {
      continue;
    }
    const value = text(values, field.key);
    if (field.kind === "number" && value !== "" && !/^-?\d+$/.test(value)) {
      found[field.key] = "Enter a whole number.";
    } else if (!field.optional && ["text", "number", "password", "select", "textarea"].includes(field.kind) && value === "") {
      found[field.key] = `${field.label} is required.`;
    } else if (value !== "" || field.optional !== true) {
      const refusal = field.check?.(value, values);
      if (refusal) {
        found[field.key] = refusal;
      }
    }
  }
  return found;
}

interface FieldsProps {
  fields: readonly Field[];
  values: Values;
  errors: Record<string, string>;
  onChange: (key: string, value: Value) => void;
}

export function Fields({ fields, values, errors, onChange }: FieldsProps) {
  return (
    <SpaceBetween size="l">
      {fields
        .filter((field) => isVisible(field, values))
        .map((field) => (
          <FormField
            key={field.key}
            label={
              field.kind === "check" ? undefined : field.optional ? (
                <>
                  {field.label} <i>- optional</i>
                </>
              ) : (
                field.label
              )
            }
            description={field.kind === "check" ? undefined : field.description}
            constraintText={field.constraint}
            errorText={errors[field.key]}
            stretch={field.kind === "tags" || field.kind === "tiles"}
          >
            <Control field={field} value={values[field.key]} onChange={(value) => onChange(field.key, value)} />
          </FormField>
        ))}
    </SpaceBetween>
  );
}

interface ControlProps {
  field: Field;
  value: Value | undefined;
  onChange: (value: Value) => void;
}

function Control({ field, value, onChange }: ControlProps) {
  const options = (field.options ?? []).map((option) => ({ ...option }));
  const shown = typeof value === "string" ? value : "";
  switch (field.kind) {
    case "text":
    case "number":
    case "password":
      return (
        <Input
          type={field.kind === "password" ? "password" : "text"}
          inputMode={field.kind === "number" ? "numeric" : "text"}
          value={shown}
          autoComplete={false}
          spellcheck={false}
          placeholder={field.placeholder ?? ""}
          disabled={field.disabled ?? false}
          onChange={({ detail }) => onChange(detail.value)}
        />
      );
    case "textarea":
      return (
        <Textarea
          value={shown}
          placeholder={field.placeholder ?? ""}
          onChange={({ detail }) => onChange(detail.value)}
        />
      );
    case "select":
      return (
        <Select
          selectedOption={options.find((option) => option.value === shown) ?? (shown ? { value: shown, label: shown } : null)}
          options={options}
          filteringType={options.length > 12 ? "auto" : "none"}
          statusType={field.loading ? "loading" : "finished"}
          placeholder={field.placeholder ?? "Choose an option"}
          disabled={field.disabled ?? false}
          empty="Nothing to choose from"
          onChange={({ detail }) => onChange(detail.selectedOption.value ?? "")}
        />
      );
    case "multiselect": {
      const chosen = Array.isArray(value) ? value : [];
      return (
        <Multiselect
          selectedOptions={options.filter((option) => (chosen as string[]).includes(option.value))}
          options={options}
          placeholder={field.placeholder ?? "Choose options"}
          empty="Nothing to choose from"
          statusType={field.loading ? "loading" : "finished"}
          deselectAriaLabel={(option) => `Remove ${option.label ?? ""}`}
          onChange={({ detail }) => onChange(detail.selectedOptions.map((option) => option.value ?? ""))}
        />
      );
    }
    case "radio":
      return (
        <RadioGroup
          value={shown}
          items={options}
          ariaLabel={field.label}
          onChange={({ detail }) => onChange(detail.value)}
        />
      );
    case "tiles":
      return (
        <Tiles
          value={shown}
          items={options}
          ariaLabel={field.label}
          onChange={({ detail }) => onChange(detail.value)}
        />
      );
    case "check":
      return (
        <Checkbox
          checked={value === true}
          description={field.description}
          disabled={field.disabled ?? false}
          onChange={({ detail }) => onChange(detail.checked)}
        >
          {field.label}
        </Checkbox>
      );
    case "tags":
      return <TagRows tags={tagsOf({ tags: value ?? [] })} onChange={onChange} />;
  }
}
