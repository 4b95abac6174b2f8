import { useEffect } from "react";

/**
 * Takes an attribute off the navigation that the design system puts there on narrow screens and
 * that a landmark must not have: screen readers announce it as something it is not.
 */
export function useLandmarkFix(): void {
  useEffect(() => {
    const fix = () => {
      for (const nav of document.querySelectorAll("nav[aria-orientation]")) {
        nav.removeAttribute("aria-orientation");
      }
    };
    fix();
    const observer = new MutationObserver(fix);
    observer.observe(document.body, { subtree: true, childList: true, attributeFilter: ["aria-orientation"] });
    return () => observer.disconnect();
  }, []);
}
