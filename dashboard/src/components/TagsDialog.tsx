import { AddTagsToResourceCommand, ListTagsForResourceCommand, RemoveTagsFromResourceCommand } from "@aws-sdk/client-elasticache";
import { useQuery, type UseQueryResult } from "@tanstack/react-query";

import { useApi } from "../app/Providers";
import { useAction } from "../hooks/useAction";
import { FormDialog } from "./FormDialog";
import { tagsOf } from "./fields";
import type { Tag } from "./TagRows";

export function useTags(arn: string): UseQueryResult<Tag[]> {
  const { client } = useApi();
  return useQuery({
    queryKey: ["tags", arn],
    enabled: arn !== "",
    queryFn: async ({ signal }) => {
      const reply = await client.send(new ListTagsForResourceCommand({ ResourceName: arn }), { abortSignal: signal });
      return (reply.TagList ?? []).map(({ Key = "", Value = "" }) => ({ Key, Value }));
    },
  });
}

export function TagsDialog({ arn, name, onClose }: { arn: string; name: string; onClose: () => void }) {
  const tags = useTags(arn);
  return tags.data ? <Editor arn={arn} name={name} before={tags.data} onClose={onClose} /> : null;
}

function Editor({ arn, name, before, onClose }: { arn: string; name: string; before: Tag[]; onClose: () => void }) {
  const { client } = useApi();
  const run = useAction();
  return (
    <FormDialog
      title={`Tags of ${name}`}
      submitLabel="Save"
      size="large"
      initial={{ tags: before }}
      fields={[
        {
          key: "tags",
          kind: "tags",
          label: "Tags",
          apiNames: ["Tags", "TagKeys"],
          faults: [/Tag/],
          check: (_, values) => {
            const keys = tagsOf(values).map((tag) => tag.Key);
            if (keys.some((key) => key.trim() === "")) {
              return "Every tag needs a key.";
            }
            return new Set(keys).size < keys.length ? "Two tags have the same key." : undefined;
          },
        },
      ]}
      submit={async (values) => {
        const after = tagsOf(values);
        const gone = before.filter((tag) => !after.some((other) => other.Key === tag.Key));
        const set = after.filter((tag) => !before.some((other) => other.Key === tag.Key && other.Value === tag.Value));
        await run({
          throws: true,
          done: `The tags of ${name} are saved.`,
          changes: ["tags", "caches"],
          act: async () => {
            if (gone.length > 0) {
              await client.send(new RemoveTagsFromResourceCommand({ ResourceName: arn, TagKeys: gone.map((tag) => tag.Key) }));
            }
            if (set.length > 0) {
              await client.send(new AddTagsToResourceCommand({ ResourceName: arn, Tags: set }));
            }
          },
        });
      }}
      onClose={onClose}
    />
  );
}
