import AttributeEditor from "@cloudscape-design/components/attribute-editor";
import Input from "@cloudscape-design/components/input";

export interface Tag {
  Key: string;
  Value: string;
}

const TAGS_MAX = 50;

export function TagRows({ tags, onChange }: { tags: readonly Tag[]; onChange: (tags: Tag[]) => void }) {
  const replace = (index: number, change: Partial<Tag>) =>
    onChange(tags.map((tag, at) => (at === index ? { ...tag, ...change } : tag)));
  return (
    <AttributeEditor
      items={[...tags]}
      addButtonText="Add tag"
      removeButtonText="Remove"
      removeButtonAriaLabel={(tag) => `Remove tag ${tag.Key}`}
      disableAddButton={tags.length >= TAGS_MAX}
      empty="No tags."
      onAddButtonClick={() => onChange([...tags, { Key: "", Value: "" }])}
      onRemoveButtonClick={({ detail }) => onChange(tags.filter((_, at) => at !== detail.itemIndex))}
      definition={[
        {
          label: "Key",
          control: (tag: Tag, index) => (
            <Input value={tag.Key} onChange={({ detail }) => replace(index, { Key: detail.value })} />
          ),
        },
        {
          label: "Value",
          control: (tag: Tag, index) => (
            <Input value={tag.Value} onChange={({ detail }) => replace(index, { Value: detail.value })} />
          ),
        },
      ]}
    />
  );
}
