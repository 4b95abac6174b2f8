/** Node types that a cache can be created with, from the catalogue that the server uses. */

import { families, node_types as types } from "../../../engine/catalog/data/node_types.json";

export interface NodeType {
  name: string;
  family: string;
  vcpu: number;
  memoryGib: number;
}

const FAMILIES = families as Record<string, { new_clusters?: string; min_engine?: Record<string, string> }>;

export const NODE_TYPES: readonly NodeType[] = Object.entries(types as Record<string, unknown[]>)
  .map(([name, [family, vcpu, memoryGib]]) => ({
    name,
    family: String(family),
    vcpu: Number(vcpu),
    memoryGib: Number(memoryGib),
  }))
  .filter(({ family }) => FAMILIES[family]?.new_clusters !== "no");

export function nodeTypesFor(engine: string): readonly NodeType[] {
  // Valkey runs wherever Redis OSS 7 does.
  const known = engine === "valkey" ? "redis" : engine;
  return NODE_TYPES.filter(({ family }) => FAMILIES[family]?.min_engine?.[known] !== undefined);
}

export function nodeTypeOptions(engine: string): { value: string; label: string; description: string }[] {
  return nodeTypesFor(engine).map(({ name, vcpu, memoryGib }) => ({
    value: name,
    label: name,
    description: `${vcpu} vCPU, ${memoryGib} GiB`,
  }));
}
