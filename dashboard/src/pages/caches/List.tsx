import Button from "@cloudscape-design/components/button";
import ButtonDropdown from "@cloudscape-design/components/button-dropdown";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { lazy, Suspense, useMemo, useState } from "react";
import { useNavigate } from "react-router";

import { cachePath, engineName, ENGINES, type Cache } from "../../api/caches";
import { usePage } from "../../app/Shell";
import { ErrorAlert } from "../../components/ErrorAlert";
import { ResourceTable } from "../../components/ResourceTable";
import { useCaches } from "../../hooks/queries";
import type { CacheDialog } from "./dialogs";
import { cacheColumns } from "./columns";

const CacheDialogs = lazy(async () => ({ default: (await import("./dialogs")).CacheDialogs }));

const keyOf = (cache: Cache) => cache.id;

export function CacheList({ engine }: { engine: string }) {
  const about = ENGINES.find(({ id }) => id === engine) ?? ENGINES[0];
  usePage({ text: about.title });
  const navigate = useNavigate();
  const { caches, complete, query } = useCaches();
  const [dialog, setDialog] = useState<CacheDialog>();
  const items = useMemo(() => caches?.filter((cache) => cache.engine === engine), [caches, engine]);
  const columns = useMemo(() => cacheColumns(engine), [engine]);
  const name = engineName(engine);
  const create = (
    <Button variant="primary" href={`#/${engine}/create`} onClick={(event) => {
      event.preventDefault();
      void navigate(`/${engine}/create`);
    }}>
      {`Create ${name} cache`}
    </Button>
  );
  return (
    <SpaceBetween size="m">
      {query.error && items !== undefined ? <ErrorAlert error={query.error} onRetry={() => void query.refetch()} /> : null}
      <ResourceTable
        key={engine}
        name={`caches-${engine}`}
        title={about.title}
        noun="cache"
        variant="full-page"
        items={items}
        columns={columns}
        keyOf={keyOf}
        loading={query.isPending}
        stillLoading={!complete}
        error={query.error}
        onRefresh={() => void query.refetch()}
        selection="multi"
        empty={`You have no ${name} caches. Create one: it is a real ${name} process, and ready in about a second.`}
        emptyAction={<Button href={`#/${engine}/create`}>{`Create ${name} cache`}</Button>}
        actions={(selected) => {
          const [first] = selected;
          const single = selected.length === 1 && first !== undefined;
          return (
            <>
              <ButtonDropdown
                disabled={selected.length === 0}
                items={[
                  { id: "view", text: "View details", disabled: !single },
                  { id: "modify", text: "Modify", disabled: !single },
                  { id: "backup", text: "Backup", disabled: !single || engine === "memcached" },
                  { id: "reboot", text: "Reboot", disabled: !single },
                  { id: "tags", text: "Manage tags", disabled: !single },
                  { id: "delete", text: "Delete" },
                ]}
                onItemClick={({ detail }) => {
                  if (detail.id === "view" && first) {
                    void navigate(cachePath(first));
                  } else if (detail.id === "delete") {
                    setDialog({ type: "delete", caches: selected });
                  } else if (first) {
                    setDialog({ type: detail.id as "modify", cache: first });
                  }
                }}
              >
                Actions
              </ButtonDropdown>
              {create}
            </>
          );
        }}
      />
      {dialog ? (
        <Suspense fallback={null}>
          <CacheDialogs dialog={dialog} onClose={() => setDialog(undefined)} />
        </Suspense>
      ) : null}
    </SpaceBetween>
  );
}
