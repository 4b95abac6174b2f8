import { useQueryClient } from "@tanstack/react-query";
import { useCallback } from "react";

import { toApiError } from "../api/errors";
import { useFlashes } from "../app/flashes";

export interface Action {
  /** What has been done, for the message: "Cache demo is being deleted." */
  done: string;
  act: () => Promise<unknown>;
  /** First parts of the query keys that are not true any more. */
  changes: readonly string[];
  /** Errors are left to the caller, who has a place for them. */
  throws?: boolean;
}

/** Runs something that changes the server; tells how it went and has the pages look again. */
export function useAction(): (action: Action) => Promise<boolean> {
  const queries = useQueryClient();
  const { show } = useFlashes();
  return useCallback(
    async ({ done, act, changes, throws }: Action) => {
      try {
        await act();
      } catch (error) {
        if (throws) {
          throw error;
        }
        const told = toApiError(error);
        show({
          type: told.notImplemented ? "info" : "error",
          header: told.notImplemented ? "This is not implemented by this server" : told.code,
          content: told.message,
        });
        return false;
      } finally {
        for (const family of changes) {
          void queries.invalidateQueries({ queryKey: [family] });
        }
      }
      show({ type: "success", content: done });
      return true;
    },
    [queries, show],
  );
}
