import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";

export function EnginesFound() {
  return <Container header={<Header variant="h2">Engines</Header>}>…</Container>;
}
