/** A parameter group's parameters, and the edits that wait to be saved. Pure. */

import type { Parameter } from "@aws-sdk/client-elasticache";

export interface Edit {
  name: string;
  before: string;
  after: string;
}

/** Why a value is refused before it is sent: by the type and the allowed values of the catalogue. */
export function parameterRefusal(parameter: Parameter, value: string): string | undefined {
  const allowed = parameter.AllowedValues ?? "";
  if (parameter.DataType === "integer") {
    if (!/^-?\d+$/.test(value)) {
      return "Enter a whole number.";
    }
    const [, low, high] = /^(-?\d+)-(-?\d+)$/.exec(allowed) ?? [];
    if (low !== undefined && high !== undefined && (BigInt(value) < BigInt(low) || BigInt(value) > BigInt(high))) {
      return `Enter ${low} to ${high}.`;
    }
    return undefined;
  }
  const choices = choicesOf(parameter);
  return choices.length > 0 && !choices.includes(value) ? `One of: ${choices.join(", ")}` : undefined;
}

/** The values to choose from; empty where any text may do. */
export function choicesOf(parameter: Parameter): string[] {
  const allowed = parameter.AllowedValues ?? "";
  const isList = /^[\w-]+(,\s*[\w-]+)+$/.test(allowed);
  return parameter.DataType !== "integer" && isList ? allowed.split(",").map((value) => value.trim()) : [];
}

export function editsOf(parameters: readonly Parameter[], drafts: Readonly<Record<string, string>>): Edit[] {
  return parameters.flatMap((parameter) => {
    const name = parameter.ParameterName ?? "";
    const before = parameter.ParameterValue ?? "";
    const after = drafts[name];
    return after === undefined || after === before ? [] : [{ name, before, after }];
  });
}

/** The API takes this many at once. */
export const EDITS_MAX = 20;

export function batches<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, at) => items.slice(at * size, (at + 1) * size));
}
