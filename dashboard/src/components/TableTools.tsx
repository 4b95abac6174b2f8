/** What a table can do without for its first rows: the filter by property, and the preferences. */

import CollectionPreferences, { type CollectionPreferencesProps } from "@cloudscape-design/components/collection-preferences";
import PropertyFilter, { type PropertyFilterProps } from "@cloudscape-design/components/property-filter";

export function Filter(props: PropertyFilterProps) {
  return <PropertyFilter {...props} />;
}

export function Preferences(props: CollectionPreferencesProps) {
  return <CollectionPreferences {...props} />;
}
