/** Messages above the page: newest first, one for each id, gone when dismissed. */

import Flashbar, { type FlashbarProps } from "@cloudscape-design/components/flashbar";
import { createContext, useCallback, useContext, useMemo, useState, type ReactNode } from "react";

export interface Flash {
  id?: string;
  type: "success" | "error" | "info" | "warning" | "in-progress";
  header?: string;
  content: ReactNode;
  action?: ReactNode;
}

interface Flashes {
  items: FlashbarProps.MessageDefinition[];
  show: (flash: Flash) => string;
  dismiss: (id: string) => void;
}

const FLASHES_MAX = 8;
const FlashContext = createContext<Flashes | undefined>(undefined);
let nextId = 1;

export function FlashProvider({ children }: { children: ReactNode }) {
  const [flashes, setFlashes] = useState<(Flash & { id: string })[]>([]);
  const dismiss = useCallback((id: string) => {
    setFlashes((now) => (now.some((flash) => flash.id === id) ? now.filter((flash) => flash.id !== id) : now));
  }, []);
  const show = useCallback((flash: Flash) => {
    const id = flash.id ?? `flash-${nextId++}`;
    setFlashes((now) => [{ ...flash, id }, ...now.filter((other) => other.id !== id)].slice(0, FLASHES_MAX));
    return id;
  }, []);
  const value = useMemo<Flashes>(
    () => ({
      show,
      dismiss,
      items: flashes.map((flash) => ({
        id: flash.id,
        type: flash.type === "in-progress" ? "info" : flash.type,
        loading: flash.type === "in-progress",
        header: flash.header,
        content: flash.content,
        action: flash.action,
        dismissible: true,
        dismissLabel: "Dismiss message",
        onDismiss: () => dismiss(flash.id),
      })),
    }),
    [flashes, show, dismiss],
  );
  return <FlashContext.Provider value={value}>{children}</FlashContext.Provider>;
}

export function useFlashes(): Flashes {
  const flashes = useContext(FlashContext);
  if (!flashes) {
    throw new Error("useFlashes outside of FlashProvider");
  }
  return flashes;
}

export function FlashArea() {
  return <Flashbar items={useFlashes().items} />;
}
