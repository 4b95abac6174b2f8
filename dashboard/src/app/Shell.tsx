/** The frame of every page: top bar, navigation, messages, breadcrumbs. */

import Alert from "@cloudscape-design/components/alert";
import AppLayout from "@cloudscape-design/components/app-layout";
import Badge from "@cloudscape-design/components/badge";
import BreadcrumbGroup from "@cloudscape-design/components/breadcrumb-group";
import SideNavigation, { type SideNavigationProps } from "@cloudscape-design/components/side-navigation";
import TopNavigation from "@cloudscape-design/components/top-navigation";
import { createContext, lazy, Suspense, useContext, useEffect, useMemo, useState, type ReactNode } from "react";
import { useLocation, useNavigate } from "react-router";

import { isAccountId, openSession, REGIONS } from "../api/session";
import { useLandmarkFix } from "../hooks/useLandmarkFix";
import { FlashArea } from "./flashes";
import { useLive } from "./live";
import { useApi } from "./Providers";
import { chooseTheme, currentTheme } from "./theme";

const AccountDialog = lazy(() => import("./AccountDialog"));

const NAVIGATION: SideNavigationProps.Item[] = [
  { type: "link", text: "Dashboard", href: "#/" },
  {
    type: "section",
    text: "Resources",
    items: [
      { type: "link", text: "Valkey caches", href: "#/valkey" },
      { type: "link", text: "Memcached caches", href: "#/memcached" },
      { type: "link", text: "Redis OSS caches", href: "#/redis" },
      { type: "link", text: "Serverless caches", href: "#/serverless" },
      { type: "link", text: "Global datastores", href: "#/global-datastores" },
      { type: "link", text: "Backups", href: "#/backups" },
    ],
  },
  {
    type: "section",
    text: "Configurations",
    items: [
      { type: "link", text: "Subnet groups", href: "#/subnet-groups" },
      { type: "link", text: "Parameter groups", href: "#/parameter-groups" },
      { type: "link", text: "User management", href: "#/users" },
      { type: "link", text: "User group management", href: "#/user-groups" },
    ],
  },
  { type: "divider" },
  { type: "link", text: "Events", href: "#/events" },
  { type: "link", text: "Service updates", href: "#/service-updates" },
  { type: "link", text: "Reserved nodes", href: "#/reserved-nodes" },
  { type: "divider" },
  { type: "link", text: "Call log", href: "#/calls", info: <Badge>local</Badge> },
];

export interface Crumb {
  text: string;
  /** A path inside of the console. */
  path?: string;
}

interface PageFrame {
  set: (crumbs: readonly Crumb[]) => void;
}

const FrameContext = createContext<PageFrame>({ set: () => undefined });

/** Names the page: in the breadcrumbs and in the window's title. */
export function usePage(...crumbs: Crumb[]): void {
  const { set } = useContext(FrameContext);
  const key = JSON.stringify(crumbs);
  useEffect(() => {
    const parsed = JSON.parse(key) as Crumb[];
    set(parsed);
    document.title = [...parsed.map((crumb) => crumb.text).toReversed(), "cachefleet"].join(" - ");
  }, [key, set]);
}

const NAVIGATION_FITS = "(min-width: 1100px)";

export function Shell({ children }: { children: ReactNode }) {
  useLandmarkFix();
  const { pathname } = useLocation();
  const navigate = useNavigate();
  const { down } = useLive();
  const [crumbs, setCrumbs] = useState<readonly Crumb[]>([]);
  const [navigationOpen, setNavigationOpen] = useState(() => window.matchMedia(NAVIGATION_FITS).matches);
  const frame = useMemo(() => ({ set: setCrumbs }), []);
  const section = `#/${pathname.split("/")[1] ?? ""}`;
  useEffect(() => {
    window.scrollTo(0, 0);
  }, [pathname]);
  const go = (event: CustomEvent<{ href?: string; external?: boolean }>) => {
    const { href, external } = event.detail;
    if (href?.startsWith("#") && !external) {
      event.preventDefault();
      void navigate(href.slice(1));
      if (!window.matchMedia(NAVIGATION_FITS).matches) {
        setNavigationOpen(false);
      }
    }
  };
  return (
    <FrameContext.Provider value={frame}>
      <TopBar />
      <AppLayout
        headerSelector="#top-bar"
        navigationOpen={navigationOpen}
        onNavigationChange={({ detail }) => setNavigationOpen(detail.open)}
        navigation={
          <SideNavigation
            header={{ text: "cachefleet", href: "#/" }}
            activeHref={section}
            items={NAVIGATION}
            onFollow={go}
          />
        }
        toolsHide
        ariaLabels={{
          navigation: "Side navigation",
          navigationToggle: "Open side navigation",
          navigationClose: "Close side navigation",
          notifications: "Messages",
        }}
        breadcrumbs={
          <BreadcrumbGroup
            ariaLabel="Breadcrumbs"
            items={[{ text: "cachefleet", href: "#/" }, ...crumbs.map(({ text, path }) => ({ text, href: `#${path ?? pathname}` }))]}
            onFollow={go}
          />
        }
        notifications={
          <>
            {down ? (
              <Alert type="warning" header="The server does not answer">
                What you see may be out of date. The page goes on by itself when the server is back.
              </Alert>
            ) : null}
            <FlashArea />
          </>
        }
        content={children}
      />
    </FrameContext.Provider>
  );
}

function TopBar() {
  const { session, config, signIn, signOut } = useApi();
  const [theme, setTheme] = useState(currentTheme);
  const [asking, setAsking] = useState(false);
  const enforced = config.auth === "enforce";
  const account = isAccountId(session.accessKeyId) ? session.accessKeyId : config.accountId;
  const who = enforced ? session.accessKeyId : account;
  return (
    <div id="top-bar">
      <TopNavigation
        identity={{ href: "#/", title: "cachefleet", logo: { src: "./favicon.svg", alt: "" } }}
        i18nStrings={{ overflowMenuTriggerText: "More", overflowMenuTitleText: "All" }}
        utilities={[
          {
            type: "button",
            text: theme === "dark" ? "Light" : "Dark",
            ariaLabel: theme === "dark" ? "Use light colors" : "Use dark colors",
            onClick: () => {
              const next = theme === "dark" ? "light" : "dark";
              chooseTheme(next);
              setTheme(next);
            },
          },
          {
            type: "menu-dropdown",
            text: session.region,
            ariaLabel: `Region ${session.region}`,
            items: REGIONS.map((id) => ({ id, text: id })),
            onItemClick: ({ detail }) => signIn({ ...session, region: detail.id }),
          },
          {
            type: "menu-dropdown",
            text: who,
            ariaLabel: `Account ${who}`,
            iconName: "user-profile",
            items: enforced
              ? [{ id: "sign-out", text: "Sign out" }]
              : [{ id: "account", text: "Use another account" }],
            onItemClick: ({ detail }) => (detail.id === "sign-out" ? signOut() : setAsking(true)),
          },
        ]}
      />
      {asking ? (
        <Suspense fallback={null}>
          <AccountDialog
            account={account}
            onUse={(id) => signIn(openSession(config, id, session.region))}
            onClose={() => setAsking(false)}
          />
        </Suspense>
      ) : null}
    </div>
  );
}
