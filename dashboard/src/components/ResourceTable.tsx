/** A list page's table: columns as data, filters, preferences, pages, selection, empty state. */

import { useCollection } from "@cloudscape-design/collection-hooks";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Header from "@cloudscape-design/components/header";
import Pagination from "@cloudscape-design/components/pagination";
import Input from "@cloudscape-design/components/input";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Table, { type TableProps } from "@cloudscape-design/components/table";
import TextFilter from "@cloudscape-design/components/text-filter";
import { lazy, Suspense, useEffect, useMemo, useRef, useState, type ReactNode } from "react";

import { ErrorAlert } from "./ErrorAlert";

export interface Column<T> {
  id: string;
  header: string;
  cell: (item: T) => ReactNode;
  /** What is sorted and filtered by. */
  value?: (item: T) => string | number;
  width?: number;
  /** Left out until somebody asks for it. */
  hidden?: boolean;
  rowHeader?: boolean;
}

interface Preferences {
  pageSize: number;
  wrapLines: boolean;
  compact: boolean;
  visible: string[];
}

export interface ResourceTableProps<T> {
  /** Under which preferences are kept, and what the table is called. */
  name: string;
  title: string;
  noun: string;
  description?: ReactNode;
  items: readonly T[] | undefined;
  columns: readonly Column<T>[];
  keyOf: (item: T) => string;
  loading: boolean;
  error?: unknown;
  onRefresh?: (() => void) | undefined;
  actions?: ((selected: T[], clear: () => void) => ReactNode) | undefined;
  selection?: "single" | "multi" | "none";
  empty?: ReactNode;
  emptyAction?: ReactNode;
  variant?: TableProps.Variant;
  /** A plain text filter instead of one by property. */
  simpleFilter?: boolean;
  stillLoading?: boolean;
}

const Filter = lazy(async () => ({ default: (await import("./TableTools")).Filter }));
const TablePreferences = lazy(async () => ({ default: (await import("./TableTools")).Preferences }));

const AFTER_PAINT_MS = 50;
const PAGE_SIZES = [10, 20, 50, 100];

function readPreferences(name: string, fallback: Preferences): Preferences {
  try {
    const kept = JSON.parse(localStorage.getItem(`cachefleet.table.${name}`) ?? "") as Partial<Preferences>;
    return {
      pageSize: PAGE_SIZES.includes(kept.pageSize ?? 0) ? (kept.pageSize ?? 20) : fallback.pageSize,
      wrapLines: kept.wrapLines === true,
      compact: kept.compact === true,
      visible: Array.isArray(kept.visible) ? kept.visible.map(String) : fallback.visible,
    };
  } catch {
    return fallback;
  }
}

export function ResourceTable<T>(props: ResourceTableProps<T>) {
  const { columns, keyOf } = props;
  const [preferences, setPreferences] = useState(() =>
    readPreferences(props.name, {
      pageSize: 20,
      wrapLines: false,
      compact: false,
      visible: columns.filter((column) => !column.hidden).map((column) => column.id),
    }),
  );
  const ready = useAfterPaint(props.items !== undefined || Boolean(props.error));
  const [selectedKeys, setSelectedKeys] = useState<readonly string[]>([]);
  const items = useMemo(() => props.items ?? [], [props.items]);
  const filterable = useMemo(
    () =>
      columns
        .filter((column) => column.value)
        .map((column) => ({
          key: column.id,
          propertyLabel: column.header,
          groupValuesLabel: `${column.header} values`,
          operators: [":", "!:", "=", "!="] as const,
        })),
    [columns],
  );
  // The collection hook reads plain properties, so every row carries its columns' values.
  const rows = useMemo(
    () =>
      items.map((item) => ({
        item,
        key: keyOf(item),
        ...Object.fromEntries(columns.filter((c) => c.value).map((c) => [c.id, c.value?.(item) ?? ""])),
      })),
    [items, columns, keyOf],
  );
  type Row = (typeof rows)[number];
  const nothing = (
    <Box textAlign="center" color="inherit" padding="l">
      <SpaceBetween size="m">
        <Box color="inherit">{props.empty ?? `No ${props.noun}s.`}</Box>
        {props.emptyAction}
      </SpaceBetween>
    </Box>
  );
  const clearFilter = useRef<() => void>(() => undefined);
  const noMatch = <NoMatch noun={props.noun} onClear={() => clearFilter.current()} />;
  const { items: shown, actions, filteredItemsCount, collectionProps, filterProps, propertyFilterProps, paginationProps } =
    useCollection<Row>(rows, {
      ...(props.simpleFilter
        ? {
            filtering: {
              empty: nothing,
              noMatch,
              filteringFunction: (row: Row, typed: string) =>
                columns.some((column) =>
                  String(column.value?.(row.item) ?? "").toLowerCase().includes(typed.toLowerCase()),
                ),
            },
          }
        : {
            propertyFiltering: {
              filteringProperties: filterable,
              empty: nothing,
              noMatch,
            },
          }),
      pagination: { pageSize: preferences.pageSize },
      sorting: {},
      selection: {},
    });
  useEffect(() => {
    clearFilter.current = () =>
      props.simpleFilter ? actions.setFiltering("") : actions.setPropertyFiltering({ tokens: [], operation: "and" });
  });
  const selected = items.filter((item) => selectedKeys.includes(keyOf(item)));
  const selection = props.selection ?? (props.actions ? "single" : "none");
  const clear = () => setSelectedKeys([]);
  const definitions: TableProps.ColumnDefinition<Row>[] = columns.map((column) => ({
    id: column.id,
    header: column.header,
    cell: (row) => column.cell(row.item),
    width: column.width ?? 160,
    minWidth: 80,
    isRowHeader: column.rowHeader ?? false,
    ...(column.value ? { sortingField: column.id } : {}),
  }));
  return (
    <Table
      {...collectionProps}
      variant={props.variant ?? "container"}
      items={shown}
      trackBy="key"
      columnDefinitions={definitions}
      columnDisplay={columns.map(({ id }) => ({ id, visible: preferences.visible.includes(id) }))}
      resizableColumns
      wrapLines={preferences.wrapLines}
      contentDensity={preferences.compact ? "compact" : "comfortable"}
      stickyHeader={props.variant === "full-page"}
      loading={props.loading && items.length === 0}
      loadingText={`Loading ${props.noun}s`}
      {...(selection === "none" ? {} : { selectionType: selection })}
      selectedItems={shown.filter((row) => selectedKeys.includes(row.key))}
      onSelectionChange={({ detail }) => {
        const onPage = new Set(shown.map((row) => row.key));
        const elsewhere = selection === "multi" ? selectedKeys.filter((key) => !onPage.has(key)) : [];
        setSelectedKeys([...elsewhere, ...detail.selectedItems.map((row) => row.key)]);
      }}
      ariaLabels={{
        tableLabel: props.title,
        selectionGroupLabel: `Select ${props.noun}s`,
        allItemsSelectionLabel: () => `Select all ${props.noun}s`,
        itemSelectionLabel: (_, row) => `Select ${row.key}`,
        resizerRoleDescription: "Resize button",
      }}
      empty={props.error && items.length === 0 ? <ErrorAlert error={props.error} onRetry={props.onRefresh} /> : nothing}
      header={
        <Header
          variant={props.variant === "full-page" ? "awsui-h1-sticky" : "h2"}
          counter={counter(items.length, selected.length, props.items !== undefined, props.stillLoading ?? false)}
          description={props.description}
          actions={
            <SpaceBetween direction="horizontal" size="xs">
              {props.onRefresh ? (
                <Button iconName="refresh" ariaLabel={`Refresh ${props.noun}s`} onClick={props.onRefresh} />
              ) : null}
              {props.actions ? <div className="buttons">{props.actions(selected, clear)}</div> : null}
            </SpaceBetween>
          }
        >
          {props.title}
        </Header>
      }
      filter={
        props.simpleFilter ? (
          <TextFilter
            {...filterProps}
            filteringAriaLabel={`Find ${props.noun}s`}
            filteringPlaceholder={`Find ${props.noun}s`}
            countText={filteredItemsCount === undefined ? "" : `${filteredItemsCount} matches`}
          />
        ) : (
          whenReady(
            ready,
            <Input type="search" value="" disabled ariaLabel={`Find ${props.noun}s`} placeholder={`Find ${props.noun}s by property`} />,
            <Filter
              {...propertyFilterProps}
              filteringAriaLabel={`Find ${props.noun}s`}
              filteringPlaceholder={`Find ${props.noun}s by property`}
              countText={filteredItemsCount === undefined ? "" : `${filteredItemsCount} matches`}
              expandToViewport
            />,
          )
        )
      }
      pagination={<Pagination {...paginationProps} />}
      preferences={whenReady(
        ready,
        <Button variant="icon" iconName="settings" ariaLabel="Preferences" disabled />,
        <TablePreferences
          title="Preferences"
          confirmLabel="Confirm"
          cancelLabel="Cancel"
          preferences={{
            pageSize: preferences.pageSize,
            wrapLines: preferences.wrapLines,
            contentDensity: preferences.compact ? "compact" : "comfortable",
            visibleContent: preferences.visible,
          }}
          pageSizePreference={{
            title: "Page size",
            options: PAGE_SIZES.map((value) => ({ value, label: `${value} ${props.noun}s` })),
          }}
          wrapLinesPreference={{ label: "Wrap lines", description: "Show all of a cell's text" }}
          contentDensityPreference={{ label: "Compact", description: "Show more rows" }}
          visibleContentPreference={{
            title: "Columns",
            options: [
              {
                label: props.title,
                options: columns.map(({ id, header, rowHeader }) => ({ id, label: header, editable: !rowHeader })),
              },
            ],
          }}
          onConfirm={({ detail }) => {
            const chosen: Preferences = {
              pageSize: detail.pageSize ?? 20,
              wrapLines: detail.wrapLines ?? false,
              compact: detail.contentDensity === "compact",
              visible: [...(detail.visibleContent ?? [])],
            };
            setPreferences(chosen);
            localStorage.setItem(`cachefleet.table.${props.name}`, JSON.stringify(chosen));
          }}
        />,
      )}
    />
  );
}

/** False until the page has shown what it has to show; tools that nobody misses yet wait for it. */
function useAfterPaint(shown: boolean): boolean {
  const [ready, setReady] = useState(false);
  useEffect(() => {
    if (!shown) {
      return undefined;
    }
    const timer = setTimeout(() => setReady(true), AFTER_PAINT_MS);
    return () => clearTimeout(timer);
  }, [shown]);
  return ready;
}

function whenReady(ready: boolean, before: ReactNode, after: ReactNode): ReactNode {
  return ready ? <Suspense fallback={before}>{after}</Suspense> : before;
}

function counter(total: number, selected: number, known: boolean, growing: boolean): string {
  if (!known) {
    return "";
  }
  const all = growing ? `${total}+` : String(total);
  return selected > 0 ? `(${selected}/${all})` : `(${all})`;
}

function NoMatch({ noun, onClear }: { noun: string; onClear: () => void }) {
  return (
    <Box textAlign="center" color="inherit" padding="l">
      <SpaceBetween size="m">
        <Box color="inherit">{`No ${noun} matches the filter.`}</Box>
        <Button onClick={onClear}>Clear filter</Button>
      </SpaceBetween>
    </Box>
  );
}
