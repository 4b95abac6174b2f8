import { applyDensity, applyMode, Density, Mode } from "@cloudscape-design/global-styles";

const KEY = "cachefleet.theme";

export type Theme = "light" | "dark";

/** What was chosen, or else what the system prefers. */
export function currentTheme(): Theme {
  const kept = localStorage.getItem(KEY);
  if (kept === "light" || kept === "dark") {
    return kept;
  }
  return window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

export function applyTheme(theme: Theme): void {
  applyMode(theme === "dark" ? Mode.Dark : Mode.Light);
  applyDensity(Density.Comfortable);
}

export function chooseTheme(theme: Theme): void {
  localStorage.setItem(KEY, theme);
  applyTheme(theme);
}
