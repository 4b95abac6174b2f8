import { usePage } from "../app/Shell";
import EventsTable from "../components/EventsTable";

export default function Events() {
  usePage({ text: "Events" });
  return <EventsTable name="events" variant="full-page" />;
}
