/** Fields that creating and modifying a cache have in common. */

import type { Field } from "../../components/fields";

const WINDOW = /^[a-z]{3}:\d{2}:\d{2}-[a-z]{3}:\d{2}:\d{2}$/i;
const DAILY_WINDOW = /^\d{2}:\d{2}-\d{2}:\d{2}$/;
const TOKEN_CHARS_MIN = 16;
const TOKEN_CHARS_MAX = 128;
const RETENTION_DAYS_MAX = 35;

export const WINDOW_MAINTENANCE: Field = {
  key: "maintenanceWindow",
  kind: "text",
  label: "Maintenance window",
  optional: true,
  apiNames: ["PreferredMaintenanceWindow", "maintenance window"],
  placeholder: "sun:05:00-sun:06:00",
  constraint: "ddd:hh:mm-ddd:hh:mm in UTC, 60 minutes or more. Empty: chosen for you.",
  check: (typed) => (WINDOW.test(typed) ? undefined : "Write it as sun:05:00-sun:06:00."),
};

export const WINDOW_BACKUP: Field = {
  key: "backupWindow",
  kind: "text",
  label: "Backup window",
  optional: true,
  apiNames: ["SnapshotWindow"],
  placeholder: "03:00-04:00",
  constraint: "hh:mm-hh:mm in UTC, 60 minutes or more. Empty: chosen for you.",
  check: (typed) => (DAILY_WINDOW.test(typed) ? undefined : "Write it as 03:00-04:00."),
};

export const RETENTION: Field = {
  key: "retention",
  kind: "number",
  label: "Backup retention in days",
  apiNames: ["SnapshotRetentionLimit", "Automatic snapshots"],
  constraint: `0 turns automatic backups off; at most ${RETENTION_DAYS_MAX}.`,
  check: (typed) =>
    Number(typed) < 0 || Number(typed) > RETENTION_DAYS_MAX ? `Enter 0 to ${RETENTION_DAYS_MAX}.` : undefined,
};

export const AUTH_TOKEN: Field = {
  key: "authToken",
  kind: "password",
  label: "AUTH token",
  apiNames: ["AuthToken", "AUTH token"],
  constraint: `${TOKEN_CHARS_MIN} to ${TOKEN_CHARS_MAX} printable characters without spaces, @, " or /.`,
  check: (typed) =>
    typed.length < TOKEN_CHARS_MIN || typed.length > TOKEN_CHARS_MAX
      ? `A token has ${TOKEN_CHARS_MIN} to ${TOKEN_CHARS_MAX} characters.`
      : /[@"/\s]/.test(typed)
        ? 'A token has no space and none of @, " and /.'
        : undefined,
};
